//! A power cut at any moment loses no event: what a receipt tells of is there, and the run resumes to the same bytes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use event_recovery_pipeline::{LocalFolder, Receipt, Report, Run, State, Verdict};
use serde_json::json;
use support::power_cut::{PowerCut, Random};
use support::{Sandbox, Tree, carry_out, event, gzip, id, object_key, request, tree};

/// In each of the two ways to make files durable.
const CUTS: u64 = 100;
const OBJECTS: u32 = 24;

/// Small objects, which are written in groups, and a large one, which is not.
fn back_up(sandbox: &Sandbox) {
    for number in 0..OBJECTS {
        let time = format!("2024-04-01T0{}:{:02}:00Z", number % 3, 5 + 2 * (number / 3));
        let mut content = Vec::new();
        let events = if number == 7 { 500 } else { 3 };
        for event_number in 0..events {
            content.extend(event(&format!("{number}/{event_number}"), &time).into_bytes());
        }
        match number {
            5 => content.extend(b"{\"torn"),
            9 => content = gzip(&String::from_utf8(content).unwrap()),
            _ => {}
        }
        sandbox.back_up(&object_key(&time, number), content);
    }
}

fn run_into(sandbox: &Sandbox, destination: &Path, files: Option<&PowerCut>) -> Run {
    let range = json!({
        "start": "2024-04-01T00:00:00Z", "end": "2024-04-01T03:00:00Z", "window": "publish",
    });
    let mut run = sandbox.run(request(range), &id("run"));
    // Where the program has it.
    let staging = destination.join("_recovery/run/staging");
    run.destination = Arc::new(match files {
        Some(files) => LocalFolder::with_files(destination, staging, Arc::new(files.clone())),
        None => LocalFolder::new(destination, staging),
    });
    run
}

fn output(destination: &Path) -> Tree {
    let mut tree = tree(destination);
    tree.retain(|path, _| path.starts_with("execution_id=") || path.contains("/_rejected/"));
    tree.retain(|path, _| !path.ends_with("/_SUCCESS"));
    tree
}

/// Fails unless each receipt that says done has its files, byte for byte.
fn check_receipts(destination: &Path, expected: &Tree, moment: &str) -> usize {
    let found = tree(destination);
    let receipts = found.iter().filter(|(path, _)| path.contains("/receipts/"));
    let mut done = 0;
    for (path, bytes) in receipts {
        let receipt: Receipt = serde_json::from_slice(bytes).unwrap();
        let State::Done(state) = receipt.state else {
            continue;
        };
        done += 1;
        for output in state.outputs.iter().chain(&state.rejected) {
            let is_there = found.get(&output.key) == expected.get(&output.key);
            assert!(is_there, "{moment}: `{path}` without `{}`", output.key);
        }
    }
    done
}

fn check_report(report: &Report, expected: &Report, moment: &str) {
    assert_eq!(
        report.verdict,
        Verdict::NeedsLook,
        "{moment}: {:?}",
        report.reasons
    );
    assert_eq!(
        (
            &report.objects,
            &report.events,
            &report.bytes,
            &report.reasons
        ),
        (
            &expected.objects,
            &expected.events,
            &expected.bytes,
            &expected.reasons
        ),
        "{moment}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_power_cut_no_receipt_is_without_its_output_and_the_run_resumes() {
    let sandbox = Sandbox::new();
    back_up(&sandbox);
    let folder = tempfile::tempdir().unwrap();
    let undisturbed = folder.path().join("undisturbed");
    let expected_report = carry_out(run_into(&sandbox, &undisturbed, None)).await;
    let expected = output(&undisturbed);
    assert!(expected.len() > OBJECTS as usize);
    for is_whole in [true, false] {
        let whole = folder.path().join(format!("whole-{is_whole}"));
        let never = PowerCut::after(u32::MAX, is_whole);
        carry_out(run_into(&sandbox, &whole, Some(&never))).await;
        assert_eq!(output(&whole), expected);
        let (mut cut_runs, mut done) = (0, 0);
        for seed in 0..CUTS {
            let moment = format!("everything at once: {is_whole}, seed {seed}");
            let mut random = Random(seed);
            // While it plans, and at any moment.
            let calls = match seed % 3 {
                0 => 1 + seed / 3,
                _ => 1 + random.below(u64::from(never.calls())),
            };
            let cut = PowerCut::after(u32::try_from(calls).unwrap(), is_whole);
            let before = folder.path().join("before");
            let (_keep, stop) = tokio::sync::watch::channel(false);
            let ended = run_into(&sandbox, &before, Some(&cut))
                .carry_out(stop)
                .await;
            cut_runs += usize::from(ended.is_err());
            let after = folder.path().join("after");
            cut.restore(&before, &after, &mut random);
            done += check_receipts(&after, &expected, &moment);
            // What the program does when it takes the lock.
            let _ = fs::remove_dir_all(after.join("_recovery/run/staging"));
            let report = carry_out(run_into(&sandbox, &after, None)).await;
            check_report(&report, &expected_report, &moment);
            assert!(output(&after) == expected, "{moment}");
            let _ = fs::remove_dir_all(&before);
            fs::remove_dir_all(&after).unwrap();
        }
        assert!(cut_runs > 80, "{cut_runs} runs were cut");
        assert!(done > 100, "{done} receipts survived");
    }
}
