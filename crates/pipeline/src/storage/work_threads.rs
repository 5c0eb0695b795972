//! Threads on which objects are recovered.
//!
//! Each keeps some of the memory that an object took, for the next one. So the thread that became idle last is taken
//! first: there are no more of them than objects at the same time, and their memory with them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, SendError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Those of the process.
static THREADS: WorkThreads = WorkThreads(Mutex::new(Vec::new()));

/// Work, which leaves its result to be handed over when the thread is idle again.
type Work = Box<dyn FnOnce() -> HandOver + Send>;
type HandOver = Box<dyn FnOnce() + Send>;

/// The idle threads, the last of them first to be taken.
struct WorkThreads(Mutex<Vec<Sender<Work>>>);

/// Does the work on one of the threads, within the caller's runtime. `None` if it panicked.
///
/// # Errors
///
/// The system has no thread.
pub(super) async fn on_work_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    THREADS.do_work(work).await
}

impl WorkThreads {
    async fn do_work<T: Send + 'static>(
        &'static self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Option<T>> {
        let runtime = Handle::current();
        let (sender, done) = oneshot::channel();
        self.begin(Box::new(move || {
            let _entered = runtime.enter();
            // As in a task of the runtime: nothing that it leaves half done can be seen any more.
            let result = catch_unwind(AssertUnwindSafe(work)).ok();
            Box::new(move || {
                // A caller that is gone does not want to know.
                let _ = sender.send(result);
            })
        }))?;
        Ok(done.await.unwrap_or_default())
    }

    fn begin(&'static self, mut work: Work) -> io::Result<()> {
        while let Some(idle) = self.take() {
            match idle.send(work) {
                Ok(()) => return Ok(()),
                Err(SendError(returned)) => work = returned,
            }
        }
        let (sender, queue) = mpsc::channel::<Work>();
        let own = sender.clone();
        thread::Builder::new()
            .name("object".to_owned())
            .spawn(move || {
                while let Ok(work) = queue.recv() {
                    let hand_over = work();
                    // Before whoever waits for the result can look for a thread.
                    self.lock().push(own.clone());
                    hand_over();
                }
            })?;
        sender
            .send(work)
            .map_err(|_| io::Error::other("the thread has ended"))
    }

    fn take(&self) -> Option<Sender<Work>> {
        self.lock().pop()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Sender<Work>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_object_after_the_other_takes_one_thread_and_a_panic_ends_none() {
        // Other tests take and give back threads of the process at the same time.
        static OWN: WorkThreads = WorkThreads(Mutex::new(Vec::new()));
        let id = || thread::current().id();
        let first = OWN.do_work(id).await.unwrap();
        assert_ne!(first, Some(id()));
        let panicked = OWN.do_work(|| -> u8 { panic!("told to") }).await;
        assert_eq!(panicked.unwrap(), None);
        for _ in 0..100 {
            let next = OWN.do_work(id).await.unwrap();
            assert_eq!(next, first);
        }
    }

    #[tokio::test]
    async fn work_is_within_the_runtime_of_its_caller() {
        let done = on_work_thread(|| Handle::current().block_on(async { 7 })).await;
        assert_eq!(done.unwrap(), Some(7));
    }
}
