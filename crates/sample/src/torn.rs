//! Damage of the kinds that backups show.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// How an event was torn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tear {
    /// Its tail is missing, in the middle of an object.
    CutInMiddle,
    /// The same, and the cut is within a string.
    CutInString,
    /// A byte of a string is not UTF-8.
    InvalidUtf8,
    /// Its tail is missing, at the end of the object.
    TruncatedTail,
}

impl Tear {
    pub(crate) const ALL: [Self; 4] = [
        Self::CutInMiddle,
        Self::CutInString,
        Self::InvalidUtf8,
        Self::TruncatedTail,
    ];

    /// What is left of the event.
    pub(crate) fn tear(self, event: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
        // The org id is in every event, as a plain string that occurs once.
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

/// A line of the list of torn events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TornEvent {
    pub(crate) key: String,
    /// Of its first byte in the decoded object.
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) kind: Tear,
}
