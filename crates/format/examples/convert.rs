//! Converts one backup object, plain, gzip or zstd, to Parquet, or to NDJSON if the file's name ends with `.ndjson`.
//!
//! `cargo run --package event-recovery-format --example convert -- OBJECT FILE`

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Read, Write};

use event_recovery_format::{
    DecodeLimits, Envelope, EnvelopeRule, EnvelopeScratch, EventWriter, NdjsonCompression,
    OutputFormat, decode_reader,
};
use event_recovery_splitter::{Item, Limits, Splitter};

const CHUNK_BYTES: usize = 256 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let [object, file] = std::env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| "usage: convert OBJECT FILE")?;
    let format = if file.ends_with(".ndjson") {
        OutputFormat::Ndjson(NdjsonCompression::None)
    } else {
        OutputFormat::default()
    };
    let mut source = decode_reader(File::open(object)?, DecodeLimits::default())?;
    let mut writer = EventWriter::open(format, BufWriter::new(File::create(file)?))?;
    let mut scratch = EnvelopeScratch::default();
    let mut on_item = |item: Item<'_>| match item {
        Item::Event(event) => writer.write(&Envelope::of(event, &mut scratch)),
        Item::RejectedPart(_) | Item::Rejected(_) => Ok(()),
    };

    let rule = EnvelopeRule::default();
    let mut splitter = Splitter::new(Limits::default(), |object: &[u8]| rule.matches(object));
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match source.read(&mut chunk)? {
            0 => break,
            length => splitter.push(&chunk[..length], &mut on_item)?,
        }
    }
    let totals = splitter.finish(&mut on_item)?;
    writer.finish()?.flush()?;
    writeln!(
        std::io::stderr(),
        "{} events, {} rejected fragments",
        totals.events,
        totals.rejected_fragments
    )?;
    Ok(())
}
