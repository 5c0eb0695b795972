//! An output that is counted and checksummed while it is written.

use std::io::{self, Write};

use crate::ledger::receipt::Output;
use crate::storage::checksum::Checksum;
use crate::storage::{
    CreateObject, Problem, StagedObject, StorageError, StorageOperation, Written,
};

/// Whether an output may take the place of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replace {
    /// Whoever wrote the other one has no receipt that says done.
    Yes,
    /// Nobody has looked whether there is such a receipt.
    No,
}

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

    pub(crate) fn key(&self) -> &str {
        &self.key
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

    /// Makes the object visible, and returns its entry for the receipt. If it may not replace the one that is
    /// there, it fails with a transient error, and the next delivery reads the receipt first.
    pub(crate) fn commit(self, replace: Replace) -> Result<Output, StorageError> {
        match replace {
            Replace::Yes => self.object.commit()?,
            Replace::No => {
                if self.object.commit_first()? == Written::PreconditionFailed {
                    let problem = "another attempt at the task has written it";
                    let problem = Problem::Transient(problem.to_owned());
                    return Err(StorageError::new(
                        StorageOperation::Write,
                        self.key,
                        problem,
                    ));
                }
            }
        }
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
