//! The report: the result of a run, and whether it is complete.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::hour_prefix::HourPrefix;
use crate::backup::unexpected::Unexpected;
use crate::cost::bill::Cost;
use crate::ledger::Versioned;
use crate::ledger::kinds::Kinds;
use crate::ledger::orgs::Orgs;
use crate::ledger::receipt::{ByteCounts, Counts, EventCounts};
use crate::ledger::recheck_record::NamedKeys;
use crate::request::execution_id::ExecutionId;
use crate::request::resolved::ResolvedRequest;

/// Whether a run recovered everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every event of the window is in the output, and the balance closes.
    Complete,
    /// Everything that was planned is recovered, but a person should check the reasons.
    NeedsLook,
    /// Something is missing.
    Incomplete,
}

impl Verdict {
    /// The verdict as JSON and messages write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::NeedsLook => "needs_look",
            Self::Incomplete => "incomplete",
        }
    }
}

/// The auditor's findings about a run, `report.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`LEDGER_VERSION`](crate::ledger::LEDGER_VERSION).
    pub version: u32,
    /// [`SOFTWARE`](crate::ledger::SOFTWARE) of the auditor.
    pub software: String,
    /// The run.
    pub execution_id: ExecutionId,
    /// Whether it recovered everything.
    pub verdict: Verdict,
    /// Why the verdict is not `complete`, the worst first.
    pub reasons: Vec<String>,
    /// Of which time the verdict is, and whether the backup may still grow. Reports of versions 1 and 2
    /// do not say.
    #[serde(flatten)]
    pub finality: Option<Finality>,
    /// The request, with every default filled in.
    pub request: ResolvedRequest,
    /// Objects: `listed = pruned + planned`, `planned = done + salvaged + failed + missing + lost`.
    pub objects: ObjectCounts,
    /// Bytes of the done and salvaged objects: `read = events + whitespace + rejected`.
    pub bytes: ByteCounts,
    /// Events of the done and salvaged objects:
    /// `found = written + out_of_window + filtered_out + duplicates`.
    pub events: EventCounts,
    /// The events written, by org; those of receipts of versions 1 and 2 are left out.
    #[serde(default)]
    pub orgs: Orgs,
    /// The events written, by domain and type; those of receipts that do not say are left out.
    #[serde(default)]
    pub kinds: Kinds,
    /// Bytes that are not an event, each fragment kept with its offset and reason.
    pub rejected_fragments: u64,
    /// The largest distance of an event from its object's tolerance, in milliseconds.
    pub outside_tolerance_max_millis: u64,
    /// Objects whose names do not follow the pattern of the backup; they are recovered too.
    pub foreign_names: u64,
    /// Done objects that hold nothing: no bytes at all, or white space alone.
    #[serde(default)]
    pub empty_objects: u64,
    /// Objects between the hours of the range, which were not recovered.
    #[serde(default)]
    pub unexpected: Unexpected,
    /// Objects that came after their hours were first listed; they are counted in the other fields too.
    #[serde(default)]
    pub late: LateCounts,
    /// Objects of the plan that had changed when the run was rechecked. What was recovered of them before is
    /// untouched, and can no longer be compared with the source.
    #[serde(default)]
    pub changed: NamedKeys,
    /// Objects of the plan that were gone when the run was rechecked.
    #[serde(default)]
    pub vanished: NamedKeys,
    /// Records of the ledger that an earlier version of this software wrote without a digest, so that
    /// a change to them can't be seen.
    #[serde(default)]
    pub unverifiable_records: u64,
    /// The files with events.
    pub output: OutputCounts,
    /// The first failed and missing objects, at most [`Report::UNRECOVERED_MAX`].
    pub unrecovered: Vec<Unrecovered>,
    /// The first objects whose loss was accepted, at most [`Report::LOSSES_MAX`].
    #[serde(default)]
    pub losses: Vec<AcceptedLoss>,
    /// What is known of the damaged objects whose events before the damage were recovered.
    #[serde(default)]
    pub salvage: SalvageCounts,
    /// The files of rejected fragments, at most [`Report::REJECTED_FILES_MAX`].
    pub rejected_files: Vec<String>,
    /// The balance of each hour prefix.
    pub hours: Vec<HourBalance>,
    /// What the run has taken and cost on AWS, by what receipts and files show. Earlier reports do not say.
    #[serde(default)]
    pub cost: Option<Cost>,
    /// When things happened.
    pub times: Times,
}

impl Report {
    /// Most entries of [`unrecovered`](Self::unrecovered); [`objects`](Self::objects) counts all.
    pub const UNRECOVERED_MAX: usize = 100;
    /// Most entries of [`losses`](Self::losses); [`objects`](Self::objects) counts all.
    pub const LOSSES_MAX: usize = 100;
    /// Most entries of [`salvage.named`](SalvageCounts::named); [`objects`](Self::objects) counts all.
    pub const SALVAGED_MAX: usize = 100;
    /// Most entries of [`rejected_files`](Self::rejected_files).
    pub const REJECTED_FILES_MAX: usize = 100;
}

impl Versioned for Report {
    fn version(&self) -> u32 {
        self.version
    }
}

/// The digests of the records that an audit has read, so that a later change is seen. Not in the report,
/// because receipts hold times: two runs of the same request have the same report but for its times, and
/// other digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditDigests {
    /// [`LEDGER_VERSION`](crate::ledger::LEDGER_VERSION).
    pub version: u32,
    /// Of `report.json` without its times, as JSON with sorted keys.
    pub report: String,
    /// Of `plan.json`, if there is a plan.
    pub plan: Option<String>,
    /// For each hour whose first task list is all done, of the digests of its receipts in the order of the
    /// list: a receipt that is done never changes.
    pub receipts: BTreeMap<HourPrefix, String>,
    /// Of the late plans, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late_plans: Vec<String>,
    /// As [`receipts`](Self::receipts), for each late task list, such as `2024-04-01T00.late-1`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub late_receipts: BTreeMap<String, String>,
}

impl Versioned for AuditDigests {
    fn version(&self) -> u32 {
        self.version
    }
}

/// Of which time a verdict is. A verdict says what was true when the hours were listed; until the report is
/// final, an hour may still gain objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finality {
    /// Every hour was listed at this time or later: the oldest of the hours' newest listings.
    pub listed_at: DateTime<Utc>,
    /// Whether [`listed_at`](Self::listed_at) is at or after [`final_after`](Self::final_after).
    #[serde(rename = "final")]
    pub is_final: bool,
    /// From when on the backup of the window can't grow any more: the end of the last listed hour and the
    /// late allowance.
    pub final_after: DateTime<Utc>,
}

impl Finality {
    /// Of a listing at this time.
    pub fn new(listed_at: DateTime<Utc>, final_after: DateTime<Utc>) -> Self {
        Self {
            listed_at,
            is_final: listed_at >= final_after,
            final_after,
        }
    }
}

/// Objects that came after their hours were first listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateCounts {
    /// Of the late task lists.
    pub objects: u64,
    /// Those of them that are done.
    pub done: u64,
    /// Events written of them.
    pub events: u64,
    /// The keys of the first, at most [`NamedKeys::NAMED_MAX`].
    pub named: Vec<String>,
}

/// Objects of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectCounts {
    /// Under the hour prefixes.
    pub listed: u64,
    /// Left out, since they can't hold events of the window.
    pub pruned: u64,
    /// To be recovered.
    pub planned: u64,
    /// Recovered.
    pub done: u64,
    /// Damaged, and recovered up to the damage.
    #[serde(default)]
    pub salvaged: u64,
    /// Failed permanently, each with a reason.
    pub failed: u64,
    /// Without a receipt that says done or failed.
    pub missing: u64,
    /// Neither recovered nor to be recovered: a person has accepted their loss.
    #[serde(default)]
    pub lost: u64,
}

/// The files with events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputCounts {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// An object that was not recovered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrecovered {
    /// Its key.
    pub key: String,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// An object whose loss a person has accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedLoss {
    /// Its key.
    pub key: String,
    /// Why, in the person's words.
    pub reason: String,
    /// When.
    pub accepted_at: DateTime<Utc>,
    /// The ARN of whoever did it, where AWS knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_by: Option<String>,
}

/// Damaged objects whose events before the damage were recovered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalvageCounts {
    /// Bytes of the objects as stored that could not be decoded. They are not part of the balance, which counts decoded bytes.
    pub undecoded_bytes: u64,
    /// Events found of them.
    pub events: u64,
    /// Those that no checksum covers: the damage may begin before the place at which it was noticed.
    pub unverified_events: u64,
    /// The first, at most [`Report::SALVAGED_MAX`].
    pub named: Vec<SalvagedObject>,
}

/// A damaged object whose events before the damage were recovered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalvagedObject {
    /// Its key.
    pub key: String,
    /// Its damage.
    pub reason: String,
    /// See [`SalvageCounts::undecoded_bytes`].
    pub undecoded_bytes: u64,
    /// See [`SalvageCounts::events`].
    pub events: u64,
    /// See [`SalvageCounts::unverified_events`].
    pub unverified_events: u64,
}

/// The balance of one hour prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourBalance {
    /// The hour.
    pub hour: HourPrefix,
    /// When it was listed for the last time; unknown for ledgers of versions 1 and 2.
    #[serde(default)]
    pub listed_at: Option<DateTime<Utc>>,
    /// Its objects.
    pub objects: ObjectCounts,
    /// Those of them that came after the hour was first listed.
    #[serde(default)]
    pub late_objects: u64,
    /// The sums over its done and salvaged objects.
    #[serde(flatten)]
    pub counts: Counts,
}

/// When things happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// When the run began.
    pub created_at: DateTime<Utc>,
    /// When the planning began that completed its plan.
    pub planned_at: Option<DateTime<Utc>>,
    /// When its last object was done.
    pub finished_at: Option<DateTime<Utc>>,
    /// When this report was made.
    pub audited_at: DateTime<Utc>,
    /// From the beginning of the run to this report, in milliseconds. A run that was interrupted
    /// counts the interruption.
    pub duration_millis: u64,
}
