//! The newest recheck of a run, `recheck.json`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::unexpected::Unexpected;
use crate::ledger::Versioned;
use crate::request::execution_id::ExecutionId;

/// What the newest recheck of a run found when it listed the run's hours again. Objects that came since are in
/// late task lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecheckRecord {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub version: u32,
    /// The run.
    pub execution_id: ExecutionId,
    /// When it began to list: every hour was listed at this time or later.
    pub listed_at: DateTime<Utc>,
    /// How many late plans the run had when it ended.
    pub late_plans: u64,
    /// Planned objects whose size or etag is no longer the planned one.
    pub changed: NamedKeys,
    /// Planned objects that are gone.
    pub vanished: NamedKeys,
    /// As [`PlanRecord::unexpected`](crate::PlanRecord::unexpected), at this listing.
    #[serde(default)]
    pub unexpected: Unexpected,
}

impl Versioned for RecheckRecord {
    fn version(&self) -> u32 {
        self.version
    }
}

/// Objects of the source that are counted, the first of them by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedKeys {
    /// How many.
    pub objects: u64,
    /// The keys of the first of them, at most [`NamedKeys::NAMED_MAX`].
    pub named: Vec<String>,
}

impl NamedKeys {
    /// Most entries of [`named`](Self::named).
    pub const NAMED_MAX: usize = 100;

    pub(crate) fn add(&mut self, key: &str) {
        self.objects += 1;
        if self.named.len() < Self::NAMED_MAX {
            self.named.push(key.to_owned());
        }
    }

    /// Adds the findings of another listing.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.objects += other.objects;
        let free = Self::NAMED_MAX.saturating_sub(self.named.len());
        self.named.extend(other.named.iter().take(free).cloned());
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects == 0
    }
}
