//! Whole runs in one process.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use event_recovery_pipeline::{
    Ended, ExecutionId, PlanError, RunError, SMALL_OBJECT_BYTES_MAX, Verdict, WorkError,
};
use serde_json::{Value, json};
use support::doubles::{Delays, Effect, FaultyStorage, Operation, StopAfter, permanent, transient};
use support::{MARKER, Sandbox, Tree, at, carry_out, event, gzip, id, object_key, request};
use tokio::sync::watch;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(60);

/// An object every five minutes from 23:00 to 03:00, with events from five minutes before its time
/// to ten minutes after it; some objects are compressed, some others end with a torn event.
fn back_up_four_hours(sandbox: &Sandbox) {
    let first = at("2024-03-31T23:00:00Z");
    for number in 0..48_i64 {
        let time = first + chrono::TimeDelta::minutes(5 * number);
        let mut content = Vec::new();
        for minutes in -5..10 {
            let arrival = (time + chrono::TimeDelta::minutes(minutes)).to_rfc3339();
            let event = event(&format!("{number}/{minutes}"), &arrival);
            if number % 3 == 0 {
                content.extend(gzip(&event));
            } else {
                content.extend(event.into_bytes());
            }
        }
        if number % 3 == 1 && number % 2 == 0 {
            content.extend(format!("{{\"torn\":\"{MARKER}").into_bytes());
        }
        sandbox.back_up(&object_key(&time.to_rfc3339(), 1), content);
    }
}

fn four_hours() -> Sandbox {
    let sandbox = Sandbox::new();
    back_up_four_hours(&sandbox);
    sandbox
}

fn window(start: &str, end: &str, changes: Value) -> event_recovery_pipeline::ResolvedRequest {
    let mut range = json!({"start": start, "end": end});
    let range_fields = range.as_object_mut().unwrap();
    range_fields.extend(changes.as_object().unwrap().clone());
    request(range)
}

/// The output without the run's id, which leads every path.
fn output_of(sandbox: &Sandbox, run: &ExecutionId) -> Tree {
    let output = sandbox.output().into_iter();
    let of_run = output.filter(|(path, _)| path.contains(run.as_str()));
    of_run
        .map(|(path, bytes)| (path.replace(run.as_str(), "<id>"), bytes))
        .collect()
}

#[tokio::test]
async fn two_adjoining_windows_equal_their_union() {
    let rows = [
        (
            "arrival",
            "2024-04-01T00:00:00Z",
            "2024-04-01T00:52:30Z",
            "2024-04-01T02:00:00Z",
        ),
        (
            "publish",
            "2024-04-01T00:00:00Z",
            "2024-04-01T01:00:00Z",
            "2024-04-01T02:00:00Z",
        ),
        (
            "arrival",
            "2024-03-31T23:30:00Z",
            "2024-04-01T00:00:00Z",
            "2024-04-01T01:07:00.001Z",
        ),
    ];
    for (kind, start, middle, end) in rows {
        let sandbox = four_hours();
        let kind = json!({"window": kind});
        let parts = [
            ("first", start, middle),
            ("second", middle, end),
            ("union", start, end),
        ];
        for (run, start, end) in parts {
            let report = sandbox
                .recover(window(start, end, kind.clone()), &id(run))
                .await;
            assert_ne!(report.verdict, Verdict::Incomplete, "{:?}", report.reasons);
            assert!(report.events.written > 0);
        }
        let mut both = [sandbox.lines(&id("first")), sandbox.lines(&id("second"))].concat();
        both.sort_unstable();
        assert_eq!(both, sandbox.lines(&id("union")), "{kind}");
    }
}

#[tokio::test]
async fn a_run_gives_the_same_bytes_however_many_workers_it_has() {
    for format in [
        json!({}),
        json!({"format": "parquet"}),
        json!({"compression": "gzip"}),
    ] {
        let sandbox = four_hours();
        let outputs = [("one", 1), ("four", 4), ("none", 0)].map(async |(run, concurrency)| {
            let range = window(
                "2024-03-31T23:50:00Z",
                "2024-04-01T01:00:00Z",
                format.clone(),
            );
            let mut run_of = sandbox.run(range, &id(run));
            run_of.concurrency = concurrency;
            let report = carry_out(run_of).await;
            assert_eq!(report.verdict, Verdict::NeedsLook, "{:?}", report.reasons);
            output_of(&sandbox, &id(run))
        });
        let [one, four, none] = outputs;
        let one = one.await;
        assert!(one.len() > 10);
        assert_eq!(four.await, one);
        assert_eq!(none.await, one);
        sandbox.assert_no_content_in_the_ledger();
    }
}

/// Between buckets several small objects take the place of one other. Storages that are not local make them wait.
#[tokio::test(flavor = "multi_thread")]
async fn small_and_large_objects_take_turns_and_none_waits_for_ever() {
    let sandbox = Sandbox::new();
    let time = "2024-04-01T00:10:00Z";
    let text = "x".repeat(SMALL_OBJECT_BYTES_MAX as usize);
    for number in 0..48 {
        let id = match number % 3 {
            0 => format!("small {number}"),
            _ => format!("large {number} {text}"),
        };
        sandbox.back_up(&object_key(time, number), event(&id, time));
    }
    for (concurrency, small_objects) in [(1, 8), (2, 8), (4, 0)] {
        let run = format!("{concurrency}-{small_objects}");
        let mut run = sandbox.run(
            window(
                "2024-04-01T00:00:00Z",
                "2024-04-01T01:00:00Z",
                json!({"window": "publish"}),
            ),
            &id(&run),
        );
        run.source = Arc::new(FaultyStorage::new(sandbox.source()));
        run.destination = Arc::new(FaultyStorage::new(sandbox.destination()));
        (run.concurrency, run.small_objects) = (concurrency, small_objects);
        let report = timeout(LONG, carry_out(run)).await.unwrap();
        assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
        assert_eq!(report.events.written, 48);
    }
}

#[tokio::test]
async fn a_run_stopped_in_the_middle_resumes_to_the_same_bytes() {
    let undisturbed = four_hours();
    let range = || window("2024-03-31T23:50:00Z", "2024-04-01T01:00:00Z", json!({}));
    let expected = undisturbed.recover(range(), &id("run")).await;

    let sandbox = four_hours();
    for objects in [1, 5] {
        let (stop, stopped) = watch::channel(false);
        let mut run = sandbox.run(range(), &id("run"));
        let done_before = sandbox
            .tree()
            .keys()
            .filter(|path| path.contains("/receipts/"))
            .count();
        run.observer = Arc::new(StopAfter {
            objects: Mutex::new(objects),
            stop,
        });
        let ended = timeout(LONG, run.carry_out(stopped))
            .await
            .unwrap()
            .unwrap();
        assert!(matches!(ended, Ended::Stopped), "{ended:?}");
        assert_eq!(sandbox.read("_recovery/run/report.json"), None);
        sandbox.assert_nothing_staged();
        sandbox.assert_no_content_in_the_ledger();
        let receipts = sandbox.tree();
        let receipts = receipts.keys().filter(|path| path.contains("/receipts/"));
        let receipts = receipts.count() as u64;
        assert!(receipts > done_before as u64 && receipts < expected.objects.planned);
    }
    let report = sandbox.recover(range(), &id("run")).await;
    assert_eq!(report.verdict, expected.verdict);
    assert_eq!(
        (report.objects, report.events),
        (expected.objects, expected.events)
    );
    assert_eq!(sandbox.output(), undisturbed.output());
}

#[tokio::test]
async fn a_stop_before_the_first_task_leaves_a_run_that_can_be_resumed() {
    let sandbox = four_hours();
    let (_keep, stopped) = watch::channel(true);
    let range = || window("2024-04-01T00:00:00Z", "2024-04-01T01:00:00Z", json!({}));
    let ended = sandbox.run(range(), &id("run")).carry_out(stopped);
    assert!(matches!(
        timeout(LONG, ended).await.unwrap().unwrap(),
        Ended::Stopped
    ));
    assert_eq!(sandbox.output(), Tree::new());
    let report = sandbox.recover(range(), &id("run")).await;
    assert_eq!(report.objects.planned, report.objects.done);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_the_run() {
    let sandbox = Sandbox::new();
    let time = "2024-04-01T00:10:00Z";
    sandbox.back_up(&object_key(time, 1), event("a", time));
    // Several times, since planner and stop are polled in any order.
    for number in 0..8 {
        let (gone, stop) = watch::channel(false);
        drop(gone);
        let run = sandbox.run(request(json!({})), &id(&format!("run-{number}")));
        let ended = run.carry_out(stop).await;
        let Ok(Ended::Audited(report)) = ended else {
            unreachable!("nobody stopped it: {ended:?}");
        };
        assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
    }
}

#[tokio::test]
async fn transient_failures_are_retried() {
    let sandbox = Sandbox::new();
    let time = "2024-04-01T00:10:00Z";
    sandbox.back_up(&object_key(time, 1), event("a", time));
    let rows = [
        (Operation::Open, "", transient()),
        (Operation::Read, "", transient()),
        (Operation::Read, "", Effect::Panic),
        (Operation::Commit, "", transient()),
        (Operation::PutIf, "receipts/", transient()),
        (Operation::PutIfDone, "receipts/", transient()),
    ];
    for (number, (operation, key_part, effect)) in rows.into_iter().enumerate() {
        let storage =
            |inner| FaultyStorage::new(inner).at_first(operation, key_part, 1, effect.clone());
        let run_id = id(&format!("run-{number}"));
        let mut run = sandbox.run(request(json!({})), &run_id);
        run.source = Arc::new(storage(sandbox.source()));
        run.destination = Arc::new(storage(sandbox.destination()));
        let delays = Arc::new(Delays::default());
        run.observer = delays.clone();
        let report = carry_out(run).await;
        assert_eq!(
            report.verdict,
            Verdict::Complete,
            "{operation:?}: {:?}",
            report.reasons
        );
        let problems = delays.problems.lock().unwrap();
        assert_eq!(problems.len(), 1, "{operation:?}: {problems:?}");
        assert!(!problems[0].contains(MARKER));
    }
}

#[tokio::test]
async fn a_run_that_cannot_be_planned_says_why_and_is_resumed_later() {
    let sandbox = four_hours();
    let range = || window("2024-04-01T00:00:00Z", "2024-04-01T01:00:00Z", json!({}));
    let mut run = sandbox.run(range(), &id("run"));
    let source = FaultyStorage::new(sandbox.source());
    run.source = Arc::new(source.at_first(Operation::List, "/01/", 1, permanent()));
    let (_keep, stop) = watch::channel(false);
    let error = timeout(LONG, run.carry_out(stop))
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(error, RunError::Plan(PlanError::Storage(_))),
        "{error:?}"
    );
    let report = sandbox.recover(range(), &id("run")).await;
    assert_eq!(report.objects.planned, report.objects.done);
}

#[tokio::test]
async fn a_run_whose_receipts_cannot_be_written_ends_with_that_error() {
    let sandbox = Sandbox::new();
    // More than the queue holds, so that the planner waits for workers that are gone.
    for number in 0..1100 {
        sandbox.back_up(&object_key("2024-04-01T00:10:00Z", number), "");
    }
    let mut run = sandbox.run(request(json!({})), &id("run"));
    let destination = FaultyStorage::new(sandbox.destination());
    run.destination =
        Arc::new(destination.at_first(Operation::PutIf, "receipts/", u32::MAX, permanent()));
    let (_keep, stop) = watch::channel(false);
    let ended = timeout(LONG, run.carry_out(stop)).await;
    let error = ended.expect("it hangs").unwrap_err();
    assert!(
        matches!(error, RunError::Work(WorkError::Ledger(_))),
        "{error:?}"
    );
}
