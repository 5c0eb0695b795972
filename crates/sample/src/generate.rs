//! Writes a sample object by object.

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
use crate::peculiarity::Peculiarity;
use crate::schedule::ObjectPlan;
use crate::sink::{ObjectSink, Storage};
use crate::text::uuid;
use crate::torn::{Tear, TornEvent};
use crate::truth::SortedLines;

/// The version of the Firehose stream in the names of objects, which changes when a stream is reconfigured.
const STREAM_VERSION: u32 = 5;
/// Average number of events between two duplicates.
const DUPLICATE_PERIOD: u64 = 200;
/// The most recent events of an object that may be duplicated.
const RECENT_EVENTS_MAX: usize = 8;
/// Approximate mean size of an event in bytes, by which arrivals are spread over an object.
const EVENT_BYTES_MEAN: f64 = 1_900.0;
/// The name of the one object of a hard sample that does not follow the platform's pattern.
const FOREIGN_NAME: &str = "replayed-batch.json";

/// The counts and places of a written sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SampleSummary {
    /// The sample's folder, which holds `main_stream`.
    pub directory: PathBuf,
    /// The org id in keys and events.
    pub org_id: String,
    /// The start of the first hour.
    pub start: DateTime<Utc>,
    /// The end of the last hour, exclusive.
    pub end: DateTime<Utc>,
    /// Number of objects, empty ones included.
    pub objects: u64,
    /// Sum of the objects' sizes before compression.
    pub bytes: u64,
    /// Number of intact events, duplicates included.
    pub events: u64,
    /// Number of intact events that are the second copy of another one.
    pub duplicates: u64,
    /// Number of torn events, which are not among `events`.
    pub torn: u64,
    /// The file of all intact events, one per line, sorted by their bytes.
    pub expected: PathBuf,
    /// The file of torn events: JSON lines with key, offset in the decoded object, length and kind.
    pub torn_list: PathBuf,
}

/// Writes a sample. Calls `progress` after each object with the number of objects written and of all objects.
///
/// # Errors
///
/// See [`SampleError`]. Invalid options are refused before anything is written.
pub fn write_sample(
    options: &SampleOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<SampleSummary, SampleError> {
    options.check()?;
    let directory = &options.directory;
    claim(directory)?;
    let expected = directory.join("expected.ndjson");
    let torn_list = directory.join("torn.jsonl");
    let mut generator = Generator {
        options,
        rng: ChaCha8Rng::seed_from_u64(options.seed),
        expected: SortedLines::new(expected.clone()),
        of_this_object: VecDeque::new(),
        of_object_before: VecDeque::new(),
        next_duplicate: DUPLICATE_PERIOD / 4,
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
            generator.write_object(plan)?;
            progress(generator.summary.objects, options.objects());
        }
    }
    generator.finish()
}

/// Creates the folder and `main_stream` in it. Several processes may have found the folder empty: the one that creates
/// `main_stream` writes the sample, and the others fail.
fn claim(directory: &Path) -> Result<(), SampleError> {
    fs::create_dir_all(directory).map_err(|error| SampleError::io(directory, error))?;
    let objects = directory.join("main_stream");
    fs::create_dir(&objects).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => SampleError::NotEmpty {
            directory: directory.to_owned(),
        },
        _ => SampleError::io(&objects, error),
    })
}

struct Generator<'a> {
    options: &'a SampleOptions,
    rng: ChaCha8Rng,
    expected: SortedLines,
    /// The events of this object that may be duplicated.
    of_this_object: VecDeque<Event>,
    of_object_before: VecDeque<Event>,
    /// The number of intact events at which the next duplicate is written.
    next_duplicate: u64,
    torn: Vec<TornEvent>,
    summary: SampleSummary,
}

impl Generator<'_> {
    fn write_object(&mut self, plan: ObjectPlan) -> Result<(), SampleError> {
        let has_foreign_name = Peculiarity::ForeignName.is_of(&plan, self.options);
        let (plan, name) = if has_foreign_name {
            (plan.within_its_hour(), FOREIGN_NAME.to_owned())
        } else {
            let org_id = &self.options.org_id;
            let time = plan.time.format("%Y-%m-%d-%H-%M-%S");
            let uuid = uuid(&mut self.rng);
            let name = format!("dataplatform-{org_id}-{STREAM_VERSION}-{time}-{uuid}");
            (plan, name)
        };
        let key = format!("main_stream/{}/{name}", plan.hour.format("%Y/%m/%d/%H"));
        let path = self.options.directory.join(&key);
        self.fill_object(&plan, key, &path)
            .map_err(|error| SampleError::io(&path, error))
    }

    fn fill_object(&mut self, plan: &ObjectPlan, key: String, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let has = |peculiarity: Peculiarity| peculiarity.is_of(plan, self.options);
        let is_empty = has(Peculiarity::Empty);
        let storage = if is_empty {
            Storage::Plain
        } else if has(Peculiarity::TwoGzipMembers) {
            Storage::TwoGzipMembers
        } else if has(Peculiarity::Gzip) {
            Storage::Gzip
        } else {
            Storage::Plain
        };
        let has_byte_order_mark = has(Peculiarity::ByteOrderMark);
        let mut sink = ObjectSink::create(path, storage)?;
        if !is_empty {
            if has_byte_order_mark {
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
        let mut tears: VecDeque<Tear> = Tear::ALL
            .into_iter()
            .filter(|tear| Peculiarity::Torn(*tear).is_of(plan, self.options))
            .collect();
        let mut is_first_half = true;
        self.write_new_event(plan, 0.0, sink)?;
        if let Some(arrival_millis) = plan.arrival_in_hour_before(&mut self.rng) {
            self.write_event_of(arrival_millis, sink)?;
        }
        while sink.decoded_bytes + EVENT_BYTES_MEAN as u64 / 2 < wanted {
            let written = sink.decoded_bytes as f64;
            let progress = written / (wanted as f64 - EVENT_BYTES_MEAN).max(1.0);
            if is_first_half && progress >= 0.5 {
                is_first_half = false;
                sink.half_time()?;
                while let Some(tear) = tears.pop_front_if(|tear| *tear != Tear::TruncatedTail) {
                    self.write_torn(plan, tear, key, sink)?;
                    // Only an intact event after it shows that the splitter resynchronised.
                    self.write_new_event(plan, progress, sink)?;
                }
            }
            self.write_white_space(sink)?;
            self.write_new_event(plan, progress, sink)?;
            if self.summary.events >= self.next_duplicate {
                self.write_duplicate(plan, sink)?;
            }
        }
        if is_first_half {
            sink.half_time()?;
        }
        if let Some(arrival_millis) = plan.arrival_in_hour_after(&mut self.rng) {
            self.write_event_of(arrival_millis, sink)?;
        }
        if tears.is_empty() {
            self.write_white_space(sink)?;
        }
        for tear in tears {
            self.write_torn(plan, tear, key, sink)?;
            if tear != Tear::TruncatedTail {
                self.write_new_event(plan, 1.0, sink)?;
            }
        }
        self.of_object_before = std::mem::take(&mut self.of_this_object);
        Ok(())
    }

    /// Not called next to a torn event, whose offset and length are recorded exactly.
    fn write_white_space(&mut self, sink: &mut ObjectSink) -> io::Result<()> {
        if self.options.hard && self.rng.random_bool(0.02) {
            sink.write([&b"\n"[..], b" ", b"\r\n", b"\t \n"][self.rng.random_range(0..4)])?;
        }
        Ok(())
    }

    fn new_event(&mut self, arrival_millis: i64) -> Event {
        event(
            &self.options.org_id,
            arrival_millis,
            self.options.hard,
            &mut self.rng,
        )
    }

    fn write_new_event(
        &mut self,
        plan: &ObjectPlan,
        progress: f64,
        sink: &mut ObjectSink,
    ) -> io::Result<()> {
        let arrival_millis = plan.arrival(progress, &mut self.rng);
        self.write_event_of(arrival_millis, sink)
    }

    fn write_event_of(&mut self, arrival_millis: i64, sink: &mut ObjectSink) -> io::Result<()> {
        let event = self.new_event(arrival_millis);
        self.write_intact(&event, sink)?;
        if self.of_this_object.len() == RECENT_EVENTS_MAX {
            self.of_this_object.pop_front();
        }
        self.of_this_object.push_back(event);
        Ok(())
    }

    fn write_intact(&mut self, event: &Event, sink: &mut ObjectSink) -> io::Result<()> {
        sink.write(&event.bytes)?;
        self.expected.add(&event.bytes)?;
        self.summary.events += 1;
        Ok(())
    }

    /// Writes a recent event a second and last time: in turns one of the object before and one of this object.
    fn write_duplicate(&mut self, plan: &ObjectPlan, sink: &mut ObjectSink) -> io::Result<()> {
        self.of_object_before
            .retain(|event| plan.may_hold(event.arrival_millis));
        self.of_this_object
            .retain(|event| plan.may_hold(event.arrival_millis));
        let is_from_before = self.summary.duplicates.is_multiple_of(2);
        let recent = if is_from_before && !self.of_object_before.is_empty() {
            &mut self.of_object_before
        } else {
            &mut self.of_this_object
        };
        if recent.is_empty() {
            return Ok(());
        }
        let index = self.rng.random_range(0..recent.len());
        if let Some(again) = recent.remove(index) {
            self.write_intact(&again, sink)?;
            self.summary.duplicates += 1;
            self.next_duplicate += self.rng.random_range(1..2 * DUPLICATE_PERIOD);
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
        let arrival_millis = plan.arrival(1.0, &mut self.rng);
        let whole = self.new_event(arrival_millis);
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
