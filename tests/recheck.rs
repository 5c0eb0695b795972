//! A recheck on one machine recovers what came late, is honest about what changed, and resumes when it was stopped.
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

const KILLS: u32 = 12;
const SAMPLE: [&str; 5] = ["--hard", "--hours", "4", "--object-bytes", "200KiB"];
const RUN: [&str; 6] = [
    "--start",
    "2024-04-01T00:30:00Z",
    "--end",
    "2024-04-01T04:00:00Z",
    "--format",
    "ndjson",
];

/// A backup of which every second object comes late, and the output of a run of all of it.
struct Late {
    sample: Sample,
    objects: Vec<PathBuf>,
    whole: Value,
}

impl Late {
    fn new(options: &[&str]) -> Self {
        let sample = Sample::new(options);
        let (whole, _) = sample.run(&sample.destination("whole"), &RUN);
        let main_stream = sample.backup().join("main_stream");
        let all = support::files(&main_stream);
        let objects: Vec<PathBuf> = all.keys().step_by(2).cloned().collect();
        let late = Self {
            sample,
            objects,
            whole,
        };
        late.take_away();
        late
    }

    fn place(&self, object: &Path) -> PathBuf {
        self.sample.backup().join("main_stream").join(object)
    }

    fn aside(&self, object: &Path) -> PathBuf {
        let name = object.file_name().unwrap();
        self.sample.folder.path().join("aside").join(name)
    }

    fn take_away(&self) {
        fs::create_dir_all(self.sample.folder.path().join("aside")).unwrap();
        for object in &self.objects {
            fs::rename(self.place(object), self.aside(object)).unwrap();
        }
    }

    fn put_back(&self) {
        for object in &self.objects {
            fs::rename(self.aside(object), self.place(object)).unwrap();
        }
    }

    /// Runs over what there is in time.
    fn run_early(&self, name: &str) -> PathBuf {
        let destination = self.sample.destination(name);
        let (early, _) = self.sample.run(&destination, &RUN);
        assert!(early["objects"]["done"].as_u64() < self.whole["objects"]["done"].as_u64());
        destination
    }

    /// Runs over everything.
    fn run_late(&self, name: &str) -> PathBuf {
        let destination = self.sample.destination(name);
        self.sample.run(&destination, &RUN);
        destination
    }

    fn command(&self, destination: &Path) -> Command {
        let mut command = event_recovery();
        command.args(["recheck", "--execution-id", "run", "--json", "--source"]);
        command.arg(self.sample.backup());
        command.arg("--destination").arg(destination);
        command
    }

    fn recheck(&self, destination: &Path) -> (Value, Option<i32>) {
        let output = self.command(destination).output().unwrap();
        (report(&output), output.status.code())
    }

    fn whole_output(&self) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
        output_files(&self.sample.destination("whole"))
    }

    /// Fails unless the report tells of as much as a run of everything, apart from what came when.
    fn check_report(&self, report: &Value, name: &str) {
        check_balance(report);
        for group in ["objects", "bytes", "events", "output", "verdict"] {
            assert_eq!(report[group], self.whole[group], "{name}: {group}");
        }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn receipts(destination: &Path) -> usize {
    fs::read_dir(destination.join("_recovery/run/receipts")).map_or(0, Iterator::count)
}

fn has_late_tasks(ledger: &Path) -> bool {
    let tasks = fs::read_dir(ledger.join("tasks")).unwrap();
    let mut names = tasks.map(|task| task.unwrap().file_name());
    names.any(|name| name.to_string_lossy().contains(".late-"))
}

fn spawn_until(command: &mut Command, until: impl Fn() -> bool) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !until() && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the recheck does not progress");
        std::thread::sleep(Duration::from_micros(100));
    }
    child
}

#[test]
fn what_came_late_is_recovered_and_a_second_recheck_finds_nothing() {
    let late = Late::new(&SAMPLE);
    let destination = late.run_early("out");
    let (nothing, exit_code) = late.recheck(&destination);
    assert_eq!(exit_code, Some(3), "the sample has torn events");
    assert_eq!(nothing["late"]["objects"], 0);
    let before = output_files(&destination);
    late.put_back();
    let (found, exit_code) = late.recheck(&destination);
    assert_eq!(exit_code, Some(3), "the sample has torn events");
    late.check_report(&found, "late");
    let came = found["late"]["objects"].as_u64().unwrap();
    let planned_first = nothing["objects"]["planned"].as_u64().unwrap();
    assert_eq!(
        came,
        found["objects"]["planned"].as_u64().unwrap() - planned_first
    );
    let after = output_files(&destination);
    assert!(after == late.whole_output());
    assert!(before.iter().all(|(path, bytes)| after[path] == *bytes));
    let (again, _) = late.recheck(&destination);
    assert_eq!(balance(&again), balance(&found));
    assert!(output_files(&destination) == after);
}

#[test]
fn a_recheck_that_is_killed_anywhere_resumes() {
    let late = Late::new(&SAMPLE);
    let early: Vec<PathBuf> = (0..KILLS)
        .map(|round| late.run_early(&format!("out-{round}")))
        .collect();
    let had = receipts(&early[0]);
    late.put_back();
    let mut kills = 0;
    for (round, destination) in early.iter().enumerate() {
        // Once its records are written, and after more and more receipts.
        let ledger = destination.join("_recovery/run");
        let is_far_enough = || match round {
            0 => has_late_tasks(&ledger),
            1 => ledger.join("plan.late-1.json").exists(),
            2 => ledger.join("recheck.json").exists(),
            round => receipts(destination) >= had + round - 2,
        };
        let mut command = late.command(destination);
        let mut child = spawn_until(command.args(["--concurrency", "1"]), is_far_enough);
        child.kill().unwrap();
        kills += u32::from(!child.wait().unwrap().success());
        let (report, exit_code) = late.recheck(destination);
        let name = format!("round {round}");
        assert_eq!(exit_code, Some(3), "{name}");
        late.check_report(&report, &name);
        assert!(output_files(destination) == late.whole_output(), "{name}");
        assert!(!ledger.join("staging").exists(), "{name}");
    }
    assert!(kills >= KILLS / 2, "only {kills} were killed in time");
}

#[cfg(unix)]
#[test]
fn an_interrupted_recheck_says_how_it_resumes() {
    let late = Late::new(&["--hours", "4", "--object-bytes", "8MiB"]);
    let destination = late.run_early("out");
    let had = receipts(&destination);
    late.put_back();
    let mut command = late.command(&destination);
    let child = spawn_until(command.args(["--concurrency", "1"]), || {
        receipts(&destination) > had
    });
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert!(output.stdout.is_empty());
    assert!(
        said(&output).contains("the same command resumes"),
        "{}",
        said(&output)
    );
    let (report, exit_code) = late.recheck(&destination);
    assert_eq!(exit_code, Some(0));
    late.check_report(&report, "interrupted");
    assert!(output_files(&destination) == late.whole_output());
}

#[test]
fn objects_that_changed_or_vanished_are_named_and_what_is_done_stays() {
    let late = Late::new(&SAMPLE);
    late.put_back();
    let destination = late.run_late("out");
    let before = output_files(&destination);
    // Of the last hours; the first objects are before the window.
    let Some([changed, vanished]) = late.objects.last_chunk() else {
        panic!("the sample has more objects");
    };
    let mut bytes = fs::read(late.place(changed)).unwrap();
    bytes.extend_from_slice(b" ");
    fs::write(late.place(changed), bytes).unwrap();
    fs::remove_file(late.place(vanished)).unwrap();
    let (report, exit_code) = late.recheck(&destination);
    assert_eq!(exit_code, Some(3));
    let key = |object: &Path| format!("main_stream/{}", object.display());
    assert_eq!(report["changed"]["named"][0], key(changed), "{report}");
    assert_eq!(report["vanished"]["named"][0], key(vanished), "{report}");
    assert!(output_files(&destination) == before);
}

#[test]
fn a_recheck_that_can_not_be_made_says_why() {
    let late = Late::new(&["--hours", "1", "--object-bytes", "16KiB"]);
    let destination = late.run_early("out");
    let before = support::files(&destination);
    let mut without_source = event_recovery();
    without_source.args(["recheck", "--execution-id", "run", "--destination"]);
    let output = without_source.arg(&destination).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("--source"), "{}", said(&output));
    let mut unknown = event_recovery();
    unknown.args(["recheck", "--execution-id", "other", "--destination"]);
    let output = unknown.arg(&destination).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("`other`"), "{}", said(&output));
    let mut elsewhere = event_recovery();
    elsewhere.args(["recheck", "--execution-id", "run", "--source"]);
    elsewhere.arg(late.sample.folder.path().join("nowhere"));
    let output = elsewhere
        .arg("--destination")
        .arg(&destination)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("nowhere"), "{}", said(&output));
    assert!(support::files(&destination) == before);
}
