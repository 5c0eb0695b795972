//! The Parquet writer: one event per row, row groups of bounded size.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::columns::{ColumnBuilders, EXTRA_FIELDS, Row, batch_schema, file_schema};
use crate::envelope::{Envelope, Field};
use crate::extra_fields::ExtraFields;
use crate::output_format::ParquetCompression;

/// Bounds on a batch; an event above the second is a batch of its own. The encoder ends pages between batches only,
/// so a batch of few rows keeps pages near [`PAGE_BYTES_MAX`], and stays in the processor's cache: 256 rows took a
/// twentieth less time than 1,024.
const BATCH_ROWS_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A row group ends when its encoded pages, which are in memory until then, reach the first bound, or its events the
/// second: a reader may hold a column of a row group decoded.
const ROW_GROUP_ENCODED_BYTES_MAX: usize = 32 * 1024 * 1024;
const ROW_GROUP_EVENT_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Of data pages and dictionary pages: the default of the Parquet library.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Length to which minimum and maximum values in statistics and page index are truncated: a UUID has 36 bytes.
const STATISTICS_BYTES_MAX: usize = 64;

/// The fastest regular level: `data` is most of a file, and higher levels gain little on JSON.
const ZSTD_LEVEL: i32 = 1;

/// Writes events as rows of ten columns. Holds a batch, or one larger event, as columns, and the encoded pages of a row
/// group: about 40 MiB.
pub(crate) struct ParquetWriter<W: Write + Send> {
    writer: ArrowWriter<KeepsError<W>>,
    failure: FailureSlot,
    columns: ColumnBuilders,
    extra_fields: ExtraFields,
    batch_bytes: usize,
    row_group_bytes: usize,
    rows: u64,
}

impl<W: Write + Send> ParquetWriter<W> {
    pub(crate) fn open(compression: ParquetCompression, sink: W) -> io::Result<Self> {
        let failure = FailureSlot::default();
        let sink = KeepsError {
            sink,
            failure: failure.clone(),
        };
        let options = ArrowWriterOptions::new()
            .with_properties(properties(compression)?)
            .with_parquet_schema(
                ArrowSchemaConverter::new()
                    .convert(&file_schema())
                    .map_err(|error| failure.io_error(error))?,
            )
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(sink, batch_schema(), options)
            .map_err(|error| failure.io_error(error))?;
        Ok(Self {
            writer,
            failure,
            columns: ColumnBuilders::new(),
            extra_fields: ExtraFields::default(),
            batch_bytes: 0,
            row_group_bytes: 0,
            rows: 0,
        })
    }

    pub(crate) fn write(&mut self, envelope: &Envelope<'_>) -> io::Result<()> {
        let event_bytes = envelope.event().len();
        if !envelope.is_text() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not UTF-8"));
        }
        if self.batch_bytes + event_bytes > BATCH_BYTES_MAX {
            self.write_batch()?;
        }
        let row = Row::of(envelope);
        let extra_fields = self.extra_fields.build(envelope, row.unheld);
        let extra_fields =
            extra_fields.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.columns.append(&row, extra_fields);
        self.batch_bytes += event_bytes;
        self.rows += 1;
        if self.columns.rows() >= BATCH_ROWS_MAX || self.batch_bytes >= BATCH_BYTES_MAX {
            self.write_batch()?;
        }
        Ok(())
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn buffered_bytes(&self) -> usize {
        self.batch_bytes + self.writer.memory_size()
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.write_batch()?;
        let sink = self.writer.into_inner();
        let sink = sink.map_err(|error| self.failure.io_error(error))?;
        Ok(sink.sink)
    }

    fn write_batch(&mut self) -> io::Result<()> {
        if self.columns.rows() == 0 {
            return Ok(());
        }
        let writer = &mut self.writer;
        let written = self.columns.write_batch(|batch| writer.write(batch));
        written.map_err(|error| self.failure.io_error(error))?;
        self.row_group_bytes += self.batch_bytes;
        self.batch_bytes = 0;
        let is_full = self.row_group_bytes >= ROW_GROUP_EVENT_BYTES_MAX
            || self.writer.memory_size() >= ROW_GROUP_ENCODED_BYTES_MAX;
        if is_full {
            self.end_row_group()
        } else {
            Ok(())
        }
    }

    pub(crate) fn flush_buffered(&mut self) -> io::Result<()> {
        self.write_batch()?;
        self.end_row_group()
    }

    fn end_row_group(&mut self) -> io::Result<()> {
        let flushed = self.writer.flush();
        flushed.map_err(|error| self.failure.io_error(error))?;
        self.row_group_bytes = 0;
        Ok(())
    }
}

fn properties(compression: ParquetCompression) -> io::Result<WriterProperties> {
    let compression = match compression {
        ParquetCompression::Zstd => {
            Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).map_err(io::Error::other)?)
        }
        ParquetCompression::Snappy => Compression::SNAPPY,
        ParquetCompression::None => Compression::UNCOMPRESSED,
    };
    let mut properties = WriterProperties::builder()
        .set_compression(compression)
        .set_data_page_size_limit(PAGE_BYTES_MAX)
        .set_dictionary_page_size_limit(PAGE_BYTES_MAX)
        .set_statistics_truncate_length(Some(STATISTICS_BYTES_MAX))
        .set_column_index_truncate_length(Some(STATISTICS_BYTES_MAX));
    // Values that hardly ever repeat: a dictionary would fill up to its limit, be abandoned, and have cost memory and
    // time.
    let without_dictionary = [
        Field::EventId.name(),
        Field::Cid.name(),
        Field::ArrivalEpoch.name(),
        Field::Timestamp.name(),
        Field::Data.name(),
        EXTRA_FIELDS,
    ];
    for column in without_dictionary {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(column), false);
    }
    // Columns that queries do not filter by range. Their statistics would also copy content into the footer.
    for column in [Field::Cid.name(), Field::Data.name(), EXTRA_FIELDS] {
        let column = ColumnPath::from(column);
        properties = properties.set_column_statistics_enabled(column, EnabledStatistics::None);
    }
    // Neighbouring arrivals are close to each other, so that their differences take few bits.
    let arrival_epoch = ColumnPath::from(Field::ArrivalEpoch.name());
    properties = properties.set_column_encoding(arrival_epoch, Encoding::DELTA_BINARY_PACKED);
    Ok(properties.build())
}

/// Keeps the sink's own error: the Parquet library turns some of them into text, and the caller must see whether a
/// retry can help.
struct KeepsError<W> {
    sink: W,
    failure: FailureSlot,
}

impl<W: Write> KeepsError<W> {
    fn keep<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            // `write_all` retries an interrupted write, so it is not a failure.
            if kind != io::ErrorKind::Interrupted {
                self.failure.set(error);
            }
            kind.into()
        })
    }
}

impl<W: Write> Write for KeepsError<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.sink.write(bytes);
        self.keep(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.sink.flush();
        self.keep(result)
    }
}

#[derive(Clone, Default)]
struct FailureSlot(Arc<Mutex<Option<io::Error>>>);

impl FailureSlot {
    fn set(&self, error: io::Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// The sink's error if there was one, else the library's.
    fn io_error(&self, error: ParquetError) -> io::Error {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.unwrap_or_else(|| io::Error::other(error))
    }
}
