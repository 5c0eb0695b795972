//! The lock of a folder. Without it, processes that write the same records to a local folder would
//! overwrite each other's.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::storage::local_folder::LocalFolder;

/// Most attempts to create a lock file while other processes remove its folder. Each removal is by a
/// process that could not start, so more than a few take as many failing processes.
const LOCK_ATTEMPTS_MAX: u32 = 100;

/// A folder of a [`LocalFolder`] that this process alone writes to, until this is dropped.
///
/// Two processes that write one run's records to a local folder would overwrite each other's: there, a
/// precondition holds between threads of one process only. The storage that this gives stages in the locked
/// folder.
#[derive(Debug)]
pub struct FolderLock {
    root: PathBuf,
    staging: PathBuf,
    // Dropped last, so that nobody else begins while this one still tidies up.
    _lock: File,
}

/// A folder could not be locked.
#[derive(Debug, Error)]
pub enum FolderLockError {
    /// Another process has locked it.
    #[error("another process has locked `{}`", folder.display())]
    Held {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder can't be made or written to.
    #[error("cannot write to the destination `{}`: {source}", root.display())]
    Unwritable {
        /// The storage's folder.
        root: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl FolderLock {
    /// Creates the folder with this key, takes its lock, and clears what an earlier process has staged.
    /// After an error nothing of its own is left, except an empty lock file where the file system does not
    /// support locks.
    ///
    /// # Errors
    ///
    /// See [`FolderLockError`].
    pub fn take(root: &Path, folder: &str) -> Result<Self, FolderLockError> {
        let unwritable = |source: io::Error| FolderLockError::Unwritable {
            root: root.to_owned(),
            source,
        };
        let folder = root.join(folder);
        let mut made = MadeFolders::default();
        let lock = open_lock(&folder, &mut made).map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderLockError::Held { folder }),
            Err(TryLockError::Error(error)) => return Err(unwritable(error)),
        }
        let staging = folder.join("staging");
        // What an earlier process of this run was about to write when it was killed. Only the holder of the
        // lock has files in there.
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritable(error)),
            _ => {}
        }
        made.keep();
        Ok(Self {
            root: root.to_owned(),
            staging,
            _lock: lock,
        })
    }

    /// The storage that the folder belongs to.
    pub fn storage(&self) -> LocalFolder {
        LocalFolder::new(&self.root, &self.staging)
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // The next process of this run clears it if this one can't.
        let _ = fs::remove_dir_all(&self.staging);
    }
}

/// Opens the lock file, and creates it and its folder if they are missing.
///
/// Nobody ever removes a lock file. Another process may have it open by then and take the lock on a
/// file without a name, while a third one makes a new file and takes the lock on that.
fn open_lock(folder: &Path, made: &mut MadeFolders) -> io::Result<File> {
    let mut attempt = 1;
    loop {
        let opened = made.make(folder).and_then(|()| {
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(folder.join("lock"))
        });
        match opened {
            // The process that had created the folder has failed, and removed it between the two steps.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && attempt < LOCK_ATTEMPTS_MAX =>
            {
                attempt += 1;
            }
            opened => return opened,
        }
    }
}

/// The folders that this process, and no other, has created. Removed unless they are kept or not empty:
/// another process may have found them and written to them meanwhile.
#[derive(Debug, Default)]
struct MadeFolders(Vec<PathBuf>);

impl MadeFolders {
    /// Creates the folder and its parents.
    fn make(&mut self, folder: &Path) -> io::Result<()> {
        match self.make_one(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make(folder.parent().ok_or(error)?)?;
                self.make_one(folder)
            }
            ended => ended,
        }
    }

    fn make_one(&mut self, folder: &Path) -> io::Result<()> {
        match fs::create_dir(folder) {
            Ok(()) => {
                self.0.push(folder.to_owned());
                Ok(())
            }
            // If it was removed since then, it must be created again.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                match fs::symlink_metadata(folder)?.is_dir() || folder.is_dir() {
                    true => Ok(()),
                    false => Err(error),
                }
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound && folder.is_dir() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            // Fails if the folder is not empty: what it holds belongs to another process.
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn only_folders_that_this_process_made_and_that_are_empty_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("theirs")).unwrap();
        let mut made = MadeFolders::default();
        for name in ["theirs/a/b", "mine/c/d", "mine/e"] {
            made.make(&path(name)).unwrap();
            made.make(&path(name)).unwrap();
        }
        // What other processes do meanwhile.
        fs::write(path("mine/c/file"), "theirs").unwrap();
        fs::create_dir(path("mine/empty")).unwrap();
        drop(made);
        let left = ["theirs", "mine", "mine/c", "mine/c/file", "mine/empty"];
        let gone = ["theirs/a", "mine/c/d", "mine/e"];
        for (names, is_there) in [(&left[..], true), (&gone, false)] {
            for name in names {
                assert_eq!(path(name).exists(), is_there, "{name}");
            }
        }
    }

    #[test]
    fn a_process_that_is_refused_late_removes_nothing_of_what_came_meanwhile() {
        let root = tempfile::tempdir().unwrap();
        let destination = root.path().join("out");
        let folder = destination.join("_recovery/x");
        // Paused after it has created the folders, while others carry out runs in them.
        let mut late = MadeFolders::default();
        late.make(&folder).unwrap();
        let first = FolderLock::take(&destination, "_recovery/x").unwrap();
        let other = FolderLock::take(&destination, "_recovery/y").unwrap();
        drop(other);
        fs::create_dir_all(destination.join("execution_id=y")).unwrap();
        fs::write(destination.join("execution_id=y/_SUCCESS"), "").unwrap();
        fs::create_dir(folder.join("staging")).unwrap();
        fs::write(folder.join("staging/1-1"), "half").unwrap();
        assert!(open_lock(&folder, &mut late).unwrap().try_lock().is_err());
        drop(late);
        assert!(FolderLock::take(&destination, "_recovery/x").is_err());
        for name in [
            "execution_id=y/_SUCCESS",
            "_recovery/y/lock",
            "_recovery/x/staging/1-1",
        ] {
            assert!(destination.join(name).exists(), "{name}");
        }
        drop(first);
        FolderLock::take(&destination, "_recovery/x").unwrap();
        assert!(!folder.join("staging").exists());
    }

    #[test]
    fn a_folder_that_another_process_takes_away_again_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("out/_recovery/x");
        let is_over = AtomicBool::new(false);
        let failed: Vec<io::Error> = std::thread::scope(|scope| {
            // A process that creates the folders, fails and removes them, over and over.
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let _ = MadeFolders::default().make(&folder);
                }
            });
            let failed = (0..200).filter_map(|_| {
                let mut made = MadeFolders::default();
                let ended = open_lock(&folder, &mut made)
                    .and_then(|_| fs::remove_file(folder.join("lock")));
                ended.err()
            });
            let failed = failed.collect();
            is_over.store(true, Ordering::Relaxed);
            failed
        });
        assert!(failed.is_empty(), "{failed:?}");
    }
}
