//! All instructions give the same items as the automaton, which handles a stream in chunks of one byte alone.

mod support;

use event_recovery_splitter::{Instructions, Limits};
use proptest::prelude::*;
use support::events::{cut, envelope, object, tear, torn, whitespace};
use support::{Split, is_envelope, oracle_is_object, split_with};

/// Splits the stream in one chunk with all instructions, and asserts that they agree with the automaton.
fn check(stream: &[u8], limits: Limits) -> Split {
    let expected = split_with(
        Instructions::PORTABLE,
        stream.chunks(1),
        limits,
        is_envelope,
    );
    for instructions in Instructions::available() {
        let found = split_with(instructions, [stream], limits, is_envelope);
        assert_eq!(found.found, expected.found, "{instructions}");
        assert_eq!(found.totals, expected.totals, "{instructions}");
    }
    expected
}

/// The scanner's batch: 64 blocks of 64 bytes.
const BATCH_BYTES: usize = 4096;

/// The stream after an event of such a length that the byte at `place` is the first one of a batch.
fn across_a_batch_end(stream: &[u8], place: usize) -> Vec<u8> {
    let around = br#"{"event_id":""}"#.len();
    let before = (BATCH_BYTES - place % BATCH_BYTES).max(around) - around;
    let mut all = format!(r#"{{"event_id":"{}"}}"#, "p".repeat(before)).into_bytes();
    all.extend_from_slice(stream);
    all
}

#[test]
fn the_portable_instructions_are_always_there_and_the_last() {
    let available = Instructions::available();
    assert_eq!(available.last(), Some(&Instructions::PORTABLE));
    assert!(available.contains(&Instructions::preferred()));
}

#[test]
fn a_variable_chooses_the_instructions() {
    if let Ok(wanted) = std::env::var(Instructions::VARIABLE) {
        assert_eq!(Instructions::preferred().as_str(), wanted);
    } else {
        assert_eq!(Instructions::preferred(), Instructions::available()[0]);
    }
}

/// Valid and invalid tokens of every kind at every position in a block: padding before them shifts them byte by byte
/// over two blocks.
#[test]
fn every_token_is_seen_wherever_the_blocks_end() {
    let values = [
        "0",
        "-0",
        "00",
        "01",
        "-",
        "10",
        "1.5",
        "1.",
        ".5",
        "0.5",
        "00.5",
        "1.2.3",
        "1..2",
        "1e5",
        "1E+5",
        "1e",
        "1e+",
        "1.e1",
        "1.5e-3",
        "-1.25",
        "--1",
        "+1",
        "1-1",
        "12345678901234567890",
        "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899",
        "true",
        "false",
        "null",
        "tru",
        "truee",
        "True",
        "nul",
        "nulll",
        "true1",
        "1true",
        "a",
        "\\",
        "\"\"",
        "\"a\"",
        "\"\\\"\"",
        "\"\\\\\"",
        "\"\\\\\\\"\"",
        "\"\\u00e9\"",
        "\"\\u00g9\"",
        "\"\\u00\"",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\\\u00g9\"",
        "\"\t\"",
        "\"\u{7f}\"",
        "\"\u{e9}\u{20ac}\u{1f600}\"",
        "\"}{\"",
        "\"]\"",
        "\",\"",
        "\":\"",
        "\"a\"\"b\"",
        "\"a\" \"b\"",
        "\"a\":1",
        "\"a\",",
        "1,2",
        "1 2",
        "1\n",
        "\t1 \r\n",
        "",
        "{}",
        "{ }",
        "{1}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1}",
        "{\"a\" : 1 , \"b\":2}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1:2}",
        "{\"a\",\"b\"}",
        "{\"a\":[}",
        "{:1}",
        "{{}}",
        "{[]}",
        "{]",
        "[]",
        "[ ]",
        "[1]",
        "[1,]",
        "[,1]",
        "[1,,2]",
        "[1:2]",
        "[\"a\":1]",
        "[\"a\",\"b\"]",
        "[[],{}]",
        "[{}[]]",
        "[}",
        "[{]}",
        "[1 2]",
        "[\"a\"1]",
        "[1\"a\"]",
        "[true false]",
        "[\"\",{\"k\":[1,{\"l\":null}]},-1.5e+3]",
    ];
    for value in values {
        for padding in 0..130 {
            let text = "p".repeat(padding);
            let stream = format!(
                r#"{{"event_id":"{text}","v":{value},"w":[{value}]}}{{"event_id":"b","a":[1,2.5]}} {{}}"#
            );
            let split = check(stream.as_bytes(), Limits::default());
            let event = &stream[..stream.find(r#"{"event_id":"b""#).unwrap()];
            let is_event = oracle_is_object(event.as_bytes());
            assert_eq!(split.rejected().is_empty(), is_event, "{value}");
        }
    }
}

#[test]
fn what_stands_between_two_events_is_seen_wherever_a_batch_ends() {
    let rows = [
        "[1,2]",
        "[]",
        "[{}]",
        "[[]]",
        "{}",
        "{]",
        "}",
        "]",
        "[",
        "{",
        "1",
        "null",
        "\"t\"",
        "\"",
        ",",
        ":",
        "x",
        "\\",
        "\u{7f}",
        "é",
        " [1,2] ",
        "\n[]\n",
        "[]{}[]",
        "[1,2",
        "1,2]",
        "\"k\":1}",
        "{\"k\":1",
        "{\"event_id\":\"torn",
        "\"event_id\":\"torn\"}",
        "",
    ];
    for row in rows {
        let event = |id: &str| format!(r#"{{"event_id":"{id}","text":"}}{{","list":[1,{{}}]}}"#);
        let (first, second) = (event("a"), event("b"));
        let stream = format!("{first}{row}{second}{}", event("c"));
        for place in first.len() - 4..=first.len() + row.len() + 70 {
            let stream = across_a_batch_end(stream.as_bytes(), place);
            let split = check(&stream, Limits::default());
            let events = split.events();
            assert!(
                row.starts_with(['[', '{', '"']) || events.contains(&first.as_bytes()),
                "{row}"
            );
            assert!(events.contains(&event("c").as_bytes()), "{row}");
        }
    }
}

#[test]
fn white_space_and_long_tokens_may_span_any_number_of_blocks() {
    for length in [1, 62, 63, 64, 65, 127, 128, 200, 1000] {
        let (space, digits, text) = (" ".repeat(length), "7".repeat(length), "x".repeat(length));
        let escapes = "\\\\".repeat(length);
        for shift in 0..64 {
            let shift = " ".repeat(shift);
            let stream = format!(
                "{{{shift}\"{text}\"{space}:{space}{digits}{space},\"event_id\":\"{escapes}\",\"e\":-{digits}.{digits}e{digits}{space}}}{space}{{}}{space}"
            );
            let split = check(stream.as_bytes(), Limits::default());
            assert_eq!(split.events().len(), 2);
        }
    }
}

#[test]
fn limits_are_exact_and_deep_events_are_taken() {
    for depth in [1, 2, 31, 62, 63, 64, 65, 66, 200] {
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        let stream = format!("{{\"a\":{open}1{close}}}").repeat(3);
        for nesting_max in [1, 2, 63, 64, 65, 1024] {
            let limits = Limits {
                nesting_max,
                ..Limits::default()
            };
            let taken = check(stream.as_bytes(), limits).events().len();
            assert_eq!(taken > 0, depth <= nesting_max);
        }
        for event_bytes_max in [stream.len() / 3 - 1, stream.len() / 3] {
            let limits = Limits {
                event_bytes_max,
                ..Limits::default()
            };
            let taken = check(stream.as_bytes(), limits).events().len();
            assert_eq!(
                taken,
                if event_bytes_max == stream.len() / 3 {
                    3
                } else {
                    0
                }
            );
        }
    }
}

#[test]
fn an_event_with_any_number_of_members_is_taken() {
    for members in [0, 1, 2, 255, 256, 257, 258, 2000] {
        let list: Vec<String> = (0..members).map(|key| format!("\"{key}\":{key}")).collect();
        let stream = format!("{{{}}}", list.join(",")).repeat(4);
        assert_eq!(
            check(stream.as_bytes(), Limits::default()).events().len(),
            4
        );
    }
}

fn events() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let torn = (envelope(), tear(), any::<prop::sample::Index>())
        .prop_map(|(event, tear, place)| torn(&event, &tear, place.index(event.len())));
    let event = prop_oneof![
        8 => object().prop_map(String::into_bytes),
        4 => envelope().prop_map(String::into_bytes),
        1 => torn,
        1 => whitespace().prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..5),
    ];
    prop::collection::vec(event, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn streams_with_torn_events_are_split_the_same(
        events in events(),
        shift in 0_usize..64,
        place in any::<prop::sample::Index>(),
    ) {
        let mut stream = vec![b' '; shift];
        stream.extend(events.concat());
        check(&stream, Limits::default());
        check(&across_a_batch_end(&stream, place.index(stream.len() + 1)), Limits::default());
        check(&stream, Limits { event_bytes_max: 40, nesting_max: 3 });
    }

    #[test]
    fn chunks_make_no_difference(events in events(), lengths in prop::collection::vec(1_usize..400, 1..4)) {
        let stream = events.concat();
        let expected = check(&stream, Limits::default());
        for instructions in Instructions::available() {
            let chunks = cut(&stream, &lengths);
            let found = split_with(instructions, chunks, Limits::default(), is_envelope);
            prop_assert_eq!(&found.found, &expected.found);
        }
    }

    #[test]
    fn one_wrong_byte_anywhere_is_seen_by_all(
        events in prop::collection::vec(envelope(), 1..12),
        place in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\ 0e.-\n".to_vec())],
    ) {
        let mut stream = events.concat().into_bytes();
        let place = place.index(stream.len());
        stream[place] = byte;
        check(&stream, Limits::default());
    }
}
