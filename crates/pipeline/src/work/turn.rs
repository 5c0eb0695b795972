//! Turns of the objects that are recovered at the same time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Objects of at most so many bytes as stored are small: what they cost is the latency of their requests. Also compressed to a
/// twentieth, they are decoded to no more than a few megabytes.
pub const SMALL_OBJECT_BYTES_MAX: u64 = 128 * 1024;

/// The turns of objects, of which one takes the place of several small ones.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    places: Arc<Semaphore>,
    of_one: u32,
}

impl Turns {
    /// For one object, or as many small ones.
    pub(crate) fn for_one_or(small: usize) -> Self {
        let of_one = u32::try_from(small.max(1)).unwrap_or(u32::MAX);
        Self {
            places: Arc::new(Semaphore::new(of_one as usize)),
            of_one,
        }
    }

    /// Waits until a small object would have its turn.
    pub(crate) async fn room(&self) {
        drop(self.next_of(1).await);
    }

    /// Waits for the turn of an object of so many bytes. All that it takes at once: objects that each hold a part and wait for
    /// the rest would wait for ever.
    pub(crate) async fn next(&self, bytes: u64) -> Turn {
        let places = match bytes <= SMALL_OBJECT_BYTES_MAX {
            true => 1,
            false => self.of_one,
        };
        self.next_of(places).await
    }

    async fn next_of(&self, places: u32) -> Turn {
        let places = Arc::clone(&self.places).acquire_many_owned(places);
        // The semaphore is never closed; if it were, nothing would be held back.
        Turn(places.await.ok())
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

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn an_object_takes_the_place_of_all_small_ones_and_is_not_overtaken_for_ever() {
        let turns = Turns::for_one_or(3);
        let mut small = turns.next(SMALL_OBJECT_BYTES_MAX).await;
        let large = turns.next(SMALL_OBJECT_BYTES_MAX + 1);
        tokio::pin!(large);
        assert!(large.as_mut().now_or_never().is_none());
        {
            // There is a place, but the large object is first.
            let next = turns.next(0);
            tokio::pin!(next);
            assert!(next.as_mut().now_or_never().is_none());
            small.end();
            let mut large = large.await;
            assert!(next.as_mut().now_or_never().is_none());
            large.end();
            next.await;
        }
        assert!(turns.room().now_or_never().is_some());
    }
}
