//! Why there is no report.

use thiserror::Error;

use crate::ledger::LedgerError;
use crate::ledger::planning_record::Refusal;
use crate::request::execution_id::ExecutionId;
use crate::storage::{RequestId, StorageError};

/// Why there is no report.
#[derive(Debug, Error)]
pub enum AuditError {
    /// There is no run with this id.
    #[error("there is no run `{0}`")]
    UnknownRun(ExecutionId),
    /// The planner refused the run, so it has no verdict.
    #[error("the run `{execution_id}` is not planned: {}", refusal.message)]
    Refused {
        /// The run.
        execution_id: ExecutionId,
        /// Why.
        refusal: Refusal,
    },
    /// Its auditor died, or made no progress, each time.
    #[error("the auditor of the run `{execution_id}` died {attempts} times, or made no progress")]
    Died {
        /// The run.
        execution_id: ExecutionId,
        /// Attempts since the last progress.
        attempts: u32,
    },
    /// The ledger could not be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl AuditError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownRun(_) => {
                Some("the ids are the folders' names in `_recovery` at the destination".to_owned())
            }
            Self::Refused { refusal, .. } => refusal.hint.clone(),
            Self::Died { .. } => Some(
                "look for its execution id in the auditor's log; give the auditor more memory or time, and \
                 invoke the planner with the same request and execution id again; or audit the run with \
                 `event-recovery status`"
                    .to_owned(),
            ),
            Self::Ledger(error) => error.hint(),
            Self::Storage(error) => error.hint(),
        }
    }

    /// The id of the request that failed, if it was one to a service that answered.
    pub fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::Ledger(error) => error.request_id(),
            Self::Storage(error) => error.request_id(),
            Self::UnknownRun(_) | Self::Refused { .. } | Self::Died { .. } => None,
        }
    }

    /// Whether repeating the audit may succeed although nothing was changed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Ledger(error) => error.is_transient(),
            Self::Storage(error) => error.is_transient(),
            Self::UnknownRun(_) | Self::Refused { .. } | Self::Died { .. } => false,
        }
    }
}
