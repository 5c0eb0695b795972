//! The folders of a run on this machine: checked before anything is written, and locked.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Component, Path, PathBuf};

use event_recovery_pipeline::{ExecutionId, Ledger, LocalFolder};

use crate::failure::Failure;

/// How often a lock file is tried to be made whose folder others take away again. Each time costs
/// one of them its own start, so more than a few need as many processes that all fail.
const LOCK_ATTEMPTS_MAX: u32 = 100;

/// The source folder, absolute.
pub(crate) fn check_source(source: &Path) -> Result<PathBuf, Failure> {
    let hint = "`--source` takes the folder that holds `main_stream`";
    let unusable = |problem: String| {
        Failure::could_not_run(format!(
            "cannot read the source `{}`: {problem}",
            source.display()
        ))
        .hint(hint)
    };
    let absolute = fs::canonicalize(source).map_err(|error| unusable(error.to_string()))?;
    fs::read_dir(&absolute).map_err(|error| unusable(error.to_string()))?;
    Ok(absolute)
}

/// The destination folder, absolute, which need not exist but must not lie in the source.
pub(crate) fn check_destination(
    destination: &Path,
    source: Option<&Path>,
) -> Result<PathBuf, Failure> {
    let absolute = resolve(destination).map_err(|error| {
        Failure::could_not_run(format!(
            "cannot use the destination `{}`: {error}",
            destination.display()
        ))
        .hint("`--destination` takes a folder, or a path where one can be made")
    })?;
    if let Some(source) = source.filter(|source| absolute.starts_with(source)) {
        return Err(Failure::usage(format!(
            "the destination `{}` lies inside of the source `{}`",
            destination.display(),
            source.display()
        ))
        .hint("choose a destination outside of the backup, which stays as it is"));
    }
    Ok(absolute)
}

/// The absolute path without links in the part of it that exists.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    if absolute
        .components()
        .any(|component| component == Component::ParentDir)
    {
        // Only what exists can be resolved past a `..`.
        return fs::canonicalize(&absolute);
    }
    let mut existing = absolute.as_path();
    let mut rest = Vec::new();
    loop {
        let resolved = fs::canonicalize(existing).and_then(|resolved| {
            let is_folder = fs::metadata(&resolved)?.is_dir();
            Ok((resolved, is_folder))
        });
        match resolved {
            Ok((resolved, true)) => {
                return Ok(rest
                    .into_iter()
                    .rev()
                    .fold(resolved, |path, name| path.join(name)));
            }
            Ok((_, false)) => return Err(io::Error::from(io::ErrorKind::NotADirectory)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        };
        rest.push(name);
        existing = parent;
    }
}

/// The ledger's folder, held by this process alone.
pub(crate) struct LocalLedger {
    destination: PathBuf,
    staging: PathBuf,
    // Dropped last, so that nobody else begins while this one still tidies up.
    _lock: File,
}

impl LocalLedger {
    /// Makes the folder and takes the lock, or leaves nothing of its own behind but, where the file
    /// system knows no locks, an empty lock file.
    pub(crate) fn lock(destination: &Path, execution_id: &ExecutionId) -> Result<Self, Failure> {
        let unwritable = |error: io::Error| {
            let destination = destination.display();
            Failure::could_not_run(format!(
                "cannot write to the destination `{destination}`: {error}"
            ))
            .hint("`--destination` takes a folder that you may write to")
        };
        let folder = destination.join(Ledger::new(execution_id.clone()).folder());
        let mut made = MadeFolders::default();
        let lock = open_lock(&folder, &mut made).map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::could_not_run(format!(
                    "another process is carrying out the run `{execution_id}`"
                ))
                .hint("wait for it, or choose another `--execution-id`"));
            }
            Err(TryLockError::Error(error)) => return Err(unwritable(error)),
        }
        let staging = folder.join("staging");
        // What an earlier process of this run was about to write when it was killed. Only who holds
        // the lock has anything in there.
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritable(error)),
            _ => {}
        }
        made.keep();
        Ok(Self {
            destination: destination.to_owned(),
            staging,
            _lock: lock,
        })
    }

    pub(crate) fn storage(&self) -> LocalFolder {
        LocalFolder::new(&self.destination, &self.staging)
    }
}

impl Drop for LocalLedger {
    fn drop(&mut self) {
        // The next process of this run clears it if this one can't.
        let _ = fs::remove_dir_all(&self.staging);
    }
}

/// Opens the lock file, and makes it and its folder if they are not there.
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
            // Who had made the folder could not go on, and took it away between the two steps.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && attempt < LOCK_ATTEMPTS_MAX =>
            {
                attempt += 1;
            }
            opened => return opened,
        }
    }
}

/// The folders that this process, and no other, has made. Removed unless they are kept, as far as
/// they are empty: another process may have found them and written to them meanwhile.
#[derive(Debug, Default)]
struct MadeFolders(Vec<PathBuf>);

impl MadeFolders {
    /// Makes the folder and those that it lies in.
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
            // Where it has gone since, it is to be made again.
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
            // Fails where there is something in it, which is somebody's.
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn id(text: &str) -> ExecutionId {
        ExecutionId::parse(text).unwrap()
    }

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
        // Held up after it has made the folders, while others carry runs out in them.
        let mut late = MadeFolders::default();
        late.make(&folder).unwrap();
        let first = LocalLedger::lock(&destination, &id("x")).unwrap();
        let other = LocalLedger::lock(&destination, &id("y")).unwrap();
        drop(other);
        fs::create_dir_all(destination.join("execution_id=y")).unwrap();
        fs::write(destination.join("execution_id=y/_SUCCESS"), "").unwrap();
        fs::create_dir(folder.join("staging")).unwrap();
        fs::write(folder.join("staging/1-1"), "half").unwrap();
        assert!(open_lock(&folder, &mut late).unwrap().try_lock().is_err());
        drop(late);
        assert!(LocalLedger::lock(&destination, &id("x")).is_err());
        for name in [
            "execution_id=y/_SUCCESS",
            "_recovery/y/lock",
            "_recovery/x/staging/1-1",
        ] {
            assert!(destination.join(name).exists(), "{name}");
        }
        drop(first);
        LocalLedger::lock(&destination, &id("x")).unwrap();
        assert!(!folder.join("staging").exists());
    }

    #[test]
    fn a_folder_that_another_process_takes_away_again_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("out/_recovery/x");
        let is_over = AtomicBool::new(false);
        let failed: Vec<io::Error> = std::thread::scope(|scope| {
            // One that makes the folders, can't go on and takes them away, over and over.
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
