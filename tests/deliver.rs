//! Deliveries to standard output, also by processes that are killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use support::{Sample, event_recovery, lines, recovered_lines};

const RANGE: [&str; 4] = [
    "--start",
    "2024-04-01T00:00:00Z",
    "--end",
    "2024-04-01T03:00:00Z",
];
/// Events that may be in flight when a process dies.
const IN_FLIGHT_MAX: u64 = 10;

struct Recovered {
    sample: Sample,
    destination: PathBuf,
}

impl Recovered {
    fn new(object_bytes: &str) -> Self {
        let sample = Sample::new(&["--hours", "3", "--object-bytes", object_bytes]);
        let destination = sample.destination("recovered");
        let (report, code) = sample.run(
            &destination,
            &[&RANGE[..], &["--format", "ndjson"]].concat(),
        );
        assert_eq!(code, Some(0), "{report}");
        Self {
            sample,
            destination,
        }
    }

    fn command(&self, delivery_id: &str, options: &[&str]) -> Command {
        let mut command = event_recovery();
        command
            .args(["deliver", "--to", "-", "--execution-id", "run", "--quiet"])
            .args(["--delivery-id", delivery_id, "--destination"])
            .arg(&self.destination)
            .args(options);
        command
    }

    fn deliver(&self, delivery_id: &str, options: &[&str]) -> Output {
        self.command(delivery_id, options).output().unwrap()
    }

    fn report(&self, delivery_id: &str) -> Value {
        let path = format!("_recovery/run/deliveries/{delivery_id}/report.json");
        serde_json::from_slice(&fs::read(self.destination.join(path)).unwrap()).unwrap()
    }
}

/// How often each line is there.
fn counted(text: &[u8]) -> BTreeMap<Vec<u8>, u64> {
    let mut counts = BTreeMap::new();
    for line in lines(text) {
        *counts.entry(line).or_default() += 1;
    }
    counts
}

fn check_balance(report: &Value) {
    let events = &report["events"];
    let parts = [
        "sent",
        "earlier",
        "received",
        "duplicate",
        "filtered",
        "refused",
        "pending",
    ];
    let sum: u64 = parts
        .iter()
        .map(|part| events[part].as_u64().unwrap())
        .sum();
    assert_eq!(events["written"], sum, "{report}");
}

#[test]
fn every_event_is_delivered_once_in_its_own_bytes_and_a_second_command_sends_nothing() {
    let run = Recovered::new("60KiB");
    let output = run.deliver("first", &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut delivered = lines(&output.stdout);
    delivered.sort();
    assert!(delivered == recovered_lines(&run.destination));
    let report = run.report("first");
    check_balance(&report);
    assert_eq!(report["verdict"], "complete", "{report}");
    assert_eq!(report["events"]["sent"], delivered.len());
    let again = run.deliver("first", &[]);
    assert_eq!((again.status.code(), again.stdout.len()), (Some(0), 0));
    // Nobody knows whether it is the same standard output.
    let other = run.deliver("second", &[]);
    assert_eq!(lines(&other.stdout).len(), delivered.len());
}

#[test]
fn only_what_a_comparison_found_to_be_missing_is_sent() {
    let run = Recovered::new("60KiB");
    let events = recovered_lines(&run.destination);
    let id = |event: &[u8]| {
        let event: Value = serde_json::from_slice(event).unwrap();
        event["event_id"].as_str().unwrap().to_owned()
    };
    let received: std::collections::BTreeSet<String> =
        events.iter().step_by(2).map(|event| id(event)).collect();
    let expected: Vec<_> = events
        .iter()
        .filter(|event| !received.contains(&id(event)))
        .cloned()
        .collect();
    let received: String = received.iter().map(|id| format!("{id}\n")).collect();
    let path = run.sample.destination("ids.txt");
    fs::write(&path, received).unwrap();
    let compared = event_recovery()
        .args([
            "compare",
            "--json",
            "--execution-id",
            "run",
            "--destination",
        ])
        .arg(&run.destination)
        .arg("--received")
        .arg(&path)
        .output()
        .unwrap();
    let comparison: Value = serde_json::from_slice(&compared.stdout).unwrap();
    let comparison = comparison["comparison_id"].as_str().unwrap().to_owned();
    let output = run.deliver("missing", &["--only-missing", &comparison]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut delivered = lines(&output.stdout);
    delivered.sort();
    assert!(delivered == expected);
    let report = run.report("missing");
    check_balance(&report);
    assert_eq!(report["events"]["received"], events.len() - expected.len());
    let unknown = run.deliver("other", &["--only-missing", "never-made"]);
    assert_eq!(unknown.status.code(), Some(1));
}

#[test]
fn a_comparison_of_a_run_that_has_changed_since_is_refused() {
    let run = Recovered::new("20KiB");
    let nothing = run.sample.destination("nothing.txt");
    fs::write(&nothing, "").unwrap();
    let compare = || {
        let compared = event_recovery()
            .args([
                "compare",
                "--json",
                "--execution-id",
                "run",
                "--destination",
            ])
            .arg(&run.destination)
            .arg("--received")
            .arg(&nothing)
            .output()
            .unwrap();
        let comparison: Value = serde_json::from_slice(&compared.stdout).unwrap();
        comparison["comparison_id"].as_str().unwrap().to_owned()
    };
    let before = compare();
    let hour = run.sample.backup().join("main_stream/2024/04/01/01");
    let late = hour.join("late-object.json");
    let event = fs::read(fs::read_dir(&hour).unwrap().next().unwrap().unwrap().path()).unwrap();
    fs::write(&late, &event).unwrap();
    let rechecked = event_recovery()
        .args([
            "recheck",
            "--quiet",
            "--execution-id",
            "run",
            "--destination",
        ])
        .arg(&run.destination)
        .arg("--source")
        .arg(run.sample.backup())
        .status()
        .unwrap();
    assert!(matches!(rechecked.code(), Some(0 | 3)), "{rechecked}");
    // The late events would pass for received.
    let refused = run.deliver("late", &["--only-missing", &before]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("has changed since the comparison"), "{said}");
    let sent = run.deliver("again", &["--only-missing", &compare()]);
    let mut delivered = lines(&sent.stdout);
    delivered.sort();
    assert!(delivered == recovered_lines(&run.destination), "{sent:?}");
}

#[test]
fn an_option_that_does_nothing_for_the_target_is_refused() {
    let run = Recovered::new("20KiB");
    for options in [
        ["--detail-type", "x"],
        ["--event-source", "x"],
        ["--max-backlog", "1"],
        ["--max-dead-letters", "1"],
        ["--attribute", "a=b"],
        ["--group-by", "/data"],
    ] {
        let refused = run.deliver("odd", &options);
        assert_eq!(refused.status.code(), Some(2), "{options:?}: {refused:?}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains("has no effect on the target"), "{said}");
    }
}

#[test]
fn filters_are_counted_and_other_terms_need_another_delivery() {
    let run = Recovered::new("60KiB");
    let events = recovered_lines(&run.destination);
    let domain = |event: &[u8]| {
        let event: Value = serde_json::from_slice(event).unwrap();
        event["domain"].as_str().unwrap().to_owned()
    };
    let wanted = domain(&events[0]);
    let expected: Vec<_> = events
        .iter()
        .filter(|event| domain(event) == wanted)
        .cloned()
        .collect();
    let output = run.deliver("filtered", &["--domain", &wanted]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut delivered = lines(&output.stdout);
    delivered.sort();
    assert!(delivered == expected);
    let report = run.report("filtered");
    check_balance(&report);
    assert_eq!(report["events"]["filtered"], events.len() - expected.len());
    let other = run.deliver("filtered", &[]);
    assert_eq!(other.status.code(), Some(1));
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(said.contains("was begun with another `filter`"), "{said}");
    let dry = event_recovery()
        .args([
            "deliver",
            "--to",
            "-",
            "--dry-run",
            "--execution-id",
            "run",
            "--rate",
            "10",
        ])
        .args(["--domain", &wanted, "--destination"])
        .arg(&run.destination)
        .output()
        .unwrap();
    let said = String::from_utf8(dry.stderr).unwrap();
    assert!(dry.status.success() && dry.stdout.is_empty(), "{said}");
    let seconds = expected.len().div_ceil(10);
    assert!(
        said.contains(&format!("{seconds} s at the given rate")),
        "{said}"
    );
}

#[test]
fn a_canary_stops_after_exactly_so_many_events_and_the_same_command_goes_on() {
    let run = Recovered::new("60KiB");
    let first = run.deliver("careful", &["--canary", "7"]);
    assert_eq!(first.status.code(), Some(3), "{first:?}");
    assert_eq!(lines(&first.stdout).len(), 7);
    let report = run.report("careful");
    check_balance(&report);
    assert_eq!(
        (&report["verdict"], &report["events"]["sent"]),
        (&"incomplete".into(), &7.into())
    );
    // Repeated, it waits for a word all the same.
    let again = run.deliver("careful", &["--canary", "7"]);
    assert_eq!((again.status.code(), again.stdout.len()), (Some(3), 0));
    let stopped = run.report("careful")["stopped"].to_string();
    assert!(stopped.contains("canary of 7 events"), "{stopped}");
    let rest = run.deliver("careful", &[]);
    assert_eq!(rest.status.code(), Some(0), "{rest:?}");
    let mut delivered = lines(&[first.stdout, rest.stdout].concat());
    delivered.sort();
    assert!(delivered == recovered_lines(&run.destination));
    assert_eq!(run.report("careful")["sent_twice_max"], 0);
}

#[test]
fn a_rate_is_never_exceeded() {
    let run = Recovered::new("60KiB");
    let began = std::time::Instant::now();
    let output = run.deliver("slow", &["--rate", "100", "--for-secs", "3"]);
    let took = began.elapsed().as_secs_f64();
    let sent = lines(&output.stdout).len() as f64;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(
        sent <= 100.0 * took + IN_FLIGHT_MAX as f64,
        "{sent} in {took} s"
    );
    assert!(sent > 0.0);
    assert_eq!(run.report("slow")["stopped"], "its time is up");
}

#[test]
fn an_incomplete_run_is_delivered_only_if_that_is_asked_for() {
    let run = Recovered::new("20KiB");
    let files = support::output_files(&run.destination);
    let receipts = support::files(&run.destination.join("_recovery/run/receipts"));
    let receipt = receipts.keys().next().unwrap();
    fs::remove_file(run.destination.join("_recovery/run/receipts").join(receipt)).unwrap();
    let report = event_recovery()
        .args(["report", "--execution-id", "run", "--destination"])
        .arg(&run.destination)
        .status()
        .unwrap();
    assert_eq!(report.code(), Some(3));
    let refused = run.deliver("partly", &[]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    let partly = run.deliver("partly", &["--incomplete"]);
    assert_eq!(partly.status.code(), Some(3));
    assert!(!partly.stdout.is_empty() && files.len() > 1);
    check_balance(&run.report("partly"));
}

/// Runs the delivery with its output appended to a file, and kills it after a while, unless it ends before.
fn kill_after(command: &mut Command, out: &Path, time: Duration) -> bool {
    let file: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(out)
        .unwrap();
    let mut child = command.stdout(file).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(time);
    if let Some(status) = child.try_wait().unwrap() {
        assert_eq!(status.code(), Some(0));
        return false;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    true
}

#[test]
fn killed_at_any_moment_nothing_is_lost_and_few_events_are_sent_twice() {
    let run = Recovered::new("60KiB");
    let events = recovered_lines(&run.destination);
    let mut random = ChaCha8Rng::seed_from_u64(14);
    let wanted: u64 = std::env::var("DELIVERY_KILLS").map_or(30, |kills| kills.parse().unwrap());
    let (mut kills, mut round) = (0, 0);
    while kills < wanted {
        round += 1;
        let out = run.sample.destination(&format!("out-{round}"));
        let id = format!("killed-{round}");
        let mut kills_here = 0;
        // Begun again, it often ends before it can be killed.
        while kills_here < 40 {
            let time = Duration::from_micros(random.random_range(2_000..120_000));
            if !kill_after(&mut run.command(&id, &[]), &out, time) {
                break;
            }
            kills_here += 1;
        }
        let last = run
            .command(&id, &[])
            .stdout(OpenOptions::new().append(true).open(&out).unwrap())
            .status();
        assert_eq!(last.unwrap().code(), Some(0));
        // A process that died in the middle of a line has begun one that is sent again.
        let text = fs::read(&out).unwrap();
        let counts = counted(&text);
        for event in &events {
            assert!(
                counts.contains_key(event),
                "round {round}: an event is lost"
            );
        }
        let all: u64 = counts.values().sum();
        let twice = all - events.len() as u64;
        let report = run.report(&id);
        check_balance(&report);
        assert_eq!(report["verdict"], "complete", "{report}");
        let bound = report["sent_twice_max"].as_u64().unwrap();
        assert!(
            twice <= bound && bound <= IN_FLIGHT_MAX * kills_here,
            "{twice} {bound} {kills_here}"
        );
        kills += kills_here;
    }
    let told = writeln!(
        std::io::stderr(),
        "{kills} kills of {round} deliveries: nothing lost"
    );
    told.unwrap();
}
