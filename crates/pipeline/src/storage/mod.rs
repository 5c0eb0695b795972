//! What the pipeline asks of a storage, one small trait for each capability.

pub(crate) mod blocking;
pub(crate) mod checksum;
pub(crate) mod direct_file;
pub(crate) mod error;
pub(crate) mod file_system;
pub(crate) mod flush;
pub(crate) mod folder_listing;
pub(crate) mod folder_lock;
pub(crate) mod listing;
pub(crate) mod local_folder;
pub(crate) mod operating_system;
pub(crate) mod regular_file;
pub(crate) mod work_threads;
pub(crate) mod write_group;

use std::io::{Read, Write};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

pub use error::{Circumstances, Problem, RequestId, StorageError, StorageOperation, Subject};

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedObject {
    /// The full key.
    pub key: String,
    /// Size in bytes, as stored.
    pub size: u64,
    /// Changes whenever the object's content does.
    pub etag: String,
    /// When it was written.
    pub last_modified: DateTime<Utc>,
}

/// Part of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    /// The objects, in ascending order of their keys' bytes.
    pub objects: Vec<ListedObject>,
    /// Entries that can't be objects, in any order. Nobody can open them, so the caller must report that
    /// they were left out.
    pub unreadable: Vec<UnreadableEntry>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<String>,
}

/// Something under a prefix that no key can name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnreadableEntry {
    /// Where it is, as a key would say it, with the bytes that no key can hold written as `\xFF`. It is
    /// printable, and not a key.
    pub name: String,
    /// Why it can't be an object.
    pub reason: String,
}

/// A small object, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its content.
    pub bytes: Vec<u8>,
    /// What [`Precondition::Unchanged`] takes.
    pub etag: String,
}

/// The condition of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// There is no record with the key.
    Absent,
    /// The record with the key still has this etag.
    Unchanged(String),
}

/// The result of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was written.
    Yes,
    /// The precondition did not hold; nothing was written.
    PreconditionFailed,
}

/// Part of a listing with the slash as its delimiter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LevelPage {
    /// The objects whose keys have no slash after the prefix.
    pub objects: Vec<ListedObject>,
    /// The common prefixes of all others, each up to and including the first slash after the prefix.
    pub folders: Vec<String>,
    /// Entries directly under the prefix that can't be objects, as in [`ListPage::unreadable`].
    pub unreadable: Vec<UnreadableEntry>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<String>,
}

/// Lists objects.
#[async_trait]
pub trait ListObjects: Send + Sync {
    /// Whether the storage is part of this machine, so that a small object is read or written in less time than it takes
    /// to have another thread do so.
    fn is_local(&self) -> bool {
        false
    }

    /// One page of the objects whose keys begin with `prefix`; `next` is the cursor of the page before.
    async fn list_page(&self, prefix: &str, next: Option<&str>) -> Result<ListPage, StorageError>;

    /// One page of what is directly under `prefix`. A folder may appear on several pages.
    ///
    /// The provided implementation also lists all objects further down; storages that can avoid this
    /// should.
    async fn list_level(
        &self,
        prefix: &str,
        next: Option<&str>,
    ) -> Result<LevelPage, StorageError> {
        let page = self.list_page(prefix, next).await?;
        let mut level = LevelPage {
            unreadable: page.unreadable,
            next: page.next,
            ..LevelPage::default()
        };
        for object in page.objects {
            let rest = object.key.get(prefix.len()..).unwrap_or_default();
            match rest.find('/') {
                None => level.objects.push(object),
                Some(slash) => {
                    let folder = &object.key[..=prefix.len() + slash];
                    if level.folders.last().is_none_or(|last| last != folder) {
                        level.folders.push(folder.to_owned());
                    }
                }
            }
        }
        Ok(level)
    }
}

/// Reads objects of any size.
#[async_trait]
pub trait OpenObject: Send + Sync {
    /// Opens the object for reading if it still has the etag. Reading fails with a
    /// [`StorageError`] inside of the [`std::io::Error`], also when the object changes meanwhile.
    async fn open(&self, key: &str, etag: &str) -> Result<Box<dyn Read + Send>, StorageError>;
    /// As [`open`](Self::open). Blocks; called within a tokio runtime, and, unless the storage
    /// [is local](ListObjects::is_local), from threads that may block.
    fn open_here(&self, key: &str, etag: &str) -> Result<Box<dyn Read + Send>, StorageError> {
        Handle::current().block_on(self.open(key, etag))
    }
}

/// Reads and writes small objects.
#[async_trait]
pub trait Records: Send + Sync {
    /// The record, or `None` if there is none.
    async fn get(&self, key: &str) -> Result<Option<Record>, StorageError>;
    /// As [`get`](Self::get), for a record that is often absent. A storage that denies the reading of what is absent
    /// should look in a listing first; the provided implementation does not.
    async fn find(&self, key: &str) -> Result<Option<Record>, StorageError> {
        self.get(key).await
    }
    /// Writes the record, whatever was there.
    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), StorageError>;
    /// Writes the record if the precondition holds at that moment.
    async fn put_if(
        &self,
        key: &str,
        bytes: Vec<u8>,
        precondition: Precondition,
    ) -> Result<Written, StorageError>;
    /// As [`put_if`](Self::put_if), for a record that many tasks write at the same time. It may wait for theirs, so that
    /// what makes one durable does so for all. The provided implementation does not.
    async fn put_together(
        &self,
        key: &str,
        bytes: Vec<u8>,
        precondition: Precondition,
    ) -> Result<Written, StorageError> {
        self.put_if(key, bytes, precondition).await
    }
    /// Removes the record if it is there.
    async fn delete(&self, key: &str) -> Result<(), StorageError>;
}

/// Writes objects of any size, so that nothing of them is visible before they are complete.
pub trait CreateObject: Send + Sync {
    /// Begins an object. May block; called from threads that may block.
    fn create(&self, key: &str) -> Result<Box<dyn StagedObject>, StorageError>;
}

/// An object that is being written. Dropped without [`commit`](Self::commit), it leaves nothing in the
/// storage.
pub trait StagedObject: Write + Send {
    /// Flushes what is buffered and frees the memory, for an object that is complete and must wait for
    /// others before it is committed: nothing may be written afterwards. May block. Does nothing where
    /// next to nothing is buffered.
    fn seal(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
    /// Makes the object visible as a whole, in place of one with the same key. It is durable before any record is
    /// that the storage is given afterwards. May block.
    fn commit(self: Box<Self>) -> Result<(), StorageError>;
    /// As [`commit`](Self::commit), but only if there is no object with the key. May block.
    ///
    /// The provided implementation replaces the object. That is right where nothing but an attempt that has died can
    /// have left one, as in a folder, where only one process at a time carries out a run.
    fn commit_first(self: Box<Self>) -> Result<Written, StorageError> {
        self.commit()?;
        Ok(Written::Yes)
    }
}

/// Where backups are read from.
pub trait Source: ListObjects + OpenObject {}
impl<T: ListObjects + OpenObject> Source for T {}

/// Where a ledger is.
pub trait LedgerStorage: ListObjects + Records {}
impl<T: ListObjects + Records> LedgerStorage for T {}

/// Where a run is, to be read back.
pub trait RunStorage: LedgerStorage + OpenObject {}
impl<T: LedgerStorage + OpenObject> RunStorage for T {}

/// Where events and the ledger are written to.
pub trait Destination: LedgerStorage + CreateObject {}
impl<T: LedgerStorage + CreateObject> Destination for T {}
