//! `event-recovery verify-signature`.

use std::fs;
use std::process::ExitCode;

use chrono::{SecondsFormat, Utc};
use event_recovery_pipeline::{
    PublicKey, SignatureError, SignedStatement, inspect, says_the_same, verify_signature,
};
use serde::Serialize;

use crate::failure::{Failure, NEEDS_A_LOOK};
use crate::handling_arguments::VerifySignatureArguments;
use crate::ledger_place::LedgerPlace;
use crate::runtime;

/// A longer file is no public key.
const KEY_BYTES_MAX: u64 = 64 * 1024;

/// What the command prints.
#[derive(Serialize)]
struct Verified {
    /// Whether everything is as it was signed.
    verified: bool,
    /// What is not.
    problems: Vec<String>,
    /// What was signed, if the signature holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed: Option<SignedStatement>,
}

pub(crate) fn verify(arguments: &VerifySignatureArguments) -> Result<ExitCode, Failure> {
    let key = public_key(arguments)?;
    runtime::block_on(async {
        let place = LedgerPlace::open(&arguments.ledger).await?;
        let storage = place.storage();
        let found = match verify_signature(&*storage, &place.ledger, &key).await {
            Ok(signed) => {
                // The digests are those that were signed. The records must be those of the digests.
                let report = inspect(&*storage, place.ledger.execution_id(), Utc::now()).await?;
                let verified = says_the_same(&*storage, &report).await?;
                Verified {
                    verified,
                    problems: match verified {
                        true => Vec::new(),
                        false => problems_of(report.reasons),
                    },
                    signed: Some(signed),
                }
            }
            Err(SignatureError::Ledger(error)) => return Err(error.into()),
            Err(error) => Verified {
                verified: false,
                problems: [Some(error.to_string()), error.hint()]
                    .into_iter()
                    .flatten()
                    .collect(),
                signed: None,
            },
        };
        let output = arguments.ledger.output.output();
        output.show("what was verified", &found, || summary(&found))?;
        Ok(match found.verified {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(NEEDS_A_LOOK),
        })
    })
}

fn problems_of(reasons: Vec<String>) -> Vec<String> {
    let first = "plan, receipts or files are not what the signed report was computed from";
    [first.to_owned()].into_iter().chain(reasons).collect()
}

fn summary(found: &Verified) -> String {
    match &found.signed {
        Some(signed) if found.verified => format!(
            "verified: the run `{}` was `{}` when it was audited at {}; report, plan, receipts and files are as they were signed",
            signed.execution_id,
            signed.verdict.as_str(),
            signed.audited_at.to_rfc3339_opts(SecondsFormat::Secs, true)
        ),
        _ => format!("NOT VERIFIED: {}", found.problems.join("\n  ")),
    }
}

fn public_key(arguments: &VerifySignatureArguments) -> Result<PublicKey, Failure> {
    let path = &arguments.public_key;
    let shown = path.display();
    let hint = "it takes PEM, DER, or what `aws kms get-public-key --query PublicKey --output text` prints";
    let length = fs::metadata(path).map(|found| found.len());
    let bytes = match length {
        Ok(length) if length > KEY_BYTES_MAX => Ok(Vec::new()),
        _ => fs::read(path),
    };
    let bytes = bytes
        .map_err(|error| Failure::could_not_run(format!("could not read `{shown}`: {error}")))?;
    PublicKey::parse(&bytes).ok_or_else(|| {
        Failure::usage(format!(
            "`--public-key`: `{shown}` is not a public key on P-256"
        ))
        .hint(hint)
    })
}
