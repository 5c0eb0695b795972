//! Properties that hold for any events, any cuts and any bytes.

mod support;

use event_recovery_splitter::Limits;
use proptest::prelude::*;
use support::{Found, oracle_is_object, split, split_chunks};

fn whitespace() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,3}"
}

/// The content of a JSON string, raw: braces, escapes and quotes are the rule, not the exception.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => "[a-z]{1,4}",
        1 => Just("}{".to_owned()),
        1 => "[{}\\[\\],:! ]{1,3}",
        1 => prop::sample::select(vec!["\\\"", "\\\\", "\\n", "\\/", "\\u00e9", "\\ud83d\\ude00", "\\udc00"]).prop_map(str::to_owned),
        1 => Just(r#"{\"event_id\":\"e\"}"#.to_owned()),
        1 => "[é€😀]",
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

/// A key that the rule's parser can read: serde_json refuses lone surrogates there.
fn key() -> impl Strategy<Value = String> {
    text().prop_map(|text| format!("k{}", text.replace("\\udc00", "")))
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
        text().prop_map(|text| format!("\"{text}\"")),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let member = (key(), whitespace(), inner.clone())
            .prop_map(|(key, space, value)| format!("\"{key}\"{space}:{space}{value}"));
        prop_oneof![
            (prop::collection::vec(inner, 0..4), whitespace())
                .prop_map(|(values, space)| format!("[{space}{}{space}]", values.join(","))),
            (prop::collection::vec(member, 0..4), whitespace())
                .prop_map(|(members, space)| format!("{{{space}{}{space}}}", members.join(","))),
        ]
    })
}

fn object() -> impl Strategy<Value = String> {
    prop::collection::vec((key(), value()), 0..4).prop_map(|members| {
        let members: Vec<String> = members
            .iter()
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect();
        format!("{{{}}}", members.join(","))
    })
}

/// An envelope with the id anywhere among its keys. No other key can be an `event_id`.
fn envelope() -> impl Strategy<Value = String> {
    (
        prop::collection::vec((key(), value()), 0..4),
        any::<prop::sample::Index>(),
        "[0-9a-f]{8}",
    )
        .prop_map(|(members, place, id)| {
            let mut members: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("\"{key}\":{value}"))
                .collect();
            members.insert(
                place.index(members.len() + 1),
                format!("\"event_id\":\"{id}\""),
            );
            format!("{{{}}}", members.join(","))
        })
}

fn cut<'a>(stream: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    let mut rest = stream;
    for &length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, behind) = rest.split_at(length.min(rest.len()));
        chunks.push(chunk);
        rest = behind;
    }
    chunks
}

fn chunk_lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1_usize..40, 1..8)
}

#[derive(Debug, Clone)]
enum Tear {
    CutTail,
    FlipTo(u8),
    Drop,
}

fn tear() -> impl Strategy<Value = Tear> {
    prop_oneof![
        Just(Tear::CutTail),
        Just(Tear::Drop),
        any::<u8>().prop_map(Tear::FlipTo),
        prop::sample::select(b"{}[]\",:\\ 0e".to_vec()).prop_map(Tear::FlipTo),
    ]
}

fn torn(event: &str, tear: &Tear, place: usize) -> Vec<u8> {
    let mut bytes = event.as_bytes().to_vec();
    match tear {
        Tear::CutTail => bytes.truncate(place),
        Tear::FlipTo(byte) => bytes[place] = *byte,
        Tear::Drop => {
            bytes.remove(place);
        }
    }
    bytes
}

/// Whether the torn bytes hold an envelope of their own, so that nobody can tell: a `{` put in
/// place of the comma before the id, say, is the same as a cut followed by a whole event.
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

/// Whether the torn bytes begin with an object that another brace follows: the same as an object
/// without an id before a torn one.
fn closes_before_a_brace(bytes: &[u8]) -> bool {
    (1..bytes.len()).any(|end| {
        let behind = bytes[end..].iter().find(|byte| !byte.is_ascii_whitespace());
        bytes[end - 1] == b'}' && behind == Some(&b'{') && oracle_is_object(&bytes[..end])
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
        // A mutant that is still an object is an event.
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
            if let Found::Rejected(_, bytes, _) = found {
                prop_assert!(bytes.len() > event_bytes_max || !oracle_is_object(bytes) || !support::is_envelope(bytes) || nesting_max < 1024);
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
