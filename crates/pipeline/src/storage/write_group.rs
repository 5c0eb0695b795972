//! Writes records in groups, with one flush for all of a group.
//!
//! A flush takes milliseconds, whether of one small file or of a hundred. While one is in progress, records gather for
//! the next, which makes durable what they hold, and the objects that were committed before them. Then they become
//! visible, and the flush after that makes durable that they are. So no record is there before itself and the objects that
//! it tells of are durable, and no caller hears that a record is written before that is durable too.

use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::storage::{Problem, StorageError, StorageOperation, Written};

type Outcome = Result<Written, StorageError>;

/// Writes records of one storage.
pub(crate) trait WriteRecords: Clone + Send + Sync + 'static {
    /// A record to write.
    type Record: Send;
    /// A record that is written and not visible yet.
    type Staged;
    /// Makes durable what was written before.
    fn flush(&self) -> io::Result<()>;
    /// Writes a record.
    fn stage(&self, record: &Self::Record) -> Result<Self::Staged, StorageError>;
    /// Makes a record visible.
    fn commit(&self, record: &Self::Record, staged: Self::Staged) -> Outcome;
    /// The error of a flush, as that of this record.
    fn flush_error(&self, record: &Self::Record, error: &io::Error) -> StorageError;
}

/// The records of a storage that wait to be written.
#[derive(Debug)]
pub(crate) struct WriteGroup<R>(Mutex<Waiting<R>>);

#[derive(Debug)]
struct Waiting<R> {
    calls: Vec<Call<R>>,
    next_number: u64,
    /// Whether a thread writes records. It takes further ones until there are none.
    has_writer: bool,
}

#[derive(Debug)]
struct Call<R> {
    number: u64,
    record: R,
    outcome: oneshot::Sender<Outcome>,
    /// Dropped when nothing more is done for the call.
    _returns: Sender<Infallible>,
}

impl<R> Default for WriteGroup<R> {
    fn default() -> Self {
        Self(Mutex::new(Waiting {
            calls: Vec::new(),
            next_number: 0,
            has_writer: false,
        }))
    }
}

impl<R> WriteGroup<R> {
    /// Writes the record with others of the storage, once all that was written before this call is durable. It is
    /// durable when this returns.
    ///
    /// Dropping the future waits until the record is written, or is certain never to be.
    pub(crate) async fn write<S>(self: &Arc<Self>, storage: &S, key: &str, record: R) -> Outcome
    where
        R: Send + 'static,
        S: WriteRecords<Record = R>,
    {
        let Ok(runtime) = Handle::try_current() else {
            return write_alone(storage, &record);
        };
        let (outcome, when_written) = oneshot::channel();
        let (returns, returned) = mpsc::channel();
        let (number, needs_writer) = {
            let mut waiting = self.lock();
            let number = waiting.next_number;
            waiting.next_number += 1;
            waiting.calls.push(Call {
                number,
                record,
                outcome,
                _returns: returns,
            });
            let had_writer = std::mem::replace(&mut waiting.has_writer, true);
            (number, !had_writer)
        };
        if needs_writer {
            let writer = Writer {
                group: Arc::clone(self),
                is_done: false,
            };
            let storage = storage.clone();
            runtime.spawn_blocking(move || writer.write_all(&storage));
        }
        let mut caller = Caller {
            group: self,
            number,
            returned,
            has_returned: false,
        };
        let outcome = when_written.await.unwrap_or_else(|_| {
            let problem = Problem::Transient("the program is ending".to_owned());
            Err(StorageError::new(StorageOperation::Write, key, problem))
        });
        caller.has_returned = true;
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records that wait. `None` if there are none and `is_idle`: then there is no writer any more.
    fn take(&self, is_idle: bool) -> Option<Vec<Call<R>>> {
        let mut waiting = self.lock();
        let calls = std::mem::take(&mut waiting.calls);
        if calls.is_empty() && is_idle {
            waiting.has_writer = false;
            return None;
        }
        Some(calls)
    }
}

fn write_alone<S: WriteRecords>(storage: &S, record: &S::Record) -> Outcome {
    let flush = || {
        storage
            .flush()
            .map_err(|error| storage.flush_error(record, &error))
    };
    let staged = storage.stage(record)?;
    flush()?;
    let written = storage.commit(record, staged)?;
    flush()?;
    Ok(written)
}

/// The thread that writes.
struct Writer<R> {
    group: Arc<WriteGroup<R>>,
    is_done: bool,
}

impl<R> Writer<R> {
    fn write_all<S: WriteRecords<Record = R>>(mut self, storage: &S) {
        // Those of the group before, which the next flush makes durable.
        let mut written: Vec<(Call<R>, Outcome)> = Vec::new();
        while let Some(calls) = self.group.take(written.is_empty()) {
            let staged = calls.into_iter().map(|call| {
                let staged = storage.stage(&call.record);
                (call, staged)
            });
            let staged: Vec<_> = staged.collect();
            let flushed = storage.flush();
            let or_flush_error = |record: &R| match &flushed {
                Ok(()) => Ok(()),
                Err(error) => Err(storage.flush_error(record, error)),
            };
            for (call, outcome) in written.drain(..) {
                let outcome = or_flush_error(&call.record).and(outcome);
                // A caller that is gone does not want to know.
                let _ = call.outcome.send(outcome);
            }
            written.extend(staged.into_iter().map(|(call, staged)| {
                let flushed = or_flush_error(&call.record).and(staged);
                let outcome = flushed.and_then(|staged| storage.commit(&call.record, staged));
                (call, outcome)
            }));
        }
        self.is_done = true;
    }
}

impl<R> Drop for Writer<R> {
    /// Also of a writer that never began, because the runtime is ending, or that panicked: nobody may wait for it.
    fn drop(&mut self) {
        if !self.is_done {
            let mut waiting = self.group.lock();
            waiting.has_writer = false;
            waiting.calls.clear();
        }
    }
}

/// A call in progress.
struct Caller<'a, R> {
    group: &'a WriteGroup<R>,
    number: u64,
    returned: Receiver<Infallible>,
    /// Whether it knows its outcome.
    has_returned: bool,
}

impl<R> Drop for Caller<'_, R> {
    fn drop(&mut self) {
        if self.has_returned {
            return;
        }
        let is_other = |call: &Call<R>| call.number != self.number;
        self.group.lock().calls.retain(is_other);
        // Nothing is ever sent: this waits for the sender to go.
        let _ = self.returned.recv();
    }
}
