//! Splits a stream with all instructions and chunks and checks the invariants, with serde_json as the oracle.

use std::convert::Infallible;

use event_recovery_splitter::{Event, Instructions, Item, Limits, Reason, Splitter, Totals};
use serde_json::value::RawValue;

/// An item with its bytes; the parts of a fragment are joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Event {
        offset: u64,
        bytes: Vec<u8>,
    },
    Rejected {
        offset: u64,
        bytes: Vec<u8>,
        reason: Reason,
    },
}

/// Splits the stream with all instructions, whole and in chunks. Panics unless all results agree with the automaton,
/// which alone handles a stream in chunks of one byte, and with serde_json.
///
/// Does the same with an event before the stream, of such a length that a batch of the scanner, 4 KiB, ends at a
/// position in the stream that the chunk lengths choose: fuzzed streams are too short to reach the end of a batch.
pub fn check(stream: &[u8], limits: Limits, chunk_lengths: &[usize]) -> Vec<Found> {
    let place = chunk_lengths.iter().sum::<usize>() % (stream.len() + 1);
    let before = 4096_usize.saturating_sub(place % 4096 + br#"{"event_id":""}"#.len());
    let mut shifted = format!(r#"{{"event_id":"{}"}}"#, "p".repeat(before)).into_bytes();
    shifted.extend_from_slice(stream);
    check_here(&shifted, limits, chunk_lengths);
    check_here(stream, limits, chunk_lengths)
}

fn check_here(stream: &[u8], limits: Limits, chunk_lengths: &[usize]) -> Vec<Found> {
    let (expected, totals) = split(stream.chunks(1), limits, Instructions::PORTABLE);
    for instructions in Instructions::available() {
        let whole = split([stream], limits, instructions);
        assert_eq!((&whole.0, whole.1), (&expected, totals), "{instructions}");
        let in_chunks = split(cut(stream, chunk_lengths), limits, instructions);
        assert_eq!(
            (&in_chunks.0, in_chunks.1),
            (&expected, totals),
            "{instructions}"
        );
    }
    check_balance(stream, &expected, totals);
    for found in &expected {
        match found {
            Found::Event { bytes, .. } => {
                assert!(is_object(bytes) && bytes.len() <= limits.event_bytes_max)
            }
            // A valid envelope is rejected only for a limit, or as a value of a torn event.
            Found::Rejected { bytes, reason, .. } => assert!(
                !is_object(bytes)
                    || !is_envelope(bytes)
                    || matches!(reason, Reason::TooLarge | Reason::TooDeep | Reason::Nested)
            ),
        }
    }
    expected
}

fn split<'a>(
    chunks: impl IntoIterator<Item = &'a [u8]>,
    limits: Limits,
    instructions: Instructions,
) -> (Vec<Found>, Totals) {
    let mut all = Vec::new();
    let mut fragment = Vec::new();
    let mut take = |item: Item<'_>| {
        match item {
            Item::Event(event) => {
                check_separators(event);
                all.push(Found::Event {
                    offset: event.offset,
                    bytes: event.bytes.to_vec(),
                });
            }
            Item::RejectedPart(part) => fragment.extend_from_slice(part.bytes),
            Item::Rejected(rejected) => {
                let bytes = std::mem::take(&mut fragment);
                assert_eq!(bytes.len() as u64, rejected.length);
                all.push(Found::Rejected {
                    offset: rejected.offset,
                    bytes,
                    reason: rejected.reason,
                });
            }
        }
        Ok::<_, Infallible>(())
    };
    let mut splitter = Splitter::with_instructions(limits, is_envelope, instructions);
    for chunk in chunks {
        let Ok(()) = splitter.push(chunk, &mut take);
    }
    let Ok(totals) = splitter.finish(&mut take);
    (all, totals)
}

fn cut<'a>(stream: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = stream;
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let length = lengths
            .next()
            .map_or(rest.len(), |length| (*length).clamp(1, rest.len().max(1)));
        let (chunk, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Asserts that every byte is in one item, or is white space between two.
fn check_balance(stream: &[u8], found: &[Found], totals: Totals) {
    let mut position = 0;
    let mut whitespace = 0;
    for item in found {
        let (Found::Event { offset, bytes } | Found::Rejected { offset, bytes, .. }) = item;
        let offset = *offset as usize;
        whitespace += check_whitespace(stream, position, offset);
        position = offset + bytes.len();
        assert_eq!(&stream[offset..position], bytes.as_slice());
    }
    whitespace += check_whitespace(stream, position, stream.len());
    assert_eq!(totals.bytes, stream.len() as u64);
    assert_eq!(totals.whitespace_bytes, whitespace as u64);
    assert_eq!(
        totals.bytes,
        totals.event_bytes + totals.whitespace_bytes + totals.rejected_bytes
    );
}

fn check_whitespace(stream: &[u8], start: usize, end: usize) -> usize {
    let between = &stream[start..end];
    let text = match between.strip_prefix(b"\xef\xbb\xbf") {
        Some(text) if start == 0 => text,
        _ => between,
    };
    assert!(text.iter().all(|byte| b" \t\r\n".contains(byte)));
    between.len()
}

/// Asserts that the recorded separators are those that a loop over the bytes finds.
fn check_separators(event: Event<'_>) {
    let Some(separators) = event.separators else {
        return;
    };
    let (mut depth, mut in_string, mut is_escaped) = (0, false, false);
    let mut positions = separators.positions();
    for (position, byte) in event.bytes.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b':' | b',' if depth == 1 => assert_eq!(positions.next(), Some(position)),
            _ => {}
        }
    }
    assert_eq!(positions.next(), None);
}

fn is_object(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.disable_recursion_limit();
    let value: Result<&RawValue, _> = serde::Deserialize::deserialize(&mut deserializer);
    deserializer.end().is_ok() && value.is_ok_and(|value| value.get().starts_with('{'))
}

/// Whether the object has a top-level string `event_id`; of repeated keys the last counts.
fn is_envelope(object: &[u8]) -> bool {
    let members: Result<std::collections::BTreeMap<String, Box<RawValue>>, _> =
        serde_json::from_slice(object);
    members.is_ok_and(|members| {
        members
            .get("event_id")
            .is_some_and(|id| id.get().starts_with('"'))
    })
}
