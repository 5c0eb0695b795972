//! Writes the sample, object by object.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::event::{Event, event};
use crate::options::{SampleError, SampleOptions};
use crate::schedule::ObjectPlan;
use crate::sink::{ObjectSink, Storage};
use crate::text::uuid;
use crate::torn::{Tear, TornEvent};
use crate::truth::SortedLines;

/// The version of the stream in the objects' names: constant until the stream is reconfigured.
const STREAM_VERSION: u32 = 5;
/// Share of events that are delivered twice.
const DUPLICATE_SHARE: f64 = 0.005;
/// Events that may still be delivered again.
const RECENT_EVENTS_MAX: usize = 8;
/// About the size of an event, in bytes, to spread arrivals over an object.
const EVENT_BYTES_MEAN: f64 = 1_900.0;
/// Every so many objects there is another one of each peculiarity.
const PECULIARITY_PERIOD: u64 = 50;
/// The foreign name of one object of a hard sample.
const FOREIGN_NAME: &str = "replayed-batch.json";

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SampleSummary {
    /// Where.
    pub directory: PathBuf,
    /// Whose backup it is.
    pub org_id: String,
    /// The first instant.
    pub start: DateTime<Utc>,
    /// The first instant after the sample.
    pub end: DateTime<Utc>,
    /// Objects.
    pub objects: u64,
    /// Bytes of the objects before compression.
    pub bytes: u64,
    /// Intact events, duplicates included.
    pub events: u64,
    /// Intact events that are there a second time.
    pub duplicates: u64,
    /// Torn events.
    pub torn: u64,
    /// The file of all intact events, an event a line, sorted by their bytes.
    pub expected: PathBuf,
    /// The file of torn events, a JSON object a line with key, offset, length and kind.
    pub torn_list: PathBuf,
}

/// Writes a sample. `progress` is told how many objects of how many are written.
///
/// # Errors
///
/// See [`SampleError`]. Options that can't be are refused before anything is written.
pub fn write_sample(
    options: &SampleOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<SampleSummary, SampleError> {
    options.check()?;
    let directory = &options.directory;
    fs::create_dir_all(directory).map_err(|error| SampleError::io(directory, error))?;
    let expected = directory.join("expected.ndjson");
    let torn_list = directory.join("torn.jsonl");
    let mut generator = Generator {
        options,
        rng: ChaCha8Rng::seed_from_u64(options.seed),
        expected: SortedLines::new(expected.clone()),
        recent: VecDeque::new(),
        torn: Vec::new(),
        summary: SampleSummary {
            directory: directory.clone(),
            org_id: options.org_id.clone(),
            start: options.start,
            end: options.end(),
            objects: 0,
            bytes: 0,
            events: 0,
            duplicates: 0,
            torn: 0,
            expected,
            torn_list,
        },
    };
    for hour in 0..options.hours {
        for object in 0..options.objects_per_hour {
            let plan = ObjectPlan::new(options, hour, object, &mut generator.rng);
            generator.write_object(&plan)?;
            progress(generator.summary.objects, options.objects());
        }
    }
    generator.finish()
}

struct Generator<'a> {
    options: &'a SampleOptions,
    rng: ChaCha8Rng,
    expected: SortedLines,
    recent: VecDeque<Event>,
    torn: Vec<TornEvent>,
    summary: SampleSummary,
}

/// What is peculiar about an object of a hard sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peculiarity {
    Torn(Tear),
    Gzip,
    TwoGzipMembers,
    ForeignName,
    Empty,
    ByteOrderMark,
}

impl Generator<'_> {
    /// Each peculiarity has a place of its own among the objects; in small samples they share.
    fn has(&self, plan: &ObjectPlan, peculiarity: Peculiarity) -> bool {
        let place = match peculiarity {
            Peculiarity::Torn(tear) => {
                let index = Tear::ALL
                    .iter()
                    .position(|other| *other == tear)
                    .unwrap_or(0);
                3 + 10 * index as u64
            }
            Peculiarity::Gzip => 5,
            Peculiarity::TwoGzipMembers => 7,
            Peculiarity::ForeignName => 11,
            Peculiarity::Empty => 17,
            Peculiarity::ByteOrderMark => 19,
        };
        let objects = self.options.objects();
        let is_needed = peculiarity != Peculiarity::Empty || objects > place;
        let happens_once = peculiarity == Peculiarity::ForeignName;
        let number = if happens_once {
            plan.number
        } else {
            plan.number % PECULIARITY_PERIOD
        };
        self.options.hard && is_needed && number == place % objects.min(PECULIARITY_PERIOD)
    }

    fn write_object(&mut self, plan: &ObjectPlan) -> Result<(), SampleError> {
        let name = if self.has(plan, Peculiarity::ForeignName) {
            FOREIGN_NAME.to_owned()
        } else {
            let org_id = &self.options.org_id;
            let time = plan.time.format("%Y-%m-%d-%H-%M-%S");
            format!(
                "dataplatform-{org_id}-{STREAM_VERSION}-{time}-{}",
                uuid(&mut self.rng)
            )
        };
        let key = format!("main_stream/{}/{name}", plan.hour.format("%Y/%m/%d/%H"));
        let path = self.options.directory.join(&key);
        self.fill_object(plan, key, &path)
            .map_err(|error| SampleError::io(&path, error))
    }

    fn fill_object(&mut self, plan: &ObjectPlan, key: String, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let storage = if self.has(plan, Peculiarity::TwoGzipMembers) {
            Storage::TwoGzipMembers
        } else if self.has(plan, Peculiarity::Gzip) {
            Storage::Gzip
        } else {
            Storage::Plain
        };
        let mut sink = ObjectSink::create(path, storage)?;
        if !self.has(plan, Peculiarity::Empty) {
            if self.has(plan, Peculiarity::ByteOrderMark) {
                sink.write(b"\xef\xbb\xbf")?;
            }
            self.write_events(plan, &key, &mut sink)?;
        }
        self.summary.objects += 1;
        self.summary.bytes += sink.decoded_bytes;
        sink.finish()
    }

    fn write_events(
        &mut self,
        plan: &ObjectPlan,
        key: &str,
        sink: &mut ObjectSink,
    ) -> io::Result<()> {
        let wanted = self.options.object_bytes;
        let mut tears: Vec<Tear> = Tear::ALL
            .into_iter()
            .filter(|tear| self.has(plan, Peculiarity::Torn(*tear)))
            .collect();
        tears.reverse();
        let mut is_first_half = true;
        let first_of_object = self.new_event(plan, 0.0);
        self.write_event(&first_of_object, sink)?;
        if let Some(arrival_millis) = plan.late_arrival() {
            let late = self.make_event(arrival_millis);
            self.write_event(&late, sink)?;
        }
        while sink.decoded_bytes + EVENT_BYTES_MEAN as u64 / 2 < wanted {
            let written = sink.decoded_bytes as f64;
            let progress = written / (wanted as f64 - EVENT_BYTES_MEAN).max(1.0);
            if is_first_half && progress >= 0.5 {
                is_first_half = false;
                sink.half_time()?;
                while let Some(tear) = tears.pop_if(|tear| *tear != Tear::TruncatedTail) {
                    self.write_torn(plan, tear, key, sink)?;
                    // What follows a torn event in the middle must be intact.
                    let next = self.new_event(plan, progress);
                    self.write_event(&next, sink)?;
                }
            }
            let next = self.new_event(plan, progress);
            self.write_event(&next, sink)?;
            if self.options.hard && self.rng.random_bool(0.02) {
                sink.write([&b"\n"[..], b" ", b"\r\n", b"\t \n"][self.rng.random_range(0..4)])?;
            }
            if self.rng.random_bool(DUPLICATE_SHARE) {
                self.write_duplicate(plan, sink)?;
            }
        }
        for tear in tears.into_iter().rev() {
            self.write_torn(plan, tear, key, sink)?;
            if tear != Tear::TruncatedTail {
                let next = self.new_event(plan, 1.0);
                self.write_event(&next, sink)?;
            }
        }
        Ok(())
    }

    fn new_event(&mut self, plan: &ObjectPlan, progress: f64) -> Event {
        let arrival_millis = plan.arrival(progress, &mut self.rng);
        self.make_event(arrival_millis)
    }

    fn make_event(&mut self, arrival_millis: i64) -> Event {
        event(
            &self.options.org_id,
            arrival_millis,
            self.options.hard,
            &mut self.rng,
        )
    }

    fn write_event(&mut self, event: &Event, sink: &mut ObjectSink) -> io::Result<()> {
        sink.write(&event.bytes)?;
        self.expected.add(&event.bytes)?;
        self.summary.events += 1;
        if self.recent.len() == RECENT_EVENTS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(event.clone());
        Ok(())
    }

    /// Delivers a recent event again: of this object or of the one before.
    fn write_duplicate(&mut self, plan: &ObjectPlan, sink: &mut ObjectSink) -> io::Result<()> {
        let index = self.rng.random_range(0..self.recent.len());
        let again = self.recent[index].clone();
        if plan.may_hold(again.arrival_millis) {
            self.write_event(&again, sink)?;
            self.summary.duplicates += 1;
        }
        Ok(())
    }

    fn write_torn(
        &mut self,
        plan: &ObjectPlan,
        tear: Tear,
        key: &str,
        sink: &mut ObjectSink,
    ) -> io::Result<()> {
        let whole = self.new_event(plan, 1.0);
        let torn = tear.tear(&whole.bytes, &mut self.rng);
        self.torn.push(TornEvent {
            key: key.to_owned(),
            offset: sink.decoded_bytes,
            length: torn.len() as u64,
            kind: tear,
        });
        self.summary.torn += 1;
        sink.write(&torn)
    }

    fn finish(mut self) -> Result<SampleSummary, SampleError> {
        let expected = &self.summary.expected;
        self.expected
            .finish()
            .map_err(|error| SampleError::io(expected, error))?;
        self.torn
            .sort_by(|a, b| (&a.key, a.offset).cmp(&(&b.key, b.offset)));
        let list = &self.summary.torn_list;
        write_list(&self.torn, list).map_err(|error| SampleError::io(list, error))?;
        Ok(self.summary)
    }
}

fn write_list(torn: &[TornEvent], path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for event in torn {
        serde_json::to_writer(&mut file, event)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}
