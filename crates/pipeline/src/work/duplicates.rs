//! Events of one object that come more than once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sha2::{Digest as _, Sha256};

/// Most different events of one object among which repeated ones are looked for. What is kept of each takes some
/// 150 bytes.
pub const DEDUPE_EVENTS_MAX: usize = 1_000_000;

/// What is known of the events of one reading so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The digests of the first event of each id, and of further ones with other bytes.
    by_id: HashMap<[u8; 32], Vec<[u8; 32]>>,
    events: usize,
}

/// What an event is among those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repetition {
    /// No other has its id.
    None,
    /// One has its id, and none its bytes.
    OtherBytes,
    /// One has its id and its bytes.
    Same,
}

/// There are more different events than [`DEDUPE_EVENTS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyEvents;

impl Seen {
    /// Takes the next event. Events without an id are never repeated.
    pub(crate) fn take(
        &mut self,
        id: Option<&str>,
        event: &[u8],
    ) -> Result<Repetition, TooManyEvents> {
        let Some(id) = id else {
            return Ok(Repetition::None);
        };
        // A hash that nobody can find collisions of: an event that was dropped for one would be lost.
        let bytes: [u8; 32] = Sha256::digest(event).into();
        let id: [u8; 32] = Sha256::digest(id).into();
        let repetition = match self.by_id.entry(id) {
            Entry::Occupied(entry) if entry.get().contains(&bytes) => return Ok(Repetition::Same),
            Entry::Occupied(mut entry) => {
                entry.get_mut().push(bytes);
                Repetition::OtherBytes
            }
            Entry::Vacant(entry) => {
                entry.insert(vec![bytes]);
                Repetition::None
            }
        };
        self.events += 1;
        match self.events > DEDUPE_EVENTS_MAX {
            true => Err(TooManyEvents),
            false => Ok(repetition),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_id_with_the_same_bytes_is_a_duplicate() {
        let mut seen = Seen::default();
        let rows = [
            (Some("a"), "1", Repetition::None),
            (Some("b"), "1", Repetition::None),
            (Some("a"), "1", Repetition::Same),
            (Some("a"), "2", Repetition::OtherBytes),
            (Some("a"), "2", Repetition::Same),
            (Some("a"), "1", Repetition::Same),
            (None, "1", Repetition::None),
            (None, "1", Repetition::None),
        ];
        for (id, bytes, expected) in rows {
            assert_eq!(
                seen.take(id, bytes.as_bytes()),
                Ok(expected),
                "{id:?} {bytes}"
            );
        }
    }
}
