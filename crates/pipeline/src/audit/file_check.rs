//! Reads a file of a run back and compares its content with what its receipt says.

use std::io::{self, BufReader, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use event_recovery_format::{OutputFormat, count_rows};
use serde::Deserialize;

use crate::storage::checksum::Checksum;
use crate::storage::{ListedObject, OpenObject, Problem, StorageError, StorageOperation};

/// What a receipt says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpectedFile {
    pub(crate) crc64nvme: String,
    /// Its events, or its lines.
    pub(crate) rows: u64,
    /// Of a file of rejected fragments: how many, and their bytes.
    pub(crate) rejected: Option<RejectedCounts>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RejectedCounts {
    pub(crate) fragments: u64,
    pub(crate) bytes: u64,
}

/// What a file holds.
struct Content {
    checksum: String,
    /// Rows and rejected fragments, or why they can't be counted.
    counted: Result<(u64, Option<RejectedCounts>), String>,
}

/// What is wrong with the content of a file, if anything.
///
/// # Errors
///
/// The storage's, when the file could not be read.
pub(crate) async fn check_content(
    storage: &dyn OpenObject,
    file: &ListedObject,
    expected: &ExpectedFile,
    format: OutputFormat,
) -> Result<Option<&'static str>, StorageError> {
    let reader = match storage.open(&file.key, &file.etag).await {
        Ok(reader) => reader,
        Err(error) => return unreadable(error),
    };
    let is_rejected = expected.rejected.is_some();
    let reading = tokio::task::spawn_blocking(move || read_content(reader, format, is_rejected));
    let failed = |detail: String| {
        StorageError::new(
            StorageOperation::Read,
            &file.key,
            Problem::Permanent(detail),
        )
    };
    let content = match reading.await {
        Ok(Ok(content)) => content,
        Ok(Err(error)) => {
            let error = error.downcast::<StorageError>();
            return unreadable(error.unwrap_or_else(|error| failed(error.to_string())));
        }
        Err(error) => return Err(failed(error.to_string())),
    };
    Ok(match content.counted {
        _ if content.checksum != expected.crc64nvme => Some("has another content than was written"),
        Ok(counted) if counted == (expected.rows, expected.rejected) => None,
        Ok(_) if is_rejected => Some("holds other rejected fragments than its receipt says"),
        Ok(_) => Some("holds another number of events than its receipt says"),
        Err(_) => Some("can't be read in the format of the run"),
    })
}

/// A file that is not as it was listed, or that the storage itself finds damaged, is a finding.
fn unreadable(error: StorageError) -> Result<Option<&'static str>, StorageError> {
    match error.problem {
        Problem::Gone | Problem::Changed => Ok(Some("changed while it was read")),
        Problem::Damaged(_) => Ok(Some(
            "does not match the checksum that the storage keeps of it",
        )),
        _ => Err(error),
    }
}

/// Reads the file to its end.
fn read_content(reader: impl Read, format: OutputFormat, is_rejected: bool) -> io::Result<Content> {
    let mut reader = SummingReader {
        reader,
        checksum: Checksum::new(),
        failure: None,
    };
    let counted = if is_rejected {
        count_rejected(&mut reader).map(|(lines, counts)| (lines, Some(counts)))
    } else {
        count_rows(format, &mut reader).map(|rows| (rows, None))
    };
    if let Some(error) = reader.failure.take() {
        return Err(error);
    }
    // A file that can't be decoded has a checksum nevertheless.
    io::copy(&mut reader, &mut io::sink())?;
    Ok(Content {
        checksum: reader.checksum.finish(),
        counted: counted.map_err(|error| error.to_string()),
    })
}

/// Checksums what is read through it, and keeps the storage's error, which decoders replace.
struct SummingReader<R> {
    reader: R,
    checksum: Checksum,
    failure: Option<io::Error>,
}

impl<R: Read> Read for SummingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.reader.read(buffer) {
            Ok(length) => {
                self.checksum.update(&buffer[..length]);
                Ok(length)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failure = Some(error);
                Err(kind.into())
            }
        }
    }
}

/// A line of a file of rejected fragments, as far as it is compared.
#[derive(Deserialize)]
struct RejectedLine {
    length: u64,
    #[serde(default)]
    continues: Option<u64>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    base64: Option<String>,
}

impl RejectedLine {
    /// Whether the line holds as many bytes as it says.
    fn agrees(&self) -> bool {
        let bytes = match (&self.text, &self.base64) {
            (Some(text), None) => Some(text.len()),
            (None, Some(base64)) => BASE64.decode(base64).ok().map(|bytes| bytes.len()),
            _ => None,
        };
        bytes.is_some_and(|bytes| bytes as u64 == self.length)
    }
}

/// The lines of a file of rejected fragments, and what they hold.
fn count_rejected(reader: impl Read) -> io::Result<(u64, RejectedCounts)> {
    let reader = BufReader::new(reader);
    let mut counts = RejectedCounts::default();
    let mut lines = 0;
    for line in serde_json::Deserializer::from_reader(reader).into_iter::<RejectedLine>() {
        let line = line?;
        if !line.agrees() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        lines += 1;
        counts.fragments += u64::from(line.continues.is_none());
        counts.bytes += line.length;
    }
    Ok((lines, counts))
}
