//! One writer for all output formats.

use std::io::{self, Write};

use crate::envelope::Envelope;
use crate::ndjson::NdjsonWriter;
use crate::output_format::OutputFormat;
use crate::parquet::ParquetWriter;

/// The largest event that a writer accepts: 512 MiB, far above the splitter's default limit. An envelope's positions
/// and a column's offsets are 32 bits wide.
pub const EVENT_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Writes events to a sink, as NDJSON or Parquet.
///
/// The same events give the same bytes. Only [`finish`](Self::finish) returns the sink, so that an output cannot be
/// committed before it is complete. After an error the output is invalid: drop the writer, and do not commit what the
/// sink has received.
///
/// NDJSON has each event's own bytes, one event per line; line breaks between tokens are left out:
///
/// ```
/// use event_recovery_format::{Envelope, EnvelopeScratch, EventWriter, NdjsonCompression, OutputFormat};
///
/// let mut scratch = EnvelopeScratch::default();
/// let mut writer = EventWriter::open(OutputFormat::Ndjson(NdjsonCompression::None), Vec::new())?;
/// for event in [&b"{\"n\" : 1.0}"[..], b"{\n  \"n\": 2\n}"] {
///     writer.write(&Envelope::read(event, &mut scratch))?;
/// }
/// assert_eq!(writer.rows(), 2);
/// assert_eq!(writer.finish()?, b"{\"n\" : 1.0}\n{  \"n\": 2}\n");
/// # Ok::<_, std::io::Error>(())
/// ```
///
/// Parquet has ten columns, and `extra_fields` keeps what the other nine do not hold:
///
/// ```
/// use event_recovery_format::{Envelope, EnvelopeScratch, EventWriter, OutputFormat, ParquetCompression};
/// use parquet::file::reader::{FileReader, SerializedFileReader};
///
/// let event = br#"{"event_id":"1","schema_version":"2","data":{"n": 1},"shard":3}"#;
/// let mut scratch = EnvelopeScratch::default();
/// let mut writer = EventWriter::open(OutputFormat::Parquet(ParquetCompression::Zstd), tempfile::tempfile()?)?;
/// writer.write(&Envelope::read(event, &mut scratch))?;
/// let file = writer.finish()?;
///
/// let reader = SerializedFileReader::new(file)?;
/// let row = reader.get_row_iter(None)?.next().expect("one row")?;
/// let columns: Vec<String> = row.get_column_iter().map(|(name, value)| format!("{name}: {value}")).collect();
/// assert_eq!(columns[0], r#"event_id: "1""#);
/// assert_eq!(columns[5], "schema_version: 2");
/// assert_eq!(columns[8], r#"data: "{"n": 1}""#);
/// assert_eq!(columns[9], r#"extra_fields: "{"shard":3}""#);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// ## Memory
///
/// NDJSON holds the encoder's window, a few megabytes at most. Parquet holds a batch of up to 4 MiB of events, or one
/// larger event, and up to 32 MiB of encoded pages.
///
/// ## Small writes
///
/// NDJSON without compression passes every event to the sink at once: the sink should buffer.
pub struct EventWriter<W: Write + Send>(Inner<W>);

enum Inner<W: Write + Send> {
    Ndjson(Box<NdjsonWriter<W>>),
    Parquet(Box<ParquetWriter<W>>),
}

impl<W: Write + Send> EventWriter<W> {
    /// Starts a file of events in `sink`. A file without events is valid, too.
    ///
    /// # Errors
    ///
    /// The sink's, if the format's header cannot be written.
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
    /// The sink's own, and [`io::ErrorKind::InvalidInput`] for an event above [`EVENT_BYTES_MAX`] or, with Parquet,
    /// one that is not UTF-8.
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

    /// The number of events written, including those still in memory.
    pub fn rows(&self) -> u64 {
        match &self.0 {
            Inner::Ndjson(writer) => writer.rows(),
            Inner::Parquet(writer) => writer.rows(),
        }
    }

    /// The approximate number of bytes in memory that have not reached the sink; 0 for NDJSON, whose encoders hold a
    /// bounded window.
    pub fn buffered_bytes(&self) -> usize {
        match &self.0 {
            Inner::Ndjson(_) => 0,
            Inner::Parquet(writer) => writer.buffered_bytes(),
        }
    }

    /// Writes buffered events to the sink, as far as the format allows before its end. For Parquet this
    /// ends the row group, which changes the file's bytes and makes it larger: use it only to free memory.
    /// Compressed NDJSON is not flushed.
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

    /// Completes the file and returns the sink, to be committed.
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
