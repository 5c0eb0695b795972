//! Why there is no plan.

use std::fmt;

use chrono::SecondsFormat;
use thiserror::Error;

use crate::audit::call::AuditCallError;
use crate::backup::hour_prefix::HourPrefix;
use crate::backup::source_key::{SourceKey, SourceKeyError};
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
    /// More bytes than the limit.
    #[error("the objects of the range have more than {bytes_max} bytes together")]
    TooManyBytes {
        /// The limit.
        bytes_max: u64,
        /// The hour at which the limit was exceeded.
        hour: HourPrefix,
    },
    /// A higher forecast than the limit.
    #[error("the run would cost more than {}", dollars(*micro_usd_max))]
    TooExpensive {
        /// The limit, in millionths of a US dollar.
        micro_usd_max: u64,
        /// The hour at which the limit was exceeded.
        hour: HourPrefix,
    },
    /// The planner reached its deadline.
    #[error(
        "the time was up {step} after {hours_done} of {hours} hours of the run `{execution_id}`"
    )]
    OutOfTime {
        /// The run.
        execution_id: ExecutionId,
        /// What it was doing.
        step: PlanStep,
        /// Hours whose step is done.
        hours_done: u64,
        /// Hours of the window; of a run that was rechecked, each late task list counts as one more.
        hours: u64,
    },
    /// The run was cancelled.
    #[error("the run `{execution_id}` was cancelled at {cancelled_at}")]
    Cancelled {
        /// The run.
        execution_id: ExecutionId,
        /// When, in RFC 3339.
        cancelled_at: String,
    },
    /// There is no run with this id.
    #[error("there is no run `{0}`")]
    UnknownRun(ExecutionId),
    /// The run has not planned the object.
    #[error("the run `{execution_id}` has not planned the object `{key}`")]
    NotInPlan {
        /// The run.
        execution_id: ExecutionId,
        /// The object.
        key: SourceKey,
    },
    /// The run has no complete plan, so there is nothing to compare a recheck with.
    #[error("the plan of the run `{0}` is not complete")]
    NotPlanned(ExecutionId),
    /// A late task list that a late plan names is gone.
    #[error("the task list `{key}` is gone")]
    ListGone {
        /// Its key.
        key: String,
    },
    /// Other rechecks of the run wrote their findings at every attempt of this one.
    #[error("other rechecks of the run `{0}` are in progress")]
    RecheckConflict(ExecutionId),
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

impl From<AuditCallError> for PlanError {
    fn from(error: AuditCallError) -> Self {
        match error {
            AuditCallError::Ledger(error) => Self::Ledger(error),
            AuditCallError::Queue(error) => Self::Queue(error),
        }
    }
}

fn dollars(micro_usd: u64) -> String {
    format!("${}.{:06}", micro_usd / 1_000_000, micro_usd % 1_000_000)
}

/// What a planner was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanStep {
    /// Listing the hours.
    Listing,
    /// Queueing their tasks.
    Queueing,
    /// Reading the receipts of a complete plan, to queue what has failed.
    Requeueing,
    /// Listing the hours again.
    Rechecking,
}

impl fmt::Display for PlanStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listing => "listing",
            Self::Queueing => "queueing tasks",
            Self::Requeueing => "looking for failed tasks",
            Self::Rechecking => "listing again",
        })
    }
}

impl PlanError {
    /// Whether repeating the call may succeed although nothing was changed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::OutOfTime { .. } | Self::Queue(_) | Self::RecheckConflict(_) => true,
            Self::Storage(error) => error.is_transient(),
            Self::Ledger(error) => error.is_transient(),
            Self::OtherRequest { .. }
            | Self::TooManyObjects { .. }
            | Self::TooManyBytes { .. }
            | Self::TooExpensive { .. }
            | Self::Cancelled { .. }
            | Self::UnknownRun(_)
            | Self::NotInPlan { .. }
            | Self::NotPlanned(_)
            | Self::ListGone { .. }
            | Self::Key(_) => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::OtherRequest { .. } => {
                Some("repeat the first request to resume the run, or choose another id".to_owned())
            }
            Self::TooManyObjects { hour, .. }
            | Self::TooManyBytes { hour, .. }
            | Self::TooExpensive { hour, .. } => {
                let split = hour.start().to_rfc3339_opts(SecondsFormat::Secs, true);
                Some(format!(
                    "nothing was queued; raise the limit and start the same run again, or split the range into \
                     two requests that adjoin: one that ends at `{split}` and one that starts there, both with \
                     instants, each with an execution id of its own"
                ))
            }
            Self::Cancelled { execution_id, .. } => Some(format!(
                "to carry on, resume it: event-recovery resume --execution-id {execution_id} with its `--destination` or `--stack`"
            )),
            Self::UnknownRun(_) => {
                Some("the ids are the folders' names in `_recovery` at the destination".to_owned())
            }
            Self::NotInPlan { .. } => {
                Some("the report names the objects that failed or are missing".to_owned())
            }
            Self::NotPlanned(_) => {
                Some("resume the run first: repeat its request with its execution id".to_owned())
            }
            Self::ListGone { .. } => Some(
                "restore it from a version that the destination keeps, or start a new run"
                    .to_owned(),
            ),
            Self::RecheckConflict(_) => Some("try again in a minute".to_owned()),
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
            | Self::TooManyBytes { .. }
            | Self::TooExpensive { .. }
            | Self::Cancelled { .. }
            | Self::OutOfTime { .. }
            | Self::UnknownRun(_)
            | Self::NotInPlan { .. }
            | Self::NotPlanned(_)
            | Self::ListGone { .. }
            | Self::RecheckConflict(_)
            | Self::Key(_) => None,
        }
    }
}
