//! Why a delivery could not go on.

use thiserror::Error;

use crate::compare::record::ComparisonId;
use crate::deliver::target::TargetError;
use crate::ledger::LedgerError;
use crate::request::execution_id::ExecutionId;
use crate::storage::{RequestId, StorageError};

/// A delivery could not begin, or go on. What was confirmed before is recorded.
#[derive(Debug, Error)]
pub enum DeliverError {
    /// There is no such run.
    #[error("there is no run `{0}`")]
    UnknownRun(ExecutionId),
    /// Its events are not lines.
    #[error("the run `{0}` wrote Parquet, which does not hold events byte by byte")]
    NotNdjson(ExecutionId),
    /// It is not complete enough.
    #[error("the run `{0}` is incomplete, or has no report yet")]
    Incomplete(ExecutionId),
    /// The delivery was begun with other terms.
    #[error("the delivery `{delivery_id}` was begun with another `{term}`")]
    OtherTerms {
        /// The delivery.
        delivery_id: ExecutionId,
        /// What differs.
        term: &'static str,
    },
    /// There is no such comparison.
    #[error("the run has no comparison `{0}`")]
    UnknownComparison(ComparisonId),
    /// The run has written something else since.
    #[error("the run has changed since the comparison `{0}` was made")]
    RunChanged(ComparisonId),
    /// More ids are missing than a delivery can keep in memory.
    #[error(
        "the comparison found {missing} ids to be missing, more than a delivery keeps in memory"
    )]
    TooManyMissing {
        /// How many.
        missing: u64,
    },
    /// A pattern of the filters is not valid.
    #[error("a pattern of the filters can't be read: {0}")]
    Filters(String),
    /// Another process sends the same part.
    #[error("another process carries out the same delivery: it has changed `{key}`")]
    TakenOver {
        /// The record.
        key: String,
    },
    /// The target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The ledger or an output failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A thread died.
    #[error("a thread died while it read events")]
    Died,
}

impl From<StorageError> for DeliverError {
    fn from(error: StorageError) -> Self {
        Self::Ledger(error.into())
    }
}

impl DeliverError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Target(error) => return error.hint(),
            Self::Ledger(error) => return error.hint(),
            Self::UnknownRun(_) => "`event-recovery list` shows the runs of a destination",
            Self::NotNdjson(_) => {
                "recover the same range once more with `--format ndjson` and another execution id, and deliver that run"
            }
            Self::Incomplete(_) => {
                "`event-recovery status` says what is missing; `--incomplete` delivers what is there, and another delivery the rest later"
            }
            Self::OtherTerms { .. } => {
                "repeat the first command to resume it, or choose another `--delivery-id`"
            }
            Self::UnknownComparison(_) => {
                "`event-recovery compare` prints the id of the comparison that it makes"
            }
            Self::RunChanged(_) => {
                "compare again, and deliver what the new comparison finds: what was sent to the same target is left out"
            }
            Self::TooManyMissing { .. } => {
                "deliver without `--only-missing`, or compare and deliver runs of shorter ranges"
            }
            Self::Filters(_) => "a pattern is text with `*`, `?`, `[ab]` and `{a,b}`",
            Self::TakenOver { .. } => {
                "stop one of the two; the other goes on, or is resumed by the same command"
            }
            Self::Died => return None,
        };
        Some(hint.to_owned())
    }

    /// The id of the request that failed.
    pub fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::Target(error) => error.request_id(),
            Self::Ledger(error) => error.request_id(),
            _ => None,
        }
    }

    /// Whether another attempt may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Target(error) => error.is_transient(),
            Self::Ledger(error) => error.is_transient(),
            _ => false,
        }
    }
}
