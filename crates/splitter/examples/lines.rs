//! Writes the events of standard input to standard output, one per line, and names rejected fragments on
//! standard error.
//!
//! `cargo run --package event-recovery-splitter --example lines < OBJECT`

use std::io::{self, Read, Write};

use event_recovery_splitter::{Item, Limits, Splitter};

const CHUNK_BYTES: usize = 256 * 1024;

fn main() -> io::Result<()> {
    let mut source = io::stdin().lock();
    let mut lines = io::BufWriter::new(io::stdout().lock());
    let mut on_item = |item: Item<'_>| match item {
        Item::Event(event) => {
            // A line break in valid JSON is white space between tokens.
            let bytes = event.bytes.iter().copied();
            let mut line: Vec<u8> = bytes.filter(|byte| !b"\r\n".contains(byte)).collect();
            line.push(b'\n');
            lines.write_all(&line)
        }
        Item::RejectedPart(_) => Ok(()),
        Item::Rejected(fragment) => writeln!(
            io::stderr(),
            "rejected {} bytes at {}: {}",
            fragment.length,
            fragment.offset,
            fragment.reason
        ),
    };
    let mut splitter = Splitter::new(Limits::default(), has_event_id);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match source.read(&mut chunk)? {
            0 => break,
            length => splitter.push(&chunk[..length], &mut on_item)?,
        }
    }
    splitter.finish(&mut on_item)?;
    lines.flush()
}

fn has_event_id(object: &[u8]) -> bool {
    let object: Result<serde_json::Value, _> = serde_json::from_slice(object);
    object.is_ok_and(|object| object["event_id"].is_string())
}
