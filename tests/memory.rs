//! Memory stays within the stated limits for objects of any size.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use event_recovery_format::{
    Envelope, EnvelopeScratch, EventWriter, NdjsonCompression, OutputFormat,
};
use support::{ORG_ID, Sample, event_recovery, files};

/// About ten times what the pipeline may hold of one object at once.
const OBJECT_BYTES: &str = "300MB";

/// Runs the command, checks its exit code, and returns its peak resident memory in MiB, as the kernel
/// counts it.
fn resident_mib_max(command: &mut Command, code: i32) -> u64 {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut kib_max = 0;
    let exit = loop {
        // `VmHWM` is a maximum, so polling misses at most what the last interval adds.
        if let Ok(text) = fs::read_to_string(&status)
            && let Some(line) = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))
        {
            kib_max = line.trim().trim_end_matches(" kB").parse().unwrap();
        }
        if let Some(exit) = child.try_wait().unwrap() {
            break exit;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert_eq!(exit.code(), Some(code));
    assert!(kib_max > 0);
    kib_max / 1024
}

#[test]
fn a_large_object_takes_no_more_memory_than_stated() {
    let sample = Sample::new(&[
        "--hours",
        "1",
        "--objects-per-hour",
        "1",
        "--object-bytes",
        OBJECT_BYTES,
    ]);
    let range = [
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T01:00:00Z",
    ];
    for (format, mib_max) in [("ndjson", 64), ("parquet", 256)] {
        let destination = sample.destination(format);
        let mut command =
            sample.run_command(&destination, &[&range[..], &["--format", format]].concat());
        let mib = resident_mib_max(&mut command, 0);
        assert!(mib <= mib_max, "{format}: {mib} MiB");
    }
    let object = files(&sample.backup().join("main_stream"))
        .into_keys()
        .next()
        .unwrap();
    let object = File::open(sample.backup().join("main_stream").join(object)).unwrap();
    let mib = resident_mib_max(event_recovery().arg("split").stdin(object), 0);
    assert!(mib <= 64, "split: {mib} MiB");
}

/// How many days the events of one object have, and how large each event is.
const DAYS: i64 = 60;
const EVENT_BYTES: usize = 15 * 1024 * 1024;

/// One object after the other: what one has taken is there for the next.
#[test]
fn many_objects_take_no_more_memory_than_one() {
    let sample = Sample::new(&[
        "--hours",
        "2",
        "--objects-per-hour",
        "16",
        "--object-bytes",
        "6MB",
    ]);
    let arguments = [
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T02:00:00Z",
        "--concurrency",
        "1",
    ];
    for (format, mib_max) in [("ndjson", 48), ("parquet", 128)] {
        let destination = sample.destination(format);
        let mut command = sample.run_command(
            &destination,
            &[&arguments[..], &["--format", format]].concat(),
        );
        let mib = resident_mib_max(&mut command, 0);
        assert!(mib <= mib_max, "{format}: {mib} MiB");
    }
}

/// A backup of one object with one event for each day. The object is small although its events and their
/// Parquet pages are large: the text repeats within the compression window of the object, but not within
/// that of a page.
fn back_up_many_days(backup: &Path) {
    let mut state = 1_u64;
    let noise: String = (0..EVENT_BYTES / 15 / 16)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            format!("{:016x}", state ^ state >> 31)
        })
        .collect();
    let data = noise.repeat(15);
    let hour = backup.join("main_stream/2024/04/01/00");
    fs::create_dir_all(&hour).unwrap();
    let format = OutputFormat::Ndjson(NdjsonCompression::Zstd);
    let object = File::create(hour.join("many-days")).unwrap();
    let mut writer = EventWriter::open(format, object).unwrap();
    let mut scratch = EnvelopeScratch::default();
    let first: chrono::DateTime<chrono::Utc> = "2024-02-01T12:00:00Z".parse().unwrap();
    for day in 0..DAYS {
        let arrival_epoch = (first + chrono::TimeDelta::days(day)).timestamp_millis();
        let event = format!(
            "{{\"event_id\":\"e-{day}\",\"org_id\":\"{ORG_ID}\",\
             \"arrival_epoch\":{arrival_epoch},\"data\":\"{data}\"}}"
        );
        writer
            .write(&Envelope::read(event.as_bytes(), &mut scratch))
            .unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn large_events_of_many_days_take_no_more_memory_than_stated() {
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    back_up_many_days(&backup);
    for (format, mib_max) in [("ndjson", 96), ("parquet", 256)] {
        let destination = folder.path().join(format);
        let mut command = event_recovery();
        command
            .args(["run", "--org-id", ORG_ID, "--execution-id", "run"])
            .args(["--start", "2024-02-01", "--end", "2024-04-01"])
            .args(["--format", format, "--source"])
            .arg(&backup)
            .arg("--destination")
            .arg(&destination);
        // The object has a foreign name, and its events are far from its time.
        let mib = resident_mib_max(&mut command, 3);
        assert!(mib <= mib_max, "{format}: {mib} MiB");
        assert_eq!(count_files(&destination.join("execution_id=run")), DAYS);
        fs::remove_dir_all(destination).unwrap();
    }
}

/// Counts the files below the folder without reading them: they are large.
fn count_files(folder: &Path) -> i64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => count_files(&entry.path()),
            false => 1,
        })
        .sum()
}
