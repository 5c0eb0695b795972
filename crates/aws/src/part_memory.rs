//! Memory for the parts of uploads.

use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a part. S3 takes parts from 5 MiB on and at most 10,000 of them ("Amazon S3 multipart
/// upload limits" in its user guide), so this is enough for objects up to 78 GiB.
pub(crate) const PART_BYTES: usize = 8 * 1024 * 1024;

/// Parts that stay allocated between uploads: as many as a worker writes at a time, unless its objects
/// hold events of many days.
const SPARE_PARTS_MAX: usize = 8;

/// Memory for parts that no upload needs at the moment. Asking the system for it for every object would
/// cost more than filling it.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartMemory(Arc<Mutex<Vec<Vec<u8>>>>);

impl PartMemory {
    pub(crate) fn take(&self) -> Vec<u8> {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Vec::with_capacity(PART_BYTES))
    }

    pub(crate) fn give_back(&self, mut part: Vec<u8>) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // After a failure it may be lost, or not large enough.
        if part.capacity() >= PART_BYTES && spare.len() < SPARE_PARTS_MAX {
            part.clear();
            spare.push(part);
        }
    }
}
