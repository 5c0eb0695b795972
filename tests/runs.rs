//! Runs that are listed, resumed, cancelled, audited again, and whose losses are accepted, on one machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Sample, balance, check_balance, event_recovery, output_files, report};

const SAMPLE: [&str; 4] = ["--hours", "24", "--object-bytes", "256KiB"];
const RUN: [&str; 6] = [
    "--start",
    "2024-04-01T00:00:00Z",
    "--end",
    "2024-04-02T00:00:00Z",
    "--format",
    "parquet",
];
const KILLS: usize = 8;

/// The command for the run `run` in this destination.
fn command(name: &str, destination: &Path) -> Command {
    let mut command = event_recovery();
    command.args([name, "--json", "--destination"]);
    command.arg(destination);
    if name != "list" {
        command.args(["--execution-id", "run"]);
    }
    command
}

fn resume(sample: &Sample, destination: &Path) -> Command {
    let mut command = command("resume", destination);
    command.arg("--source").arg(sample.backup());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn receipts(destination: &Path) -> usize {
    fs::read_dir(destination.join("_recovery/run/receipts")).map_or(0, Iterator::count)
}

fn spawn_until(command: &mut Command, until: impl Fn() -> bool) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !until() && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it does not progress");
        std::thread::sleep(Duration::from_micros(200));
    }
    child
}

/// Begins a run and kills it when some objects are done.
fn killed(sample: &Sample, destination: &Path) {
    let mut begun = sample.run_command(destination, &RUN);
    let mut child = spawn_until(&mut begun, || receipts(destination) > 20);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn whole(sample: &Sample) -> (Value, PathBuf) {
    let destination = sample.destination("whole");
    let (report, code) = sample.run(&destination, &RUN);
    assert_eq!(code, Some(0));
    (report, destination)
}

#[test]
fn a_run_resumes_from_its_own_ledger_however_often_it_is_killed() {
    let sample = Sample::new(&SAMPLE);
    let (expected, whole) = whole(&sample);
    let destination = sample.destination("out");
    killed(&sample, &destination);
    for _ in 0..KILLS {
        let done = receipts(&destination);
        let mut again = resume(&sample, &destination);
        let mut child = spawn_until(&mut again, || receipts(&destination) > done + 15);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let resumed = resume(&sample, &destination).output().unwrap();
    assert_eq!(resumed.status.code(), Some(0), "{}", said(&resumed));
    assert_eq!(balance(&report(&resumed)), balance(&expected));
    assert_eq!(output_files(&destination), output_files(&whole));
    // A run that is done stays as it is.
    let again = resume(&sample, &destination).output().unwrap();
    assert_eq!(balance(&report(&again)), balance(&expected));
}

#[test]
fn one_object_alone_is_resumed() {
    let sample = Sample::new(&SAMPLE);
    let (_, whole) = whole(&sample);
    let receipt = fs::read_dir(whole.join("_recovery/run/receipts"))
        .unwrap()
        .last()
        .unwrap()
        .unwrap();
    let bytes = fs::read(receipt.path()).unwrap();
    let receipt: Value = serde_json::from_slice(&bytes).unwrap();
    let key = receipt["key"].as_str().unwrap();
    // As a run of which two objects are missing.
    let all: Vec<PathBuf> = fs::read_dir(whole.join("_recovery/run/receipts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    for receipt in all.iter().rev().take(2) {
        fs::remove_file(receipt).unwrap();
    }
    let mut one = resume(&sample, &whole);
    let resumed = one.args(["--key", key]).output().unwrap();
    assert_eq!(resumed.status.code(), Some(3), "{}", said(&resumed));
    assert_eq!(report(&resumed)["objects"]["missing"], 1);
    let mut unknown = resume(&sample, &whole);
    let unknown = unknown.args(["--key", "main_stream/2024/04/01/00/nothing"]);
    let refused = unknown.output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        said(&refused).contains("has not planned the object"),
        "{}",
        said(&refused)
    );
    let resumed = resume(&sample, &whole).output().unwrap();
    assert_eq!(resumed.status.code(), Some(0), "{}", said(&resumed));
}

#[test]
fn a_cancelled_run_begins_nothing_more_and_resumes() {
    let sample = Sample::new(&SAMPLE);
    let (expected, whole) = whole(&sample);
    let destination = sample.destination("out");
    // Slow enough to be cancelled while it goes on.
    let mut run = sample.run_command(
        &destination,
        &[&RUN[..], &["--concurrency", "1", "--json"]].concat(),
    );
    let child = spawn_until(&mut run, || receipts(&destination) > 5);
    let cancelled = command("cancel", &destination).output().unwrap();
    assert_eq!(cancelled.status.code(), Some(3), "{}", said(&cancelled));
    let told = report(&cancelled);
    check_balance(&told);
    assert_eq!(told["verdict"], "incomplete");
    let reason = told["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("cancelled at 20"), "{reason}");
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(3), "{}", said(&ended));
    assert_eq!(report(&ended)["objects"], told["objects"]);
    let done = receipts(&destination);
    assert!(done < receipts(&whole), "it was not cancelled in time");
    // Nothing but resuming it carries on.
    let (still, code) = sample.run(&destination, &RUN);
    assert_eq!((code, receipts(&destination)), (Some(3), done));
    assert_eq!(still["objects"], told["objects"]);
    let again = command("cancel", &destination).output().unwrap();
    assert_eq!(report(&again)["reasons"][0], reason);
    let mut listed = command("list", &destination);
    let listed: Value = serde_json::from_slice(&listed.output().unwrap().stdout).unwrap();
    assert_eq!(listed[0]["state"], "cancelled");
    let resumed = resume(&sample, &destination).output().unwrap();
    assert_eq!(resumed.status.code(), Some(0), "{}", said(&resumed));
    assert_eq!(balance(&report(&resumed)), balance(&expected));
    assert_eq!(output_files(&destination), output_files(&whole));
    // There is nothing left to cancel.
    let late = command("cancel", &destination).output().unwrap();
    assert_eq!(late.status.code(), Some(0), "{}", said(&late));
    assert!(!destination.join("_recovery/run/cancelled.json").exists());
}

#[test]
fn runs_are_listed_with_their_verdicts() {
    let sample = Sample::new(&["--hours", "1", "--object-bytes", "10KiB"]);
    let destination = sample.destination("out");
    let list = || -> Value {
        let output = command("list", &destination).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    fs::create_dir(&destination).unwrap();
    assert_eq!(list(), Value::Array(Vec::new()));
    let range = [
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T01:00:00Z",
    ];
    sample.run(&destination, &range);
    let ledger = destination.join("_recovery");
    for name in ["unaudited", "damaged"] {
        let copied = ledger.join(name);
        fs::create_dir(&copied).unwrap();
        fs::copy(ledger.join("run/request.json"), copied.join("request.json")).unwrap();
    }
    fs::write(ledger.join("damaged/request.json"), "{").unwrap();
    // What is no run is not listed.
    fs::create_dir(ledger.join("_rejected")).ok();
    fs::create_dir(ledger.join("empty")).unwrap();
    let runs = list();
    let runs: Vec<(&str, &str, &Value)> = runs
        .as_array()
        .unwrap()
        .iter()
        .map(|run| {
            let text = |field: &str| run[field].as_str().unwrap();
            (text("execution_id"), text("state"), &run["verdict"])
        })
        .collect();
    let complete = Value::from("complete");
    assert_eq!(
        runs,
        [
            ("damaged", "damaged", &Value::Null),
            ("run", "audited", &complete),
            ("unaudited", "not_audited", &Value::Null),
        ]
    );
    let mut people = event_recovery();
    let people = people.arg("list").arg("--destination").arg(&destination);
    let people = people.output().unwrap();
    assert!(people.stdout.is_empty());
    let table = said(&people);
    assert!(table.contains("complete, final"), "{table}");
    assert!(table.contains("not audited yet"), "{table}");
}

#[test]
fn a_report_is_written_anew() {
    let sample = Sample::new(&["--hours", "1", "--object-bytes", "10KiB"]);
    let destination = sample.destination("out");
    let range = [
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T01:00:00Z",
    ];
    let (expected, _) = sample.run(&destination, &range);
    let written = destination.join("_recovery/run/report.json");
    let success = destination.join("execution_id=run/_SUCCESS");
    for lost in [&written, &success] {
        fs::remove_file(lost).unwrap();
        let output = command("report", &destination).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert_eq!(balance(&report(&output)), balance(&expected));
        assert!(written.exists() && success.exists());
    }
    // It says what is true now.
    let (output, _) = output_files(&destination).into_iter().next().unwrap();
    fs::remove_file(destination.join(output)).unwrap();
    let output = command("report", &destination).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(report(&output)["verdict"], "incomplete");
    assert!(!success.exists());
    let unknown = event_recovery()
        .args(["report", "--execution-id", "other", "--destination"])
        .arg(&destination)
        .output()
        .unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(!destination.join("_recovery/other").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_is_opened_as_a_page() {
    use std::os::unix::fs::PermissionsExt as _;
    let sample = Sample::new(&["--hours", "24", "--object-bytes", "1KiB"]);
    let (_, destination) = whole(&sample);
    // Stands in for the program that opens files on a desktop.
    let programs = sample.destination("programs");
    fs::create_dir(&programs).unwrap();
    let opener = programs.join("xdg-open");
    let opened = sample.destination("opened");
    fs::write(
        &opener,
        format!(
            "#!/bin/sh\nprintf %s \"$1\" > {}.part && mv {0}.part {0}\n",
            opened.display()
        ),
    )
    .unwrap();
    fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut report = command("report", &destination);
    let output = report.arg("--open").env("PATH", path).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !opened.exists() {
        assert!(Instant::now() < deadline, "nothing was opened");
        std::thread::sleep(Duration::from_millis(10));
    }
    let page = fs::read_to_string(opened).unwrap();
    assert_eq!(
        PathBuf::from(page),
        destination.join("_recovery/run/report.html")
    );
}

#[test]
fn an_accepted_loss_is_named_and_counted_apart() {
    let sample = Sample::new(&["--hours", "2", "--object-bytes", "10KiB"]);
    let objects: Vec<PathBuf> = support::files(&sample.backup().join("main_stream"))
        .into_keys()
        .collect();
    let key = |object: &Path| format!("main_stream/{}", object.display());
    let (destroyed, intact) = (key(&objects[3]), key(&objects[4]));
    // Compressed, and destroyed.
    fs::write(sample.backup().join(&destroyed), b"\x1f\x8b\x08 nothing").unwrap();
    let destination = sample.destination("out");
    let range = [
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T02:00:00Z",
    ];
    let (before, _) = sample.run(&destination, &range);
    assert_eq!(before["objects"]["failed"], 1);
    let accept = |key: &str, options: &[&str]| {
        let mut command = command("accept-loss", &destination);
        let output = command.args(["--key", key]).args(options).output().unwrap();
        (output.status.code(), output)
    };
    let long = "x".repeat(1001);
    for (key, reason, code, expected) in [
        (
            &*intact,
            "gone",
            1,
            "is recovered, so nothing of it is lost",
        ),
        (
            "main_stream/2024/04/01/00/other",
            "gone",
            2,
            "has not planned the object",
        ),
        (&destroyed, "", 2, "the reason is not"),
        (&destroyed, &long, 2, "the reason is not"),
        (&destroyed, "two\nlines", 2, "the reason is not"),
    ] {
        let (found, output) = accept(key, &["--reason", reason]);
        assert_eq!(found, Some(code), "{reason}");
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
    assert!(!destination.join("_recovery/run/losses").exists());
    for reason in ["destroyed, ticket 4711", "said twice: the first counts"] {
        let (code, output) = accept(&destroyed, &["--reason", reason]);
        assert_eq!(code, Some(3), "{}", said(&output));
        let told = report(&output);
        check_balance(&told);
        assert_eq!(told["verdict"], "needs_look");
        let objects = &told["objects"];
        assert_eq!(
            (&objects["lost"], &objects["failed"]),
            (&1.into(), &0.into())
        );
        assert_eq!(told["losses"][0]["key"], *destroyed);
        assert_eq!(told["losses"][0]["reason"], "destroyed, ticket 4711");
        assert_eq!(told["unrecovered"], Value::Array(Vec::new()));
    }
    let status = command("status", &destination).output().unwrap();
    assert_eq!(report(&status)["objects"]["lost"], 1);
    for _ in 0..2 {
        let (code, output) = accept(&destroyed, &["--revoke"]);
        assert_eq!(code, Some(3), "{}", said(&output));
        let told = report(&output);
        assert_eq!(told["verdict"], "incomplete");
        assert_eq!(told["objects"], before["objects"]);
    }
}
