//! The receipt: the result of one task.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::backup::source_key::{SourceKey, SourceKeyError, TaskId};
use crate::ledger::kinds::Kinds;
use crate::ledger::orgs::Orgs;
use crate::ledger::seal::Seal;
use crate::ledger::{Ledger, LedgerError, Sealed, Versioned, unseal};
use crate::storage::listing::list_pages;
use crate::storage::{ListObjects, ListedObject, Record, Records};

/// Receipts that are read at the same time by a planner.
const RECEIPTS_READ_AT_ONCE: usize = 64;
/// Objects on a page of a listing of S3.
const LISTED_AT_LEAST: usize = 1000;

/// The result of one task, as a worker records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`LEDGER_VERSION`](crate::ledger::LEDGER_VERSION).
    pub version: u32,
    /// [`SOFTWARE`](crate::ledger::SOFTWARE) of the worker.
    pub software: String,
    /// The backup object.
    pub key: SourceKey,
    /// Its size in bytes as the task list has it. Receipts of version 1 do not say.
    #[serde(default)]
    pub size: Option<u64>,
    /// Its etag as the task list has it.
    #[serde(default)]
    pub etag: Option<String>,
    /// Attempts at the task, this one included.
    pub attempts: u32,
    /// When this attempt began.
    pub started_at: DateTime<Utc>,
    /// In the same JSON object as the other fields.
    #[serde(flatten)]
    pub state: State,
}

/// The state of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It had failed, and was queued again.
    Queued {
        /// When.
        queued_at: DateTime<Utc>,
    },
    /// The last attempt that the queue allows has begun. Without another receipt by `expires_at` it has
    /// failed.
    Attempting {
        /// When it counts as failed.
        expires_at: DateTime<Utc>,
    },
    /// The task failed permanently, or its retries are used up; the run is incomplete.
    Failed {
        /// Why.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The events are written. Nothing overwrites this.
    Done(Box<Done>),
    /// The object is damaged, and the events before the damage are written. Only [`Done`](Self::Done), or another salvage,
    /// overwrites this.
    Salvaged(Box<Salvaged>),
}

/// What was written of a damaged object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Salvaged {
    /// As of an object that ends where the damage was noticed.
    #[serde(flatten)]
    pub done: Done,
    /// The damage.
    pub damage: Damage,
}

/// Where the reading of a damaged object ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Why.
    pub reason: String,
    /// The rest of the object as stored, which can't be decoded.
    pub undecoded_bytes: u64,
    /// Decoded bytes of gzip members or zstd frames that are intact. What comes after them was decoded before the damage
    /// was noticed, and no checksum says that it is right.
    pub intact_bytes: u64,
    /// Events found after the intact bytes.
    pub unverified_events: u64,
}

/// What a task that is done has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// When the last output was visible.
    pub finished_at: DateTime<Utc>,
    /// Whether the object's name does not follow the pattern of the backup.
    pub foreign_name: bool,
    /// The counts of the balance.
    #[serde(flatten)]
    pub counts: Counts,
    /// The events written, by org. Receipts of versions 1 and 2 do not say.
    #[serde(default, skip_serializing_if = "Orgs::is_empty")]
    pub orgs: Orgs,
    /// The events written, by domain and type. Receipts of earlier software do not say.
    #[serde(default, skip_serializing_if = "Kinds::is_empty")]
    pub kinds: Kinds,
    /// The files with events, in the order of their keys.
    pub outputs: Vec<Output>,
    /// The file with rejected fragments, if there are any.
    pub rejected: Option<Output>,
}

/// The counts of one object, or the sums over several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Bytes in and out.
    pub bytes: ByteCounts,
    /// Events found and written.
    pub events: EventCounts,
    /// Fragments that were rejected, each counted once, however many parts its file has of it.
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
    /// Events that were dropped because an earlier one of their object has the same id and the same bytes; none unless
    /// that was asked for.
    pub duplicates: u64,
    /// Events, already counted above, that arrived further from their object's time than the
    /// tolerance allows, so that another window could miss them.
    pub outside_tolerance: u64,
    /// Events, already counted above, whose top-level `event_id` comes more than once: perhaps two
    /// events whose boundary was damaged.
    #[serde(default)]
    pub repeated_ids: u64,
    /// Events, already counted above, whose id an earlier one of their object has with other bytes. They are kept, and only
    /// counted where duplicates are dropped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub same_id_other_bytes: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
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
    /// Its events; of a file of rejected fragments, its lines.
    pub rows: u64,
}

/// The record under the key of a task's receipt.
#[derive(Debug)]
pub(crate) enum FoundReceipt {
    None,
    Receipt(Box<Sealed<Receipt>>),
    /// The record does not parse as a receipt.
    Damaged {
        /// What is wrong with it.
        error: LedgerError,
        /// The record's etag.
        etag: String,
    },
}

impl FoundReceipt {
    /// # Errors
    ///
    /// The storage's, and a receipt that a newer version of this software wrote.
    pub(crate) async fn read(
        records: &(impl Records + ?Sized),
        receipt_key: &str,
    ) -> Result<Self, LedgerError> {
        Self::of(receipt_key, records.get(receipt_key).await?)
    }

    fn of(receipt_key: &str, record: Option<Record>) -> Result<Self, LedgerError> {
        let Some(record) = record else {
            return Ok(Self::None);
        };
        match unseal(receipt_key, &record) {
            Ok(receipt) => Ok(Self::Receipt(Box::new(receipt))),
            Err(error @ LedgerError::Invalid { .. }) => Ok(Self::Damaged {
                error,
                etag: record.etag,
            }),
            Err(error) => Err(error),
        }
    }

    /// The receipt, if it is the one that a worker wrote of this object.
    pub(crate) fn known(self, source_key: &SourceKey) -> KnownReceipt {
        match self {
            Self::None => KnownReceipt::default(),
            Self::Receipt(found) => {
                let is_reliable = found.seal != Seal::Broken && found.value.key == *source_key;
                KnownReceipt {
                    receipt: is_reliable.then_some(found.value),
                    etag: Some(found.etag),
                }
            }
            Self::Damaged { etag, .. } => KnownReceipt {
                receipt: None,
                etag: Some(etag),
            },
        }
    }
}

/// An object of a task list, with its receipt.
pub(crate) struct ListedTask<'a> {
    pub(crate) object: &'a ListedObject,
    /// An error where the list names something else than an hour's object, which has no receipt.
    pub(crate) key: Result<SourceKey, SourceKeyError>,
    pub(crate) found: FoundReceipt,
}

/// The objects of a task list in order, each with its receipt.
///
/// Receipts that a listing does not show are not read: S3 denies that to a role that may not list the whole bucket, and
/// while a run is in progress many are not there yet.
///
/// # Errors
///
/// See [`FoundReceipt::read`].
pub(crate) fn with_receipts<'a, S: ListObjects + Records + ?Sized>(
    storage: &'a S,
    ledger: &'a Ledger,
    objects: &'a [ListedObject],
) -> BoxStream<'a, Result<ListedTask<'a>, LedgerError>> {
    let keys = objects.iter().map(|object| {
        let key = SourceKey::parse(&object.key);
        let receipt_key = key.as_ref().ok();
        let receipt_key = receipt_key.map(|key| ledger.receipt_key(&TaskId::of(key)));
        (object, key, receipt_key)
    });
    let keys: Vec<_> = keys.collect();
    stream::once(async move {
        let receipt_keys = keys.iter().filter_map(|(_, _, key)| key.as_deref());
        let listed = list_receipts(storage, &receipt_keys.collect::<Vec<_>>()).await;
        stream::iter(keys)
            .map(move |(object, key, receipt_key)| {
                let is_absent = receipt_key
                    .as_ref()
                    .is_some_and(|key| listed.as_ref().is_some_and(|listed| !listed.contains(key)));
                async move {
                    let found = match receipt_key {
                        Some(receipt_key) if !is_absent => {
                            FoundReceipt::read(storage, &receipt_key).await?
                        }
                        _ => FoundReceipt::None,
                    };
                    Ok(ListedTask { object, key, found })
                }
            })
            .buffered(RECEIPTS_READ_AT_ONCE)
    })
    .flatten()
    .boxed()
}

/// Which of these receipts are there. `None` if each must be looked for by itself: in a folder, where that costs less than
/// a listing, or if their names have too little in common.
async fn list_receipts<S: ListObjects + ?Sized>(
    storage: &S,
    receipt_keys: &[&str],
) -> Option<HashSet<String>> {
    let wanted: HashSet<&str> = receipt_keys.iter().copied().collect();
    let first = receipt_keys.iter().min().filter(|_| !storage.is_local())?;
    let last = receipt_keys.iter().max()?;
    let mut common = 0;
    for (index, letter) in first.char_indices() {
        if last
            .get(index..)
            .is_none_or(|rest| !rest.starts_with(letter))
        {
            break;
        }
        common = index + letter.len_utf8();
    }
    let mut pages = list_pages(storage, first.get(..common)?);
    let mut found = HashSet::new();
    // As many as the list has, and some that are not of this list.
    let pages_max = 2 + 2 * receipt_keys.len() / LISTED_AT_LEAST;
    for _ in 0..pages_max {
        let Ok(page) = pages.try_next().await else {
            // Whoever may not list may be allowed to read.
            return None;
        };
        let Some(page) = page else {
            return Some(found);
        };
        let keys = page.objects.into_iter().map(|object| object.key);
        found.extend(keys.filter(|key| wanted.contains(key.as_str())));
    }
    None
}

/// A task's receipt, if it can be relied upon.
#[derive(Debug, Default)]
pub(crate) struct KnownReceipt {
    pub(crate) receipt: Option<Receipt>,
    /// Of the record, even if the receipt is ignored.
    pub(crate) etag: Option<String>,
}

impl KnownReceipt {
    /// Reads a task's receipt. One that is damaged, was changed since it was written, or is of another
    /// object, counts as none: the task is then processed again, which replaces the receipt.
    pub(crate) async fn read(
        records: &(impl Records + ?Sized),
        receipt_key: &str,
        source_key: &SourceKey,
    ) -> Result<Self, LedgerError> {
        // Most that are looked for are not there: an earlier delivery has ended before it could write one.
        let record = records.find(receipt_key).await?;
        Ok(FoundReceipt::of(receipt_key, record)?.known(source_key))
    }

    /// The receipt, if it says that the task is done.
    pub(crate) fn done(&self) -> Option<&Receipt> {
        self.receipt.as_ref().filter(|receipt| receipt.is_done())
    }

    /// Whether the receipt gives the reason of a failed attempt, or says what was salvaged after one.
    pub(crate) fn has_reason(&self) -> bool {
        let state = self.receipt.as_ref().map(|receipt| &receipt.state);
        matches!(state, Some(State::Failed { .. } | State::Salvaged(_)))
    }

    /// The receipt, if it says that the object was salvaged.
    pub(crate) fn salvaged(&self) -> Option<&Receipt> {
        self.receipt
            .as_ref()
            .filter(|receipt| receipt.is_salvaged())
    }
}

impl Receipt {
    /// Whether the events are written.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    /// Whether the events before the object's damage are written.
    pub fn is_salvaged(&self) -> bool {
        matches!(self.state, State::Salvaged(_))
    }

    /// Whether the task has failed, or its last attempt has expired.
    pub fn has_failed(&self, now: DateTime<Utc>) -> bool {
        match self.state {
            State::Failed { .. } => true,
            State::Attempting { expires_at } => expires_at <= now,
            State::Queued { .. } | State::Done(_) | State::Salvaged(_) => false,
        }
    }

    /// The task's id.
    pub fn task_id(&self) -> TaskId {
        TaskId::of(&self.key)
    }
}

impl State {
    /// What is written of the object: all, or what was salvaged.
    pub fn into_written(self) -> Option<Done> {
        match self {
            Self::Done(done) => Some(*done),
            Self::Salvaged(salvaged) => Some(salvaged.done),
            Self::Queued { .. } | Self::Attempting { .. } | Self::Failed { .. } => None,
        }
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
        self.events.repeated_ids += events.repeated_ids;
        self.events.same_id_other_bytes += events.same_id_other_bytes;
        self.rejected_fragments += rejected_fragments;
        self.outside_tolerance_max_millis = self
            .outside_tolerance_max_millis
            .max(*outside_tolerance_max_millis);
    }

    /// Whether the objects hold nothing: no bytes at all, or white space alone.
    pub fn are_empty(&self) -> bool {
        self.bytes.read == self.bytes.whitespace
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
