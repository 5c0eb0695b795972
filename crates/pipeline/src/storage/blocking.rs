//! Moves blocking calls off the threads that run futures.

use std::cell::Cell;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, Receiver};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::storage::work_threads::on_work_thread;
use crate::storage::{Problem, StorageError, StorageOperation};

thread_local! {
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// Why work has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Died {
    /// It panicked.
    Panicked,
    /// The system has no thread for it.
    NoThread,
}

/// Does `work` on a thread that may block, or on this one if it `is_short`. What it [unblocks](unblock) stays on that
/// thread.
pub(crate) async fn do_work<T: Send + 'static>(
    is_short: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Died> {
    let work = move || {
        let _may_block = MayBlock::enter();
        work()
    };
    if is_short {
        // As on another thread, where nothing that it leaves half done can be seen any more.
        return catch_unwind(AssertUnwindSafe(work)).map_err(|_| Died::Panicked);
    }
    match on_work_thread(work).await {
        Ok(done) => done.ok_or(Died::Panicked),
        Err(_) => Err(Died::NoThread),
    }
}

/// While it exists, this thread may block.
struct MayBlock(bool);

impl MayBlock {
    fn enter() -> Self {
        Self(MAY_BLOCK.replace(true))
    }
}

impl Drop for MayBlock {
    fn drop(&mut self) {
        MAY_BLOCK.set(self.0);
    }
}

/// Calls `work` on a thread that may block, which is this one in [`do_work`] and outside of a tokio runtime.
///
/// Dropping the future waits until `work` has returned, or is certain never to begin: no write continues
/// after its caller has given up, and perhaps released the run's lock to another process.
///
/// Takes as many threads as there are calls at once: for a run those of its workers, of the hours that are
/// listed and of the receipts that are read at the same time.
pub(crate) async fn unblock<T: Send + 'static>(
    operation: StorageOperation,
    key: &str,
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    if MAY_BLOCK.get() {
        return work();
    }
    let Ok(runtime) = Handle::try_current() else {
        return work();
    };
    let (returns, returned) = mpsc::channel::<Infallible>();
    let mut call = Call {
        task: runtime.spawn_blocking(move || {
            // Closed when `work` has returned or panicked, or with a task that never begins.
            let _returns = returns;
            work()
        }),
        returned,
    };
    match (&mut call.task).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            // As if it had been called here.
            Ok(panic) => resume_unwind(panic),
            Err(_) => {
                let problem = Problem::Transient("the program is ending".to_owned());
                Err(StorageError::new(operation, key, problem))
            }
        },
    }
}

struct Call<T> {
    task: JoinHandle<T>,
    returned: Receiver<Infallible>,
}

impl<T> Drop for Call<T> {
    fn drop(&mut self) {
        self.task.abort();
        // Nothing is ever sent: this waits for the sender to go, and has it at once after the result.
        let _ = self.returned.recv();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_any_more_has_returned_or_never_begins() {
        let (begun, has_ended) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (begins, ends) = (Arc::clone(&begun), Arc::clone(&has_ended));
        let call = unblock(StorageOperation::Write, "key", move || {
            begins.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(200));
            ends.store(true, Ordering::SeqCst);
            Ok(())
        });
        let given_up = tokio::time::timeout(Duration::from_millis(50), call).await;
        assert!(given_up.is_err());
        let seen = has_ended.load(Ordering::SeqCst);
        assert_eq!(begun.load(Ordering::SeqCst), seen);
        std::thread::sleep(Duration::from_millis(250));
        assert_eq!(has_ended.load(Ordering::SeqCst), seen, "it continued");
    }

    #[test]
    fn a_call_outside_of_a_runtime_is_made_where_it_is() {
        let caller = std::thread::current().id();
        let call = unblock(StorageOperation::Read, "key", move || {
            Ok(std::thread::current().id() == caller)
        });
        assert_eq!(call.now_or_never(), Some(Ok(true)));
    }

    #[tokio::test]
    async fn a_call_within_a_runtime_is_made_on_another_thread_and_panics_as_if_here() {
        let caller = std::thread::current().id();
        let call = unblock(StorageOperation::Read, "key", move || {
            Ok(std::thread::current().id() != caller)
        });
        assert_eq!(call.await, Ok(true));
        let panics = tokio::spawn(unblock(
            StorageOperation::Read,
            "key",
            || -> Result<(), StorageError> { panic!("told to") },
        ));
        assert!(panics.await.unwrap_err().is_panic());
    }
}
