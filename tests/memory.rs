//! Memory stays within the stated limits, whatever the size of an object.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{Sample, event_recovery, files};

/// Some ten times what the pipeline may hold of one object at once.
const OBJECT_BYTES: &str = "300MB";

/// Runs the command and returns its largest resident memory in MiB, as the kernel counts it.
fn resident_mib_max(command: &mut Command) -> u64 {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut kib_max = 0;
    let exit = loop {
        // The kernel keeps the maximum, so it is enough to read it now and then.
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
    assert!(exit.success());
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
        let mib = resident_mib_max(&mut command);
        assert!(mib <= mib_max, "{format}: {mib} MiB");
    }
    let object = files(&sample.backup().join("main_stream"))
        .into_keys()
        .next()
        .unwrap();
    let object = File::open(sample.backup().join("main_stream").join(object)).unwrap();
    let mib = resident_mib_max(event_recovery().arg("split").stdin(object));
    assert!(mib <= 64, "split: {mib} MiB");
}
