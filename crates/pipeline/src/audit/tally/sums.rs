//! The sums of an audit: all that it keeps of what it has read, so that it can be resumed from them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::groups::Groups;
use crate::ledger::kinds::Kinds;
use crate::ledger::orgs::Orgs;
use crate::ledger::receipt::Counts;
use crate::ledger::report::{
    AcceptedLoss, HourBalance, LateCounts, ObjectCounts, OutputCounts, SalvageCounts, Unrecovered,
};

/// Most disagreements that a report spells out.
pub(super) const DISAGREEMENTS_MAX: usize = 20;

/// The sums over the hours that were added so far, and the contradictions that were found. Does not grow
/// with the number of objects.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sums {
    pub(super) objects: ObjectCounts,
    pub(super) counts: Counts,
    /// Events written, by org.
    #[serde(default)]
    pub(super) orgs: Orgs,
    /// Events written, by domain and type.
    #[serde(default)]
    pub(super) kinds: Kinds,
    pub(super) foreign_names: u64,
    pub(super) empty_objects: u64,
    pub(super) unverifiable_records: u64,
    pub(super) hours: Vec<HourBalance>,
    pub(super) late: LateCounts,
    /// For each task list whose objects are all done, by its label, the digest of its receipts.
    pub(super) receipts_digests: BTreeMap<String, String>,
    /// Over the task lists, to be compared with the plan's.
    pub(super) listed_bytes: u64,
    pub(super) listed_foreign_names: u64,
    /// Hours of the window whose first task list was read.
    pub(super) listed_hours: u64,
    /// Hours of the window that no planner has listed, or whose first task list is gone.
    pub(super) unlisted_hours: u64,
    /// Late task lists that are gone or damaged.
    pub(super) lost_late_lists: u64,
    pub(super) unrecovered: Vec<Unrecovered>,
    #[serde(default)]
    pub(super) losses: Vec<AcceptedLoss>,
    #[serde(default)]
    pub(super) salvage: SalvageCounts,
    pub(super) rejected_files: Vec<String>,
    pub(super) output: OutputCounts,
    pub(super) finished_at: Option<DateTime<Utc>>,
    /// Receipts that were read, less those that were listed.
    pub(super) receipts: Groups,
    /// Files that receipts name, less those that were listed.
    pub(super) files: Groups,
    /// Contradictions, at most [`DISAGREEMENTS_MAX`].
    pub(super) disagreements: Vec<String>,
}

impl Sums {
    pub(super) fn disagree(&mut self, what: String) {
        if self.disagreements.len() < DISAGREEMENTS_MAX {
            self.disagreements.push(what);
        }
    }

    pub(super) fn add_balance(&mut self, balance: HourBalance) {
        let (sum, hour) = (&mut self.objects, &balance.objects);
        sum.listed += hour.listed;
        sum.pruned += hour.pruned;
        sum.planned += hour.planned;
        sum.done += hour.done;
        sum.salvaged += hour.salvaged;
        sum.failed += hour.failed;
        sum.missing += hour.missing;
        sum.lost += hour.lost;
        self.counts.add(&balance.counts);
        self.hours.push(balance);
    }
}
