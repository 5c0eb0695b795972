//! Hostile input takes linear time, counted in byte reads and not in seconds.

mod support;

use event_recovery_splitter::{Limits, Reason};
use support::split_chunks;

const STREAM_BYTES: usize = 10_000_000;
/// One read in intact events, at most three after a fault, and two for copies and calls of the rule.
const VISITS_PER_BYTE_MAX: u64 = 6;

fn repeated(pattern: &str, length: usize) -> Vec<u8> {
    let mut stream = pattern.as_bytes().repeat(length / pattern.len() + 1);
    stream.truncate(length);
    stream
}

#[test]
fn every_byte_is_looked_at_a_few_times_whatever_the_input() {
    let torn_in_text =
        r#"{"event_id":"x","org_id":"TN-1","data":{"text":"some text that ends here"#;
    let torn_in_array = r#"{"event_id":"x","data":{"list":["#;
    // The strings of each reading are the structure of the other, so that both stay valid.
    let two_readings = r#"{"{":"{",":1,":"{","{":{},"#;
    let patterns = [
        "{",
        "[",
        "\"",
        "\\",
        "}{",
        "}",
        "{\"",
        "{\"a\":",
        "{\"a\":[",
        "[{\"a\":",
        "\"{",
        "{\"\\",
        " ",
        "\n{",
        "0",
        "{\"event_id\":\"x\",\"d\":",
        "{\"event_id\":\"x\",\"d\":{},",
        "{\"a\":{},\"b\":",
        "[{},",
        "{\"a\":\"{\"}{",
        "{\"event_id\":\"x\"}!",
        "!{\"event_id\":\"x\"}",
        "{\"a\":!{\"event_id\":\"x\"}",
        "\u{feff}",
        "\u{e9}",
        "{}",
        torn_in_text,
        torn_in_array,
        two_readings,
    ];
    let small = Limits {
        event_bytes_max: 64 * 1024,
        nesting_max: 512,
    };
    for (limits, length) in [(small, STREAM_BYTES / 4), (Limits::default(), STREAM_BYTES)] {
        for pattern in patterns {
            let stream = repeated(pattern, length);
            let split = split_chunks(stream.chunks(100_000), limits, support::is_envelope);
            let visits_max = VISITS_PER_BYTE_MAX * stream.len() as u64;
            assert!(
                split.byte_visits <= visits_max,
                "{pattern:?} costs {} visits a byte",
                split.byte_visits as f64 / stream.len() as f64
            );
        }
    }
}

#[test]
fn invalid_bytes_cost_no_more() {
    for byte in [0x00, 0x80, 0xff] {
        let split = split_chunks(
            [&vec![byte; STREAM_BYTES][..]],
            Limits::default(),
            support::is_envelope,
        );
        assert_eq!(split.rejected().len(), 1);
        assert!(split.byte_visits <= VISITS_PER_BYTE_MAX * STREAM_BYTES as u64);
    }
}

#[test]
fn events_between_torn_ones_all_come_back() {
    let intact = r#"{"event_id":"a","data":{"n":[1,2,3]}}"#;
    let torn = r#"{"event_id":"x","data":{"text":"cut"#;
    let stream = format!("{torn}{intact}").repeat(10_000);
    let split = split_chunks(
        stream.as_bytes().chunks(4096),
        Limits::default(),
        support::is_envelope,
    );
    assert_eq!(split.events(), vec![intact.as_bytes(); 10_000]);
    assert_eq!(split.rejected().len(), 10_000);
    assert!(
        split.rejected().iter().all(|&(_, length, reason)| {
            (length, reason) == (torn.len() as u64, Reason::Syntax)
        })
    );
}

#[test]
fn a_fragment_larger_than_memory_should_hold_comes_in_parts_and_the_next_event_is_found() {
    let limits = Limits {
        event_bytes_max: 100_000,
        nesting_max: 512,
    };
    let event = r#"{"event_id":"a"}"#;
    let stream = [&vec![b'{'; 9_000_000][..], event.as_bytes()].concat();
    let whole = split_chunks([&stream[..]], limits, support::is_envelope);
    assert_eq!(whole.events(), [event.as_bytes()]);
    assert_eq!(whole.rejected(), [(0, 9_000_000, Reason::Syntax)]);
}
