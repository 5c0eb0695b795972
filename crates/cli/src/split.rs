//! `event-recovery split`: one object in, lines out.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Read as _};
use std::path::Path;
use std::process::ExitCode;

use event_recovery_format::{
    DecodeLimits, Envelope, EnvelopeRule, EnvelopeScratch, EventWriter, NdjsonCompression,
    OutputFormat, decode_reader,
};
use event_recovery_splitter::{Item, Limits, Splitter};

use crate::arguments::SplitArguments;
use crate::failure::{Failure, NEEDS_A_LOOK};
use crate::streams;
use crate::terminal::say;

const CHUNK_BYTES: usize = 256 * 1024;
/// Why an event is named that comes out all the same: it may be two, joined by a damaged byte.
const REPEATED_EVENT_ID: &str = "repeated_event_id";
/// Lines wait for each other, but no longer than the input does.
const OUTPUT_BYTES: usize = 256 * 1024;

pub(crate) fn split(arguments: &SplitArguments) -> Result<ExitCode, Failure> {
    let file = &arguments.file;
    let input = open(file)?;
    match split_lines(input, file) {
        Ok(0) => Ok(ExitCode::SUCCESS),
        Ok(_) => Ok(ExitCode::from(NEEDS_A_LOOK)),
        Err(Stop::Output(error)) => Err(Failure::of_stdout("the events", &error)),
        Err(Stop::Input(failure)) => Err(failure),
    }
}

fn open(file: &Path) -> Result<File, Failure> {
    if is_stdin(file) {
        return streams::stdin()
            .map_err(|error| unreadable(file, &error).hint("name the object, or pipe it in"));
    }
    let opened = File::open(file).map_err(|error| unreadable(file, &error))?;
    let metadata = opened.metadata();
    if metadata.map_err(|error| unreadable(file, &error))?.is_dir() {
        return Err(
            unreadable(file, &"it is a folder").hint("`event-recovery run` recovers folders")
        );
    }
    Ok(opened)
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

fn unreadable(file: &Path, problem: &dyn fmt::Display) -> Failure {
    let name = match is_stdin(file) {
        true => "stdin".to_owned(),
        false => format!("`{}`", file.display()),
    };
    Failure::could_not_run(format!("could not read {name}: {problem}"))
}

enum Stop {
    Input(Failure),
    Output(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Returns how many things were named on stderr: fragments that were rejected, and events with a
/// repeated id.
fn split_lines(input: File, file: &Path) -> Result<u64, Stop> {
    let unreadable = |error: &dyn fmt::Display| Stop::Input(unreadable(file, error));
    let limits = DecodeLimits {
        decoded_bytes_max: u64::MAX,
    };
    let mut reader = decode_reader(input, limits).map_err(|error| unreadable(&error))?;
    let rule = EnvelopeRule::default();
    let mut splitter = Splitter::new(Limits::default(), |object: &[u8]| rule.matches(object));
    let format = OutputFormat::Ndjson(NdjsonCompression::None);
    let stdout = BufWriter::with_capacity(OUTPUT_BYTES, streams::stdout()?);
    let mut lines = EventWriter::open(format, stdout)?;
    let mut scratch = EnvelopeScratch::default();
    let mut named = 0;
    let mut take = |item: Item<'_>, lines: &mut EventWriter<BufWriter<File>>| match item {
        Item::Event(event) => {
            let envelope = Envelope::of(event, &mut scratch);
            if envelope.repeats_event_id() {
                named += 1;
                name(event.offset, event.bytes.len() as u64, REPEATED_EVENT_ID);
            }
            lines.write(&envelope)
        }
        Item::RejectedPart(_) => Ok(()),
        Item::Rejected(rejected) => {
            named += 1;
            name(rejected.offset, rejected.length, rejected.reason.as_str());
            Ok(())
        }
    };
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                // What was found so far is right; that it is not all is what the exit code says,
                // whether or not anybody reads it.
                let _ = lines.flush_buffered();
                return Err(unreadable(&error));
            }
        };
        splitter.push(&chunk[..length], |item| take(item, &mut lines))?;
        if length < chunk.len() {
            // The writer waits for more input, so the reader gets what is complete now.
            lines.flush_buffered()?;
        }
    }
    splitter.finish(|item| take(item, &mut lines))?;
    lines.flush_buffered()?;
    Ok(named)
}

fn name(offset: u64, length: u64, reason: &str) {
    let line = serde_json::json!({"offset": offset, "length": length, "reason": reason});
    say(&line.to_string());
}
