//! A run that was killed or interrupted resumes and ends as if it had not been stopped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Sample, balance, files, output_files, report};

const KILLS: usize = 20;
const OBJECTS: usize = 72;
const SAMPLE: [&str; 5] = ["--hard", "--hours", "6", "--object-bytes", "200KiB"];
/// Takes a second or more with one object at a time, so that there is time to interrupt it.
const LONG_SAMPLE: [&str; 4] = ["--hours", "24", "--object-bytes", "256KiB"];
const LONG_OBJECTS: usize = 24 * 12;
const LONG_RUN: [&str; 8] = [
    "--start",
    "2024-04-01T00:00:00Z",
    "--end",
    "2024-04-02T00:00:00Z",
    "--format",
    "parquet",
    "--concurrency",
    "1",
];
const RANGE: [&str; 4] = [
    "--start",
    "2024-04-01T00:30:00Z",
    "--end",
    "2024-04-01T06:00:00Z",
];

fn receipts(destination: &Path) -> usize {
    fs::read_dir(destination.join("_recovery/run/receipts")).map_or(0, Iterator::count)
}

/// Starts the run and waits until it has written `receipts_wanted` receipts, or has ended.
fn start_until(command: &mut Command, destination: &Path, receipts_wanted: usize) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn_until(command, destination, receipts_wanted)
}

fn spawn_until(command: &mut Command, destination: &Path, receipts_wanted: usize) -> Child {
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while receipts(destination) < receipts_wanted && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "no receipts come");
        std::thread::sleep(Duration::from_micros(200));
    }
    child
}

#[test]
fn a_run_that_is_killed_anywhere_ends_like_one_that_was_not() {
    let sample = Sample::new(&SAMPLE);
    for format in ["ndjson", "parquet"] {
        let options = [&RANGE[..], &["--format", format, "--concurrency", "2"]].concat();
        let whole = sample.destination(&format!("{format}-whole"));
        let (expected_report, _) = sample.run(&whole, &options);
        let expected = output_files(&whole);
        let mut kills = 0;
        let mut round = 0;
        while kills < KILLS / 2 {
            round += 1;
            assert!(round <= 4 * KILLS, "the runs end before they can be killed");
            let destination = sample.destination(&format!("{format}-{round}"));
            // Each round kills later, and some rounds kill twice.
            for receipts_wanted in [1 + round % 40, 1 + round % 40 + 10] {
                let mut command = sample.run_command(&destination, &options);
                let mut child = start_until(&mut command, &destination, receipts_wanted);
                child.kill().unwrap();
                child.wait().unwrap();
                let last_receipt_is_out = receipts(&destination) < OBJECTS / 2;
                kills += usize::from(last_receipt_is_out && receipts(&destination) > 0);
                if round % 3 != 0 {
                    break;
                }
            }
            let (report, _) = sample.run(&destination, &options);
            assert_eq!(
                balance(&report),
                balance(&expected_report),
                "{format}, round {round}"
            );
            assert!(
                output_files(&destination) == expected,
                "{format}, round {round}"
            );
            assert!(!destination.join("_recovery/run/staging").exists());
            fs::remove_dir_all(destination).unwrap();
        }
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

#[test]
fn an_interrupted_run_that_nobody_listens_to_stops_like_any_other() {
    let sample = Sample::new(&LONG_SAMPLE);
    let options = LONG_RUN;
    let whole = sample.destination("whole");
    let (expected, _) = sample.run(&whole, &options);
    for (name, more) in [("with progress", &[][..]), ("quiet", &["--quiet"])] {
        let destination = sample.destination(name);
        let mut command = sample.run_command(&destination, &[&options[..], more].concat());
        command.stderr(std::io::pipe().unwrap().1);
        let mut child = spawn_until(&mut command, &destination, 2);
        signal(&child, "-TERM");
        assert_eq!(child.wait().unwrap().code(), Some(130), "{name}");
        assert!(receipts(&destination) < LONG_OBJECTS, "{name}");
        let (report, exit_code) = sample.run(&destination, &options);
        assert_eq!(
            (exit_code, balance(&report)),
            (Some(0), balance(&expected)),
            "{name}"
        );
        assert!(output_files(&destination) == output_files(&whole), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_run_whose_terminal_goes_away_is_carried_out_all_the_same() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let stderr = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap());
    let sample = Sample::new(&LONG_SAMPLE);
    let destination = sample.destination("out");
    let options = LONG_RUN;
    let mut command = sample.run_command(&destination, &options);
    command.stderr(stderr.unwrap());
    let mut child = spawn_until(&mut command, &destination, 1);
    drop(command);
    drop(terminal);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(receipts(&destination), LONG_OBJECTS);
    assert!(destination.join("execution_id=run/_SUCCESS").exists());
}

#[test]
fn an_interrupted_run_finishes_what_is_in_flight_and_says_how_to_resume() {
    let sample = Sample::new(&LONG_SAMPLE);
    let destination = sample.destination("out");
    let options = LONG_RUN;
    let mut command = sample.run_command(&destination, &options);
    let child = start_until(&mut command, &destination, 2);
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(receipts(&destination) < LONG_OBJECTS);
    let resume = said
        .lines()
        .last()
        .unwrap()
        .trim()
        .strip_prefix("event-recovery ")
        .unwrap();
    let resumed = support::event_recovery()
        .args(resume.split(' '))
        .arg("--json")
        .output()
        .unwrap();
    let whole = sample.destination("whole");
    let (expected, _) = sample.run(&whole, &options);
    assert_eq!(balance(&report(&resumed)), balance(&expected));
    assert!(output_files(&destination) == output_files(&whole));
}

#[test]
fn a_run_that_is_done_stays_as_it_is_when_it_is_repeated() {
    let sample = Sample::new(&["--hours", "1", "--object-bytes", "16KiB"]);
    let destination = sample.destination("out");
    let options = [
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T01:00:00Z",
    ];
    let (first, _) = sample.run(&destination, &options);
    let before = files(&destination);
    let (second, exit_code) = sample.run(&destination, &options);
    assert_eq!(exit_code, Some(0));
    assert_eq!(balance(&first), balance(&second));
    let mut after = files(&destination);
    for report in ["report.json", "report.html"] {
        let path = Path::new("_recovery/run").join(report);
        after.insert(path.clone(), before[&path].clone());
    }
    assert!(before == after);
}

#[test]
fn objects_that_failed_are_recovered_once_they_are_mended() {
    let sample = Sample::new(&["--hours", "1", "--object-bytes", "16KiB"]);
    let options = [
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T01:00:00Z",
        "--format",
        "ndjson",
    ];
    let hour = sample.backup().join("main_stream/2024/04/01/00");
    let victim = fs::read_dir(&hour).unwrap().next().unwrap().unwrap().path();
    let aside = sample.folder.path().join("aside");
    let destination = sample.destination("out");
    // As if the object had been removed between planning and recovery.
    let planned = sample.run(&sample.destination("planned"), &options).0;
    assert_eq!(planned["verdict"], "complete");
    let ledger = destination.join("_recovery/run");
    fs::create_dir_all(ledger.join("tasks")).unwrap();
    for (path, bytes) in files(&sample.destination("planned").join("_recovery/run")) {
        if path.starts_with("tasks") || path.ends_with("request.json") {
            fs::write(ledger.join(path), bytes).unwrap();
        }
    }
    fs::rename(&victim, &aside).unwrap();
    let (report, exit_code) = sample.run(&destination, &options);
    assert_eq!(
        (exit_code, report["verdict"].as_str()),
        (Some(3), Some("incomplete"))
    );
    assert_eq!(report["objects"]["failed"], 1);
    let key = report["unrecovered"][0]["key"].as_str().unwrap();
    assert!(victim.ends_with(key), "{key}");
    fs::rename(&aside, &victim).unwrap();
    let (report, exit_code) = sample.run(&destination, &options);
    assert_eq!(exit_code, Some(0), "{report}");
    assert!(support::recovered_lines(&destination) == sample.expected());
}

#[test]
fn two_processes_do_not_carry_out_the_same_run() {
    let sample = Sample::new(&LONG_SAMPLE);
    let destination = sample.destination("out");
    let mut command = sample.run_command(&destination, &LONG_RUN);
    let first = start_until(&mut command, &destination, 1);
    let second = sample
        .run_command(&destination, &LONG_RUN)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    let first = first.wait_with_output().unwrap();
    assert_eq!(
        first.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&first.stderr)
    );
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("another process"), "{said}");
}
