//! Damaged objects, of which the events before the damage are recovered, on one machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use support::{Sample, check_balance, event_recovery, lines, output_files, report};

const RANGE: [&str; 4] = [
    "--start",
    "2024-04-01T00:00:00Z",
    "--end",
    "2024-04-01T02:00:00Z",
];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A backup with one object of two gzip members, and what is known of it.
struct Damaged {
    sample: Sample,
    destination: PathBuf,
    key: String,
    path: PathBuf,
    intact: Vec<u8>,
    modified: SystemTime,
    /// Events of the first member that are whole.
    first_events: u64,
}

impl Damaged {
    fn new(format: &str) -> Self {
        let sample = Sample::new(&["--hours", "2", "--object-bytes", "200KiB"]);
        let objects: Vec<PathBuf> = support::files(&sample.backup().join("main_stream"))
            .into_keys()
            .collect();
        let key = format!("main_stream/{}", objects[5].display());
        let path = sample.backup().join(&key);
        let content = fs::read(&path).unwrap();
        let (first, second) = content.split_at(content.len() / 2);
        let mut split = event_recovery()
            .arg("split")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        split.stdin.take().unwrap().write_all(first).unwrap();
        let first_events = lines(&split.wait_with_output().unwrap().stdout).len() as u64;
        let (head, tail) = (gzip(first), gzip(second));
        let intact = [head.clone(), tail.clone()].concat();
        fs::write(&path, &intact).unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let mut damaged = intact.clone();
        // A block of the reserved type, after the header of ten bytes.
        damaged[head.len() + 10..].fill(0xFF);
        let destination = sample.destination("out");
        let this = Self {
            sample,
            destination,
            key,
            path,
            intact,
            modified,
            first_events,
        };
        this.put(&damaged);
        let options = [&RANGE[..], &["--format", format]].concat();
        let (report, code) = this.sample.run(&this.destination, &options);
        assert_eq!((code, &report["objects"]["failed"]), (Some(3), &1.into()));
        let hint = report["unrecovered"][0]["hint"].as_str().unwrap();
        assert!(hint.contains("event-recovery salvage"), "{hint}");
        this
    }

    /// Another content of the same size and time, as when what was damaged reads whole again.
    fn put(&self, content: &[u8]) {
        assert_eq!(content.len(), self.intact.len());
        fs::write(&self.path, content).unwrap();
        let file = File::options().write(true).open(&self.path).unwrap();
        file.set_modified(self.modified).unwrap();
    }

    fn command(&self, name: &str, options: &[&str]) -> Command {
        let mut command = event_recovery();
        command
            .args([name, "--json", "--execution-id", "run", "--destination"])
            .arg(&self.destination)
            .args(options);
        if matches!(name, "salvage" | "resume") {
            command.arg("--source").arg(self.sample.backup());
        }
        command
    }

    fn salvage(&self) -> Output {
        let salvaged = self.command("salvage", &["--key", &self.key]).output();
        salvaged.unwrap()
    }

    fn check_salvaged(&self, told: &Value) {
        check_balance(told);
        assert_eq!(told["verdict"], "needs_look", "{}", told["reasons"]);
        assert_eq!(told["objects"]["salvaged"], 1);
        assert_eq!(told["objects"]["failed"], 0);
        let salvage = &told["salvage"];
        assert_eq!(salvage["named"][0]["key"], *self.key);
        assert_eq!(salvage["events"], self.first_events);
        assert_eq!(salvage["unverified_events"], 0);
        let undecoded = salvage["undecoded_bytes"].as_u64().unwrap();
        assert!(undecoded > 1000 && undecoded < self.intact.len() as u64);
        let reason = salvage["named"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("corrupt"), "{reason}");
    }
}

fn written(destination: &Path) -> Vec<Vec<u8>> {
    let files = output_files(destination);
    let mut written: Vec<Vec<u8>> = files.values().flat_map(|file| lines(file)).collect();
    written.sort_unstable();
    written
}

#[test]
fn events_before_the_damage_are_recovered_until_the_object_reads_whole() {
    let damaged = Damaged::new("ndjson");
    let output = damaged.salvage();
    assert_eq!(output.status.code(), Some(3));
    damaged.check_salvaged(&report(&output));
    let truth: BTreeSet<Vec<u8>> = damaged.sample.expected().into_iter().collect();
    let events = written(&damaged.destination);
    assert!(
        events.iter().all(|event| truth.contains(event)),
        "an event was invented"
    );
    assert!(events.len() < truth.len());
    // Whatever is done to the run, what was salvaged stays as long as the object is damaged.
    let files = output_files(&damaged.destination);
    for (name, options) in [
        ("status", &["--checksums"][..]),
        ("resume", &[]),
        ("resume", &["--key", &damaged.key]),
        ("salvage", &["--key", &damaged.key]),
        ("report", &[]),
    ] {
        let output = damaged.command(name, options).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{name}");
        damaged.check_salvaged(&report(&output));
        assert_eq!(output_files(&damaged.destination), files, "{name}");
    }
    let accepted = damaged
        .command("accept-loss", &["--key", &damaged.key, "--reason", "gone"])
        .output()
        .unwrap();
    assert_eq!(accepted.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&accepted.stderr).contains("is salvaged"));
    let page = fs::read_to_string(damaged.destination.join("_recovery/run/report.html")).unwrap();
    assert!(page.contains("Damaged objects") && page.contains(&damaged.key));

    damaged.put(&damaged.intact);
    let resumed = damaged.command("resume", &[]).output().unwrap();
    assert_eq!(resumed.status.code(), Some(0));
    let told = report(&resumed);
    assert_eq!(told["objects"]["salvaged"], 0);
    assert_eq!(told["salvage"]["undecoded_bytes"], 0);
    assert_eq!(written(&damaged.destination), damaged.sample.expected());
    let status = damaged
        .command("status", &["--checksums"])
        .output()
        .unwrap();
    assert_eq!(status.status.code(), Some(0));
    // What is done stays as it is.
    let again = damaged.salvage();
    assert_eq!(again.status.code(), Some(0));
}

#[test]
fn a_salvage_that_is_killed_at_any_moment_is_repeated() {
    let damaged = Damaged::new("parquet");
    let mut moment = Duration::from_millis(2);
    let mut kills = 0;
    loop {
        let mut child = damaged
            .command("salvage", &["--key", &damaged.key])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + moment;
        let mut ended = None;
        while Instant::now() < deadline && ended.is_none() {
            ended = child.try_wait().unwrap();
            std::thread::sleep(Duration::from_micros(200));
        }
        match ended {
            Some(_) => break,
            None => child.kill().unwrap(),
        }
        child.wait().unwrap();
        kills += 1;
        moment += Duration::from_millis(3);
        assert!(kills < 10_000);
    }
    assert!(kills > 0);
    let output = damaged.salvage();
    damaged.check_salvaged(&report(&output));
    let status = damaged
        .command("status", &["--checksums"])
        .output()
        .unwrap();
    damaged.check_salvaged(&report(&status));
}

#[test]
fn what_can_not_be_salvaged_is_told() {
    let damaged = Damaged::new("ndjson");
    let mut nothing = damaged.intact.clone();
    nothing[10..].fill(0xFF);
    damaged.put(&nothing);
    let output = damaged.salvage();
    assert_eq!(output.status.code(), Some(3));
    let told = report(&output);
    assert_eq!(told["verdict"], "incomplete");
    assert_eq!(told["objects"]["failed"], 1);
    for (key, code, expected) in [
        (
            "main_stream/2024/04/01/00/other",
            2,
            "has not planned the object",
        ),
        ("elsewhere", 2, "`--key`"),
    ] {
        let output = damaged
            .command("salvage", &["--key", key])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(expected), "{said}");
    }
}
