//! Why a report could not be signed, or its signature does not hold.

use std::error::Error;
use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use thiserror::Error;

use crate::ledger::LedgerError;
use crate::request::execution_id::ExecutionId;
use crate::storage::{Circumstances, RequestId, StorageError};

/// A key could not sign.
#[derive(Debug, Clone)]
pub struct SignError {
    /// The key.
    pub key: String,
    /// Why.
    pub problem: String,
    is_transient: bool,
    circumstances: Circumstances,
}

impl SignError {
    /// The key could not sign. A transient problem may be gone at the next attempt.
    pub fn new(key: impl Into<String>, problem: impl Into<String>, is_transient: bool) -> Self {
        Self {
            key: key.into(),
            problem: problem.into(),
            is_transient,
            circumstances: Circumstances::default(),
        }
    }

    /// Replaces all that is known besides the text.
    #[must_use]
    pub fn under(mut self, circumstances: Circumstances) -> Self {
        self.circumstances = circumstances;
        self
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = self.circumstances.hint();
        hint.or_else(|| {
            (!self.is_transient).then(|| {
                "the key must be of the spec ECC_NIST_P256 for SIGN_VERIFY, and both the key's policy and that of the role \
                 must allow `kms:Sign`"
                    .to_owned()
            })
        })
    }

    /// The id of the request that failed, if KMS answered it.
    pub fn request_id(&self) -> Option<&RequestId> {
        self.circumstances.request_id()
    }

    /// Whether another attempt may succeed.
    pub fn is_transient(&self) -> bool {
        self.is_transient
    }
}

impl fmt::Display for SignError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, problem, .. } = self;
        write!(formatter, "could not sign with the key `{key}`: {problem}")
    }
}

impl Error for SignError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.circumstances.source()
    }
}

/// A report could not be signed, or its signature does not hold.
#[derive(Debug, Clone, Error)]
pub enum SignatureError {
    /// There is no signature.
    #[error("the report of the run `{execution_id}` is not signed")]
    NotSigned {
        /// The run.
        execution_id: ExecutionId,
    },
    /// The signature is not one of the statement by this key.
    #[error("`{key}` was not signed with this key, or was changed since")]
    Forged {
        /// The record with the signature.
        key: String,
    },
    /// What was signed is about another run.
    #[error("what was signed is about the run `{execution_id}`")]
    OfAnotherRun {
        /// That run.
        execution_id: ExecutionId,
    },
    /// A record is not the one that was signed.
    #[error("`{key}` is not what was signed at {}", signed_at.to_rfc3339_opts(SecondsFormat::Secs, true))]
    NotWhatWasSigned {
        /// The record.
        key: String,
        /// When the other was signed.
        signed_at: DateTime<Utc>,
    },
    /// The key could not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A record could not be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<StorageError> for SignatureError {
    fn from(error: StorageError) -> Self {
        Self::Ledger(error.into())
    }
}

impl SignatureError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Sign(error) => return error.hint(),
            Self::Ledger(error) => return error.hint(),
            Self::NotSigned { .. } => {
                "sign it with `event-recovery report --signing-key ARN`, or deploy the stack with the parameter `SigningKeyArn`"
            }
            Self::Forged { .. } => {
                "compare `--public-key` with what `aws kms get-public-key` prints for the key that the record names; if it is \
                 that key, somebody has changed the record"
            }
            Self::OfAnotherRun { .. } => "somebody has copied the signature of another run",
            Self::NotWhatWasSigned { .. } => {
                "either a later audit has written it and was not signed, then sign again with `event-recovery report \
                 --signing-key ARN`; or somebody has changed it, then restore it from a version that the bucket keeps"
            }
        };
        Some(hint.to_owned())
    }

    /// The id of the request that failed.
    pub fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::Sign(error) => error.request_id(),
            Self::Ledger(error) => error.request_id(),
            _ => None,
        }
    }

    /// Whether another attempt may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Sign(error) => error.is_transient(),
            Self::Ledger(error) => error.is_transient(),
            _ => false,
        }
    }
}
