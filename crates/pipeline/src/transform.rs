//! The recovery of one object: read, decode, split, filter and write, in one pass.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use event_recovery_format::{
    DecodeError, DecodeLimits, Envelope, EnvelopeRule, EnvelopeScratch, EventWriter, OutputFormat,
    arrival, decode_reader,
};
use event_recovery_splitter::{Item, Limits, RejectedPart, Splitter};
use serde::Serialize;
use thiserror::Error;

use crate::hour_prefix::HourPrefix;
use crate::ledger::Ledger;
use crate::object_name::ObjectTime;
use crate::observer::Observer;
use crate::org_id::OrgId;
use crate::receipt::{Counts, Output};
use crate::resolved_request::Filters;
use crate::staged_output::StagedOutput;
use crate::storage::{CreateObject, StorageError};
use crate::task::{SourceKey, TaskId};
use crate::window::{Window, WindowKind, epoch_nanos};

/// How much is read and split at a time, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;
/// Most days that the events of one object may be spread over. Each has a file open.
pub const OPEN_DATES_MAX: usize = 64;
/// Most bytes that the open files of one object may hold back together, beyond one file's own need.
const BUFFERED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the recovery of one object needs to know.
pub(crate) struct Job<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) org_id: &'a OrgId,
    pub(crate) key: &'a SourceKey,
    pub(crate) size: u64,
    pub(crate) time: ObjectTime,
    pub(crate) window: &'a Window,
    pub(crate) filters: &'a Filters,
    pub(crate) format: OutputFormat,
    pub(crate) limits: TransformLimits,
    pub(crate) destination: &'a dyn CreateObject,
    pub(crate) observer: &'a dyn Observer,
}

/// Bounds on what one object may ask of a worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransformLimits {
    /// On one event.
    pub event: Limits,
    /// On the decoded object.
    pub decode: DecodeLimits,
}

/// What came of an object. Nothing is visible before the outputs are committed.
pub(crate) struct Transformed {
    pub(crate) counts: Counts,
    pub(crate) outputs: Vec<StagedOutput>,
    pub(crate) rejected: Option<StagedOutput>,
}

/// Why an object could not be recovered.
#[derive(Debug, Error)]
pub(crate) enum TransformError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Decode(DecodeError),
    #[error("its events arrived on more than {OPEN_DATES_MAX} days of the window")]
    TooManyDates,
    #[error("could not write its output: {0}")]
    Write(io::Error),
}

/// Recovers the object that the reader yields. Blocks while reading and writing.
pub(crate) fn transform(reader: impl Read, job: &Job<'_>) -> Result<Transformed, TransformError> {
    let mut reader = decode_reader(reader, job.limits.decode).map_err(decode_error)?;
    let rule = EnvelopeRule {
        org_id: Some(job.org_id.as_str().to_owned()),
    };
    let mut splitter = Splitter::new(job.limits.event, |object: &[u8]| rule.matches(object));
    let mut sink = Sink::new(job);
    let mut scratch = EnvelopeScratch::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = fill(&mut reader, &mut chunk).map_err(|error| decode_error(error.into()))?;
        let events_before = sink.counts.events.found;
        splitter.push(&chunk[..length], |item| sink.take(item, &mut scratch))?;
        job.observer
            .read(length as u64, sink.counts.events.found - events_before);
        if length < chunk.len() {
            break;
        }
    }
    let events_before = sink.counts.events.found;
    let totals = splitter.finish(|item| sink.take(item, &mut scratch))?;
    job.observer
        .read(0, sink.counts.events.found - events_before);
    let mut counts = sink.counts;
    counts.bytes.source = job.size;
    counts.bytes.read = reader.decoded_bytes();
    counts.bytes.whitespace = totals.whitespace_bytes;
    let (outputs, rejected) = sink.finish()?;
    Ok(Transformed {
        counts,
        outputs,
        rejected,
    })
}

/// Fills the chunk, unless the end comes first.
fn fill(reader: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < chunk.len() {
        match reader.read(&mut chunk[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Takes a storage's error out of what the decoder was told.
fn decode_error(error: DecodeError) -> TransformError {
    match error {
        DecodeError::Source(error) => match error.downcast::<StorageError>() {
            Ok(error) => TransformError::Storage(error),
            Err(error) => TransformError::Decode(DecodeError::Source(error)),
        },
        other => TransformError::Decode(other),
    }
}

fn write_error(error: io::Error) -> TransformError {
    match error.downcast::<StorageError>() {
        Ok(error) => TransformError::Storage(error),
        Err(error) => TransformError::Write(error),
    }
}

/// Sorts what the splitter finds into the files of the days and the file of rejected fragments.
struct Sink<'a> {
    job: &'a Job<'a>,
    task: TaskId,
    counts: Counts,
    dates: BTreeMap<Day, EventWriter<StagedOutput>>,
    rejected: Option<StagedOutput>,
    /// Bytes of events since the open files were last asked what they hold back.
    bytes_since_relief: usize,
}

/// Days since 1970-01-01.
type Day = i64;

impl<'a> Sink<'a> {
    fn new(job: &'a Job<'a>) -> Self {
        Self {
            job,
            task: TaskId::of(job.key),
            counts: Counts::default(),
            dates: BTreeMap::new(),
            rejected: None,
            bytes_since_relief: 0,
        }
    }

    fn take(
        &mut self,
        item: Item<'_>,
        scratch: &mut EnvelopeScratch,
    ) -> Result<(), TransformError> {
        match item {
            Item::Event(event) => {
                self.counts.events.found += 1;
                self.counts.bytes.events += event.bytes.len() as u64;
                self.take_event(&Envelope::of(event, scratch))
            }
            Item::RejectedPart(part) => self.write_rejected(&part),
            Item::Rejected(rejected) => {
                self.counts.rejected_fragments += 1;
                self.counts.bytes.rejected += rejected.length;
                Ok(())
            }
        }
    }

    fn take_event(&mut self, envelope: &Envelope<'_>) -> Result<(), TransformError> {
        let ControlFlow::Continue(day) = self.day_of(envelope) else {
            self.counts.events.out_of_window += 1;
            return Ok(());
        };
        let filters = self.job.filters;
        let is_filtered = !(filters.domains.is_empty() && filters.event_types.is_empty());
        if is_filtered
            && !filters.allows(
                envelope.domain().as_deref(),
                envelope.event_type().as_deref(),
            )
        {
            self.counts.events.filtered_out += 1;
            return Ok(());
        }
        self.writer(day)?.write(envelope).map_err(write_error)?;
        self.counts.events.written += 1;
        self.relieve(envelope.event().len())
    }

    /// The day that the event is filed under, unless it lies outside of the window.
    fn day_of(&mut self, envelope: &Envelope<'_>) -> ControlFlow<(), Day> {
        let job = self.job;
        if job.window.kind == WindowKind::Publish {
            return ControlFlow::Continue(day_of_instant(job.key.hour().start()));
        }
        let own_time = epoch_nanos(job.time.earliest());
        let arrival_nanos = arrival(envelope).unwrap_or(own_time);
        if let Some(millis) = job
            .window
            .distance_outside_tolerance(&job.time, arrival_nanos)
        {
            self.counts.events.outside_tolerance += 1;
            self.counts.outside_tolerance_max_millis =
                self.counts.outside_tolerance_max_millis.max(millis);
        }
        if !job.window.contains(arrival_nanos) {
            return ControlFlow::Break(());
        }
        const DAY_NANOS: i128 = 24 * 60 * 60 * 1_000_000_000;
        // Within the window, so it fits.
        ControlFlow::Continue(arrival_nanos.div_euclid(DAY_NANOS) as Day)
    }

    fn writer(&mut self, day: Day) -> Result<&mut EventWriter<StagedOutput>, TransformError> {
        if self.dates.len() >= OPEN_DATES_MAX && !self.dates.contains_key(&day) {
            return Err(TransformError::TooManyDates);
        }
        match self.dates.entry(day) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let (job, task) = (self.job, &self.task);
                let extension = job.format.extension();
                let key = job
                    .ledger
                    .output_key(job.org_id, &date_text(day), task, extension);
                let output = StagedOutput::create(job.destination, key)?;
                let writer = EventWriter::open(job.format, output).map_err(write_error)?;
                Ok(entry.insert(writer))
            }
        }
    }

    /// Keeps what all open files hold back together within bounds.
    fn relieve(&mut self, event_bytes: usize) -> Result<(), TransformError> {
        self.bytes_since_relief += event_bytes;
        if self.dates.len() < 2 || self.bytes_since_relief < CHUNK_BYTES {
            return Ok(());
        }
        self.bytes_since_relief = 0;
        let held: usize = self.dates.values().map(EventWriter::buffered_bytes).sum();
        if held > BUFFERED_BYTES_MAX {
            for writer in self.dates.values_mut() {
                writer.flush_buffered().map_err(write_error)?;
            }
        }
        Ok(())
    }

    fn write_rejected(&mut self, part: &RejectedPart<'_>) -> Result<(), TransformError> {
        let output = match &mut self.rejected {
            Some(output) => output,
            None => {
                let key = self.job.ledger.rejected_key(&self.task);
                self.rejected
                    .insert(StagedOutput::create(self.job.destination, key)?)
            }
        };
        let text = std::str::from_utf8(part.bytes).ok();
        let line = RejectedLine {
            key: self.job.key.as_str(),
            offset: part.offset,
            length: part.bytes.len(),
            continues: (part.offset != part.fragment_offset).then_some(part.fragment_offset),
            reason: part.reason.as_str(),
            text,
            base64: text.is_none().then(|| BASE64.encode(part.bytes)),
        };
        let mut bytes = serde_json::to_vec(&line).map_err(|error| write_error(error.into()))?;
        bytes.push(b'\n');
        output.write_all(&bytes).map_err(write_error)?;
        output.count_row();
        Ok(())
    }

    fn finish(self) -> Result<(Vec<StagedOutput>, Option<StagedOutput>), TransformError> {
        let outputs = self
            .dates
            .into_values()
            .map(|writer| {
                let rows = writer.rows();
                let mut output = writer.finish().map_err(write_error)?;
                output.set_rows(rows);
                Ok(output)
            })
            .collect::<Result<_, TransformError>>()?;
        Ok((outputs, self.rejected))
    }
}

/// A line of the file of rejected fragments: a fragment, or one part of a long one.
#[derive(Serialize)]
struct RejectedLine<'a> {
    key: &'a str,
    /// Where it begins in the decoded stream.
    offset: u64,
    length: usize,
    /// Where the fragment begins that this is a further part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    continues: Option<u64>,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

/// The outputs' proofs, once they are all in place.
pub(crate) fn commit(outputs: Vec<StagedOutput>) -> Result<Vec<Output>, StorageError> {
    outputs.into_iter().map(StagedOutput::commit).collect()
}

fn day_of_instant(instant: DateTime<Utc>) -> Day {
    instant.timestamp().div_euclid(24 * 60 * 60)
}

fn date_text(day: Day) -> String {
    let instant = DateTime::from_timestamp(day * 24 * 60 * 60, 0).unwrap_or_default();
    instant.format("%Y-%m-%d").to_string()
}

/// The time of the object with this key, by its name or else its hour prefix.
pub(crate) fn object_time(key: &SourceKey, org_id: &OrgId) -> ObjectTime {
    let hour: HourPrefix = key.hour();
    ObjectTime::parse(key.name(), org_id, hour)
}
