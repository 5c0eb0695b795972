//! An output that is measured while it is written.

use std::io::{self, Write};

use crate::ledger::receipt::Output;
use crate::storage::checksum::Checksum;
use crate::storage::{CreateObject, StagedObject, StorageError};

/// Counts and sums up what goes into a staged object.
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

    /// Gives its memory back until it is committed. Nothing may be written afterwards.
    pub(crate) fn seal(&mut self) -> Result<(), StorageError> {
        self.object.seal()
    }

    /// Makes the object visible and says what it is.
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
