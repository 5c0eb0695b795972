//! Turns of the objects that are recovered at the same time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of turns.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(crate) fn new(number: usize) -> Self {
        Self(Arc::new(Semaphore::new(number)))
    }

    /// Waits for one.
    pub(crate) async fn next(&self) -> Turn {
        // The semaphore is never closed; if it were, nothing would be held back.
        Turn(Arc::clone(&self.0).acquire_owned().await.ok())
    }
}

/// The right to recover an object. It ends when the object's output is written: a task that only waits for its receipt
/// takes next to no memory.
#[derive(Debug)]
pub(crate) struct Turn(Option<OwnedSemaphorePermit>);

impl Turn {
    /// The caller decides by itself how many objects are recovered at the same time.
    pub(crate) fn unlimited() -> Self {
        Self(None)
    }

    pub(crate) fn end(&mut self) {
        self.0 = None;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.is_none()
    }
}
