//! A folder as a storage: keys are paths below it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::storage::blocking::unblock;
use crate::storage::checksum::Checksum;
use crate::storage::direct_file::DirectFile;
use crate::storage::folder_listing::{etag, is_missing, list_folder, list_level, printable};
use crate::storage::regular_file::{NotOpened, open_regular};
use crate::storage::{
    CreateObject, LevelPage, ListObjects, ListPage, OpenObject, Precondition, Problem, Record,
    Records, StagedObject, StorageError, StorageOperation, Written,
};

/// A storage in a folder of the local file system.
///
/// What is written is first written to the staging folder, synced, and then renamed into place, so the
/// staging folder must be on the same file system. Only one process at a time may write records
/// conditionally.
///
/// Its asynchronous functions do their work on threads that may block. [`CreateObject`] and the readers
/// that [`OpenObject`] gives block where they are called, as their traits say: the pipeline calls them
/// from one thread for a whole object.
#[derive(Debug)]
pub struct LocalFolder(Arc<Folder>);

/// The same, with functions that block.
#[derive(Debug)]
struct Folder {
    root: PathBuf,
    staging: PathBuf,
    staged: AtomicU64,
    /// Held between comparing a record and replacing it.
    replacing: Mutex<()>,
}

impl LocalFolder {
    /// A storage in `root`, which stages what it writes in `staging`. Creates neither.
    pub fn new(root: impl Into<PathBuf>, staging: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Folder {
            root: root.into(),
            staging: staging.into(),
            staged: AtomicU64::new(0),
            replacing: Mutex::new(()),
        }))
    }

    /// Calls `work` where it may block.
    async fn unblock<T: Send + 'static>(
        &self,
        operation: StorageOperation,
        key: &str,
        work: impl FnOnce(&Folder, &str) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (folder, owned) = (Arc::clone(&self.0), key.to_owned());
        unblock(operation, key, move || work(&folder, &owned)).await
    }
}

#[async_trait]
impl ListObjects for LocalFolder {
    /// The whole listing in one page: a folder can't be listed from a cursor on.
    async fn list_page(&self, prefix: &str, _next: Option<&str>) -> Result<ListPage, StorageError> {
        self.unblock(StorageOperation::List, prefix, Folder::list_page)
            .await
    }

    async fn list_level(
        &self,
        prefix: &str,
        _next: Option<&str>,
    ) -> Result<LevelPage, StorageError> {
        self.unblock(StorageOperation::List, prefix, Folder::list_level)
            .await
    }
}

#[async_trait]
impl OpenObject for LocalFolder {
    async fn open(&self, key: &str, etag: &str) -> Result<Box<dyn Read + Send>, StorageError> {
        let etag = etag.to_owned();
        let opened = self.unblock(StorageOperation::Read, key, move |folder, key| {
            folder.open(key, &etag)
        });
        Ok(Box::new(opened.await?))
    }
}

#[async_trait]
impl Records for LocalFolder {
    async fn get(&self, key: &str) -> Result<Option<Record>, StorageError> {
        self.unblock(StorageOperation::Read, key, Folder::get).await
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        self.unblock(StorageOperation::Write, key, move |folder, key| {
            folder.stage_record(key, &bytes)?.commit()
        })
        .await
    }

    async fn put_if(
        &self,
        key: &str,
        bytes: Vec<u8>,
        precondition: Precondition,
    ) -> Result<Written, StorageError> {
        self.unblock(StorageOperation::Write, key, move |folder, key| {
            folder.put_if(key, &bytes, precondition)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.unblock(StorageOperation::Remove, key, Folder::delete)
            .await
    }
}

impl Folder {
    fn path(&self, operation: StorageOperation, key: &str) -> Result<PathBuf, StorageError> {
        // On Windows a backslash separates folders too.
        let is_unsafe =
            |part: &str| matches!(part, "" | "." | "..") || (cfg!(windows) && part.contains('\\'));
        if key.split('/').any(is_unsafe) {
            let problem = Problem::Permanent("it is not a plain relative path".to_owned());
            return Err(StorageError::new(operation, key, problem));
        }
        Ok(self.root.join(key))
    }

    /// The deepest folder that contains every key with the prefix.
    fn folder_of(&self, prefix: &str) -> Result<PathBuf, StorageError> {
        match prefix.rsplit_once('/') {
            Some((folder, _)) => self.path(StorageOperation::List, folder),
            None => Ok(self.root.clone()),
        }
    }

    fn stage(&self, key: &str) -> Result<StagedPath, StorageError> {
        let target = self.path(StorageOperation::Write, key)?;
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        fs::create_dir_all(&self.staging)
            .map_err(|error| storage_error(StorageOperation::Write, key, error))?;
        Ok(StagedPath {
            path: self.staging.join(name),
            target,
            key: key.to_owned(),
        })
    }

    fn stage_record(&self, key: &str, bytes: &[u8]) -> Result<StagedPath, StorageError> {
        let staged = self.stage(key)?;
        let write = || {
            let mut file = File::create_new(&staged.path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|error| storage_error(StorageOperation::Write, key, error))?;
        Ok(staged)
    }

    fn list_page(&self, prefix: &str) -> Result<ListPage, StorageError> {
        let folder = self.folder_of(prefix)?;
        // What is staged is not there yet.
        let mut page = list_folder(&self.root, &folder, &self.staging)
            .map_err(|error| storage_error(StorageOperation::List, prefix, error))?;
        page.objects.retain(|object| object.key.starts_with(prefix));
        page.objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let prefix = printable(Path::new(prefix));
        page.unreadable
            .retain(|entry| entry.name.starts_with(&prefix));
        page.unreadable.sort_unstable();
        Ok(page)
    }

    fn list_level(&self, prefix: &str) -> Result<LevelPage, StorageError> {
        let folder = self.folder_of(prefix)?;
        let mut page = list_level(&self.root, &folder, &self.staging)
            .map_err(|error| storage_error(StorageOperation::List, prefix, error))?;
        page.objects.retain(|object| object.key.starts_with(prefix));
        page.objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        page.folders.retain(|folder| folder.starts_with(prefix));
        page.folders.sort_unstable();
        let prefix = printable(Path::new(prefix));
        page.unreadable
            .retain(|entry| entry.name.starts_with(&prefix));
        page.unreadable.sort_unstable();
        Ok(page)
    }

    fn open(&self, key: &str, etag: &str) -> Result<OpenFile, StorageError> {
        let path = self.path(StorageOperation::Read, key)?;
        let (file, _) = open_regular(&path).map_err(|error| {
            let hint = "put a regular file in its place and start a new run, or remove it";
            not_opened(key, error, hint)
        })?;
        let object = OpenFile {
            file,
            key: key.to_owned(),
            etag: etag.to_owned(),
        };
        object.check_unchanged()?;
        Ok(object)
    }
}

/// A file that must not change while it is read.
struct OpenFile {
    file: File,
    key: String,
    etag: String,
}

impl OpenFile {
    fn check_unchanged(&self) -> Result<(), StorageError> {
        let metadata = self
            .file
            .metadata()
            .map_err(|error| storage_error(StorageOperation::Read, &self.key, error))?;
        if etag(&metadata) == self.etag {
            return Ok(());
        }
        Err(StorageError::changed(&self.key))
    }
}

impl Read for OpenFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer).map_err(|error| {
            io::Error::other(storage_error(StorageOperation::Read, &self.key, error))
        })?;
        if length == 0 && !buffer.is_empty() {
            self.check_unchanged().map_err(io::Error::other)?;
        }
        Ok(length)
    }
}

impl Folder {
    fn get(&self, key: &str) -> Result<Option<Record>, StorageError> {
        let mut file = match open_regular(&self.path(StorageOperation::Read, key)?) {
            Ok((file, _)) => file,
            Err(NotOpened::Io(error)) if is_missing(&error) => return Ok(None),
            Err(error) => {
                let hint = "move it away, put back the file that belongs there if you have it, and run the same command again";
                return Err(not_opened(key, error, hint));
            }
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|error| storage_error(StorageOperation::Read, key, error))?;
        let etag = Checksum::of(&bytes);
        Ok(Some(Record { bytes, etag }))
    }

    fn put_if(
        &self,
        key: &str,
        bytes: &[u8],
        precondition: Precondition,
    ) -> Result<Written, StorageError> {
        let _replacing = matches!(precondition, Precondition::Unchanged(_)).then(|| {
            self.replacing
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        });
        if let Precondition::Unchanged(etag) = &precondition
            && self.get(key)?.is_none_or(|record| record.etag != *etag)
        {
            return Ok(Written::PreconditionFailed);
        }
        let staged = self.stage_record(key, bytes)?;
        match precondition {
            Precondition::Absent => staged.commit_if_absent(),
            Precondition::Unchanged(_) => staged.commit().map(|()| Written::Yes),
        }
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        match fs::remove_file(self.path(StorageOperation::Remove, key)?) {
            Err(error) if !is_missing(&error) => {
                Err(storage_error(StorageOperation::Remove, key, error))
            }
            _ => Ok(()),
        }
    }
}

impl CreateObject for LocalFolder {
    fn create(&self, key: &str) -> Result<Box<dyn StagedObject>, StorageError> {
        let staged = self.0.stage(key)?;
        let file = DirectFile::create(&staged.path)
            .map_err(|error| storage_error(StorageOperation::Write, key, error))?;
        Ok(Box::new(StagedFile {
            file: Some(file),
            staged,
        }))
    }
}

/// A file in the staging folder, removed unless it is committed.
struct StagedPath {
    path: PathBuf,
    target: PathBuf,
    key: String,
}

impl StagedPath {
    fn commit(self) -> Result<(), StorageError> {
        let rename = || {
            self.create_target_folder()?;
            fs::rename(&self.path, &self.target)?;
            sync_folder_of(&self.target)
        };
        rename().map_err(|error| self.error(error))
    }

    fn commit_if_absent(self) -> Result<Written, StorageError> {
        let link = || {
            self.create_target_folder()?;
            fs::hard_link(&self.path, &self.target)?;
            sync_folder_of(&self.target)
        };
        match link() {
            Ok(()) => Ok(Written::Yes),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(Written::PreconditionFailed)
            }
            Err(error) => Err(self.error(error)),
        }
    }

    fn create_target_folder(&self) -> io::Result<()> {
        self.target.parent().map_or(Ok(()), fs::create_dir_all)
    }

    fn error(&self, error: io::Error) -> StorageError {
        storage_error(StorageOperation::Write, &self.key, error)
    }
}

impl Drop for StagedPath {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove, and what can't be removed is cleared with
        // the staging folder.
        let _ = fs::remove_file(&self.path);
    }
}

/// An object that is being written.
struct StagedFile {
    // Dropped, and so closed, before its path is removed; `None` once the file is synced.
    file: Option<DirectFile>,
    staged: StagedPath,
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::Error::other("written to after it was sealed")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl StagedObject for StagedFile {
    fn seal(&mut self) -> Result<(), StorageError> {
        let synced = self.file.take().map_or(Ok(()), DirectFile::sync);
        synced.map_err(|error| self.staged.error(error))
    }

    fn commit(mut self: Box<Self>) -> Result<(), StorageError> {
        self.seal()?;
        self.staged.commit()
    }
}

/// A rename survives a crash only once the folder that holds the name is synced.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// The error of a file that can't be opened; the hint is for entries that are not regular files.
fn not_opened(key: &str, error: NotOpened, hint: &str) -> StorageError {
    match error {
        NotOpened::Io(error) => storage_error(StorageOperation::Read, key, error),
        NotOpened::Irregular(what) => {
            let problem = Problem::Permanent(format!("not a regular file (it is {what})"));
            StorageError::new(StorageOperation::Read, key, problem).with_hint(hint)
        }
    }
}

/// The one place that decides which errors of the file system are worth a retry.
fn storage_error(operation: StorageOperation, key: &str, error: io::Error) -> StorageError {
    use io::ErrorKind as Kind;
    let (problem, hint) = match error.kind() {
        Kind::NotFound => (Problem::Gone, None),
        Kind::PermissionDenied => (
            Problem::AccessDenied(error.to_string()),
            Some("give the user who runs this the permission"),
        ),
        Kind::Interrupted | Kind::TimedOut | Kind::WouldBlock | Kind::ResourceBusy => {
            (Problem::Transient(error.to_string()), None)
        }
        Kind::StorageFull | Kind::QuotaExceeded => (
            Problem::Permanent(error.to_string()),
            Some("make room at the destination and run the same command again"),
        ),
        _ => (Problem::Permanent(error.to_string()), None),
    };
    let failed = StorageError::new(operation, key, problem).caused_by(error);
    match hint {
        Some(hint) => failed.with_hint(hint),
        None => failed,
    }
}
