//! An output that is counted and checksummed while it is written.

use std::io::{self, Write};

use crate::ledger::receipt::Output;
use crate::storage::checksum::Checksum;
use crate::storage::{CreateObject, StagedObject, StorageError};

/// A staged object with the size, checksum and rows of what was written so far.
pub(crate) struct StagedOutput {
    object: Box<dyn StagedObject>,
    key: String,
    size: u64,
    checksum: Checksum,
    rows: u64,
}

impl StagedOutput {
    pub(crate) fn create(
        destination: &dyn CreateObject,
        key: String,
    ) -> Result<Self, StorageError> {
        Ok(Self {
            object: destination.create(&key)?,
            key,
            size: 0,
            checksum: Checksum::new(),
            rows: 0,
        })
    }

    pub(crate) fn count_row(&mut self) {
        self.rows += 1;
    }

    pub(crate) fn set_rows(&mut self, rows: u64) {
        self.rows = rows;
    }

    /// Flushes the object and frees its memory until [`commit`](Self::commit). Nothing may be written
    /// afterwards.
    pub(crate) fn seal(&mut self) -> Result<(), StorageError> {
        self.object.seal()
    }

    /// Makes the object visible, and returns its entry for the receipt.
    pub(crate) fn commit(self) -> Result<Output, StorageError> {
        self.object.commit()?;
        Ok(Output {
            key: self.key,
            size: self.size,
            crc64nvme: self.checksum.finish(),
            rows: self.rows,
        })
    }
}

impl Write for StagedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.object.write(bytes)?;
        self.size += length as u64;
        self.checksum.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.object.flush()
    }
}
