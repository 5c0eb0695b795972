//! What a run needs, tried before there is one, on one machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use support::{ORG_ID, Sample, event_recovery, files, report};

fn preflight(source: &Path, destination: &Path, options: &[&str]) -> Output {
    let mut command = event_recovery();
    command.args(["preflight", "--org-id", ORG_ID, "--source"]);
    command.arg(source).arg("--destination").arg(destination);
    command.args(options).output().unwrap()
}

fn outcomes(preflight: &Value) -> Vec<(&str, &str)> {
    let checks = preflight["checks"].as_array().unwrap().iter();
    checks
        .map(|check| {
            (
                check["name"].as_str().unwrap(),
                check["outcome"].as_str().unwrap(),
            )
        })
        .collect()
}

#[test]
fn between_folders_everything_works_and_nothing_is_left_behind() {
    let sample = Sample::new(&["--hours", "3", "--object-bytes", "10KiB"]);
    let before = files(sample.folder.path());
    let destination = sample.destination("not/there/yet");
    let output = preflight(&sample.backup(), &destination, &["--json"]);
    let told = report(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert_eq!(told["outcome"], "works");
    let expected = [
        "source_list",
        "source_read",
        "source_names",
        "destination_list",
        "destination_list_events",
        "destination_write",
        "destination_conditional_write",
        "destination_read",
        "clock",
        "destination_remove",
        "destination_upload",
    ];
    assert_eq!(outcomes(&told), expected.map(|name| (name, "works")));
    assert_eq!(files(sample.folder.path()), before);
    assert!(!sample.destination("not").exists());
    let entries = fs::read_dir(sample.folder.path()).unwrap().count();
    assert_eq!(entries, 1, "only the backup");
}

#[test]
fn what_is_missing_is_named_for_people_too() {
    let sample = Sample::new(&["--hours", "1", "--object-bytes", "10KiB"]);
    // The folder above the one that holds `main_stream`, and a destination that lies below a file.
    let file = sample.backup().join("expected.ndjson");
    let output = preflight(sample.folder.path(), &file.join("out"), &[]);
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("main_stream"), "{said}");
    assert!(said.contains("could not write to"), "{said}");
    assert!(said.contains("the customer can mend it"), "{said}");
    assert!(output.stdout.is_empty());
    // Another org than that of the backup: nothing fails, but its names are foreign.
    let other = "tn-00000000-f4f0-464d-b4c6-a14e2dc6f4be";
    let output = event_recovery()
        .args(["preflight", "--org-id", other, "--json", "--source"])
        .arg(sample.backup())
        .arg("--destination")
        .arg(sample.destination("out"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let told = report(&output);
    assert!(outcomes(&told).contains(&("source_names", "cannot_tell")));
    assert!(!sample.destination("out").exists());
}
