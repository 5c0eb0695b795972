//! The lines of a file of events, each of which is one event.

use std::io::{self, BufRead as _, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_recovery_format::{DecodeError, DecodeLimits, DecodedReader, decode_reader};

use crate::ledger::receipt::Output;
use crate::storage::checksum::Checksum;
use crate::storage::{Problem, StorageError, StorageOperation};

const READ_BYTES: usize = 256 * 1024;
/// More than the longest event, 16 MiB.
const LINE_BYTES_MAX: u64 = 17 * 1024 * 1024;

/// Reads a file of NDJSON line by line, and checks it against its receipt at its end.
pub(crate) struct EventLines {
    key: String,
    crc64nvme: String,
    rows: u64,
    read: u64,
    line: Vec<u8>,
    reader: BufReader<DecodedReader<Summing>>,
    checksum: Arc<Mutex<Checksum>>,
}

impl EventLines {
    /// Begins to read.
    pub(crate) fn new(reader: Box<dyn Read + Send>, output: &Output) -> Result<Self, StorageError> {
        let checksum = Arc::new(Mutex::new(Checksum::new()));
        let summing = Summing {
            reader,
            checksum: Arc::clone(&checksum),
        };
        let limits = DecodeLimits {
            decoded_bytes_max: u64::MAX,
        };
        let reader = decode_reader(summing, limits)
            .map_err(|error| of_io(&output.key, io::Error::from(error)))?;
        Ok(Self {
            key: output.key.clone(),
            crc64nvme: output.crc64nvme.clone(),
            rows: output.rows,
            read: 0,
            line: Vec::new(),
            reader: BufReader::with_capacity(READ_BYTES, reader),
            checksum,
        })
    }

    /// The next event, without its line break; `None` at the end, if the file is what its receipt says.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, StorageError> {
        self.line.clear();
        let most = LINE_BYTES_MAX + 1;
        let read = (&mut self.reader)
            .take(most)
            .read_until(b'\n', &mut self.line);
        let read = read.map_err(|error| of_io(&self.key, error))?;
        if read == 0 {
            let is_whole =
                self.read == self.rows && lock(&self.checksum).finish() == self.crc64nvme;
            return match is_whole {
                true => Ok(None),
                false => Err(self.damaged()),
            };
        }
        self.read += 1;
        if read as u64 == most || self.read > self.rows {
            return Err(self.damaged());
        }
        Ok(Some(self.line.strip_suffix(b"\n").unwrap_or(&self.line)))
    }

    fn damaged(&self) -> StorageError {
        let detail = "it is not the file that its receipt describes".to_owned();
        StorageError::new(StorageOperation::Read, &self.key, Problem::Damaged(detail)).with_hint(
            "`event-recovery status --checksums` names all such files; `event-recovery resume` writes them again",
        )
    }
}

fn lock(checksum: &Mutex<Checksum>) -> MutexGuard<'_, Checksum> {
    checksum.lock().unwrap_or_else(PoisonError::into_inner)
}

fn of_io(key: &str, error: io::Error) -> StorageError {
    let of_decoder = |error: DecodeError| match error {
        DecodeError::Source(error) => match error.downcast::<StorageError>() {
            Ok(error) => error,
            Err(error) => permanent(key, &error.to_string()),
        },
        other => permanent(key, &other.to_string()),
    };
    match error.downcast::<StorageError>() {
        Ok(error) => error,
        Err(error) => of_decoder(DecodeError::from(error)),
    }
}

/// A file that a receipt names is not there.
pub(crate) fn gone(key: &str) -> StorageError {
    StorageError::new(StorageOperation::Read, key, Problem::Gone)
}

fn permanent(key: &str, detail: &str) -> StorageError {
    StorageError::new(
        StorageOperation::Read,
        key,
        Problem::Permanent(detail.to_owned()),
    )
}

/// Checksums what is read through it.
pub(crate) struct Summing {
    reader: Box<dyn Read + Send>,
    checksum: Arc<Mutex<Checksum>>,
}

impl Read for Summing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        lock(&self.checksum).update(&buffer[..length]);
        Ok(length)
    }
}
