//! What the pipeline asks of a storage, one small trait for each capability.

use std::fmt;
use std::io::{Read, Write};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

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
    /// What the call for the next page must bring; `None` on the last page.
    pub next: Option<String>,
}

/// A small object, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its content.
    pub bytes: Vec<u8>,
    /// What [`Precondition::Unchanged`] takes.
    pub etag: String,
}

/// What must hold for a record to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// There is none with its key.
    Absent,
    /// The one with its key still has this etag.
    Unchanged(String),
}

/// What became of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was written.
    Yes,
    /// The precondition did not hold; nothing was written.
    PreconditionFailed,
}

/// Lists objects.
#[async_trait]
pub trait ListObjects: Send + Sync {
    /// One page of the objects whose keys begin with `prefix`; `next` comes from the page before.
    async fn list_page(&self, prefix: &str, next: Option<&str>) -> Result<ListPage, StorageError>;
}

/// Reads objects of any size.
#[async_trait]
pub trait OpenObject: Send + Sync {
    /// Opens the object for reading if it still has the etag. Reading fails with a
    /// [`StorageError`] inside of the [`std::io::Error`], also when the object changes meanwhile.
    async fn open(&self, key: &str, etag: &str) -> Result<Box<dyn Read + Send>, StorageError>;
}

/// Reads and writes small objects.
#[async_trait]
pub trait Records: Send + Sync {
    /// The record, or `None` if there is none.
    async fn get(&self, key: &str) -> Result<Option<Record>, StorageError>;
    /// Writes the record, whatever was there.
    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), StorageError>;
    /// Writes the record if the precondition holds at that moment.
    async fn put_if(
        &self,
        key: &str,
        bytes: Vec<u8>,
        precondition: Precondition,
    ) -> Result<Written, StorageError>;
    /// Removes the record if it is there.
    async fn delete(&self, key: &str) -> Result<(), StorageError>;
}

/// Writes objects of any size, so that nothing of them is visible before they are complete.
pub trait CreateObject: Send + Sync {
    /// Begins an object. May block; called from threads that may.
    fn create(&self, key: &str) -> Result<Box<dyn StagedObject>, StorageError>;
}

/// An object being written. Dropped without [`commit`](Self::commit), it leaves nothing behind.
pub trait StagedObject: Write + Send {
    /// Makes the object visible as a whole, in place of one with the same key. May block.
    fn commit(self: Box<Self>) -> Result<(), StorageError>;
}

/// Where backups are read from.
pub trait Source: ListObjects + OpenObject {}
impl<T: ListObjects + OpenObject> Source for T {}

/// Where events and the ledger are written to.
pub trait Destination: ListObjects + Records + CreateObject {}
impl<T: ListObjects + Records + CreateObject> Destination for T {}

/// A storage operation failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("could not {operation} `{key}`: {problem}")]
pub struct StorageError {
    /// What was tried, as the verb of a sentence.
    pub operation: &'static str,
    /// On which object or prefix.
    pub key: String,
    /// Why it failed.
    pub problem: Problem,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Why a storage operation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It may succeed when tried again.
    Transient(String),
    /// There is no such object.
    Gone,
    /// The object is not the one that was planned.
    Changed,
    /// A permission is missing.
    AccessDenied(String),
    /// It will fail again for another reason.
    Permanent(String),
}

impl StorageError {
    /// Whether trying again can help.
    pub fn is_transient(&self) -> bool {
        matches!(self.problem, Problem::Transient(_))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => formatter.write_str("it is gone"),
            Self::Changed => formatter.write_str("it has changed since it was planned"),
            Self::AccessDenied(detail) => write!(formatter, "access denied ({detail})"),
            Self::Transient(detail) | Self::Permanent(detail) => formatter.write_str(detail),
        }
    }
}

/// All objects below a prefix, page by page, for prefixes that hold few.
///
/// # Errors
///
/// The first error of a page.
pub async fn list_all(
    storage: &(impl ListObjects + ?Sized),
    prefix: &str,
) -> Result<Vec<ListedObject>, StorageError> {
    let mut objects = Vec::new();
    let mut next = None;
    loop {
        let page = storage.list_page(prefix, next.as_deref()).await?;
        objects.extend(page.objects);
        next = page.next;
        if next.is_none() {
            return Ok(objects);
        }
    }
}
