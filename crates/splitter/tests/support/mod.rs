//! Collects items and checks their invariants, with serde_json as the oracle.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part"
)]

pub mod events;

use std::convert::Infallible;

use event_recovery_splitter::{Event, Instructions, Item, Limits, Reason, Splitter, Totals};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Event(u64, Vec<u8>),
    Rejected(u64, Vec<u8>, Reason),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Split {
    pub found: Vec<Found>,
    pub totals: Totals,
    pub byte_visits: u64,
}

impl Split {
    pub fn events(&self) -> Vec<&[u8]> {
        self.found
            .iter()
            .filter_map(|found| match found {
                Found::Event(_, bytes) => Some(bytes.as_slice()),
                Found::Rejected(..) => None,
            })
            .collect()
    }

    pub fn rejected(&self) -> Vec<(u64, u64, Reason)> {
        self.found
            .iter()
            .filter_map(|found| match found {
                Found::Event(..) => None,
                Found::Rejected(offset, bytes, reason) => {
                    Some((*offset, bytes.len() as u64, *reason))
                }
            })
            .collect()
    }
}

/// Splits the chunks, and asserts the invariants of any input: the parts make up the fragments, and the
/// items are in the stream in order, without overlap, with nothing but white space between them.
pub fn split_chunks<'a>(
    chunks: impl IntoIterator<Item = &'a [u8]>,
    limits: Limits,
    rule: impl Fn(&[u8]) -> bool,
) -> Split {
    split_with(Instructions::preferred(), chunks, limits, rule)
}

/// As [`split_chunks`], with the given instructions.
pub fn split_with<'a>(
    instructions: Instructions,
    chunks: impl IntoIterator<Item = &'a [u8]>,
    limits: Limits,
    rule: impl Fn(&[u8]) -> bool,
) -> Split {
    let mut stream = Vec::new();
    let mut found = Vec::new();
    let mut fragment = Vec::new();
    let mut collect = |item: Item<'_>| {
        match item {
            Item::Event(event) => {
                check_separators(event);
                found.push(Found::Event(event.offset, event.bytes.to_vec()));
            }
            Item::RejectedPart(part) => {
                assert_eq!(part.offset, part.fragment_offset + fragment.len() as u64);
                fragment.extend_from_slice(part.bytes);
            }
            Item::Rejected(rejected) => {
                assert_eq!(rejected.length, fragment.len() as u64);
                found.push(Found::Rejected(
                    rejected.offset,
                    std::mem::take(&mut fragment),
                    rejected.reason,
                ));
            }
        }
        Ok::<_, Infallible>(())
    };
    let mut splitter = Splitter::with_instructions(limits, rule, instructions);
    for chunk in chunks {
        stream.extend_from_slice(chunk);
        let Ok(()) = splitter.push(chunk, &mut collect);
    }
    let byte_visits = splitter.byte_visits();
    let Ok(totals) = splitter.finish(&mut collect);
    let split = Split {
        found,
        totals,
        byte_visits,
    };
    check_accounting(&stream, &split);
    split
}

/// Asserts that the recorded separators are those that a loop over the bytes finds.
fn check_separators(event: Event<'_>) {
    let Some(separators) = event.separators else {
        return;
    };
    let (mut depth, mut in_string, mut is_escaped) = (0, false, false);
    let mut expected = Vec::new();
    for (position, byte) in event.bytes.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b':' | b',' if depth == 1 => expected.push(position),
            _ => {}
        }
    }
    let positions: Vec<usize> = separators.positions().collect();
    assert_eq!(positions, expected);
}

fn check_accounting(stream: &[u8], split: &Split) {
    let mut position = 0;
    let mut whitespace = 0;
    for found in &split.found {
        let (Found::Event(offset, bytes) | Found::Rejected(offset, bytes, _)) = found;
        let offset = *offset as usize;
        assert!(offset >= position, "items overlap at {offset}");
        assert!(!bytes.is_empty());
        whitespace += check_whitespace(stream, position, offset);
        assert_eq!(&stream[offset..offset + bytes.len()], bytes.as_slice());
        position = offset + bytes.len();
    }
    whitespace += check_whitespace(stream, position, stream.len());
    let totals = split.totals;
    assert_eq!(totals.bytes, stream.len() as u64);
    assert_eq!(totals.whitespace_bytes, whitespace as u64);
    assert_eq!(
        totals.bytes,
        totals.event_bytes + totals.whitespace_bytes + totals.rejected_bytes
    );
    assert_eq!(totals.events as usize, split.events().len());
    assert_eq!(totals.rejected_fragments as usize, split.rejected().len());
}

fn check_whitespace(stream: &[u8], start: usize, end: usize) -> usize {
    let between = &stream[start..end];
    let text = if start == 0 {
        between.strip_prefix(b"\xef\xbb\xbf").unwrap_or(between)
    } else {
        between
    };
    assert!(
        text.iter().all(|byte| b" \t\r\n".contains(byte)),
        "bytes lost in {start}..{end}"
    );
    between.len()
}

pub fn split(stream: &[u8]) -> Split {
    split_chunks([stream], Limits::default(), is_envelope)
}

/// The rule of a run without an org id: a top-level string `event_id`.
pub fn is_envelope(object: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        event_id: Option<&'a serde_json::value::RawValue>,
    }
    serde_json::from_slice::<Envelope<'_>>(object).is_ok_and(|envelope| {
        envelope
            .event_id
            .is_some_and(|id| id.get().starts_with('"'))
    })
}

/// Whether serde_json accepts the bytes as a JSON object, of any depth.
pub fn oracle_is_object(bytes: &[u8]) -> bool {
    use serde::Deserialize as _;
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.disable_recursion_limit();
    let value = <&serde_json::value::RawValue>::deserialize(&mut deserializer);
    deserializer.end().is_ok() && value.is_ok_and(|value| value.get().trim_start().starts_with('{'))
}
