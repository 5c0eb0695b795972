//! The receipt: what became of one task.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ledger::Versioned;
use crate::task::{SourceKey, TaskId};

/// What a worker writes down about a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`LEDGER_VERSION`](crate::ledger::LEDGER_VERSION).
    pub version: u32,
    /// [`SOFTWARE`](crate::ledger::SOFTWARE) of the worker.
    pub software: String,
    /// The backup object.
    pub key: SourceKey,
    /// How often the task has been received, this time included.
    pub attempts: u32,
    /// When this attempt began.
    pub started_at: DateTime<Utc>,
    /// What became of it.
    #[serde(flatten)]
    pub state: State,
}

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It had failed, and was queued again.
    Queued {
        /// When.
        queued_at: DateTime<Utc>,
    },
    /// The last allowed attempt has begun. Without another receipt by `expires_at` it has failed.
    Attempting {
        /// When it counts as failed.
        expires_at: DateTime<Utc>,
    },
    /// It can't be done; the run is incomplete.
    Failed {
        /// Why.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The events are written. Nothing overwrites this.
    Done(Box<Done>),
}

/// The proof of a task that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// When the last output was in place.
    pub finished_at: DateTime<Utc>,
    /// Whether the object's name follows the pattern of the backup.
    pub foreign_name: bool,
    /// The counts of the balance.
    #[serde(flatten)]
    pub counts: Counts,
    /// The files with events, in the order of their keys.
    pub outputs: Vec<Output>,
    /// The file with rejected fragments, if there are any.
    pub rejected: Option<Output>,
}

/// What one object, or several, came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Bytes.
    pub bytes: ByteCounts,
    /// Events.
    pub events: EventCounts,
    /// Rejected fragments.
    pub rejected_fragments: u64,
    /// The largest distance of an event from its object's tolerance, in milliseconds.
    pub outside_tolerance_max_millis: u64,
}

/// Where the bytes went: `read = events + whitespace + rejected`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteCounts {
    /// Size of the objects as stored.
    pub source: u64,
    /// Bytes of the decoded streams.
    pub read: u64,
    /// Bytes of events.
    pub events: u64,
    /// White space between events, and leading byte order marks.
    pub whitespace: u64,
    /// Bytes of rejected fragments.
    pub rejected: u64,
}

/// Where the events went: `found = written + out_of_window + filtered_out + duplicates`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCounts {
    /// Events in the objects.
    pub found: u64,
    /// Events in the output.
    pub written: u64,
    /// Events that arrived outside of the window.
    pub out_of_window: u64,
    /// Events of the window that the filters leave out.
    pub filtered_out: u64,
    /// Duplicates that were dropped: none, they are all kept.
    pub duplicates: u64,
    /// Events, already counted above, that arrived further from their object's time than the
    /// tolerance allows, so that another window could miss them.
    pub outside_tolerance: u64,
}

/// A file that a task wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its key in the destination.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its CRC-64/NVME in hexadecimal, the checksum that S3 computes of whole objects.
    pub crc64nvme: String,
    /// Its events, or its rejected fragments' lines.
    pub rows: u64,
}

impl Receipt {
    /// Whether the events are written.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    /// Whether the task has failed, also by not coming back from its last attempt.
    pub fn has_failed(&self, now: DateTime<Utc>) -> bool {
        match self.state {
            State::Failed { .. } => true,
            State::Attempting { expires_at } => expires_at <= now,
            State::Queued { .. } | State::Done(_) => false,
        }
    }

    /// The task's id.
    pub fn task_id(&self) -> TaskId {
        TaskId::of(&self.key)
    }
}

impl Versioned for Receipt {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Counts {
    /// Adds another object's counts.
    pub fn add(&mut self, other: &Self) {
        let Self {
            bytes,
            events,
            rejected_fragments,
            outside_tolerance_max_millis,
        } = other;
        self.bytes.source += bytes.source;
        self.bytes.read += bytes.read;
        self.bytes.events += bytes.events;
        self.bytes.whitespace += bytes.whitespace;
        self.bytes.rejected += bytes.rejected;
        self.events.found += events.found;
        self.events.written += events.written;
        self.events.out_of_window += events.out_of_window;
        self.events.filtered_out += events.filtered_out;
        self.events.duplicates += events.duplicates;
        self.events.outside_tolerance += events.outside_tolerance;
        self.rejected_fragments += rejected_fragments;
        self.outside_tolerance_max_millis = self
            .outside_tolerance_max_millis
            .max(*outside_tolerance_max_millis);
    }

    /// Whether every byte and every event is accounted for.
    pub fn balances(&self) -> bool {
        let Self { bytes, events, .. } = self;
        let bytes_to = bytes
            .events
            .checked_add(bytes.whitespace)
            .and_then(|sum| sum.checked_add(bytes.rejected));
        let events_to = [events.out_of_window, events.filtered_out, events.duplicates]
            .iter()
            .try_fold(events.written, |sum, count| sum.checked_add(*count));
        bytes_to == Some(bytes.read) && events_to == Some(events.found)
    }
}
