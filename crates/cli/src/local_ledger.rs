//! The folders of a run on this machine: checked before anything is written, and locked.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Component, Path, PathBuf};

use event_recovery_pipeline::{ExecutionId, Ledger, LocalFolder};

use crate::failure::Failure;

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
        match fs::canonicalize(existing) {
            Ok(resolved) if rest.is_empty() || resolved.is_dir() => {
                if !resolved.is_dir() {
                    return Err(io::Error::from(io::ErrorKind::NotADirectory));
                }
                return Ok(rest
                    .into_iter()
                    .rev()
                    .fold(resolved, |path, name| path.join(name)));
            }
            Ok(_) => return Err(io::Error::from(io::ErrorKind::NotADirectory)),
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
    _lock: File,
}

impl LocalLedger {
    /// Makes the folder and takes the lock, or leaves nothing behind.
    pub(crate) fn lock(destination: &Path, execution_id: &ExecutionId) -> Result<Self, Failure> {
        let folder = destination.join(Ledger::new(execution_id.clone()).folder());
        let made = first_missing(&folder);
        Self::try_lock(destination, &folder, execution_id).inspect_err(|_| {
            if let Some(made) = made {
                // What could not be made need not be removed.
                let _ = fs::remove_dir_all(made);
            }
        })
    }

    fn try_lock(
        destination: &Path,
        folder: &Path,
        execution_id: &ExecutionId,
    ) -> Result<Self, Failure> {
        let unwritable = |error: io::Error| {
            let destination = destination.display();
            Failure::could_not_run(format!(
                "cannot write to the destination `{destination}`: {error}"
            ))
            .hint("`--destination` takes a folder that you may write to")
        };
        fs::create_dir_all(folder).map_err(unwritable)?;
        let lock = File::create(folder.join("lock")).map_err(unwritable)?;
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
        // What an earlier process of this run was about to write when it was killed.
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritable(error)),
            _ => {}
        }
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

/// The outermost folder of the path that does not exist.
fn first_missing(path: &Path) -> Option<PathBuf> {
    path.ancestors()
        .take_while(|ancestor| !ancestor.exists())
        .last()
        .map(Path::to_owned)
}
