//! FIFOs, dangling links and the like, where files are expected.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{Sample, check_balance, event_recovery, lines, recovered_lines, report};

/// A run of this size takes a second; a busy machine may need longer.
const PATIENCE: Duration = Duration::from_secs(120);

const RANGE: [&str; 6] = [
    "--start",
    "2024-04-01T00:00:00Z",
    "--end",
    "2024-04-01T02:00:00Z",
    "--format",
    "ndjson",
];

fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

/// A sample with a FIFO and links among its objects.
fn odd_sample() -> Sample {
    let sample = Sample::new(&["--hours", "2", "--objects-per-hour", "4"]);
    let hour = sample.backup().join("main_stream/2024/04/01/00");
    make_fifo(&hour.join("fifo"));
    symlink("nowhere", hour.join("dangling")).unwrap();
    symlink("loop", hour.join("loop")).unwrap();
    symlink("..", hour.join("up")).unwrap();
    sample
}

fn spawn(command: &mut Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until the process has ended and returns its output; fails after `PATIENCE`.
fn ended(mut child: Child) -> Output {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn what_is_no_file_fails_alone_and_the_run_ends() {
    let sample = odd_sample();
    let destination = sample.destination("recovered");
    let output = ended(spawn(
        sample.run_command(&destination, &RANGE).arg("--json"),
    ));
    assert_eq!(output.status.code(), Some(3));
    let report = report(&output);
    check_balance(&report);
    assert_eq!(report["objects"]["done"], 8);
    assert_eq!(report["objects"]["failed"], 4);
    let rows = [
        ("dangling", "a link to something that is not there"),
        ("fifo", "a FIFO"),
        ("loop", "a link that leads back to itself"),
        ("up", "a link to a folder that leads back to the link"),
    ];
    for (index, (name, what)) in rows.into_iter().enumerate() {
        let named = &report["unrecovered"][index];
        let key = format!("main_stream/2024/04/01/00/{name}");
        assert_eq!(named["key"], key);
        let reason = format!("could not read `{key}`: not a regular file (it is {what})");
        assert_eq!(named["reason"], reason);
        assert!(named["hint"].is_string(), "{name}");
    }
    assert_eq!(recovered_lines(&destination), sample.expected());
}

#[test]
fn the_first_signal_ends_a_run_with_a_fifo_among_its_objects() {
    let sample = odd_sample();
    let destination = sample.destination("recovered");
    let run = spawn(&mut sample.run_command(&destination, &RANGE));
    // Signalled once the run has begun. If it has already ended, it did not block on the FIFO either.
    let request = destination.join("_recovery/run/request.json");
    let begun = Instant::now();
    while !request.exists() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = run.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    let code = ended(run).status.code();
    assert!([Some(130), Some(3)].contains(&code), "{code:?}");
    let again = ended(spawn(&mut sample.run_command(&destination, &RANGE)));
    assert_eq!(again.status.code(), Some(3));
    assert_eq!(recovered_lines(&destination), sample.expected());
}

#[test]
fn a_fifo_in_place_of_a_record_is_an_error_and_not_waited_for() {
    let sample = Sample::new(&["--hours", "1", "--objects-per-hour", "1"]);
    let destination = sample.destination("recovered");
    let request = destination.join("_recovery/run/request.json");
    fs::create_dir_all(request.parent().unwrap()).unwrap();
    make_fifo(&request);
    let mut status = event_recovery();
    status.args(["status", "--execution-id", "run", "--destination"]);
    status.arg(&destination);
    for mut command in [sample.run_command(&destination, &RANGE), status] {
        let output = ended(spawn(&mut command));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("not a regular file (it is a FIFO)"), "{text}");
        assert!(text.contains("hint: "), "{text}");
    }
}

#[test]
fn split_reads_from_a_fifo_that_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    make_fifo(&fifo);
    let split = spawn(event_recovery().arg("split").arg(&fifo));
    // Opening blocks until the reader opens it too, as in a shell's process substitution.
    let writer = std::thread::spawn(move || {
        let mut file = fs::File::options().write(true).open(fifo).unwrap();
        file.write_all(br#"{"event_id":"a"}{"event_id":"b"}"#)
            .unwrap();
    });
    let output = ended(split);
    writer.join().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let expected = [r#"{"event_id":"a"}"#, r#"{"event_id":"b"}"#];
    assert_eq!(
        lines(&output.stdout),
        expected.map(|line| line.as_bytes().to_vec())
    );
}
