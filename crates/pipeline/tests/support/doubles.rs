//! Storages and queues that fail where a test says so.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use event_recovery_pipeline::{
    CreateObject, ListObjects, ListPage, ListedObject, LocalFolder, Observer, OpenObject,
    Precondition, Problem, QueueError, Record, Records, SendTasks, StagedObject, StorageError,
    StorageOperation, Task, Written,
};
use tokio::sync::watch;

/// What a storage is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    List,
    Open,
    /// One call of the reader that `Open` gave; it gets at most [`READ_BYTES_MAX`].
    Read,
    Get,
    Put,
    PutIf,
    /// A conditional write has been carried out, and its caller does not know yet.
    PutIfDone,
    Delete,
    Create,
    Write,
    Seal,
    Commit,
}

/// The most that a faulty reader gives at a time, so that it can fail in the middle.
pub(crate) const READ_BYTES_MAX: usize = 64;

/// What happens at a fault.
#[derive(Clone)]
pub(crate) enum Effect {
    /// The call fails.
    Fail(Problem),
    /// The call panics.
    Panic,
    /// Somebody else does something, then the call proceeds.
    Meanwhile(Arc<dyn Fn() + Send + Sync>),
}

/// One fault: calls of an operation on keys that contain a text.
struct Fault {
    operation: Operation,
    key_part: String,
    /// Calls that pass before it.
    calls_before: u32,
    /// Calls that it hits.
    calls: u32,
    effect: Effect,
}

/// A local folder that fails at the configured calls, and records every call.
pub(crate) struct FaultyStorage {
    inner: Arc<LocalFolder>,
    plan: Arc<FaultPlan>,
    /// Whether what is committed first stays, as in a bucket.
    keeps_first: bool,
}

/// The calls of a storage that has been given away.
pub(crate) struct CallLog(Arc<FaultPlan>);

impl CallLog {
    /// The keys of the operation's calls, in their order.
    pub(crate) fn keys(&self, operation: Operation) -> Vec<String> {
        let calls = self.0.calls.lock().unwrap();
        let of_operation = calls.iter().filter(|(called, _)| *called == operation);
        of_operation.map(|(_, key)| key.clone()).collect()
    }

    pub(crate) fn calls(&self, operation: Operation, key_part: &str) -> usize {
        self.0.calls(operation, key_part)
    }
}

#[derive(Default)]
struct FaultPlan {
    faults: Mutex<Vec<Fault>>,
    calls: Mutex<Vec<(Operation, String)>>,
}

impl FaultyStorage {
    pub(crate) fn new(inner: Arc<LocalFolder>) -> Self {
        Self {
            inner,
            plan: Arc::default(),
            keeps_first: false,
        }
    }

    /// An object is only committed as the first if this storage has committed none with its key.
    pub(crate) fn keeping_first(mut self) -> Self {
        self.keeps_first = true;
        self
    }

    /// The next `calls` calls have the effect.
    pub(crate) fn at_first(
        self,
        operation: Operation,
        key_part: &str,
        calls: u32,
        effect: Effect,
    ) -> Self {
        self.after(operation, key_part, 0, calls, effect)
    }

    /// `calls` calls have the effect, after `calls_before` have passed.
    pub(crate) fn after(
        self,
        operation: Operation,
        key_part: &str,
        calls_before: u32,
        calls: u32,
        effect: Effect,
    ) -> Self {
        self.plan.faults.lock().unwrap().push(Fault {
            operation,
            key_part: key_part.to_owned(),
            calls_before,
            calls,
            effect,
        });
        self
    }

    /// How often the operation was called on keys that contain the text.
    pub(crate) fn calls(&self, operation: Operation, key_part: &str) -> usize {
        self.plan.calls(operation, key_part)
    }

    pub(crate) fn log(&self) -> CallLog {
        CallLog(Arc::clone(&self.plan))
    }
}

pub(crate) fn transient() -> Effect {
    Effect::Fail(Problem::Transient("the storage is busy".to_owned()))
}

pub(crate) fn permanent() -> Effect {
    Effect::Fail(Problem::Permanent("the storage is broken".to_owned()))
}

impl FaultPlan {
    fn calls(&self, operation: Operation, key_part: &str) -> usize {
        let calls = self.calls.lock().unwrap();
        calls
            .iter()
            .filter(|(called, key)| *called == operation && key.contains(key_part))
            .count()
    }

    fn call(&self, operation: Operation, key: &str) -> Result<(), StorageError> {
        self.calls.lock().unwrap().push((operation, key.to_owned()));
        let mut effects = Vec::new();
        for fault in self.faults.lock().unwrap().iter_mut() {
            if fault.operation != operation || !key.contains(&fault.key_part) {
                continue;
            }
            if fault.calls_before > 0 {
                fault.calls_before -= 1;
            } else if fault.calls > 0 {
                fault.calls -= 1;
                effects.push(fault.effect.clone());
            }
        }
        // The locks are free here: what happens meanwhile may use the storage, and a panic must not
        // poison them.
        for effect in effects {
            match effect {
                Effect::Meanwhile(act) => act(),
                Effect::Panic => panic!("the storage was told to panic"),
                Effect::Fail(problem) => {
                    let error = StorageError::new(StorageOperation::Read, key, problem);
                    return Err(error.with_hint("mend the double"));
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl ListObjects for FaultyStorage {
    async fn list_page(&self, prefix: &str, next: Option<&str>) -> Result<ListPage, StorageError> {
        self.plan.call(Operation::List, prefix)?;
        self.inner.list_page(prefix, next).await
    }
}

#[async_trait]
impl OpenObject for FaultyStorage {
    async fn open(&self, key: &str, etag: &str) -> Result<Box<dyn Read + Send>, StorageError> {
        self.plan.call(Operation::Open, key)?;
        Ok(Box::new(FaultyReader {
            inner: self.inner.open(key, etag).await?,
            key: key.to_owned(),
            plan: Arc::clone(&self.plan),
        }))
    }
}

struct FaultyReader {
    inner: Box<dyn Read + Send>,
    key: String,
    plan: Arc<FaultPlan>,
}

impl Read for FaultyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.plan
            .call(Operation::Read, &self.key)
            .map_err(io::Error::other)?;
        let length = buffer.len().min(READ_BYTES_MAX);
        self.inner.read(&mut buffer[..length])
    }
}

#[async_trait]
impl Records for FaultyStorage {
    async fn get(&self, key: &str) -> Result<Option<Record>, StorageError> {
        self.plan.call(Operation::Get, key)?;
        self.inner.get(key).await
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        self.plan.call(Operation::Put, key)?;
        self.inner.put(key, bytes).await
    }

    async fn put_if(
        &self,
        key: &str,
        bytes: Vec<u8>,
        precondition: Precondition,
    ) -> Result<Written, StorageError> {
        self.plan.call(Operation::PutIf, key)?;
        let written = self.inner.put_if(key, bytes, precondition).await?;
        self.plan.call(Operation::PutIfDone, key)?;
        Ok(written)
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.plan.call(Operation::Delete, key)?;
        self.inner.delete(key).await
    }
}

impl CreateObject for FaultyStorage {
    fn create(&self, key: &str) -> Result<Box<dyn StagedObject>, StorageError> {
        self.plan.call(Operation::Create, key)?;
        Ok(Box::new(FaultyObject {
            inner: self.inner.create(key)?,
            key: key.to_owned(),
            plan: Arc::clone(&self.plan),
            keeps_first: self.keeps_first,
        }))
    }
}

struct FaultyObject {
    inner: Box<dyn StagedObject>,
    key: String,
    plan: Arc<FaultPlan>,
    keeps_first: bool,
}

impl Write for FaultyObject {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.plan
            .call(Operation::Write, &self.key)
            .map_err(io::Error::other)?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl StagedObject for FaultyObject {
    fn seal(&mut self) -> Result<(), StorageError> {
        self.plan.call(Operation::Seal, &self.key)?;
        self.inner.seal()
    }

    fn commit(self: Box<Self>) -> Result<(), StorageError> {
        self.plan.call(Operation::Commit, &self.key)?;
        self.inner.commit()
    }

    fn commit_first(self: Box<Self>) -> Result<Written, StorageError> {
        if self.keeps_first && self.plan.calls(Operation::Commit, &self.key) > 0 {
            return Ok(Written::PreconditionFailed);
        }
        self.commit()?;
        Ok(Written::Yes)
    }
}

/// A listing that holds what no folder can, such as the markers that consoles put.
pub(crate) struct ListingWith {
    pub(crate) inner: Arc<LocalFolder>,
    pub(crate) more: Vec<ListedObject>,
}

#[async_trait]
impl ListObjects for ListingWith {
    async fn list_page(&self, prefix: &str, next: Option<&str>) -> Result<ListPage, StorageError> {
        let mut page = self.inner.list_page(prefix, next).await?;
        let more = self
            .more
            .iter()
            .filter(|object| object.key.starts_with(prefix));
        page.objects.extend(more.cloned());
        page.objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(page)
    }
}

#[async_trait]
impl OpenObject for ListingWith {
    async fn open(&self, key: &str, etag: &str) -> Result<Box<dyn Read + Send>, StorageError> {
        self.inner.open(key, etag).await
    }
}

/// A queue that keeps what is sent.
#[derive(Default)]
pub(crate) struct KeepingQueue {
    pub(crate) durable: bool,
    /// Batches that it takes before it fails once.
    fails_after: Mutex<Option<usize>>,
    sent: Mutex<Vec<Task>>,
}

impl KeepingQueue {
    pub(crate) fn durable() -> Self {
        Self {
            durable: true,
            ..Self::default()
        }
    }

    pub(crate) fn failing_after(self, batches: usize) -> Self {
        *self.fails_after.lock().unwrap() = Some(batches);
        self
    }

    /// What was sent since the last call.
    pub(crate) fn take(&self) -> Vec<Task> {
        std::mem::take(&mut *self.sent.lock().unwrap())
    }

    pub(crate) fn take_keys(&self) -> Vec<String> {
        let tasks = self.take();
        tasks.iter().map(|task| task.key.to_string()).collect()
    }
}

#[async_trait]
impl SendTasks for KeepingQueue {
    async fn send(&self, tasks: Vec<Task>) -> Result<(), QueueError> {
        let mut fails_after = self.fails_after.lock().unwrap();
        if let Some(0) = *fails_after {
            *fails_after = None;
            return Err(QueueError::new(tasks.len(), "the queue was told to fail"));
        }
        *fails_after = fails_after.map(|batches| batches - 1);
        self.sent.lock().unwrap().extend(tasks);
        Ok(())
    }

    fn is_durable(&self) -> bool {
        self.durable
    }
}

/// An observer that stops the run once so many objects have been read.
pub(crate) struct StopAfter {
    pub(crate) objects: Mutex<u32>,
    pub(crate) stop: watch::Sender<bool>,
}

impl Observer for StopAfter {
    fn read(&self, bytes: u64, _events: u64) {
        let mut objects = self.objects.lock().unwrap();
        *objects = objects.saturating_sub(u32::from(bytes > 0));
        if *objects == 0 {
            self.stop.send_replace(true);
        }
    }
}

/// An observer that remembers what delayed tasks.
#[derive(Default)]
pub(crate) struct Delays {
    pub(crate) problems: Mutex<Vec<String>>,
}

impl Observer for Delays {
    fn task_delayed(&self, problem: &str) {
        self.problems.lock().unwrap().push(problem.to_owned());
    }
}
