//! What is signed, and the record with the signature.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ledger::report::{Finality, Verdict};
use crate::ledger::{LEDGER_VERSION, SOFTWARE, Versioned};
use crate::request::execution_id::ExecutionId;

/// The only algorithm: ECDSA on P-256 with SHA-256, as KMS names it.
pub(crate) const ALGORITHM: &str = "ECDSA_SHA_256";

/// What a signature vouches for. Its JSON, byte for byte as the record holds it, is what is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedStatement {
    /// The run.
    pub execution_id: ExecutionId,
    /// What its report says.
    pub verdict: Verdict,
    /// Of which time the verdict is.
    #[serde(flatten)]
    pub finality: Option<Finality>,
    /// When the report was made.
    pub audited_at: DateTime<Utc>,
    /// When it was signed, by the clock of the signer.
    pub signed_at: DateTime<Utc>,
    /// SHA-256 of `report.json` in hexadecimal.
    pub report_sha256: String,
    /// SHA-256 of the record with the digests of plan and receipts, in hexadecimal.
    pub digests_sha256: String,
}

/// `signature.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureRecord {
    /// [`LEDGER_VERSION`].
    pub version: u32,
    /// [`SOFTWARE`] of the signer.
    pub software: String,
    /// `ECDSA_SHA_256`.
    pub algorithm: String,
    /// The ARN of the key.
    pub key: String,
    /// A [`SignedStatement`] as JSON.
    pub statement: String,
    /// The signature of the statement's bytes: ASN.1 in DER, in base64.
    pub signature: String,
}

impl SignatureRecord {
    pub(crate) fn new(key: &str, statement: String, signature: String) -> Self {
        Self {
            version: LEDGER_VERSION,
            software: SOFTWARE.to_owned(),
            algorithm: ALGORITHM.to_owned(),
            key: key.to_owned(),
            statement,
            signature,
        }
    }
}

impl Versioned for SignatureRecord {
    fn version(&self) -> u32 {
        self.version
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
