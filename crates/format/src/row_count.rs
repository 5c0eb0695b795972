//! Counts the events of a file that an [`EventWriter`](crate::EventWriter) wrote.

use std::io::{self, BufRead, BufReader, Read};

use ::parquet::file::metadata::ParquetMetaDataReader;
use flate2::read::MultiGzDecoder;

use crate::output_format::{NdjsonCompression, OutputFormat};

/// Size of the read buffers.
const READ_BYTES: usize = 256 * 1024;
/// Longest footer of a Parquet file that can be read. A row group takes about 2 KiB of it.
const FOOTER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The end of a Parquet file: the length of the footer as a little-endian `u32`, and `PAR1`.
const PARQUET_TAIL_BYTES: usize = 8;

/// Counts the events of a file, which is read to its end: lines of NDJSON, rows by the footer of Parquet.
///
/// Needs up to 512 KiB of memory and the decoder's window; for Parquet up to 32 MiB, twice the longest footer.
///
/// ```
/// use event_recovery_format::{NdjsonCompression, OutputFormat, count_rows};
///
/// let plain = OutputFormat::Ndjson(NdjsonCompression::None);
/// assert_eq!(count_rows(plain, &b"{\"n\":1}\n{\"n\":2}\n"[..])?, 2);
/// assert!(count_rows(OutputFormat::default(), &b"not a Parquet file"[..]).is_err());
/// # Ok::<_, std::io::Error>(())
/// ```
///
/// # Errors
///
/// The reader's, and [`io::ErrorKind::InvalidData`] for a file of another format.
pub fn count_rows(format: OutputFormat, reader: impl Read) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(READ_BYTES, reader);
    match format {
        OutputFormat::Ndjson(NdjsonCompression::None) => count_lines(reader),
        OutputFormat::Ndjson(NdjsonCompression::Gzip) => count_lines(BufReader::with_capacity(
            READ_BYTES,
            MultiGzDecoder::new(reader),
        )),
        OutputFormat::Ndjson(NdjsonCompression::Zstd) => count_lines(BufReader::with_capacity(
            READ_BYTES,
            zstd::Decoder::with_buffer(reader)?,
        )),
        OutputFormat::Parquet(_) => {
            let tail = tail(&mut reader)?;
            let rows = rows_of_footer(&tail).ok_or_else(|| invalid("it has no Parquet footer"))?;
            u64::try_from(rows).map_err(|_| invalid("its Parquet footer counts less than no rows"))
        }
    }
}

fn invalid(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Every line counts, including a last one without a line break.
fn count_lines(mut reader: impl BufRead) -> io::Result<u64> {
    let (mut lines, mut last) = (0, b'\n');
    loop {
        let bytes = match reader.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let Some(&end) = bytes.last() else {
            return Ok(lines + u64::from(last != b'\n'));
        };
        last = end;
        lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        let length = bytes.len();
        reader.consume(length);
    }
}

/// The last bytes of the file, at least as many as the longest footer has.
fn tail(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut tail = Vec::new();
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(tail);
        }
        // Twice the need is kept, so that a byte is moved to the front once on average.
        if tail.len() + bytes.len() > 2 * FOOTER_BYTES_MAX {
            tail.drain(..tail.len() - FOOTER_BYTES_MAX);
        }
        tail.extend_from_slice(bytes);
        let length = bytes.len();
        reader.consume(length);
    }
}

fn rows_of_footer(tail: &[u8]) -> Option<i64> {
    let (rest, end) = tail.split_at_checked(tail.len().checked_sub(PARQUET_TAIL_BYTES)?)?;
    let (length, magic) = end.split_at_checked(4)?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    let footer = rest.get(rest.len().checked_sub(length)?..)?;
    if magic != b"PAR1" {
        return None;
    }
    let metadata = ParquetMetaDataReader::decode_metadata(footer).ok()?;
    Some(metadata.file_metadata().num_rows())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Envelope, EnvelopeScratch, EventWriter, ParquetCompression};

    fn formats() -> [OutputFormat; 6] {
        [
            OutputFormat::Ndjson(NdjsonCompression::None),
            OutputFormat::Ndjson(NdjsonCompression::Gzip),
            OutputFormat::Ndjson(NdjsonCompression::Zstd),
            OutputFormat::Parquet(ParquetCompression::Zstd),
            OutputFormat::Parquet(ParquetCompression::Snappy),
            OutputFormat::Parquet(ParquetCompression::None),
        ]
    }

    fn file(format: OutputFormat, events: u64) -> Vec<u8> {
        let mut writer = EventWriter::open(format, Vec::new()).unwrap();
        let mut scratch = EnvelopeScratch::default();
        for number in 0..events {
            let event = format!("{{\"event_id\":\"{number}\"}}");
            writer
                .write(&Envelope::read(event.as_bytes(), &mut scratch))
                .unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn the_rows_of_every_format_are_counted() {
        for format in formats() {
            for events in [0, 1, 1000] {
                let counted = count_rows(format, &file(format, events)[..]).unwrap();
                assert_eq!(counted, events, "{format:?}");
            }
        }
    }

    #[test]
    fn a_file_of_another_format_is_an_error_and_no_count() {
        for format in formats().into_iter().skip(1) {
            for bytes in [&b""[..], b"{}\n", b"PAR1", &[0xff; 100]] {
                let counted = count_rows(format, bytes);
                let nothing = bytes.is_empty() && matches!(format, OutputFormat::Ndjson(_));
                assert!(counted.is_err() || nothing, "{format:?}: {counted:?}");
            }
        }
    }

    #[test]
    fn a_last_line_without_an_end_counts() {
        let format = OutputFormat::Ndjson(NdjsonCompression::None);
        assert_eq!(count_rows(format, &b"{}\n{}"[..]).unwrap(), 2);
    }
}
