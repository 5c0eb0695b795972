//! A folder as a storage: keys are paths below it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::storage::blocking::unblock;
use crate::storage::checksum::Checksum;
use crate::storage::file_system::{FileSystem, NewFile};
use crate::storage::flush::Flush;
use crate::storage::folder_listing::{etag, is_missing, list_folder, list_level, printable};
use crate::storage::operating_system::OperatingSystem;
use crate::storage::regular_file::{NotOpened, open_regular};
use crate::storage::write_group::{WriteGroup, WriteRecords};
use crate::storage::{
    CreateObject, LevelPage, ListObjects, ListPage, OpenObject, Precondition, Problem, Record,
    Records, StagedObject, StorageError, StorageOperation, Written,
};

/// More than most records have, in bytes.
const RECORD_BYTES_USUAL: u64 = 1024 * 1024;

/// A storage in a folder of the local file system.
///
/// What is written is first written to the staging folder and then renamed into place, so the staging folder must
/// be on the same file system. Only one process at a time may write records conditionally.
///
/// A record is durable when the call that writes it returns, and never before what was committed earlier. Where
/// everything on a file system can be flushed at once, objects wait for the next record.
///
/// Its asynchronous functions do their work on threads that may block. [`CreateObject`] and the readers
/// that [`OpenObject`] gives block where they are called, as their traits say: the pipeline calls them
/// from one thread for a whole object.
#[derive(Debug)]
pub struct LocalFolder {
    folder: Arc<Folder>,
    group: Arc<WriteGroup<GroupedRecord>>,
}

/// The same, with functions that block.
#[derive(Debug)]
struct Folder {
    root: PathBuf,
    staging: PathBuf,
    files: Arc<dyn FileSystem>,
    flush: Flush,
    staged: AtomicU64,
    has_staging: AtomicBool,
    /// Held between comparing a record and replacing it.
    replacing: Mutex<()>,
}

impl LocalFolder {
    /// A storage in `root`, which stages what it writes in `staging`. Creates neither.
    pub fn new(root: impl Into<PathBuf>, staging: impl Into<PathBuf>) -> Self {
        Self::with_files(root, staging, Arc::new(OperatingSystem))
    }

    /// As [`new`](Self::new), writing through `files`.
    pub fn with_files(
        root: impl Into<PathBuf>,
        staging: impl Into<PathBuf>,
        files: Arc<dyn FileSystem>,
    ) -> Self {
        let folder = Folder {
            root: root.into(),
            staging: staging.into(),
            flush: Flush::new(Arc::clone(&files)),
            files,
            staged: AtomicU64::new(0),
            has_staging: AtomicBool::new(false),
            replacing: Mutex::new(()),
        };
        Self {
            folder: Arc::new(folder),
            group: Arc::default(),
        }
    }

    /// Calls `work` where it may block.
    async fn unblock<T: Send + 'static>(
        &self,
        operation: StorageOperation,
        key: &str,
        work: impl FnOnce(&Arc<Folder>, &str) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (folder, owned) = (Arc::clone(&self.folder), key.to_owned());
        unblock(operation, key, move || work(&folder, &owned)).await
    }
}

#[async_trait]
impl ListObjects for LocalFolder {
    fn is_local(&self) -> bool {
        true
    }

    /// The whole listing in one page: a folder can't be listed from a cursor on.
    async fn list_page(&self, prefix: &str, _next: Option<&str>) -> Result<ListPage, StorageError> {
        self.unblock(StorageOperation::List, prefix, |folder, prefix| {
            folder.list_page(prefix)
        })
        .await
    }

    async fn list_level(
        &self,
        prefix: &str,
        _next: Option<&str>,
    ) -> Result<LevelPage, StorageError> {
        self.unblock(StorageOperation::List, prefix, |folder, prefix| {
            folder.list_level(prefix)
        })
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

    fn open_here(&self, key: &str, etag: &str) -> Result<Box<dyn Read + Send>, StorageError> {
        Ok(Box::new(self.folder.open(key, etag)?))
    }
}

#[async_trait]
impl Records for LocalFolder {
    async fn get(&self, key: &str) -> Result<Option<Record>, StorageError> {
        self.unblock(StorageOperation::Read, key, |folder, key| folder.get(key))
            .await
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        self.unblock(StorageOperation::Write, key, move |folder, key| {
            folder.put(key, &bytes, None).map(drop)
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
            folder.put(key, &bytes, Some(&precondition))
        })
        .await
    }

    async fn put_together(
        &self,
        key: &str,
        bytes: Vec<u8>,
        precondition: Precondition,
    ) -> Result<Written, StorageError> {
        if !self.folder.flush.is_known_to_be_shared() {
            return self.put_if(key, bytes, precondition).await;
        }
        let record = GroupedRecord {
            key: key.to_owned(),
            bytes,
            precondition,
        };
        self.group.write(&self.folder, key, record).await
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.unblock(StorageOperation::Remove, key, |folder, key| {
            folder.delete(key)
        })
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

    fn stage(self: &Arc<Self>, key: &str) -> Result<StagedPath, StorageError> {
        let target = self.path(StorageOperation::Write, key)?;
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        if !self.has_staging.load(Ordering::Relaxed) {
            create_folders(&*self.files, &self.staging)
                .map_err(|error| storage_error(StorageOperation::Write, key, error))?;
            self.has_staging.store(true, Ordering::Relaxed);
        }
        let name = format!("{}-{number}", std::process::id());
        Ok(StagedPath {
            path: self.staging.join(name),
            target,
            key: key.to_owned(),
            folder: Arc::clone(self),
            is_there: true,
        })
    }

    fn stage_record(self: &Arc<Self>, key: &str, bytes: &[u8]) -> Result<StagedPath, StorageError> {
        let staged = self.stage(key)?;
        let write = || {
            let mut file = self.files.create(&staged.path)?;
            file.write_all(bytes)?;
            file.finish()
        };
        write().map_err(|error| storage_error(StorageOperation::Write, key, error))?;
        Ok(staged)
    }

    /// Whether all that is written waits for a flush of everything, and is not flushed by itself.
    fn is_flushed_together(&self) -> io::Result<bool> {
        self.flush.is_shared(&self.staging)
    }

    /// Makes durable what was committed before.
    fn flush_committed(&self, key: &str) -> Result<(), StorageError> {
        self.flush
            .flush_deferred()
            .map_err(|error| storage_error(StorageOperation::Write, key, error))
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
        let (file, metadata) = open_regular(&path).map_err(|error| {
            let hint = "put a regular file in its place and start a new run, or remove it";
            not_opened(key, error, hint)
        })?;
        let object = OpenFile {
            file,
            key: key.to_owned(),
            etag: etag.to_owned(),
        };
        object.check(&metadata)?;
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
        self.check(&metadata)
    }

    fn check(&self, metadata: &Metadata) -> Result<(), StorageError> {
        match etag(metadata) == self.etag {
            true => Ok(()),
            false => Err(StorageError::changed(&self.key)),
        }
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
        let (file, length) = match open_regular(&self.path(StorageOperation::Read, key)?) {
            Ok((file, metadata)) => (file, metadata.len()),
            Err(NotOpened::Io(error)) if is_missing(&error) => return Ok(None),
            Err(error) => {
                let hint = "move it away, put back the file that belongs there if you have it, and run the same command again";
                return Err(not_opened(key, error, hint));
            }
        };
        // Only a hint: a file of a terabyte must not be allocated, nor one that grows be cut off.
        let mut bytes = Vec::with_capacity(length.min(RECORD_BYTES_USUAL) as usize + 1);
        file.take(u64::MAX)
            .read_to_end(&mut bytes)
            .map_err(|error| storage_error(StorageOperation::Read, key, error))?;
        let etag = Checksum::of(&bytes);
        Ok(Some(Record { bytes, etag }))
    }

    /// Writes a record by itself. It is durable, and was before it became visible, as is all that was committed before.
    fn put(
        self: &Arc<Self>,
        key: &str,
        bytes: &[u8],
        precondition: Option<&Precondition>,
    ) -> Result<Written, StorageError> {
        let staged = self.stage_record(key, bytes)?;
        self.flush_committed(key)?;
        self.commit_record(staged, precondition, Flushed::ByItself)
    }

    /// Makes the record visible if the precondition holds.
    fn commit_record(
        &self,
        staged: StagedPath,
        precondition: Option<&Precondition>,
        flushed: Flushed,
    ) -> Result<Written, StorageError> {
        let _replacing = matches!(precondition, Some(Precondition::Unchanged(_))).then(|| {
            self.replacing
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        });
        if let Some(Precondition::Unchanged(etag)) = precondition
            && self
                .get(&staged.key)?
                .is_none_or(|record| record.etag != *etag)
        {
            return Ok(Written::PreconditionFailed);
        }
        match precondition {
            Some(Precondition::Absent) => staged.commit_if_absent(flushed),
            None | Some(Precondition::Unchanged(_)) => {
                staged.commit(flushed).map(|()| Written::Yes)
            }
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
        let staged = self.folder.stage(key)?;
        let file = self
            .folder
            .files
            .create(&staged.path)
            .map_err(|error| storage_error(StorageOperation::Write, key, error))?;
        Ok(Box::new(StagedFile {
            file: Some(file),
            staged,
        }))
    }
}

/// A record of a group.
#[derive(Debug)]
struct GroupedRecord {
    key: String,
    bytes: Vec<u8>,
    precondition: Precondition,
}

impl WriteRecords for Arc<Folder> {
    type Record = GroupedRecord;
    type Staged = StagedPath;

    fn flush(&self) -> io::Result<()> {
        self.flush.flush_deferred()
    }

    fn stage(&self, record: &GroupedRecord) -> Result<StagedPath, StorageError> {
        let staged = self.stage_record(&record.key, &record.bytes)?;
        self.flush.defer();
        Ok(staged)
    }

    fn commit(&self, record: &GroupedRecord, staged: StagedPath) -> Result<Written, StorageError> {
        let flushed = staged.together_if_possible()?;
        self.commit_record(staged, Some(&record.precondition), flushed)
    }

    fn flush_error(&self, record: &GroupedRecord, error: &io::Error) -> StorageError {
        let error = io::Error::new(error.kind(), error.to_string());
        storage_error(StorageOperation::Write, &record.key, error)
    }
}

/// A file in the staging folder, removed unless it is committed.
struct StagedPath {
    path: PathBuf,
    target: PathBuf,
    key: String,
    folder: Arc<Folder>,
    is_there: bool,
}

/// How a file becomes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flushed {
    /// Its content before it becomes visible, then its name.
    ByItself,
    /// With everything else, by the next flush.
    Together,
}

impl StagedPath {
    fn together_if_possible(&self) -> Result<Flushed, StorageError> {
        match self.folder.is_flushed_together() {
            Ok(true) => Ok(Flushed::Together),
            Ok(false) => Ok(Flushed::ByItself),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Completes the file under its own name, if it can be done and nothing has that name.
    fn finish_in_place(&mut self, file: &mut dyn NewFile) -> Result<bool, StorageError> {
        let mut finished = file.finish_as(&self.target);
        if matches!(&finished, Err(error) if error.kind() == io::ErrorKind::NotFound)
            && let Some(parent) = self.target.parent()
        {
            create_folders(&*self.folder.files, parent).map_err(|error| self.error(error))?;
            finished = file.finish_as(&self.target);
        }
        match finished {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(self.error(error)),
            Ok(false) => Ok(false),
            Ok(true) => {
                self.is_there = false;
                self.folder.flush.defer();
                Ok(true)
            }
        }
    }

    fn commit(mut self, flushed: Flushed) -> Result<(), StorageError> {
        self.name(flushed, |files, from, to| files.rename(from, to))
    }

    fn commit_if_absent(mut self, flushed: Flushed) -> Result<Written, StorageError> {
        let mut is_taken = false;
        let named = self.name(flushed, |files, from, to| {
            let renamed = files.rename_new(from, to);
            is_taken =
                matches!(&renamed, Err(error) if error.kind() == io::ErrorKind::AlreadyExists);
            renamed
        });
        match named {
            Err(_) if is_taken => Ok(Written::PreconditionFailed),
            named => named.map(|()| Written::Yes),
        }
    }

    fn name(
        &mut self,
        flushed: Flushed,
        rename: impl FnMut(&dyn FileSystem, &Path, &Path) -> io::Result<()>,
    ) -> Result<(), StorageError> {
        let named = self.try_to_name(flushed, rename);
        self.is_there = named.is_err();
        named.map_err(|error| self.error(error))
    }

    fn try_to_name(
        &self,
        flushed: Flushed,
        mut rename: impl FnMut(&dyn FileSystem, &Path, &Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let files = &*self.folder.files;
        let parent = self.target.parent();
        if flushed == Flushed::ByItself {
            files.sync_file(&self.path)?;
        }
        match rename(files, &self.path, &self.target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                parent.map_or(Ok(()), |parent| create_folders(files, parent))?;
                rename(files, &self.path, &self.target)?;
            }
            renamed => renamed?,
        }
        match flushed {
            Flushed::ByItself => parent.map_or(Ok(()), |parent| files.sync_folder(parent)),
            Flushed::Together => {
                self.folder.flush.defer();
                Ok(())
            }
        }
    }

    fn error(&self, error: io::Error) -> StorageError {
        storage_error(StorageOperation::Write, &self.key, error)
    }
}

impl Drop for StagedPath {
    fn drop(&mut self) {
        if self.is_there {
            // What can't be removed is cleared with the staging folder.
            let _ = self.folder.files.remove(&self.path);
        }
    }
}

/// An object that is being written.
struct StagedFile {
    // Dropped, and so closed, before its path is removed; `None` once the file is complete.
    file: Option<Box<dyn NewFile>>,
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
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        file.finish().map_err(|error| self.staged.error(error))
    }

    fn commit(mut self: Box<Self>) -> Result<(), StorageError> {
        let flushed = self.staged.together_if_possible()?;
        if let Some(file) = &mut self.file
            && flushed == Flushed::Together
            && self.staged.finish_in_place(&mut **file)?
        {
            self.file = None;
            return Ok(());
        }
        self.seal()?;
        self.staged.commit(flushed)
    }
}

/// Creates the folder and its parents, each of them durable in its own parent unless everything is flushed at once.
fn create_folders(files: &dyn FileSystem, folder: &Path) -> io::Result<()> {
    match files.create_folder(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_folders(files, folder.parent().ok_or(error)?)?;
            match files.create_folder(folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
                created => created?,
            }
        }
        created => created?,
    }
    match folder.parent() {
        None => Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => files.sync_folder(Path::new(".")),
        Some(parent) => files.sync_folder(parent),
    }
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
