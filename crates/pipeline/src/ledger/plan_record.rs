//! The summary of a complete plan, `plan.json`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::hour_prefix::HourPrefix;
use crate::backup::unexpected::Unexpected;
use crate::ledger::Versioned;
use crate::request::execution_id::ExecutionId;

/// The summary of a complete plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub version: u32,
    /// The run.
    pub execution_id: ExecutionId,
    /// When the planning began that completed the plan.
    pub planned_at: DateTime<Utc>,
    /// Hour prefixes that were listed.
    pub hours: u64,
    /// Those without objects.
    pub empty_hours: Vec<HourPrefix>,
    /// Objects found.
    pub objects: PlannedObjects,
    /// Planned objects whose names do not follow the pattern.
    pub foreign_names: u64,
    /// Bytes of the planned objects, as stored.
    pub bytes: u64,
    /// The same for each day of the hour prefixes.
    pub days: Vec<PlannedDay>,
    /// Objects between the hours, which are not recovered.
    #[serde(default)]
    pub unexpected: Unexpected,
    /// The digest of `request.json`. Plans of version 1, and dry runs, have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_digest: Option<String>,
    /// The digest of each hour's task list.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub task_lists: BTreeMap<HourPrefix, String>,
}

/// Objects of a plan: `listed = pruned + planned`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedObjects {
    /// Under the hour prefixes.
    pub listed: u64,
    /// Left out, since they can't hold events of the window.
    pub pruned: u64,
    /// To be recovered.
    pub planned: u64,
}

/// One day of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDay {
    /// The day of the hour prefixes, `YYYY-MM-DD`.
    pub date: String,
    /// Objects found.
    pub objects: PlannedObjects,
    /// Bytes of the planned objects, as stored.
    pub bytes: u64,
    /// Listed hours without objects.
    pub empty_hours: Vec<HourPrefix>,
}

impl Versioned for PlanRecord {
    fn version(&self) -> u32 {
        self.version
    }
}
