//! The recovery of one object: read, decode, split, filter and write, in one pass unless its events span
//! many days.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use event_recovery_format::{
    DecodeError, DecodedReader, Envelope, EnvelopeScratch, EventWriter, Field, arrival,
    decode_reader, salvage_reader,
};
use event_recovery_splitter::{Item, RejectedPart, Splitter};
use serde::Serialize;
use tracing::debug;

use crate::backup::hour_prefix::HourPrefix;
use crate::backup::object_time::ObjectTime;
use crate::backup::org_id::OrgId;
use crate::backup::source_key::{SourceKey, TaskId};
use crate::ledger::kinds::{KindCounter, Kinds};
use crate::ledger::orgs::{OrgCounter, Orgs};
use crate::ledger::receipt::{Counts, Damage, Done, Output};
use crate::request::filters::Dedupe;
use crate::request::window::{WindowKind, epoch_nanos};
use crate::storage::StorageError;
use crate::work::day_files::{Day, DayFiles};
use crate::work::duplicates::{Repetition, Seen, TooManyEvents};
use crate::work::job::{Damaged, Job, TransformError, write_error};
use crate::work::staged_output::{Replace, StagedOutput};

/// How much is decoded and split at a time, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;
/// The same for small objects.
const CHUNK_BYTES_LEAST: usize = 16 * 1024;

/// A recovered object. Nothing of it is visible before the outputs are committed.
pub(crate) struct Transformed {
    pub(crate) counts: Counts,
    pub(crate) orgs: Orgs,
    pub(crate) kinds: Kinds,
    pub(crate) outputs: Vec<StagedOutput>,
    pub(crate) rejected: Option<StagedOutput>,
    /// If the object is damaged and was salvaged.
    pub(crate) damage: Option<Damage>,
}

/// Recovers the object. `open` opens it at its beginning, and is called once for each reading. Blocks.
pub(crate) fn transform<R: Read>(
    mut open: impl FnMut() -> Result<R, StorageError>,
    job: &Job<'_>,
) -> Result<Transformed, TransformError> {
    let mut sink = Sink::new(job);
    let (counts, damage) = read_through(open()?, job, &mut sink)?;
    let orgs = std::mem::take(&mut sink.orgs).into_orgs();
    let kinds = std::mem::take(&mut sink.kinds).into_kinds();
    while sink.end_reading()? {
        debug!("reads the object again for the files of further days");
        // Whatever its etag says: an object with other counts is another object.
        if read_through(open()?, job, &mut sink)? != (counts, damage.clone()) {
            return Err(StorageError::changed(job.key.as_str()).into());
        }
    }
    Ok(Transformed {
        counts,
        orgs,
        kinds,
        outputs: sink.files.into_outputs(),
        rejected: sink.rejected,
        damage,
    })
}

/// Empty files in the place of those that were salvaged earlier and that the object, as it reads now, does not have: damage
/// can look like an event of another day, or like a fragment. Returns the events' files and that of rejected fragments.
pub(crate) fn blank_out(
    earlier: &Done,
    transformed: &Transformed,
    job: &Job<'_>,
) -> Result<(Vec<StagedOutput>, Option<StagedOutput>), TransformError> {
    let mut outputs = Vec::new();
    for file in &earlier.outputs {
        if transformed
            .outputs
            .iter()
            .any(|output| output.key() == file.key)
        {
            continue;
        }
        let output = StagedOutput::create(job.destination, file.key.clone())?;
        let writer = EventWriter::open(job.format, output).map_err(write_error)?;
        outputs.push(writer.finish().map_err(write_error)?);
    }
    let rejected = match (&earlier.rejected, &transformed.rejected) {
        (Some(file), None) => {
            let mut output = StagedOutput::create(job.destination, file.key.clone())?;
            output.flush().map_err(write_error)?;
            Some(output)
        }
        _ => None,
    };
    Ok((outputs, rejected))
}

/// Reads the object to its end, and returns its counts; or up to its damage, if it is to be salvaged.
fn read_through(
    reader: impl Read,
    job: &Job<'_>,
    sink: &mut Sink<'_>,
) -> Result<(Counts, Option<Damage>), TransformError> {
    let reader = match job.damaged {
        Damaged::Fails => decode_reader(reader, job.limits.decode),
        Damaged::IsSalvaged => salvage_reader(reader, job.limits.decode),
    };
    let mut reader = reader.map_err(decode_error)?;
    let mut splitter = Splitter::new(job.limits.event, |object: &[u8]| job.rule.matches(object));
    let mut scratch = EnvelopeScratch::default();
    // An object of one chunk is at its end when it leaves room.
    let enough = usize::try_from(job.size).map_or(CHUNK_BYTES, |size| size.saturating_add(1));
    let mut chunk = vec![0; enough.clamp(CHUNK_BYTES_LEAST, CHUNK_BYTES)];
    let mut error = None;
    loop {
        let chunk_offset = reader.decoded_bytes();
        let length = fill(&mut reader, &mut chunk, &mut error);
        if let Some(error) = error.take_if(|error| !is_salvageable(error, job, &reader)) {
            return Err(decode_error(error));
        }
        if job.damaged == Damaged::IsSalvaged {
            sink.begin_chunk(chunk_offset, reader.intact_bytes());
        }
        splitter.push(&chunk[..length], |item| sink.take(item, &mut scratch))?;
        sink.observe(length as u64);
        if length < chunk.len() {
            break;
        }
    }
    let totals = splitter.finish(|item| sink.take(item, &mut scratch))?;
    sink.observe(0);
    let mut counts = std::mem::take(&mut sink.counts);
    counts.bytes.source = job.size;
    counts.bytes.read = reader.decoded_bytes();
    counts.bytes.whitespace = totals.whitespace_bytes;
    let damage = error.map(|error| Damage {
        reason: error.to_string(),
        undecoded_bytes: job.size.saturating_sub(reader.stored_bytes()),
        intact_bytes: reader.intact_bytes(),
        unverified_events: sink.unverified_events,
    });
    Ok((counts, damage))
}

/// Fills the chunk, or less at the end of the object or at an error.
fn fill(reader: &mut impl Read, chunk: &mut [u8], failed: &mut Option<DecodeError>) -> usize {
    let mut length = 0;
    while length < chunk.len() {
        match reader.read(&mut chunk[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                *failed = Some(error.into());
                break;
            }
        }
    }
    length
}

/// Whether the object is to be salvaged in spite of the error, and anything of it was decoded.
fn is_salvageable(error: &DecodeError, job: &Job<'_>, reader: &DecodedReader<impl Read>) -> bool {
    let is_damage = matches!(
        error,
        DecodeError::Corrupt { .. } | DecodeError::Truncated { .. }
    );
    job.damaged == Damaged::IsSalvaged && is_damage && reader.decoded_bytes() > 0
}

/// Unwraps an error of the storage, which the decoder passes on inside of its own.
fn decode_error(error: DecodeError) -> TransformError {
    match error {
        DecodeError::Source(error) => match error.downcast::<StorageError>() {
            Ok(error) => TransformError::Storage(error),
            Err(error) => TransformError::Decode(DecodeError::Source(error)),
        },
        other => TransformError::Decode(other),
    }
}

/// Sorts what the splitter finds into the files of the days and the file of rejected fragments.
struct Sink<'a> {
    job: &'a Job<'a>,
    /// Of this reading.
    counts: Counts,
    /// Of the first reading, which finds every event.
    orgs: OrgCounter,
    /// As `orgs`.
    kinds: KindCounter,
    files: DayFiles<'a>,
    rejected: Option<StagedOutput>,
    is_first_reading: bool,
    /// Events of this reading that were reported to the observer.
    observed_events: u64,
    /// The events of this reading, if repeated ones are dropped.
    seen: Option<Seen>,
    /// Bytes of this reading that are known to be intact; as many as there are unless the object is to be salvaged.
    intact_bytes: u64,
    /// Events that end after the intact bytes.
    unverified_events: u64,
}

impl<'a> Sink<'a> {
    fn new(job: &'a Job<'a>) -> Self {
        Self {
            job,
            counts: Counts::default(),
            orgs: OrgCounter::default(),
            kinds: KindCounter::default(),
            files: DayFiles::new(job),
            rejected: None,
            is_first_reading: true,
            observed_events: 0,
            seen: job.dedupe.map(|Dedupe::Object| Seen::default()),
            intact_bytes: u64::MAX,
            unverified_events: 0,
        }
    }

    /// The next chunk begins here in the object, of which so many bytes are known to be intact.
    fn begin_chunk(&mut self, offset: u64, intact_bytes: u64) {
        // If a member or frame has ended in this chunk, all events of earlier ones are intact.
        if intact_bytes >= offset {
            self.unverified_events = 0;
        }
        self.intact_bytes = intact_bytes;
    }

    /// Reports progress to the observer; only in the first reading, which finds every event.
    fn observe(&mut self, read_bytes: u64) {
        if self.is_first_reading {
            let events = self.counts.events.found - self.observed_events;
            self.observed_events = self.counts.events.found;
            self.job.observer.read(read_bytes, events);
        }
    }

    /// Completes the files of this reading. Returns whether there must be another one.
    fn end_reading(&mut self) -> Result<bool, TransformError> {
        self.is_first_reading = false;
        self.seen = self.seen.as_ref().map(|_| Seen::default());
        let is_another = self.files.end_reading()?;
        if let Some(rejected) = self.rejected.as_mut().filter(|_| is_another) {
            rejected.seal()?;
        }
        Ok(is_another)
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
                let end = event.offset + event.bytes.len() as u64;
                self.unverified_events += u64::from(end > self.intact_bytes);
                self.take_event(&Envelope::of(event, scratch))
            }
            Item::RejectedPart(part) if self.is_first_reading => self.write_rejected(&part),
            Item::RejectedPart(_) => Ok(()),
            Item::Rejected(rejected) => {
                self.counts.rejected_fragments += 1;
                self.counts.bytes.rejected += rejected.length;
                Ok(())
            }
        }
    }

    fn take_event(&mut self, envelope: &Envelope<'_>) -> Result<(), TransformError> {
        self.counts.events.repeated_ids += u64::from(envelope.repeats_event_id());
        let ControlFlow::Continue(day) = self.day_of(envelope) else {
            self.counts.events.out_of_window += 1;
            return Ok(());
        };
        let filters = self.job.filters;
        if !filters.is_empty()
            && !filters.allows(
                envelope.domain().as_deref(),
                envelope.event_type().as_deref(),
            )
        {
            self.counts.events.filtered_out += 1;
            return Ok(());
        }
        if let Some(seen) = &mut self.seen {
            let id = envelope.event_id();
            match seen.take(id.as_deref(), envelope.event()) {
                Ok(Repetition::None) => {}
                Ok(Repetition::OtherBytes) => self.counts.events.same_id_other_bytes += 1,
                Ok(Repetition::Same) => {
                    self.counts.events.duplicates += 1;
                    return Ok(());
                }
                Err(TooManyEvents) => return Err(TransformError::TooManyEvents),
            }
        }
        self.files.write(day, envelope)?;
        self.counts.events.written += 1;
        if self.is_first_reading {
            self.orgs.count(envelope.org_id().as_deref());
            let (domain, event_type) = (Field::Domain, Field::EventType);
            self.kinds
                .count(envelope.raw(domain), envelope.raw(event_type));
        }
        Ok(())
    }

    /// The day that the event is filed under; `None` outside of the window.
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

    fn write_rejected(&mut self, part: &RejectedPart<'_>) -> Result<(), TransformError> {
        let output = match &mut self.rejected {
            Some(output) => output,
            None => {
                let key = self.job.ledger.rejected_key(&TaskId::of(self.job.key));
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
}

/// A line of the file of rejected fragments: a fragment, or one part of a long one.
#[derive(Serialize)]
struct RejectedLine<'a> {
    key: &'a str,
    /// The position of its first byte in the decoded object.
    offset: u64,
    length: usize,
    /// For a further part of a long fragment: the offset at which the fragment begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    continues: Option<u64>,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

/// Makes the outputs visible, and returns their entries for the receipt.
pub(crate) fn commit(
    outputs: Vec<StagedOutput>,
    replace: Replace,
) -> Result<Vec<Output>, StorageError> {
    let outputs = outputs.into_iter();
    outputs.map(|output| output.commit(replace)).collect()
}

fn day_of_instant(instant: DateTime<Utc>) -> Day {
    instant.timestamp().div_euclid(24 * 60 * 60)
}

/// The time in the object's name, or its hour if the name has none.
pub(crate) fn object_time(key: &SourceKey, org_id: &OrgId) -> ObjectTime {
    let hour: HourPrefix = key.hour();
    ObjectTime::parse(key.name(), org_id, hour)
}
