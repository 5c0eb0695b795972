//! How far a planner came that queues the failed tasks of a run again, `requeue.json`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::hour_prefix::HourPrefix;
use crate::ledger::Versioned;

/// The cursor of a planner that reached its deadline while it read the receipts of a complete plan. The next
/// call continues there, so that a run of any size gets to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequeueRecord {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub(crate) version: u32,
    /// When the call began that wrote this.
    pub(crate) called_at: DateTime<Utc>,
    /// The hour whose task lists come next; `None` once all have been read: the next call begins anew.
    pub(crate) next_hour: Option<HourPrefix>,
    /// Whether an auditor was waiting for the run when the first of these calls began: then a task without a
    /// receipt is on its way.
    pub(crate) is_awaited: bool,
    /// Tasks queued by this call and by those that it continued.
    pub(crate) tasks_queued: u64,
}

impl Versioned for RequeueRecord {
    fn version(&self) -> u32 {
        self.version
    }
}
