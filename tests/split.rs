//! `split` as a filter.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::io::{Read, Write};
use std::process::{Output, Stdio};

use support::event_recovery;

fn split(input: &[u8]) -> Output {
    let mut child = event_recovery()
        .arg("split")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // The program may end before it has read everything.
    let _ = writer.join().unwrap();
    output
}

#[test]
fn every_event_comes_out_on_a_line_of_its_own() {
    for (name, input, expected) in [
        (
            "events",
            &br#"{"a":"}{"}{"b":1}"#[..],
            &b"{\"a\":\"}{\"}\n{\"b\":1}\n"[..],
        ),
        ("pretty-printed", b"{\r\n  \"a\": 1\n}\n", b"{  \"a\": 1}\n"),
        ("nothing", b"", b""),
        ("white space", b" \r\n\t", b""),
        ("a byte order mark", b"\xef\xbb\xbf", b""),
    ] {
        let output = split(input);
        assert_eq!(output.stdout, expected, "{name}");
        assert_eq!(output.stderr, b"", "{name}");
        assert_eq!(output.status.code(), Some(0), "{name}");
    }
}

#[test]
fn rejected_fragments_are_told_on_stderr_without_their_content() {
    let output = split(br#"{"event_id":"a"}{"secret":"tor{"event_id":"b"}42"#);
    assert_eq!(
        output.stdout,
        b"{\"event_id\":\"a\"}\n{\"event_id\":\"b\"}\n"
    );
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        lines,
        [
            serde_json::json!({"offset": 16, "length": 14, "reason": "syntax"}),
            serde_json::json!({"offset": 46, "length": 2, "reason": "not_an_object"}),
        ]
    );
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn an_event_with_a_repeated_event_id_is_named_and_comes_out_once() {
    let joined = r#"{"event_id":"b","n":1,"event_id":"c"}"#;
    let input = format!(r#"{{"event_id":"a"}}{joined}{{"event_id":"d"}}"#);
    let output = split(input.as_bytes());
    let expected = format!("{{\"event_id\":\"a\"}}\n{joined}\n{{\"event_id\":\"d\"}}\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    let said: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let named = serde_json::json!({"offset": 16, "length": 37, "reason": "repeated_event_id"});
    assert_eq!(said, named);
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_closed_pipe_ends_it_without_a_word_but_not_as_a_success() {
    let mut child = event_recovery()
        .arg("split")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let event = br#"{"event_id":"a"}"#.repeat(10_000);
        while stdin.write_all(&event).is_ok() {}
    });
    let mut first = [0; 17];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"{\"event_id\":\"a\"}\n");
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr),
        (Some(141), Vec::new())
    );
}

#[test]
fn events_come_out_while_the_input_is_still_open() {
    let mut child = event_recovery()
        .arg("split")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(br#"{"event_id":"a"}{"event_id""#).unwrap();
    stdin.flush().unwrap();
    let mut line = [0; 17];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut line)
        .unwrap();
    assert_eq!(&line, b"{\"event_id\":\"a\"}\n");
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn what_cannot_be_read_is_an_error() {
    for (name, argument, says) in [
        ("a missing file", "/no/such/file", "No such file"),
        ("a folder", "/", "it is a folder"),
    ] {
        let output = event_recovery().args(["split", argument]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(said.contains(says), "{name}: {said}");
    }
    let output = split(b"PK\x03\x04 an archive");
    assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));
    assert!(String::from_utf8(output.stderr).unwrap().contains("zip"));
}
