//! Properties of any events, any chunks and any bytes.

mod support;

use event_recovery_splitter::{Limits, Reason};
use proptest::prelude::*;
use support::events::{chunk_lengths, cut, envelope, object, tear, torn, whitespace};
use support::{Found, oracle_is_object, split, split_chunks};

/// Whether the torn bytes hold an envelope of their own, which makes them ambiguous: a `{` in place of the comma before
/// the id, for example, gives the same bytes as a torn event followed by a whole one.
fn holds_an_envelope(bytes: &[u8]) -> bool {
    let mut braces = (0..bytes.len()).filter(|&index| bytes[index] == b'{');
    braces.any(|start| {
        (start + 1..=bytes.len()).any(|end| {
            bytes[end - 1] == b'}'
                && oracle_is_object(&bytes[start..end])
                && support::is_envelope(&bytes[start..end])
        })
    })
}

/// Whether the torn bytes begin with an object followed by another brace: the same bytes as an object without an id
/// before a torn one.
fn closes_before_a_brace(bytes: &[u8]) -> bool {
    (1..bytes.len()).any(|end| {
        let next = bytes[end..].iter().find(|byte| !byte.is_ascii_whitespace());
        bytes[end - 1] == b'}' && next == Some(&b'{') && oracle_is_object(&bytes[..end])
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_global_rejects: 1_000_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_objects_come_back_exactly(
        objects in prop::collection::vec((object(), whitespace()), 0..8),
        mark in any::<bool>(),
        lengths in chunk_lengths(),
    ) {
        let mut stream = if mark { "\u{feff}".to_owned() } else { String::new() };
        for (object, space) in &objects {
            stream.push_str(object);
            stream.push_str(space);
        }
        let split = split_chunks(cut(stream.as_bytes(), &lengths), Limits::default(), |_| false);
        let expected: Vec<&[u8]> = objects.iter().map(|(object, _)| object.as_bytes()).collect();
        prop_assert_eq!(split.events(), expected);
        prop_assert_eq!(split.rejected(), vec![]);
    }

    #[test]
    fn one_torn_envelope_costs_itself_alone(
        before in prop::collection::vec(envelope(), 0..3),
        victim in envelope(),
        after in prop::collection::vec(envelope(), 0..4),
        tear in tear(),
        place in any::<prop::sample::Index>(),
        space in whitespace(),
        lengths in chunk_lengths(),
    ) {
        let torn = torn(&victim, &tear, place.index(victim.len()));
        prop_assume!(!holds_an_envelope(&torn) && !closes_before_a_brace(&torn));
        let mut stream = Vec::new();
        for event in &before {
            stream.extend_from_slice(event.as_bytes());
            stream.extend_from_slice(space.as_bytes());
        }
        stream.extend_from_slice(&torn);
        for event in &after {
            stream.extend_from_slice(space.as_bytes());
            stream.extend_from_slice(event.as_bytes());
        }
        let split = split_chunks(cut(&stream, &lengths), Limits::default(), support::is_envelope);
        let mut expected: Vec<&[u8]> = before.iter().map(|event| event.as_bytes()).collect();
        // Torn bytes that are still a valid object are an event.
        if oracle_is_object(&torn) {
            expected.push(&torn);
        }
        expected.extend(after.iter().map(|event| event.as_bytes()));
        prop_assert_eq!(split.events(), expected);
    }

    #[test]
    fn any_bytes_give_only_events_that_serde_json_accepts(
        stream in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            prop::collection::vec(prop::sample::select(b"{}[]\",:\\ 0e1tnu-.\n\xc3\xa9\xef\xbb\xbf".to_vec()), 0..300),
            prop::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", "\"", ":", ",", "{\"event_id\":\"x\"", "{\"a\":", "\"event_id\":\"y\"", "\\", "{\"a\":\"", "1", "}{", " ", "null",
            ]), 0..60).prop_map(|pieces| pieces.concat().into_bytes()),
        ],
        lengths in chunk_lengths(),
        event_bytes_max in prop_oneof![Just(16_usize << 20), 2_usize..60],
        nesting_max in prop_oneof![Just(1024_usize), 1_usize..5],
    ) {
        let limits = Limits { event_bytes_max, nesting_max };
        let whole = split_chunks([&stream[..]], limits, support::is_envelope);
        for event in whole.events() {
            prop_assert!(oracle_is_object(event));
            prop_assert!(event.len() <= event_bytes_max);
        }
        for found in &whole.found {
            if let Found::Rejected(_, bytes, reason) = found {
                prop_assert!(*reason == Reason::Nested || bytes.len() > event_bytes_max || !oracle_is_object(bytes) || !support::is_envelope(bytes) || nesting_max < 1024);
            }
        }
        let in_chunks = split_chunks(cut(&stream, &lengths), limits, support::is_envelope);
        prop_assert_eq!(whole.found, in_chunks.found);
        prop_assert_eq!(whole.totals, in_chunks.totals);
    }

    #[test]
    fn a_stream_that_serde_json_reads_to_its_end_has_no_fragments(
        stream in prop::collection::vec(prop::sample::select(vec![
            "{\"a\":1}", "{\"b\":\"}{\"}", " ", "\n", "{\"event_id\":\"x\"}", "{}", "}", "1",
        ]), 0..12).prop_map(|pieces| pieces.concat()),
    ) {
        let values: Result<Vec<Box<serde_json::value::RawValue>>, _> =
            serde_json::Deserializer::from_str(&stream).into_iter().collect();
        let objects = values.is_ok_and(|values| values.iter().all(|value| value.get().starts_with('{')));
        prop_assert_eq!(split(stream.as_bytes()).rejected().is_empty(), objects);
    }
}
