//! Why there is no plan.

use chrono::SecondsFormat;
use thiserror::Error;

use crate::backup::hour_prefix::HourPrefix;
use crate::backup::source_key::SourceKeyError;
use crate::ledger::LedgerError;
use crate::queue::QueueError;
use crate::request::execution_id::ExecutionId;
use crate::storage::{RequestId, StorageError};

/// Why there is no plan.
#[derive(Debug, Error)]
pub enum PlanError {
    /// A run with this id has another request.
    #[error("the run `{execution_id}` has another request: `{field}` differs")]
    OtherRequest {
        /// The run.
        execution_id: ExecutionId,
        /// The first field that differs.
        field: &'static str,
    },
    /// More objects than the limit.
    #[error("the range holds more than {objects_max} objects")]
    TooManyObjects {
        /// The limit.
        objects_max: u64,
        /// The hour at which the limit was exceeded.
        hour: HourPrefix,
    },
    /// The planner reached its deadline.
    #[error("the time was up after {hours_done} of {hours} hours of the run `{execution_id}`")]
    OutOfTime {
        /// The run.
        execution_id: ExecutionId,
        /// Hours whose tasks are queued.
        hours_done: u64,
        /// Hours of the window.
        hours: u64,
    },
    /// A listing gave an object that was not asked for.
    #[error(transparent)]
    Key(#[from] SourceKeyError),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl PlanError {
    /// Whether repeating the call may succeed although nothing was changed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::OutOfTime { .. } | Self::Queue(_) => true,
            Self::Storage(error) => error.is_transient(),
            Self::Ledger(error) => error.is_transient(),
            Self::OtherRequest { .. } | Self::TooManyObjects { .. } | Self::Key(_) => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::OtherRequest { .. } => {
                Some("repeat the first request to resume the run, or choose another id".to_owned())
            }
            Self::TooManyObjects { hour, .. } => {
                let split = hour.start().to_rfc3339_opts(SecondsFormat::Secs, true);
                Some(format!(
                    "split the range into two requests that adjoin: one that ends at `{split}` and one that \
                     starts there, both with instants, each with an execution id of its own"
                ))
            }
            Self::OutOfTime { execution_id, .. } => Some(format!(
                "repeat the request with `execution_id` `{execution_id}`: it resumes where it stopped"
            )),
            Self::Storage(error) => error.hint(),
            Self::Ledger(error) => error.hint(),
            Self::Queue(error) => error.hint(),
            Self::Key(_) => None,
        }
    }

    /// The id of the request that failed, if it was one to a service that answered.
    pub fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::Storage(error) => error.request_id(),
            Self::Ledger(error) => error.request_id(),
            Self::Queue(error) => error.request_id(),
            Self::OtherRequest { .. }
            | Self::TooManyObjects { .. }
            | Self::OutOfTime { .. }
            | Self::Key(_) => None,
        }
    }
}
