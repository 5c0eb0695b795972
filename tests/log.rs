//! The log of the command line: off unless asked for, without content, and without influence on exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::process::{Output, Stdio};

use support::{ORG_ID, Sample, event_recovery};

const LOG: &str = "EVENT_RECOVERY_LOG";

fn run(sample: &Sample, level: Option<&str>, stderr: Stdio) -> Output {
    let mut command = event_recovery();
    command
        .args([
            "run",
            "--quiet",
            "--org-id",
            ORG_ID,
            "--start",
            "2024-04-01",
            "--end",
            "2024-04-01",
        ])
        .arg("--source")
        .arg(sample.backup())
        .arg("--destination")
        .arg(sample.destination(level.unwrap_or("none")))
        .env_remove(LOG)
        .stderr(stderr);
    if let Some(level) = level {
        command.env(LOG, level);
    }
    command.output().unwrap()
}

#[test]
fn a_log_is_written_when_it_is_asked_for_and_holds_no_content() {
    let sample = Sample::new(&["--hours", "1", "--objects-per-hour", "1"]);
    let silent = run(&sample, None, Stdio::piped());
    assert!(silent.stderr.is_empty(), "{silent:?}");
    let logged = run(&sample, Some("trace"), Stdio::piped());
    let log = String::from_utf8(logged.stderr).unwrap();
    assert!(log.contains("command=\"run\""), "{log}");
    assert_eq!(logged.status.code(), silent.status.code());
    for event in sample.expected() {
        let event: serde_json::Value = serde_json::from_slice(&event).unwrap();
        let event_id = event["event_id"].as_str().unwrap();
        assert!(!log.contains(event_id), "{log}");
    }
}

#[cfg(unix)]
#[test]
fn a_log_that_cannot_be_written_changes_no_exit_code() {
    let sample = Sample::new(&["--hours", "1", "--objects-per-hour", "1"]);
    let expected = run(&sample, None, Stdio::piped()).status.code();
    let broken = Stdio::from(std::io::pipe().unwrap().1);
    assert_eq!(run(&sample, Some("trace"), broken).status.code(), expected);
}

#[test]
fn an_unknown_level_is_refused_with_the_known_ones() {
    let output = event_recovery()
        .args(["completions", "bash"])
        .env(LOG, "loud")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("`debug`") && said.contains("\"loud\""),
        "{said}"
    );
    assert!(output.stdout.is_empty());
}
