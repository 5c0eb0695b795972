//! Standard streams that are full, closed or gone. A failing stdout is never a success, and a failing stderr
//! changes nothing.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use support::{ORG_ID, Sample, event_recovery, lines, recovered_lines};

/// The states of a standard stream that the tests produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// Every write fails with `ENOSPC`.
    Full,
    /// A pipe without a reader.
    Broken,
    /// The descriptor is not open.
    Closed,
    /// Open in the wrong direction: stdout and stderr for reading only, stdin for writing only.
    WrongWay,
}

/// The program with its stream of this number in that state.
fn with_stream(arguments: &[String], number: u8, stream: Stream) -> Command {
    let mut command = event_recovery();
    if stream == Stream::Closed {
        let redirection = if number == 0 { "<&-" } else { ">&-" };
        let program = command.get_program().to_owned();
        command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!(r#"exec "$0" "$@" {number}{redirection}"#))
            .arg(program);
    }
    command.args(arguments);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let connected = match (stream, number) {
        (Stream::Closed, _) => return command,
        (Stream::Full, _) => Stdio::from(File::options().write(true).open("/dev/full").unwrap()),
        (Stream::Broken, _) => Stdio::from(io::pipe().unwrap().1),
        (Stream::WrongWay, 0) => {
            Stdio::from(File::options().write(true).open("/dev/null").unwrap())
        }
        (Stream::WrongWay, _) => Stdio::from(File::open("/dev/null").unwrap()),
    };
    match number {
        0 => command.stdin(connected),
        1 => command.stdout(connected),
        _ => command.stderr(connected),
    };
    command
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What the commands work on: a backup, a run of it, and an object of events with junk among them.
struct Case {
    sample: Sample,
    object: PathBuf,
    events: Vec<Vec<u8>>,
}

const EVENTS: usize = 20_000;
const JUNK_EVERY: usize = 500;

impl Case {
    fn new() -> Self {
        let sample = Sample::new(&[
            "--hours",
            "1",
            "--objects-per-hour",
            "2",
            "--object-bytes",
            "8KiB",
        ]);
        let mut object = Vec::new();
        let mut events = Vec::new();
        for number in 0..EVENTS {
            let event = format!(r#"{{"event_id":"{number}","text":"}}{{"}}"#).into_bytes();
            object.extend_from_slice(&event);
            events.push(event);
            if number % JUNK_EVERY == 0 {
                object.extend_from_slice(b"[1,2]");
            }
        }
        let path = sample.folder.path().join("object");
        std::fs::write(&path, object).unwrap();
        let case = Self {
            sample,
            object: path,
            events,
        };
        assert!(case.run("done").status().unwrap().success());
        case
    }

    fn path(&self, name: &str) -> String {
        self.sample.destination(name).display().to_string()
    }

    fn split(&self) -> Vec<String> {
        vec!["split".to_owned(), self.object.display().to_string()]
    }

    fn run_arguments(&self, destination: &str) -> Vec<String> {
        words(&format!(
            "run --org-id {ORG_ID} --execution-id run --source {} --destination {} --format ndjson \
             --start 2024-04-01T00:00:00Z --end 2024-04-01T01:00:00Z",
            self.sample.backup().display(),
            self.path(destination),
        ))
    }

    fn run(&self, destination: &str) -> Command {
        let mut command = event_recovery();
        command.args(self.run_arguments(destination));
        command.arg("--quiet");
        command
    }

    fn status(&self) -> Vec<String> {
        words(&format!(
            "status --execution-id run --destination {}",
            self.path("done")
        ))
    }

    fn sample_arguments(&self, name: &str) -> Vec<String> {
        words(&format!(
            "sample {} --hours 1 --objects-per-hour 1 --object-bytes 4KiB",
            self.path(name)
        ))
    }
}

fn and(mut arguments: Vec<String>, more: &str) -> Vec<String> {
    arguments.extend(words(more));
    arguments
}

/// Every command that prints data, with the destination that it would write to, if any.
fn printing_commands(
    case: &Case,
    suffix: &str,
) -> Vec<(&'static str, Vec<String>, Option<String>)> {
    let (out, sample) = (format!("out-{suffix}"), format!("sample-{suffix}"));
    vec![
        ("split", case.split(), None),
        ("run", and(case.run_arguments(&out), "--json"), Some(out)),
        (
            "a dry run",
            and(case.run_arguments("done"), "--dry-run --json"),
            None,
        ),
        ("status", and(case.status(), "--json"), None),
        (
            "sample",
            and(case.sample_arguments(&sample), "--json"),
            Some(sample),
        ),
        ("completions", words("completions bash"), None),
        ("help", words("--help"), None),
        ("help of a command", words("run --help"), None),
        ("the version", words("--version"), None),
    ]
}

#[test]
fn split_gives_every_event_whatever_becomes_of_stderr() {
    let case = Case::new();
    for stream in [
        Stream::Full,
        Stream::Broken,
        Stream::Closed,
        Stream::WrongWay,
    ] {
        let output = with_stream(&case.split(), 2, stream).output().unwrap();
        assert!(
            lines(&output.stdout) == case.events,
            "{stream:?}: {} of {EVENTS} events",
            lines(&output.stdout).len()
        );
        assert_eq!(output.status.code(), Some(3), "{stream:?}");
    }
}

#[test]
fn a_reader_of_stdout_that_goes_away_is_told_by_the_exit_code_alone() {
    let case = Case::new();
    for (name, arguments, _) in printing_commands(&case, "broken") {
        let output = with_stream(&arguments, 1, Stream::Broken).output().unwrap();
        let rejected_line = r#"{"length":5,"offset":"#;
        let mut said = said(&output);
        if name == "split" {
            said = said
                .lines()
                .filter(|line| !line.starts_with(rejected_line))
                .collect();
        }
        assert_eq!(
            (output.status.code(), said.as_str()),
            (Some(141), ""),
            "{name}"
        );
    }
    // A reader that reads a little first.
    let mut child = with_stream(&case.split(), 2, Stream::Closed)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line.as_bytes().strip_suffix(b"\n").unwrap(), case.events[0]);
    assert_eq!(child.wait().unwrap().code(), Some(141));
}

#[test]
fn what_cannot_be_written_to_stdout_is_an_error() {
    let case = Case::new();
    for stream in [Stream::Full, Stream::Closed, Stream::WrongWay] {
        for (name, arguments, made) in printing_commands(&case, &format!("{stream:?}")) {
            let output = with_stream(&arguments, 1, stream).output().unwrap();
            let said = said(&output);
            assert_eq!(output.status.code(), Some(1), "{name}, {stream:?}: {said}");
            let errors: Vec<&str> = said.lines().filter(|line| !line.starts_with('{')).collect();
            assert!(
                errors[0].starts_with("error: ") && errors[0].contains("stdout"),
                "{name}, {stream:?}: {said}"
            );
            assert!(!said.contains("panicked"), "{name}, {stream:?}: {said}");
            if let (Stream::Closed, Some(made)) = (stream, made) {
                assert!(
                    !case.sample.destination(&made).exists(),
                    "{name} began all the same"
                );
            }
        }
    }
}

#[test]
fn a_stderr_that_cannot_be_written_changes_no_exit_code() {
    let case = Case::new();
    for stream in [
        Stream::Full,
        Stream::Broken,
        Stream::Closed,
        Stream::WrongWay,
    ] {
        let out = format!("out-{stream:?}");
        let rows = [
            ("a run", case.run_arguments(&out), 0),
            ("the same run again", case.run_arguments(&out), 0),
            ("a dry run", and(case.run_arguments(&out), "--dry-run"), 0),
            (
                "a run that is refused",
                and(case.run_arguments(&out), "--domain other"),
                1,
            ),
            (
                "an option twice",
                and(case.run_arguments(&out), "--start 2025-01-01"),
                2,
            ),
            ("status", case.status(), 0),
            ("an id twice", and(case.status(), "--execution-id other"), 2),
            (
                "status of an unknown run",
                words("status --execution-id x --destination /"),
                1,
            ),
            (
                "sample",
                case.sample_arguments(&format!("sample-{stream:?}")),
                0,
            ),
            ("sample over another", case.sample_arguments("backup"), 1),
            (
                "start with a wrong request",
                words("start --stack s --org-id x --start 2024-04-01 --end 2024-04-01"),
                2,
            ),
            ("a missing argument", words("start"), 2),
            ("no arguments", Vec::new(), 2),
            ("completions", words("completions zsh"), 0),
            ("help", words("--help"), 0),
            ("a missing object", words("split /no/such/object"), 1),
        ];
        for (name, arguments, exit_code) in rows {
            let output = with_stream(&arguments, 2, stream).output().unwrap();
            assert_eq!(output.status.code(), Some(exit_code), "{name}, {stream:?}");
        }
        let destination = case.sample.destination(&out);
        assert!(
            recovered_lines(&destination) == case.sample.expected(),
            "{stream:?}"
        );
    }
}

#[test]
fn a_stdout_that_the_caller_discards_is_no_error() {
    let case = Case::new();
    // A shell opens it for writing, Python and Node for reading as well.
    for also_read in [false, true] {
        for (name, arguments, _) in printing_commands(&case, &format!("null-{also_read}")) {
            let null = File::options()
                .read(also_read)
                .write(true)
                .open("/dev/null");
            let status = event_recovery()
                .args(&arguments)
                .stdout(null.unwrap())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            let exit_code = if name == "split" { 3 } else { 0 };
            assert_eq!(status.code(), Some(exit_code), "{name}, {also_read}");
        }
    }
}

#[test]
fn what_cannot_be_read_from_stdin_is_an_error() {
    for stream in [Stream::Closed, Stream::WrongWay] {
        let output = with_stream(&words("split"), 0, stream).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{stream:?}: {said}");
        assert!(
            said.starts_with("error: could not read stdin: "),
            "{stream:?}: {said}"
        );
    }
    // `split` with a file does not use stdin.
    let case = Case::new();
    let output = with_stream(&case.split(), 0, Stream::Closed)
        .output()
        .unwrap();
    assert!(lines(&output.stdout) == case.events);
}
