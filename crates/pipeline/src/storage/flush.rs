//! Makes durable what a folder's storage has written: each file by itself, or everything at once.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::storage::file_system::{FileSystem, WholeFileSystem};

/// What has been written to one folder, and what of it is durable.
#[derive(Debug)]
pub(crate) struct Flush {
    files: Arc<dyn FileSystem>,
    /// `None` where each file must be flushed by itself.
    whole: OnceLock<Option<Box<dyn WholeFileSystem>>>,
    /// Counts what was written and not flushed by itself.
    deferred: AtomicU64,
    /// How much of that is durable. Held during a flush.
    flushed: Mutex<u64>,
}

impl Flush {
    pub(crate) fn new(files: Arc<dyn FileSystem>) -> Self {
        Self {
            files,
            whole: OnceLock::new(),
            deferred: AtomicU64::new(0),
            flushed: Mutex::new(0),
        }
    }

    /// Whether everything that is written below the folder, which must exist, can be flushed at once.
    pub(crate) fn is_shared(&self, folder: &Path) -> io::Result<bool> {
        if self.whole.get().is_none() {
            // If another thread does the same, one of the two is kept.
            let _ = self.whole.set(self.files.open_whole(folder)?);
        }
        Ok(self.is_known_to_be_shared())
    }

    /// As [`is_shared`](Self::is_shared), if that was found out before.
    pub(crate) fn is_known_to_be_shared(&self) -> bool {
        self.whole.get().is_some_and(Option::is_some)
    }

    /// Something was written that waits for [`flush_deferred`](Self::flush_deferred).
    pub(crate) fn defer(&self) {
        self.deferred.fetch_add(1, Ordering::SeqCst);
    }

    /// Makes durable what was deferred before this call.
    pub(crate) fn flush_deferred(&self) -> io::Result<()> {
        let mut flushed = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        let deferred = self.deferred.load(Ordering::SeqCst);
        if *flushed == deferred {
            return Ok(());
        }
        if let Some(Some(whole)) = self.whole.get() {
            whole.sync()?;
        }
        *flushed = deferred;
        Ok(())
    }
}
