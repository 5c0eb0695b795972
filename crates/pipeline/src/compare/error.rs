//! Why a run could not be compared.

use std::io;

use thiserror::Error;
use tokio::task::JoinError;

use crate::ledger::LedgerError;
use crate::request::execution_id::{ExecutionId, ExecutionIdError};
use crate::storage::{RequestId, StorageError};

/// A run could not be compared with the ids that a consumer has.
#[derive(Debug, Error)]
pub enum CompareError {
    /// There is no such run.
    #[error("there is no run `{0}`")]
    UnknownRun(ExecutionId),
    /// Its events are not lines.
    #[error("the run `{0}` wrote Parquet, which does not hold events byte by byte")]
    NotNdjson(ExecutionId),
    /// It has no report.
    #[error("the run `{0}` has no report yet")]
    NotAudited(ExecutionId),
    /// The output holds another number of events than the report says.
    #[error(
        "the output of the run `{execution_id}` holds {found} events, and its report says {written}"
    )]
    OtherEvents {
        /// The run.
        execution_id: ExecutionId,
        /// In the output.
        found: u64,
        /// In the report.
        written: u64,
    },
    /// A file of the consumer's ids is not valid.
    #[error("could not read the ids of `{name}`: {problem}")]
    Received {
        /// The file.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A file of the consumer's ids could not be read.
    #[error("could not read `{name}`: {error}")]
    ReceivedStorage {
        /// The file.
        name: String,
        /// Why.
        error: StorageError,
    },
    /// Sorted ids could not be kept meanwhile.
    #[error("could not keep sorted ids in a temporary file: {0}")]
    Temporary(#[from] io::Error),
    /// The clock gives a time that no id can be made of.
    #[error(transparent)]
    Clock(#[from] ExecutionIdError),
    /// A thread died.
    #[error("a thread died while it read ids: {0}")]
    Died(#[from] JoinError),
    /// The ledger or an output failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<StorageError> for CompareError {
    fn from(error: StorageError) -> Self {
        Self::Ledger(error.into())
    }
}

impl CompareError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Ledger(error) => return error.hint(),
            Self::ReceivedStorage { error, .. } => return error.hint(),
            Self::UnknownRun(_) => "`event-recovery list` shows the runs of a destination",
            Self::NotNdjson(_) => {
                "recover the same range once more with `--format ndjson` and another execution id, and compare that run"
            }
            Self::NotAudited(_) => "wait for its end, or audit it with `event-recovery report`",
            Self::OtherEvents { .. } => {
                "audit the run again with `event-recovery report`: it was carried on with since, or its output was changed"
            }
            Self::Received { .. } => {
                "files are lines of text, CSV by the extension `.csv` or Parquet by `.parquet`; `--column` names the column"
            }
            Self::Temporary(_) => {
                "`--temporary-folder` takes a folder with room for the ids of both sides"
            }
            Self::Clock(_) => "set the clock of this machine",
            Self::Died(_) => return None,
        };
        Some(hint.to_owned())
    }

    /// The id of the request that failed.
    pub fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::Ledger(error) => error.request_id(),
            Self::ReceivedStorage { error, .. } => error.request_id(),
            _ => None,
        }
    }

    /// Whether another attempt may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Ledger(error) => error.is_transient(),
            Self::ReceivedStorage { error, .. } => error.is_transient(),
            _ => false,
        }
    }
}
