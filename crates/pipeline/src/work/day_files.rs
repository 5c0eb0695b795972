//! The output of one object: one file for each day of its events.
//!
//! Each open file holds memory: rows that wait to be encoded, an encoder's window, a part of an upload.
//! An object with events of more days than may be open is therefore read several times, and each
//! reading writes the files of some of the days. Which ones depends on the events alone, so that the
//! same object gives the same bytes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use chrono::DateTime;
use event_recovery_format::{Envelope, EventWriter};

use crate::backup::source_key::TaskId;
use crate::storage::StorageError;
use crate::work::job::{DATES_MAX, Job, TransformError, write_error};
use crate::work::staged_output::StagedOutput;

/// Most days whose files are written in one reading of an object. The events of an object are of two days
/// at most, unless they were written into the backup long after they arrived. What one file holds by
/// itself: up to 8 MiB of columns that are kept for the next batch, and a part of 8 MiB of an upload.
pub const OPEN_DATES_MAX: usize = 4;
/// Most bytes of rows and pages that the open files of one object may hold together, before all of
/// them are flushed: as many as a single Parquet file may, 4 MiB of rows and 32 MiB of pages.
const BUFFERED_BYTES_MAX: usize = 36 * 1024 * 1024;
/// How many bytes of events are written between two checks of what the open files hold.
const RELIEF_BYTES: usize = 256 * 1024;

/// Days since 1970-01-01.
pub(crate) type Day = i64;

/// Sorts events into the files of their days.
pub(crate) struct DayFiles<'a> {
    job: &'a Job<'a>,
    task: TaskId,
    /// How many events the object has of each day, as the first reading found.
    events: BTreeMap<Day, u64>,
    is_first_reading: bool,
    open: BTreeMap<Day, EventWriter<StagedOutput>>,
    /// Files that are complete and wait to be committed.
    complete: BTreeMap<Day, StagedOutput>,
    /// Bytes of events since the last check of what the open files hold.
    bytes_since_relief: usize,
}

impl<'a> DayFiles<'a> {
    pub(crate) fn new(job: &'a Job<'a>) -> Self {
        Self {
            job,
            task: TaskId::of(job.key),
            events: BTreeMap::new(),
            is_first_reading: true,
            open: BTreeMap::new(),
            complete: BTreeMap::new(),
            bytes_since_relief: 0,
        }
    }

    /// Writes the event to the file of its day, if this reading writes that day.
    pub(crate) fn write(
        &mut self,
        day: Day,
        envelope: &Envelope<'_>,
    ) -> Result<(), TransformError> {
        if self.is_first_reading {
            let days = self.events.len();
            match self.events.entry(day) {
                Entry::Occupied(mut events) => *events.get_mut() += 1,
                Entry::Vacant(_) if days >= DATES_MAX => return Err(TransformError::TooManyDates),
                Entry::Vacant(events) => drop(events.insert(1)),
            }
        }
        let Some(writer) = self.writer(day)? else {
            return Ok(());
        };
        writer.write(envelope).map_err(write_error)?;
        self.relieve(envelope.event().len())
    }

    /// The writer of the day; `None` if an earlier reading has written the day, or a later one will.
    fn writer(
        &mut self,
        day: Day,
    ) -> Result<Option<&mut EventWriter<StagedOutput>>, TransformError> {
        let is_full = self.open.len() >= OPEN_DATES_MAX;
        match self.open.entry(day) {
            Entry::Occupied(entry) => Ok(Some(entry.into_mut())),
            Entry::Vacant(_) if is_full || self.complete.contains_key(&day) => Ok(None),
            Entry::Vacant(entry) => {
                let (job, task) = (self.job, &self.task);
                let extension = job.format.extension();
                let key = job
                    .ledger
                    .output_key(job.org_id, &date_text(day), task, extension);
                let output = StagedOutput::create(job.destination, key)?;
                let writer = EventWriter::open(job.format, output).map_err(write_error)?;
                Ok(Some(entry.insert(writer)))
            }
        }
    }

    /// Flushes all open files once they hold more than [`BUFFERED_BYTES_MAX`] together.
    fn relieve(&mut self, event_bytes: usize) -> Result<(), TransformError> {
        self.bytes_since_relief += event_bytes;
        if self.open.len() < 2 || self.bytes_since_relief < RELIEF_BYTES {
            return Ok(());
        }
        self.bytes_since_relief = 0;
        let held: usize = self.open.values().map(EventWriter::buffered_bytes).sum();
        if held > BUFFERED_BYTES_MAX {
            for writer in self.open.values_mut() {
                writer.flush_buffered().map_err(write_error)?;
            }
        }
        Ok(())
    }

    /// Completes the files of this reading. Returns whether there must be another one.
    pub(crate) fn end_reading(&mut self) -> Result<bool, TransformError> {
        let was_first_reading = std::mem::take(&mut self.is_first_reading);
        if self.open.is_empty() && !was_first_reading {
            // The first reading found more days than are there now.
            return Err(StorageError::changed(self.job.key.as_str()).into());
        }
        let is_another = self.complete.len() + self.open.len() < self.events.len();
        for (day, writer) in std::mem::take(&mut self.open) {
            let rows = writer.rows();
            if self.events.get(&day) != Some(&rows) {
                return Err(StorageError::changed(self.job.key.as_str()).into());
            }
            let mut output = writer.finish().map_err(write_error)?;
            output.set_rows(rows);
            if is_another {
                output.seal()?;
            }
            self.complete.insert(day, output);
        }
        Ok(is_another)
    }

    /// The files in the order of their days. To be called after the last reading.
    pub(crate) fn into_outputs(self) -> Vec<StagedOutput> {
        self.complete.into_values().collect()
    }
}

fn date_text(day: Day) -> String {
    let instant = DateTime::from_timestamp(day * 24 * 60 * 60, 0).unwrap_or_default();
    instant.format("%Y-%m-%d").to_string()
}
