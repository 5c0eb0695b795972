//! Damaged events with whole envelopes nested in them: no nested envelope comes out, and the intact events on both
//! sides do. `make mutants` runs all mutants, a plain test run every 17th.

#![allow(
    clippy::print_stdout,
    reason = "`make mutants` shows the number of mutants"
)]

mod support;

use std::collections::BTreeMap;

use event_recovery_splitter::{Limits, Reason};
use support::{Split, is_envelope, oracle_is_object, split_chunks};

const BEFORE: &str = r#"{"event_id":"before","data":{"n":1}}"#;
const BETWEEN: &str = r#"{"event_id":"between","data":[{"n":2},"}{"]}"#;
const AFTER: &str = r#"{ "event_id": "after", "t": "\"{" }"#;

/// Events with nested envelopes of several shapes at every kind of place.
fn victims() -> Vec<String> {
    let inner = r#"{"event_id":"INNER","data":{"t":"}{"}}"#;
    let spaced = "{ \"event_id\" : \"INNER\" , \"l\" : [ 1 , 2 ] }";
    let deep = r#"{"event_id":"INNER","data":{"event_id":"INNERMOST","n":-0.5e+3}}"#;
    let mut victims = Vec::new();
    for inner in [inner, spaced, deep] {
        for place in [
            format!(r#""data":{inner}"#),
            format!(r#""data":[{inner}]"#),
            format!(r#""data":[1,{inner},true]"#),
            format!(r#""data":[{inner},{inner}]"#),
            format!(r#""data":{{"x":{inner}}}"#),
            format!(r#""data":{{"a":[],"x":{inner},"z":"é\n"}}"#),
            format!("\"data\" : [ {inner} ,\n {inner}\n ]"),
        ] {
            let id = r#""event_id":"VICTIM","org_id":"O""#;
            let others = r#""s":"a, \"b\" é","n":[12,null]"#;
            for members in [
                format!("{id},{others},{place}"),
                format!("{id},{place},{others}"),
                format!("{place},{id},{others}"),
                format!("{others},{place},{id}"),
                format!("{id},{place},{place}"),
            ] {
                victims.push(format!("{{{members}}}"));
            }
        }
    }
    victims
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    CutHead,
    Remove,
    Insert(u8),
    Set(u8),
}

/// One byte of every class that is invalid somewhere. Braces and brackets are left out: one that closes an event early
/// makes a shorter event, which cannot be told from an intact one.
const BAD_BYTES: [u8; 9] = [0x00, 0x1f, 0xff, 0xc0, 0x80, b'\\', b'x', b'0', b'"'];

impl Damage {
    fn all() -> impl Iterator<Item = Self> {
        let bytes = BAD_BYTES.into_iter();
        [Self::CutHead, Self::Remove]
            .into_iter()
            .chain(bytes.flat_map(|byte| [Self::Insert(byte), Self::Set(byte)]))
    }

    fn apply(self, victim: &str, place: usize) -> Vec<u8> {
        let mut bytes = victim.as_bytes().to_vec();
        match self {
            Self::CutHead => drop(bytes.drain(..place)),
            Self::Remove => drop(bytes.remove(place)),
            Self::Insert(byte) => bytes.insert(place, byte),
            Self::Set(byte) => bytes[place] = byte,
        }
        bytes
    }

    /// Why the bytes do not determine the original events, if they do not.
    fn ambiguity(self, victim: &str, mut place: usize) -> Option<Ambiguity> {
        if self == Self::Remove {
            // In a run of equal bytes, removing any of them gives the same mutant.
            let bytes = victim.as_bytes();
            while bytes.get(place + 1) == Some(&bytes[place]) {
                place += 1;
            }
        }
        let (head, rest) = victim.as_bytes().split_at(place);
        match self {
            Self::CutHead => {
                let rest = rest.trim_ascii_start();
                let starts_with_envelope = (1..rest.len()).any(|end| is_envelope(&rest[..end]));
                if starts_with_envelope {
                    return Some(Ambiguity::CutAtNestedEnvelope);
                }
                matches!(rest[0], b',' | b'}' | b']').then_some(Ambiguity::CutAtSeparator)
            }
            Self::Insert(0x00 | 0x1f | 0xff | 0xc0) | Self::Set(0x00 | 0x1f | 0xff | 0xc0) => None,
            Self::Insert(_) | Self::Set(_) | Self::Remove => {
                if ends_with_envelope(head.trim_ascii_end()) {
                    return Some(Ambiguity::DamagedAfterNestedEnvelope);
                }
                ends_with_envelope(&self.apply(victim, place))
                    .then_some(Ambiguity::EndsWithEnvelope)
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ambiguity {
    /// The rest begins with the nested envelope, at a boundary where an event may begin.
    CutAtNestedEnvelope,
    /// The rest begins with a separator: after a fragment, the intact event before it may be a value.
    CutAtSeparator,
    /// The same bytes as an event without its end, an intact one, and one without its beginning.
    DamagedAfterNestedEnvelope,
    /// The same bytes as an event without its end and an intact one.
    EndsWithEnvelope,
}

fn ends_with_envelope(bytes: &[u8]) -> bool {
    (1..bytes.len()).any(|start| is_envelope(&bytes[start..]))
}

/// Runs every so many mutants: a prime, so that each event and damage is tried at varying places.
fn stride() -> usize {
    let stride = std::env::var("MUTANTS_STRIDE").ok();
    stride.and_then(|text| text.parse().ok()).unwrap_or(17)
}

#[track_caller]
fn split_in_chunks(stream: &[u8]) -> Split {
    let split = split_chunks([stream], Limits::default(), is_envelope);
    let chunked = split_chunks(stream.chunks(1), Limits::default(), is_envelope);
    assert_eq!(split.found, chunked.found);
    split
}

#[test]
fn no_envelope_nested_in_a_torn_event_comes_out_and_no_neighbour_is_lost() {
    let mut mutants = 0_u64;
    // For each kind, the number of mutants, and of those from which an event came out.
    let mut ambiguous: BTreeMap<Ambiguity, (u64, u64)> = BTreeMap::new();
    let all = victims().into_iter().flat_map(|victim| {
        Damage::all().flat_map(move |damage| {
            let victim = victim.clone();
            (1..victim.len()).map(move |place| (victim.clone(), damage, place))
        })
    });
    for (victim, damage, place) in all.step_by(stride()) {
        let mutant = damage.apply(&victim, place);
        if oracle_is_object(&mutant) {
            continue;
        }
        mutants += 1;
        let ambiguity = damage.ambiguity(&victim, place);
        let [before, between, after] = [BEFORE, BETWEEN, AFTER].map(str::as_bytes);
        let stream = [before, &mutant, between, &mutant, after, before].concat();
        let split = split_in_chunks(&stream);
        let of_victim = |event: &&[u8]| ![before, between, after].contains(event);
        let invented = split
            .events()
            .iter()
            .filter(|event| of_victim(event))
            .count();
        if let Some(ambiguity) = ambiguity {
            let counts = ambiguous.entry(ambiguity).or_default();
            *counts = (counts.0 + 1, counts.1 + u64::from(invented > 0));
        }
        let kept: Vec<&[u8]> = split
            .events()
            .into_iter()
            .filter(|event| !of_victim(event))
            .collect();
        let shown = || {
            format!(
                "{damage:?} at {place}: {:?}",
                String::from_utf8_lossy(&stream)
            )
        };
        match ambiguity {
            Some(Ambiguity::CutAtSeparator) => {
                assert_eq!(
                    (invented, kept),
                    (0, vec![before, after, before]),
                    "{}",
                    shown()
                );
                let start = (before.len() + mutant.len()) as u64;
                let nested = (start, between.len() as u64, Reason::Nested);
                assert!(split.rejected().contains(&nested), "{}", shown());
                continue;
            }
            Some(_) => assert!(!split.rejected().is_empty(), "{}", shown()),
            None => assert_eq!(invented, 0, "{}", shown()),
        }
        assert_eq!(kept, [before, between, after, before], "{}", shown());
    }
    println!("{mutants} mutants, of them ambiguous: {ambiguous:?}");
}
