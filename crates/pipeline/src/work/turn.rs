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

    /// Waits for the turn of a small object.
    pub(crate) async fn next_small(&self) -> Turn {
        self.next_of(1).await
    }

    /// Waits for what the object's turn takes beyond that of a small one.
    pub(crate) async fn extend(&self, turn: &mut Turn, bytes: u64) {
        if bytes <= SMALL_OBJECT_BYTES_MAX || self.of_one == 1 {
            return;
        }
        let rest = self.next_of(self.of_one - 1).await;
        if let (Some(turn), Some(rest)) = (&mut turn.0, rest.0) {
            turn.merge(rest);
        }
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
        let mut small = turns.next_small().await;
        turns.extend(&mut small, SMALL_OBJECT_BYTES_MAX).await;
        let mut large = turns.next_small().await;
        assert!(
            turns
                .extend(&mut large, SMALL_OBJECT_BYTES_MAX + 1)
                .now_or_never()
                .is_none()
        );
        {
            let extending = turns.extend(&mut large, SMALL_OBJECT_BYTES_MAX + 1);
            tokio::pin!(extending);
            assert!(extending.as_mut().now_or_never().is_none());
            // There is a place, but the large object is first.
            let next = turns.next_small();
            tokio::pin!(next);
            assert!(next.as_mut().now_or_never().is_none());
            small.end();
            extending.await;
            assert!(next.as_mut().now_or_never().is_none());
        }
        large.end();
        assert!(turns.next_small().now_or_never().is_some());
    }
}
