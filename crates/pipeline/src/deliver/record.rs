//! The records of a delivery.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::source_key::SourceKey;
use crate::compare::record::ComparisonId;
use crate::ledger::Versioned;
use crate::ledger::report::Verdict;
use crate::request::execution_id::ExecutionId;
use crate::request::filters::Filters;

/// What was asked for, frozen when a delivery begins: `delivery.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub version: u32,
    /// [`SOFTWARE`](crate::SOFTWARE) that began it.
    pub software: String,
    /// The run.
    pub execution_id: ExecutionId,
    /// The delivery.
    pub delivery_id: ExecutionId,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// In the same JSON object.
    #[serde(flatten)]
    pub terms: DeliveryTerms,
}

/// What a delivery does, which never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryTerms {
    /// The ARN or URL of the target, or `-`.
    pub target: String,
    /// Only what this comparison found to be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_missing: Option<ComparisonId>,
    /// Only what these let through.
    #[serde(default)]
    pub filters: Filters,
    /// Only events that arrived from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// Only events that arrived before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<DateTime<Utc>>,
    /// A pointer into the event to what keeps events in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
    /// Whether objects are sent in the order of their times.
    #[serde(default)]
    pub ordered: bool,
    /// Whether what earlier deliveries have sent to the target is sent again.
    #[serde(default)]
    pub again: bool,
    /// On a bus: the detail type of all events, in place of their own types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail_type: Option<String>,
    /// On a bus: the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_source: Option<String>,
    /// What messages are sent with, besides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// How far one part of the run was sent: `parts/<task id>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub version: u32,
    /// [`SOFTWARE`](crate::SOFTWARE) that wrote it.
    pub software: String,
    /// The backup object whose events they are.
    pub key: SourceKey,
    /// Whether there is more to do.
    pub state: PartState,
    /// A digest of what the receipt says of the part's files: positions are those in these files.
    pub outputs: String,
    /// Events of the part.
    pub events: u64,
    /// The fate of so many events, from the first on, is known.
    pub position: u64,
    /// Their fates.
    pub counts: FateCounts,
    /// Processes that began to send the part and did not write how far they came, and requests without an answer.
    pub interruptions: u64,
    /// Events that were sent before the part's files were written anew, after which all are sent.
    #[serde(default)]
    pub resent: u64,
    /// Files with what was sent before [`recent`](Self::recent): `sent/<task id>.<outputs>.<n>.jsonl`.
    pub sent_files: u64,
    /// What was sent last.
    pub recent: Vec<SentEvent>,
    /// What the target will never take.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedEvent>,
}

impl PartRecord {
    /// Events that the target has confirmed, also those ahead of the position.
    pub(crate) fn sent(&self) -> u64 {
        let ahead = self
            .recent
            .iter()
            .filter(|sent| sent.position >= self.position);
        self.counts.sent + ahead.count() as u64
    }
}

/// Whether there is more to do for a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// A process sends it, or has died while it did.
    Sending,
    /// It waits for a process that carries on.
    Paused,
    /// Nothing is left to do.
    Done,
}

/// What became of events: `written = sent + earlier + received + duplicate + filtered + refused + pending`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FateCounts {
    /// The target has confirmed them.
    pub sent: u64,
    /// An earlier delivery of the run has sent them to the same target.
    pub earlier: u64,
    /// The consumer has them, as the comparison says.
    pub received: u64,
    /// An event with the same id and bytes comes before them.
    pub duplicate: u64,
    /// The filters leave them out.
    pub filtered: u64,
    /// The target will never take them.
    pub refused: u64,
}

impl FateCounts {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Self {
            sent,
            earlier,
            received,
            duplicate,
            filtered,
            refused,
        } = self;
        sent + earlier + received + duplicate + filtered + refused
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.earlier += other.earlier;
        self.received += other.received;
        self.duplicate += other.duplicate;
        self.filtered += other.filtered;
        self.refused += other.refused;
    }
}

/// An event that the target has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentEvent {
    /// Which of its part's, from 0.
    pub position: u64,
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// What the target calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
}

/// An event that the target will never take. Its content is in its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedEvent {
    /// The file of the run.
    pub key: String,
    /// Of its first byte, in the decoded file.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// Why.
    pub reason: String,
}

/// The result of a delivery, `report.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryReport {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub version: u32,
    /// [`SOFTWARE`](crate::SOFTWARE).
    pub software: String,
    /// The run.
    pub execution_id: ExecutionId,
    /// The delivery.
    pub delivery_id: ExecutionId,
    /// Whether every event has the fate that was asked for.
    pub verdict: Verdict,
    /// Why it is not `complete`.
    pub reasons: Vec<String>,
    /// What was asked for.
    pub terms: DeliveryTerms,
    /// Events of the run: `written = sent + … + refused + pending`.
    pub events: DeliveredEvents,
    /// Parts of the run, one for each of its objects with events.
    pub parts: u64,
    /// Those with nothing left to do.
    pub parts_done: u64,
    /// At most so many events were sent twice: those in flight whenever a process died or a request had no answer,
    /// and those that were sent before their files were written anew.
    pub sent_twice_max: u64,
    /// The first refused events, at most [`DeliveryReport::REFUSED_MAX`].
    pub refused: Vec<RefusedEvent>,
    /// Why it stopped before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When this was written.
    pub reported_at: DateTime<Utc>,
}

impl DeliveryReport {
    /// Most entries of [`refused`](Self::refused); the records of the parts have all.
    pub const REFUSED_MAX: usize = 100;
}

/// The balance of a delivery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveredEvents {
    /// Of the run.
    pub written: u64,
    /// Those whose fate is known.
    #[serde(flatten)]
    pub fates: FateCounts,
    /// All others.
    pub pending: u64,
}

impl Versioned for DeliveryRecord {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Versioned for PartRecord {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Versioned for DeliveryReport {
    fn version(&self) -> u32 {
        self.version
    }
}
