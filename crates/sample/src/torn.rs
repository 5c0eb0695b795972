//! Damage to events, of the kinds that are seen in backups.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// How an event was torn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tear {
    /// The end of the event is missing, and another event follows.
    CutInMiddle,
    /// The same, with the cut inside a string.
    CutInString,
    /// A string has a byte that is not UTF-8.
    InvalidUtf8,
    /// The end of the event is missing, and the object ends with it.
    TruncatedTail,
}

impl Tear {
    pub(crate) const ALL: [Self; 4] = [
        Self::CutInMiddle,
        Self::CutInString,
        Self::InvalidUtf8,
        Self::TruncatedTail,
    ];

    /// The bytes that are left of the event.
    pub(crate) fn tear(self, event: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
        // Every event has the org id exactly once, as a string without escapes: a safe place in a string.
        let in_string = event
            .windows(4)
            .position(|window| window == b"\"TN-")
            .unwrap_or(1)
            + 10;
        let mut bytes = event.to_vec();
        match self {
            Self::InvalidUtf8 => bytes[in_string] = 0xff,
            Self::CutInString => bytes.truncate(in_string),
            Self::CutInMiddle | Self::TruncatedTail => {
                bytes.truncate(rng.random_range(event.len() / 5..event.len() * 9 / 10));
                while bytes.last().is_some_and(u8::is_ascii_whitespace) {
                    bytes.pop();
                }
            }
        }
        bytes
    }
}

/// A line of `torn.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TornEvent {
    pub(crate) key: String,
    /// Position of its first byte in the decoded object.
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) kind: Tear,
}
