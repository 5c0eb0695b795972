//! Shared by the tests of the whole program: samples, runs of them, and readers of their results.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub const ORG_ID: &str = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";

/// The program under test.
pub fn event_recovery() -> Command {
    Command::new(env!("CARGO_BIN_EXE_event-recovery"))
}

/// A sample in a folder of its own.
pub struct Sample {
    pub folder: tempfile::TempDir,
}

impl Sample {
    pub fn new(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = event_recovery()
            .arg("sample")
            .arg(folder.path().join("backup"))
            .args(options)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self { folder }
    }

    pub fn backup(&self) -> PathBuf {
        self.folder.path().join("backup")
    }

    pub fn destination(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The truth: the lines of all intact events, sorted.
    pub fn expected(&self) -> Vec<Vec<u8>> {
        lines(&fs::read(self.backup().join("expected.ndjson")).unwrap())
    }

    pub fn torn(&self) -> Vec<Value> {
        json_lines(&self.backup().join("torn.jsonl"))
    }

    /// The command `run` for this sample, with the execution id `run`.
    pub fn run_command(&self, destination: &Path, options: &[&str]) -> Command {
        let mut command = event_recovery();
        command
            .args(["run", "--org-id", ORG_ID, "--execution-id", "run"])
            .arg("--source")
            .arg(self.backup())
            .arg("--destination")
            .arg(destination)
            .args(options);
        command
    }

    /// Executes `run` and returns the report and the exit code.
    pub fn run(&self, destination: &Path, options: &[&str]) -> (Value, Option<i32>) {
        let output = self
            .run_command(destination, options)
            .arg("--json")
            .output()
            .unwrap();
        (report(&output), output.status.code())
    }
}

pub fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&output.stderr)))
}

pub fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

pub fn json_lines(path: &Path) -> Vec<Value> {
    lines(&fs::read(path).unwrap())
        .iter()
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// Every file below the folder, by its path.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(
                    path.strip_prefix(folder).unwrap().to_owned(),
                    fs::read(&path).unwrap(),
                );
            }
        }
    }
    found
}

/// The files with events.
pub fn output_files(destination: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = files(destination);
    found.retain(|path, _| !path.starts_with("_recovery") && !path.ends_with("_SUCCESS"));
    found
}

/// All recovered lines of an NDJSON run, sorted.
pub fn recovered_lines(destination: &Path) -> Vec<Vec<u8>> {
    let mut recovered: Vec<Vec<u8>> = output_files(destination)
        .iter()
        .filter(|(path, _)| {
            path.extension()
                .is_some_and(|extension| extension == "ndjson")
        })
        .flat_map(|(_, bytes)| lines(bytes))
        .collect();
    recovered.sort_unstable();
    recovered
}

/// When the event arrived, in milliseconds since 1970, by its own fields.
pub fn arrival_millis(event: &[u8]) -> i64 {
    let event: Value = serde_json::from_slice(event).unwrap();
    event["arrival_epoch"].as_i64().unwrap_or_else(|| {
        let timestamp = event["timestamp"].as_str().unwrap();
        chrono::DateTime::parse_from_rfc3339(timestamp)
            .unwrap()
            .timestamp_millis()
    })
}

/// Asserts the equations that hold for the report of any run.
pub fn check_balance(report: &Value) {
    let sum = |group: &str, names: &[&str]| -> u64 {
        names
            .iter()
            .map(|name| report[group][name].as_u64().unwrap())
            .sum()
    };
    assert_eq!(
        sum("objects", &["listed"]),
        sum("objects", &["pruned", "planned"])
    );
    assert_eq!(
        sum("objects", &["planned"]),
        sum(
            "objects",
            &["done", "salvaged", "failed", "missing", "lost"]
        )
    );
    assert_eq!(
        sum("bytes", &["read"]),
        sum("bytes", &["events", "whitespace", "rejected"])
    );
    assert_eq!(
        sum("events", &["found"]),
        sum(
            "events",
            &["written", "out_of_window", "filtered_out", "duplicates"]
        )
    );
}

/// The report without what depends on the clock.
pub fn balance(report: &Value) -> Value {
    let mut report = report.clone();
    for time in ["times", "listed_at"] {
        report.as_object_mut().unwrap().remove(time);
    }
    for hour in report["hours"].as_array_mut().unwrap() {
        hour.as_object_mut().unwrap().remove("listed_at");
    }
    report
}

/// The Python with readers of Parquet, which `make test` installs.
pub fn python() -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join(".venv/bin/python");
    assert!(
        python.exists(),
        "no {}: run the tests with `make test`",
        python.display()
    );
    Command::new(python)
}
