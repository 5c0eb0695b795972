//! `event-recovery split`: one object in, lines out.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use event_recovery_format::{
    DecodeLimits, Envelope, EnvelopeRule, EnvelopeScratch, EventWriter, NdjsonCompression,
    OutputFormat, decode_reader,
};
use event_recovery_splitter::{Item, Limits, Rejected, Splitter};

use crate::arguments::SplitArguments;
use crate::failure::{Failure, NEEDS_A_LOOK};

const CHUNK_BYTES: usize = 256 * 1024;

pub(crate) fn split(arguments: &SplitArguments) -> Result<ExitCode, Failure> {
    let file = &arguments.file;
    let input = open(file)?;
    match split_lines(input, file) {
        Ok(0) => Ok(ExitCode::SUCCESS),
        Ok(_) => Ok(ExitCode::from(NEEDS_A_LOOK)),
        // Whoever reads has seen enough: not a failure, and nothing to say.
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        Err(Stop::Output(error)) => Err(Failure::could_not_run(format!(
            "could not write the events: {error}"
        ))),
        Err(Stop::Input(failure)) => Err(failure),
    }
}

fn open(file: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let failure = |error: io::Error| {
        Failure::could_not_run(format!("could not read `{}`: {error}", file.display()))
    };
    let opened = File::open(file).map_err(failure)?;
    if opened.metadata().map_err(failure)?.is_dir() {
        return Err(Failure::could_not_run(format!(
            "could not read `{}`: it is a folder",
            file.display()
        ))
        .hint("`event-recovery run` recovers folders"));
    }
    Ok(Box::new(opened))
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

/// Returns how many fragments were rejected.
fn split_lines(input: Box<dyn Read + Send>, file: &Path) -> Result<u64, Stop> {
    let unreadable = |error: &dyn std::error::Error| {
        Stop::Input(Failure::could_not_run(format!(
            "could not read `{}`: {error}",
            file.display()
        )))
    };
    let mut reader = decode_reader(
        input,
        DecodeLimits {
            decoded_bytes_max: u64::MAX,
        },
    )
    .map_err(|error| unreadable(&error))?;
    let rule = EnvelopeRule::default();
    let mut splitter = Splitter::new(Limits::default(), |object: &[u8]| rule.matches(object));
    let format = OutputFormat::Ndjson(NdjsonCompression::None);
    let mut lines = EventWriter::open(format, io::stdout())?;
    let mut scratch = EnvelopeScratch::default();
    let mut take = |item: Item<'_>, lines: &mut EventWriter<io::Stdout>| match item {
        Item::Event(event) => lines.write(&Envelope::of(event, &mut scratch)),
        Item::RejectedPart(_) => Ok(()),
        Item::Rejected(rejected) => report(&rejected),
    };
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                // What was found so far is right; that it is not all is what the exit code says.
                lines.flush_buffered()?;
                return Err(unreadable(&error));
            }
        };
        splitter.push(&chunk[..length], |item| take(item, &mut lines))?;
        if length < chunk.len() {
            // The writer waits for more, so whoever reads should not wait for us.
            lines.flush_buffered()?;
        }
    }
    let totals = splitter.finish(|item| take(item, &mut lines))?;
    lines.flush_buffered()?;
    Ok(totals.rejected_fragments)
}

fn report(rejected: &Rejected) -> io::Result<()> {
    let line = serde_json::json!({
        "offset": rejected.offset,
        "length": rejected.length,
        "reason": rejected.reason.as_str(),
    });
    writeln!(io::stderr(), "{line}")
}
