//! Which bytes are events, which are rejected and why, and where the splitter resumes.

mod support;

use event_recovery_splitter::{Limits, Reason};
use support::{split, split_chunks};

const A: &str = r#"{"event_id":"a","data":{"n":1}}"#;
const B: &str = r#"{"event_id":"b","data":[{"n":2}]}"#;

/// Asserts the events and rejected fragments of a stream, for chunks of several lengths.
#[track_caller]
fn check(name: &str, stream: &[u8], events: &[&str], rejected: &[(u64, u64, Reason)]) {
    for chunk_length in [1, 2, 3, 7, 64, stream.len().max(1)] {
        let split = split_chunks(
            stream.chunks(chunk_length),
            Limits::default(),
            support::is_envelope,
        );
        let found: Vec<String> = split
            .events()
            .iter()
            .map(|event| String::from_utf8_lossy(event).into_owned())
            .collect();
        assert_eq!(found, events, "{name}, chunks of {chunk_length}");
        assert_eq!(
            split.rejected(),
            rejected,
            "{name}, chunks of {chunk_length}"
        );
    }
}

#[test]
fn intact_events_come_back_whole() {
    for (name, event) in [
        ("empty object", "{}"),
        ("braces in a string", r#"{"a":"}{ {\"x\":1}{"}"#),
        (
            "escaped quotes and backslashes",
            r#"{"a":"\"\\\\\"","b\"{":"\\"}"#,
        ),
        (
            "every escape",
            r#"{"a":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}"#,
        ),
        ("lone surrogate", r#"{"a":"\ud800"}"#),
        (
            "multi-byte characters",
            "{\"ключ\":\"é€😀\u{10ffff}\u{7f}\u{2028}\"}",
        ),
        ("pretty-printed", "{\r\n  \"a\" : [ 1 ,\t{ } , [ ] ]\n}"),
        (
            "numbers",
            r#"{"a":[0,-0,1.5,-10.25e+3,1E400,123456789012345678901234567890,0.1e-7]}"#,
        ),
        ("literals", r#"{"a":[true,false,null]}"#),
        ("duplicate keys", r#"{"a":1,"a":2}"#),
    ] {
        let stream = format!("{event}{event} \n\t\r{event}");
        check(name, stream.as_bytes(), &[event, event, event], &[]);
    }
}

#[test]
fn a_leading_byte_order_mark_is_white_space_and_only_there() {
    check("mark", format!("\u{feff}{A}{B}").as_bytes(), &[A, B], &[]);
    check("mark alone", "\u{feff}".as_bytes(), &[], &[]);
    check("half a mark", b"\xef\xbb", &[], &[(0, 2, Reason::Syntax)]);
    check(
        "half a mark, event",
        &[b"\xef\xbb", A.as_bytes()].concat(),
        &[A],
        &[(0, 2, Reason::Syntax)],
    );
    check(
        "mark in the middle",
        format!("{A}\u{feff}{B}").as_bytes(),
        &[A, B],
        &[(A.len() as u64, 3, Reason::Syntax)],
    );
}

#[test]
fn nothing_and_white_space_are_no_fragments() {
    check("empty", b"", &[], &[]);
    check("white space", b" \n\t\r ", &[], &[]);
}

#[test]
fn each_kind_of_fragment_is_told_apart_and_costs_no_event_beside_it() {
    for (name, fragment, reason) in [
        ("a comma too many", &br#"{"x":1,}"#[..], Reason::Syntax),
        ("a bare word", b"{x:1}", Reason::Syntax),
        ("single quotes", b"{'x':1}", Reason::Syntax),
        ("a leading zero", br#"{"x":01}"#, Reason::Syntax),
        ("a plus sign", br#"{"x":+1}"#, Reason::Syntax),
        ("a bare point", br#"{"x":1.}"#, Reason::Syntax),
        ("a bad escape", br#"{"x":"\x41"}"#, Reason::Syntax),
        ("a bad code point", br#"{"x":"\u12g4"}"#, Reason::Syntax),
        ("a control character", b"{\"x\":\"a\nb\"}", Reason::Syntax),
        ("the wrong bracket", br#"{"x":[1}]"#, Reason::Syntax),
        ("NaN", br#"{"x":NaN}"#, Reason::Syntax),
        ("a zero byte", b"\0", Reason::Syntax),
        (
            "a continuation byte",
            b"{\"x\":\"\x80\"}",
            Reason::InvalidUtf8,
        ),
        (
            "an overlong sequence",
            b"{\"x\":\"\xc0\xaf\"}",
            Reason::InvalidUtf8,
        ),
        (
            "an encoded surrogate",
            b"{\"x\":\"\xed\xa0\x80\"}",
            Reason::InvalidUtf8,
        ),
        (
            "beyond Unicode",
            b"{\"x\":\"\xf4\x90\x80\x80\"}",
            Reason::InvalidUtf8,
        ),
        (
            "half a character",
            b"{\"x\":\"\xe2\x82\"}",
            Reason::InvalidUtf8,
        ),
        ("an array", br#"[1,{"x":2}]"#, Reason::NotAnObject),
        (
            "an array of envelopes",
            br#"[{"event_id":"x"},{"event_id":"y"}]"#,
            Reason::NotAnObject,
        ),
        ("a string", br#""x{y""#, Reason::NotAnObject),
        ("a number", b"-12.5e3", Reason::NotAnObject),
        ("a literal", b"null", Reason::NotAnObject),
        (
            "cut in a string",
            br#"{"event_id":"x","data":{"t":"abc"#,
            Reason::Syntax,
        ),
        (
            "cut after a backslash",
            br#"{"event_id":"x","data":{"t":"abc\"#,
            Reason::Syntax,
        ),
        (
            "cut after a colon",
            br#"{"event_id":"x","data":"#,
            Reason::Syntax,
        ),
        (
            "cut after a bracket",
            br#"{"event_id":"x","data":{"l":["#,
            Reason::Syntax,
        ),
        (
            "cut after a brace",
            br#"{"event_id":"x","data":{"#,
            Reason::Syntax,
        ),
        (
            "cut after a comma",
            br#"{"event_id":"x","data":[1,"#,
            Reason::Syntax,
        ),
        (
            "cut in a literal",
            br#"{"event_id":"x","data":tr"#,
            Reason::Syntax,
        ),
        (
            "its beginning is missing",
            br#"nt_id":"x","data":{"t":"a{b"}}"#,
            Reason::Syntax,
        ),
    ] {
        let stream = [A.as_bytes(), fragment, B.as_bytes(), A.as_bytes()].concat();
        let expected = [(A.len() as u64, fragment.len() as u64, reason)];
        check(name, &stream, &[A, B, A], &expected);
    }
}

#[test]
fn an_end_inside_of_an_event_is_a_truncation() {
    for cut in 1..A.len() {
        let stream = format!("{B}{}", &A[..cut]);
        check(
            "cut",
            stream.as_bytes(),
            &[B],
            &[(B.len() as u64, cut as u64, Reason::Truncated)],
        );
    }
}

#[test]
fn an_object_nested_in_a_torn_event_does_not_come_back() {
    let torn =
        r#"{"event_id":"x","data":{"inner":{"event_id":"y"},"list":[{"event_id":"z"},{"k":1}]},!}"#;
    let stream = format!("{A}{torn}{B}");
    check(
        "nested",
        stream.as_bytes(),
        &[A, B],
        &[(A.len() as u64, torn.len() as u64, Reason::Syntax)],
    );
}

#[test]
fn an_envelope_nested_in_a_torn_event_does_not_come_back_whatever_tore_it() {
    const INNER: &str = r#"{"event_id":"INNER","org_id":"O"}"#;
    const Z: &str = r#"{"event_id":"Z","org_id":"O"}"#;
    for (name, head, rest, reason) in [
        (
            "no first brace",
            &br#""event_id":"A","org_id":"O","data":"#[..],
            r#","t":1}"#,
            Reason::NotAnObject,
        ),
        ("no head", br#"ta":"#, r#","t":1}"#, Reason::Syntax),
        (
            "a bad escape",
            br#"{"event_id":"A","s":"\x","data":"#,
            r#","t":1}"#,
            Reason::Syntax,
        ),
        (
            "a control character",
            b"{\"event_id\":\"A\",\"s\":\"\x01\",\"data\":",
            r#","t":1}"#,
            Reason::Syntax,
        ),
        (
            "not UTF-8",
            b"{\"event_id\":\"A\",\"s\":\"\xff\",\"data\":",
            r#","t":1}"#,
            Reason::InvalidUtf8,
        ),
        (
            "a missing colon",
            br#"{"event_id":"A","data""#,
            r#","t":1}"#,
            Reason::Syntax,
        ),
        (
            "a leading zero",
            br#"{"event_id":"A","n":01,"data":"#,
            " , \"t\":1}",
            Reason::Syntax,
        ),
        (
            "the last member, without a head",
            br#""event_id":"A","data":"#,
            "}",
            Reason::NotAnObject,
        ),
        (
            "the last element",
            br#""event_id":"A","data":[1,!"#,
            "\n]}",
            Reason::NotAnObject,
        ),
        (
            "the wrong bracket",
            br#"{"event_id":"A","data":["#,
            r#"},"t":1}"#,
            Reason::Syntax,
        ),
        (
            "damaged directly after it",
            br#"{"event_id":"A","data":"#,
            "\u{1},\"t\":1}",
            Reason::Syntax,
        ),
        (
            "a byte too many after it",
            br#"{"event_id":"A","data":"#,
            r#"x,"t":1}"#,
            Reason::Syntax,
        ),
    ] {
        let stream = [
            A.as_bytes(),
            head,
            INNER.as_bytes(),
            rest.as_bytes(),
            Z.as_bytes(),
        ]
        .concat();
        let head_start = A.len() as u64;
        let inner_start = head_start + head.len() as u64;
        let gap = rest.len() - rest.trim_ascii_start().len();
        let rest_start = inner_start + (INNER.len() + gap) as u64;
        check(
            name,
            &stream,
            &[A, Z],
            &[
                (head_start, head.len() as u64, reason),
                (inner_start, INNER.len() as u64, Reason::Nested),
                (rest_start, (rest.len() - gap) as u64, Reason::Syntax),
            ],
        );
    }
}

#[test]
fn an_object_where_an_event_may_begin_is_an_event_whatever_follows() {
    for rest in [r#","t":1}"#, "}}", "]", "\u{1}", "x,"] {
        let stream = format!("{A}{B}{rest}{A}");
        let start = (A.len() + B.len()) as u64;
        let rejected = (start, rest.len() as u64, Reason::Syntax);
        check(rest, stream.as_bytes(), &[A, B, A], &[rejected]);
        let at_the_beginning = format!("{B}{rest}");
        let rejected = (B.len() as u64, rest.len() as u64, Reason::Syntax);
        check(rest, at_the_beginning.as_bytes(), &[B], &[rejected]);
    }
}

#[test]
fn an_event_between_torn_ones_comes_back_unless_it_could_be_a_value_of_the_first() {
    let no_head = r#"nt_id":"x","n":1}"#;
    let no_tail = r#"{"event_id":"x","data":"#;
    for (torn, rest, comes_back) in [
        (no_head, r#"{"event_id":"x","s":"cut"#, true),
        (no_head, r#"nt_id":"x"}"#, true),
        (no_head, r#""x":1}"#, true),
        (no_head, "\0\0", true),
        (no_head, r#"x,"n":1}"#, true),
        (no_head, r#","n":1}"#, false),
        (no_tail, r#"{"event_id":"x","s":"cut"#, true),
        (no_tail, r#"nt_id":"x"}"#, true),
        (no_tail, r#"1,"n":1}"#, true),
        (no_tail, r#"","n":1}"#, true),
        (no_tail, r#"]}"#, false),
        (no_tail, "\0\0", false),
    ] {
        let stream = format!("{torn}{A}{rest}{B}");
        let split = split(stream.as_bytes());
        let found = split.events().contains(&A.as_bytes());
        assert_eq!(found, comes_back, "{stream}");
        assert!(split.events().contains(&B.as_bytes()), "{stream}");
        let nested = (torn.len() as u64, A.len() as u64, Reason::Nested);
        assert_eq!(split.rejected().contains(&nested), !comes_back, "{stream}");
    }
}

#[test]
fn an_object_after_a_fragment_must_be_an_envelope() {
    let stream = format!("[1]{{\"x\":1}}{A}{{\"x\":1}}");
    check(
        "no envelope",
        stream.as_bytes(),
        &[A, r#"{"x":1}"#],
        &[(0, 3, Reason::NotAnObject), (3, 7, Reason::NotAnEnvelope)],
    );
}

#[test]
fn an_object_that_a_damaged_byte_closed_too_early_does_not_count() {
    for (object, rest) in [
        (r#"{"k":{"n":1}}"#, r#","event_id":"x"}"#),
        (r#"{"k":1}"#, r#""event_id":"x"}"#),
        (r#"{"k":1}"#, r#"23,"event_id":"x"}"#),
        (r#"{"k":1}"#, "\n}"),
    ] {
        let stream = format!("{A}{object}{rest}{B}");
        let (start, length) = (A.len() as u64, object.len() as u64);
        let gap = (rest.len() - rest.trim_start().len()) as u64;
        check(
            rest,
            stream.as_bytes(),
            &[A, B],
            &[
                (start, length, Reason::NotAnEnvelope),
                (
                    start + length + gap,
                    rest.len() as u64 - gap,
                    if rest.starts_with('"') || rest.starts_with('2') {
                        Reason::NotAnObject
                    } else {
                        Reason::Syntax
                    },
                ),
            ],
        );
    }
}

#[test]
fn white_space_between_a_fragment_and_an_event_belongs_to_neither() {
    let torn = r#"{"event_id":"x","t":"ab"#;
    let stream = format!("{A}\n{torn} \r\n{B}\n{torn}\n\n");
    let second = (A.len() + 1 + torn.len() + 3 + B.len() + 1) as u64;
    check(
        "white space",
        stream.as_bytes(),
        &[A, B],
        &[
            (A.len() as u64 + 1, torn.len() as u64, Reason::Syntax),
            (second, torn.len() as u64, Reason::Syntax),
        ],
    );
}

#[test]
fn the_nesting_limit_is_exact() {
    let nested = |levels: usize| {
        let inner = levels - 1;
        format!(
            r#"{{"event_id":"x","d":{}{}}}"#,
            "[".repeat(inner),
            "]".repeat(inner)
        )
    };
    let limits = Limits {
        nesting_max: 512,
        ..Limits::default()
    };
    for (levels, accepted) in [(512, true), (513, false), (5_000, false)] {
        let object = nested(levels);
        let stream = format!("{A}{object}{B}");
        for chunk_length in [1, 1000, stream.len()] {
            let split = split_chunks(
                stream.as_bytes().chunks(chunk_length),
                limits,
                support::is_envelope,
            );
            assert_eq!(
                split.events().len(),
                if accepted { 3 } else { 2 },
                "{levels}"
            );
            let rejected = [(A.len() as u64, object.len() as u64, Reason::TooDeep)];
            assert_eq!(
                split.rejected(),
                if accepted { &[] } else { &rejected[..] },
                "{levels}"
            );
        }
    }
}

#[test]
fn the_size_limit_is_exact_and_costs_the_large_event_alone() {
    let object = |length: usize| {
        let frame = r#"{"event_id":"x","d":""}"#.len();
        format!(r#"{{"event_id":"x","d":"{}"}}"#, "{".repeat(length - frame))
    };
    let limits = Limits {
        event_bytes_max: 1000,
        ..Limits::default()
    };
    for (length, accepted) in [(1000, true), (1001, false), (5_000_000, false)] {
        let object = object(length);
        let stream = format!("{A}{object}{B}{A}");
        for chunk_length in [999, 1001, 65_536, stream.len()] {
            let split = split_chunks(
                stream.as_bytes().chunks(chunk_length),
                limits,
                support::is_envelope,
            );
            assert_eq!(
                split.events().len(),
                if accepted { 4 } else { 3 },
                "{length}"
            );
            let rejected = [(A.len() as u64, length as u64, Reason::TooLarge)];
            assert_eq!(
                split.rejected(),
                if accepted { &[] } else { &rejected[..] },
                "{length}"
            );
        }
    }
}

#[test]
fn the_rule_keeps_foreign_envelopes_out_after_a_fragment() {
    let ours = r#"{"event_id":"a","org_id":"TN-1"}"#;
    let foreign = r#"{"event_id":"a","org_id":"TN-2"}"#;
    let stream = format!(r#"{{"torn":{foreign}!{ours}"#);
    let rule = |object: &[u8]| object.windows(6).any(|window| window == b"\"TN-1\"");
    let split = split_chunks([stream.as_bytes()], Limits::default(), rule);
    assert_eq!(split.events(), [ours.as_bytes()]);
}

#[test]
fn an_error_of_the_caller_stops_the_splitter() {
    let mut splitter = event_recovery_splitter::Splitter::new(Limits::default(), |_: &[u8]| true);
    let mut seen = 0;
    let result = splitter.push(format!("{A}{B}").as_bytes(), |_| {
        seen += 1;
        Err("full")
    });
    assert_eq!((result, seen), (Err("full"), 1));
}

#[test]
fn a_split_says_how_much_of_the_stream_is_what() {
    let totals = split(format!(" {A}!{B}\n").as_bytes()).totals;
    assert_eq!(totals.bytes, (A.len() + B.len() + 3) as u64);
    assert_eq!(
        (totals.events, totals.event_bytes),
        (2, (A.len() + B.len()) as u64)
    );
    assert_eq!(
        (
            totals.whitespace_bytes,
            totals.rejected_bytes,
            totals.rejected_fragments
        ),
        (2, 1, 1)
    );
}
