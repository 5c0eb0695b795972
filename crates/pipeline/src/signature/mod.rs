//! The signature of a report: whoever has the public key can see, without asking anyone, that report and ledger are as
//! the auditor left them.

pub(crate) mod error;
pub(crate) mod statement;

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{DerSignature, VerifyingKey};
use p256::pkcs8::DecodePublicKey as _;

use crate::ledger::report::{AuditDigests, Report};
use crate::ledger::seal::Seal;
use crate::ledger::{Ledger, LedgerError, parse, report_digest, to_json, unseal};
use crate::signature::error::{SignError, SignatureError};
use crate::signature::statement::{ALGORITHM, SignatureRecord, SignedStatement, sha256};
use crate::storage::Records;

/// Most attempts while other auditors write their reports.
const CONFLICTS_MAX: u32 = 16;
/// The time between two of them.
const CONFLICT_PAUSE: Duration = Duration::from_millis(200);

/// Signs with a key that it does not give away.
#[async_trait]
pub trait Sign: Send + Sync {
    /// The key's name.
    fn key(&self) -> &str;
    /// The signature of the message by ECDSA on P-256 with SHA-256, as ASN.1 in DER. The message has at most 4096 bytes.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// Signs the report of the run, and the digests of the records that it was computed from.
///
/// # Errors
///
/// The signer's and the ledger's. The report is as good as before, and not signed.
pub async fn sign_report<D: Records + ?Sized>(
    destination: &D,
    ledger: &Ledger,
    signer: &dyn Sign,
    now: DateTime<Utc>,
) -> Result<(), SignatureError> {
    let (report_key, digests_key) = (ledger.report_key(), ledger.digests_key());
    for attempt in 0..CONFLICTS_MAX {
        if attempt > 0 {
            tokio::time::sleep(CONFLICT_PAUSE).await;
        }
        let report = existing(destination, &report_key).await?;
        let digests = existing(destination, &digests_key).await?;
        let sealed = unseal::<AuditDigests>(&digests_key, &digests)?;
        if sealed.seal == Seal::Broken {
            let detail = "it was changed since it was written".to_owned();
            let key = digests_key;
            return Err(LedgerError::Invalid { key, detail }.into());
        }
        // Another auditor writes its own at this moment.
        if sealed.value.report != report_digest(&report_key, &report.bytes)? {
            continue;
        }
        let parsed: Report = parse(&report_key, &report.bytes)?;
        let statement = SignedStatement {
            execution_id: ledger.execution_id().clone(),
            verdict: parsed.verdict,
            finality: parsed.finality,
            audited_at: parsed.times.audited_at,
            signed_at: now,
            report_sha256: sha256(&report.bytes),
            digests_sha256: sha256(&digests.bytes),
        };
        let key = ledger.signature_key();
        let text = String::from_utf8_lossy(&to_unsealed(&key, &statement)?).into_owned();
        let signature = signer.sign(text.as_bytes()).await?;
        let record = SignatureRecord::new(signer.key(), text, BASE64.encode(signature));
        destination.put(&key, to_json(&key, &record)?).await?;
        // The signature of an older report must not stay.
        let now_there = destination.find(&report_key).await?;
        if now_there.is_some_and(|found| found.etag == report.etag) {
            return Ok(());
        }
    }
    let detail = "it changes with every attempt to sign it".to_owned();
    let key = report_key;
    Err(LedgerError::Invalid { key, detail }.into())
}

/// A public key on P-256: PEM, DER, or DER in base64 as `aws kms get-public-key` prints it.
#[derive(Debug, Clone)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads the key; `None` if it is none on P-256.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok().map(str::trim);
        let from_text = text.and_then(|text| {
            let pem = VerifyingKey::from_public_key_pem(text).ok();
            pem.or_else(|| VerifyingKey::from_public_key_der(&BASE64.decode(text).ok()?).ok())
        });
        from_text
            .or_else(|| VerifyingKey::from_public_key_der(bytes).ok())
            .map(Self)
    }
}

/// Checks that the report and the digests of its records are those that were signed with the private key of this one.
/// [`inspect`](crate::inspect) compares the records with the digests.
///
/// # Errors
///
/// What is wrong with the signature, or with what was signed.
pub async fn verify_signature<D: Records + ?Sized>(
    destination: &D,
    ledger: &Ledger,
    key: &PublicKey,
) -> Result<SignedStatement, SignatureError> {
    let signature_key = ledger.signature_key();
    let Some(record) = destination.find(&signature_key).await? else {
        return Err(SignatureError::NotSigned {
            execution_id: ledger.execution_id().clone(),
        });
    };
    let record = unseal::<SignatureRecord>(&signature_key, &record)?;
    let is_whole = record.seal != Seal::Broken;
    let record = record.value;
    if record.algorithm != ALGORITHM || !is_whole {
        return Err(SignatureError::Forged { key: signature_key });
    }
    let is_genuine = BASE64
        .decode(&record.signature)
        .ok()
        .and_then(|signature| DerSignature::try_from(&*signature).ok())
        .is_some_and(|signature| {
            key.0
                .verify(record.statement.as_bytes(), &signature)
                .is_ok()
        });
    if !is_genuine {
        return Err(SignatureError::Forged { key: signature_key });
    }
    let statement: SignedStatement = parse(&signature_key, record.statement.as_bytes())?;
    if statement.execution_id != *ledger.execution_id() {
        return Err(SignatureError::OfAnotherRun {
            execution_id: statement.execution_id,
        });
    }
    for (key, signed) in [
        (ledger.report_key(), &statement.report_sha256),
        (ledger.digests_key(), &statement.digests_sha256),
    ] {
        let found = destination.find(&key).await?;
        if found.is_none_or(|found| sha256(&found.bytes) != *signed) {
            let signed_at = statement.signed_at;
            return Err(SignatureError::NotWhatWasSigned { key, signed_at });
        }
    }
    Ok(statement)
}

/// Whether what an audit finds now is what the signed report says. The software that audits may be newer than that which
/// signed: it is compared what was counted and found, not how that is written.
///
/// # Errors
///
/// The ledger's.
pub async fn says_the_same<D: Records + ?Sized>(
    destination: &D,
    now: &Report,
) -> Result<bool, LedgerError> {
    let key = Ledger::new(now.execution_id.clone()).report_key();
    let Some(record) = destination.find(&key).await? else {
        return Ok(false);
    };
    let signed: Report = parse(&key, &record.bytes)?;
    let is_same = (
        signed.verdict,
        signed.objects,
        signed.bytes,
        signed.events,
        signed.output,
    ) == (now.verdict, now.objects, now.bytes, now.events, now.output)
        && signed.hours == now.hours
        && (
            signed.rejected_fragments,
            signed.unverifiable_records,
            signed.reasons.len(),
        ) == (
            now.rejected_fragments,
            now.unverifiable_records,
            now.reasons.len(),
        );
    // A contradiction is one more reason; the same software also words it in the same way.
    Ok(is_same && (signed.software != now.software || signed.reasons == now.reasons))
}

fn to_unsealed(key: &str, statement: &SignedStatement) -> Result<Vec<u8>, LedgerError> {
    serde_json::to_vec(statement).map_err(|error| LedgerError::Invalid {
        key: key.to_owned(),
        detail: error.to_string(),
    })
}

async fn existing<D: Records + ?Sized>(
    destination: &D,
    key: &str,
) -> Result<crate::storage::Record, LedgerError> {
    destination
        .find(key)
        .await?
        .ok_or_else(|| LedgerError::Invalid {
            key: key.to_owned(),
            detail: "it is not there".to_owned(),
        })
}
