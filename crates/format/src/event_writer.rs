//! One writer for every format.

use std::io::{self, Write};

use crate::envelope::Envelope;
use crate::ndjson::NdjsonWriter;
use crate::output_format::OutputFormat;
use crate::parquet::ParquetWriter;

/// The largest event that a writer takes, far above the splitter's limit: positions in an event
/// are 32 bits wide, and so are those of the text in a Parquet column.
pub const EVENT_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Writes events to a sink in one of the formats.
///
/// The same events give the same bytes. The sink comes back from [`finish`](Self::finish) alone,
/// so an output cannot be committed before it is complete. After an error the output is void:
/// drop the writer, and do not commit what the sink has received.
///
/// ## Memory
///
/// NDJSON holds the encoder's window, a few megabytes at most. Parquet holds a batch of up to 4 MiB of
/// events, or one larger event, and up to 32 MiB of encoded pages.
///
/// ## Small writes
///
/// NDJSON without compression hands every event to the sink as it comes: the sink should buffer.
pub struct EventWriter<W: Write + Send>(Inner<W>);

enum Inner<W: Write + Send> {
    Ndjson(Box<NdjsonWriter<W>>),
    Parquet(Box<ParquetWriter<W>>),
}

impl<W: Write + Send> EventWriter<W> {
    /// Starts a file of events in `sink`.
    ///
    /// # Errors
    ///
    /// The sink's, where the format's head cannot be written.
    pub fn open(format: OutputFormat, sink: W) -> io::Result<Self> {
        Ok(Self(match format {
            OutputFormat::Ndjson(compression) => {
                Inner::Ndjson(Box::new(NdjsonWriter::open(compression, sink)?))
            }
            OutputFormat::Parquet(compression) => {
                Inner::Parquet(Box::new(ParquetWriter::open(compression, sink)?))
            }
        }))
    }

    /// Writes the event that `envelope` was read from.
    ///
    /// # Errors
    ///
    /// The sink's own; and [`io::ErrorKind::InvalidInput`] for an event above
    /// [`EVENT_BYTES_MAX`] or, as Parquet, with text that is not UTF-8.
    pub fn write(&mut self, envelope: &Envelope<'_>) -> io::Result<()> {
        let event = envelope.event();
        if event.len() > EVENT_BYTES_MAX {
            let error = EventTooLarge {
                event_bytes: event.len(),
            };
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        match &mut self.0 {
            Inner::Ndjson(writer) => writer.write(event),
            Inner::Parquet(writer) => writer.write(envelope),
        }
    }

    /// Events written so far.
    pub fn rows(&self) -> u64 {
        match &self.0 {
            Inner::Ndjson(writer) => writer.rows(),
            Inner::Parquet(writer) => writer.rows(),
        }
    }

    /// About how many bytes wait in memory to be handed to the sink.
    pub fn buffered_bytes(&self) -> usize {
        match &self.0 {
            Inner::Ndjson(_) => 0,
            Inner::Parquet(writer) => writer.buffered_bytes(),
        }
    }

    /// Hands to the sink what waits in memory, as far as the format can do so before its end. For
    /// Parquet this ends the row group, so it is for when memory is short.
    ///
    /// # Errors
    ///
    /// The sink's own.
    pub fn flush_buffered(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Inner::Ndjson(writer) => writer.flush_buffered(),
            Inner::Parquet(writer) => writer.flush_buffered(),
        }
    }

    /// Completes the file and gives the sink back, to be committed.
    ///
    /// # Errors
    ///
    /// The sink's own.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Inner::Ndjson(writer) => writer.finish(),
            Inner::Parquet(writer) => writer.finish(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("event of {event_bytes} bytes is above the limit of {EVENT_BYTES_MAX}")]
struct EventTooLarge {
    event_bytes: usize,
}
