//! What the auditor notices: every way in which a run can be less than complete.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use std::sync::Arc;

use event_recovery_pipeline::{
    AuditError, Ledger, ListObjects, PlanLimits, Planner, Records, Report, Unobserved, Verdict,
    audit, inspect,
};
use serde_json::{Value, json};
use support::doubles::{FaultyStorage, KeepingQueue, Operation, permanent};
use support::{
    MARKER, NOW, Sandbox, at, carry_out, event, id, object_key, output_key, receipt_key, request,
};

const SUCCESS: &str = "execution_id=run/_SUCCESS";
const TIME: &str = "2024-04-01T00:10:00Z";

/// A run over two objects that is complete.
async fn complete() -> (Sandbox, [String; 2]) {
    let sandbox = Sandbox::new();
    let keys = [1, 2].map(|number| {
        let key = object_key(TIME, number);
        sandbox.back_up(&key, event(&number.to_string(), TIME).repeat(2));
        key
    });
    let report = sandbox.recover(request(json!({})), &id("run")).await;
    assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
    (sandbox, keys)
}

async fn audited(sandbox: &Sandbox) -> Report {
    audit(&*sandbox.destination(), &id("run"), at(NOW))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_complete_run_is_marked() {
    let (sandbox, _) = complete().await;
    assert_eq!(sandbox.read(SUCCESS), Some(Vec::new()));
    let written: Report =
        serde_json::from_slice(&sandbox.read("_recovery/run/report.json").unwrap()).unwrap();
    assert_eq!(
        (written.verdict, written.reasons.len()),
        (Verdict::Complete, 0)
    );
    let objects = written.objects;
    assert_eq!((objects.listed, objects.planned, objects.done), (2, 2, 2));
    assert_eq!((written.events.found, written.events.written), (4, 4));
    assert_eq!(written.output.files, 2);
    sandbox.assert_no_content_in_the_ledger();
}

#[tokio::test]
async fn an_audit_comes_to_the_same_again() {
    let (sandbox, _) = complete().await;
    let first = audited(&sandbox).await;
    assert_eq!(audited(&sandbox).await, first);
    assert_eq!(first.verdict, Verdict::Complete);
}

/// A way to disturb a run, given its sandbox and the keys of its objects.
type Disturb = fn(&Sandbox, &[String; 2]);

fn edit(sandbox: &Sandbox, key: &str, change: impl Fn(&mut Value)) {
    let mut value = serde_json::from_slice(&sandbox.read(key).unwrap()).unwrap();
    change(&mut value);
    sandbox.overwrite(key, value.to_string());
}

fn edit_receipt(sandbox: &Sandbox, keys: &[String; 2], change: impl Fn(&mut Value)) {
    edit(sandbox, &receipt_key(&id("run"), &keys[0]), change);
}

fn output(keys: &[String; 2]) -> String {
    output_key(&id("run"), "2024-04-01", &keys[0])
}

fn rejected(keys: &[String; 2]) -> String {
    Ledger::new(id("run")).rejected_key(&support::task_id(&keys[0]))
}

/// What makes a run incomplete, and a part of the reason that must be given.
const DISTURBANCES: [(&str, Disturb, &str); 19] = [
    ("output deleted", |s, k| s.remove(&output(k)), "is gone"),
    (
        "output truncated",
        |s, k| s.overwrite(&output(k), "x"),
        "has 1 bytes instead of",
    ),
    (
        "output grown",
        |s, k| s.overwrite(&output(k), "x".repeat(5000)),
        "has 5000 bytes",
    ),
    (
        "extra file",
        |s, _| {
            s.overwrite(
                "execution_id=run/org_id=x/date=2024-04-01/extra.ndjson",
                "x",
            )
        },
        "belongs to no task",
    ),
    (
        "extra file beside the mark",
        |s, _| s.overwrite("execution_id=run/x", ""),
        "belongs to no task",
    ),
    (
        "unknown rejected file",
        |s, k| s.overwrite(&rejected(k), "x"),
        "belongs to no task",
    ),
    (
        "receipt removed",
        |s, k| s.remove(&receipt_key(&id("run"), &k[0])),
        "objects missing: 1",
    ),
    (
        "events found changed",
        |s, k| edit_receipt(s, k, |r| r["events"]["found"] = json!(7)),
        "do not add up",
    ),
    (
        "events found and written changed",
        |s, k| {
            edit_receipt(s, k, |r| {
                r["events"]["found"] = json!(7);
                r["events"]["written"] = json!(7);
            })
        },
        "another number of events",
    ),
    (
        "bytes changed",
        |s, k| edit_receipt(s, k, |r| r["bytes"]["rejected"] = json!(7)),
        "do not add up",
    ),
    (
        "huge counts",
        |s, k| edit_receipt(s, k, |r| r["events"]["filtered_out"] = json!(u64::MAX)),
        "do not add up",
    ),
    (
        "rejected fragments not kept",
        |s, k| edit_receipt(s, k, |r| r["rejected_fragments"] = json!(1)),
        "are not kept",
    ),
    (
        "receipt of another object",
        |s, k| {
            let other = s.read(&receipt_key(&id("run"), &k[1])).unwrap();
            s.overwrite(&receipt_key(&id("run"), &k[0]), other);
        },
        "names another object",
    ),
    (
        "output not named",
        |s, k| edit_receipt(s, k, |r| r["outputs"] = json!([])),
        "belongs to no task",
    ),
    (
        "output named twice",
        |s, k| {
            edit_receipt(s, k, |r| {
                let first = r["outputs"][0].clone();
                r["outputs"].as_array_mut().unwrap().push(first);
            })
        },
        "named twice",
    ),
    (
        "failed",
        |s, k| {
            edit_receipt(s, k, |r| {
                r["state"] = json!("failed");
                r["reason"] = json!("of a test");
                r["hint"] = json!(null);
            })
        },
        "objects failed: 1",
    ),
    (
        "plan.json missing",
        |s, _| s.remove("_recovery/run/plan.json"),
        "the plan is not complete",
    ),
    (
        "plan.json changed",
        |s, _| {
            edit(s, "_recovery/run/plan.json", |plan| {
                plan["objects"]["planned"] = json!(3)
            })
        },
        "the plan does not agree",
    ),
    (
        "tasks file removed",
        |s, _| s.remove("_recovery/run/tasks/2024-04-01T00.jsonl"),
        "the task lists of 1 hours are gone",
    ),
];

#[tokio::test]
async fn whatever_does_not_agree_makes_a_run_incomplete() {
    for (name, disturb, reason) in DISTURBANCES {
        let (sandbox, keys) = complete().await;
        disturb(&sandbox, &keys);
        let report = audited(&sandbox).await;
        assert_eq!(report.verdict, Verdict::Incomplete, "{name}");
        assert!(
            report.reasons.iter().any(|given| given.contains(reason)),
            "{name}: {:?}",
            report.reasons
        );
        assert_eq!(sandbox.read(SUCCESS), None, "{name}");
        sandbox.assert_no_content_in_the_ledger();
    }
}

#[tokio::test]
async fn a_run_is_marked_again_once_it_is_mended() {
    let (sandbox, keys) = complete().await;
    let tree = sandbox.output();
    sandbox.remove(&output(&keys));
    sandbox.remove(&receipt_key(&id("run"), &keys[0]));
    assert_eq!(audited(&sandbox).await.verdict, Verdict::Incomplete);
    assert_eq!(sandbox.read(SUCCESS), None);
    let report = sandbox.recover(request(json!({})), &id("run")).await;
    assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
    assert_eq!(sandbox.output(), tree);
}

#[tokio::test]
async fn a_damaged_ledger_is_an_error_and_no_verdict() {
    let rows = [
        ("_recovery/run/request.json", "{"),
        ("_recovery/run/plan.json", "{\"version\":1}"),
        ("_recovery/run/tasks/2024-04-01T00.jsonl", "not JSON"),
    ];
    for (key, content) in rows {
        let (sandbox, _) = complete().await;
        sandbox.overwrite(key, content);
        let tree = sandbox.tree();
        let result = audit(&*sandbox.destination(), &id("run"), at(NOW)).await;
        let error = result.unwrap_err();
        assert!(matches!(error, AuditError::Ledger(_)), "{error:?}");
        assert!(error.to_string().contains(key), "{error}");
        assert_eq!(sandbox.tree(), tree);
    }
    let (sandbox, keys) = complete().await;
    // A task list that was cut short.
    let key = "_recovery/run/tasks/2024-04-01T00.jsonl";
    let list = String::from_utf8(sandbox.read(key).unwrap()).unwrap();
    let cut = list.lines().filter(|line| !line.contains(&keys[1]));
    sandbox.overwrite(key, cut.collect::<Vec<_>>().join("\n"));
    let result = inspect(&*sandbox.destination(), &id("run"), at(NOW)).await;
    assert!(result.unwrap_err().to_string().contains("do not agree"));
}

#[tokio::test]
async fn a_run_that_nobody_planned_is_unknown() {
    let result = audit(&*Sandbox::new().destination(), &id("run"), at(NOW)).await;
    assert!(matches!(result, Err(AuditError::UnknownRun(_))));
}

#[tokio::test]
async fn what_a_person_should_see_is_said() {
    let foreign = "main_stream/2024/04/01/00/foreign".to_owned();
    let rows = [
        (
            "rejected",
            Some((object_key(TIME, 1), format!("{}{MARKER}", event("a", TIME)))),
            "rejected fragments: 1",
        ),
        (
            "foreign",
            Some((foreign, event("a", TIME))),
            "objects with foreign names: 1",
        ),
        (
            "outside tolerance",
            Some((object_key(TIME, 1), event("a", "2024-04-01T00:25:01.5Z"))),
            "outside of their objects' tolerance: 1, by up to 1.5 s",
        ),
        ("no objects", None, "no objects at all"),
    ];
    for (name, object, reason) in rows {
        let sandbox = Sandbox::new();
        if let Some((key, content)) = object {
            sandbox.back_up(&key, content);
        }
        let report = sandbox.recover(request(json!({})), &id("run")).await;
        assert_eq!(
            report.verdict,
            Verdict::NeedsLook,
            "{name}: {:?}",
            report.reasons
        );
        assert_eq!(report.reasons.len(), 1, "{name}: {:?}", report.reasons);
        assert!(
            report.reasons[0].contains(reason),
            "{name}: {:?}",
            report.reasons
        );
        assert_eq!(sandbox.read(SUCCESS), None, "{name}");
        sandbox.assert_no_content_in_the_ledger();
    }
}

#[tokio::test]
async fn a_rejected_file_that_is_gone_makes_a_run_incomplete() {
    let sandbox = Sandbox::new();
    let key = object_key(TIME, 1);
    sandbox.back_up(&key, format!("{}{MARKER}", event("a", TIME)));
    let report = sandbox.recover(request(json!({})), &id("run")).await;
    assert_eq!(report.rejected_files.len(), 1);
    sandbox.remove(&report.rejected_files[0]);
    let report = audited(&sandbox).await;
    assert_eq!(report.verdict, Verdict::Incomplete);
    assert!(
        report
            .reasons
            .iter()
            .any(|reason| reason.contains("is gone"))
    );
    assert!(
        report
            .reasons
            .iter()
            .any(|reason| reason == "rejected fragments: 1")
    );
}

#[tokio::test]
async fn a_window_that_was_open_when_it_was_planned_needs_a_look() {
    // The window ends at 01:00, and lead and lag are 75 minutes.
    let rows = [
        ("2024-04-01T02:14:59Z", Verdict::NeedsLook),
        ("2024-04-01T02:15:00Z", Verdict::Complete),
    ];
    for (planned_at, verdict) in rows {
        let sandbox = Sandbox::new();
        sandbox.back_up(&object_key(TIME, 1), event("a", TIME));
        let (source, destination) = (sandbox.source(), sandbox.destination());
        let queue = KeepingQueue::default();
        let planner = Planner {
            source: &*source,
            ledger: &*destination,
            queue: &queue,
            auditor: None,
            until: None,
            limits: PlanLimits::default(),
            observer: &Unobserved,
        };
        let (request, run) = (request(json!({})), id("run"));
        planner.plan(&request, &run, at(planned_at)).await.unwrap();
        let worker = sandbox.worker();
        for task in queue.take() {
            worker.work(&task, support::first_delivery()).await.unwrap();
        }
        let report = audited(&sandbox).await;
        assert_eq!(report.verdict, verdict, "{:?}", report.reasons);
        let is_open = report
            .reasons
            .iter()
            .any(|reason| reason.contains("still open"));
        assert_eq!(is_open, verdict == Verdict::NeedsLook);
    }
}

#[tokio::test]
async fn failures_are_told_with_their_hints() {
    let sandbox = Sandbox::new();
    let keys = [1, 2].map(|number| object_key(TIME, number));
    for key in &keys {
        sandbox.back_up(key, event("a", TIME));
    }
    let source = FaultyStorage::new(sandbox.source());
    let source = source.at_first(Operation::Open, &keys[1], 1, permanent());
    let mut run = sandbox.run(request(json!({})), &id("run"));
    run.source = Arc::new(source);
    let report = carry_out(run).await;
    assert_eq!((report.objects.done, report.objects.failed), (1, 1));
    let unrecovered = &report.unrecovered;
    assert_eq!((unrecovered.len(), &unrecovered[0].key), (1, &keys[1]));
    assert!(unrecovered[0].reason.contains("the storage is broken"));
    assert_eq!(unrecovered[0].hint.as_deref(), Some("mend the double"));
    let failed: Vec<u64> = report
        .hours
        .iter()
        .map(|hour| hour.objects.failed)
        .collect();
    assert_eq!(failed.iter().sum::<u64>(), 1);
}

#[tokio::test]
async fn an_inspection_writes_nothing() {
    let (sandbox, keys) = complete().await;
    sandbox.remove(&output(&keys));
    let tree = sandbox.tree();
    let destination = FaultyStorage::new(sandbox.destination());
    let report = inspect(&destination, &id("run"), at(NOW)).await.unwrap();
    assert_eq!(report.verdict, Verdict::Incomplete);
    assert_eq!(sandbox.tree(), tree);
    for operation in [
        Operation::Put,
        Operation::PutIf,
        Operation::Delete,
        Operation::Create,
    ] {
        assert_eq!(destination.calls(operation, ""), 0, "{operation:?}");
    }
}

#[tokio::test]
async fn a_mark_never_outlives_its_report() {
    let (sandbox, keys) = complete().await;
    sandbox.remove(&output(&keys));
    let destination = FaultyStorage::new(sandbox.destination());
    let destination = destination.at_first(Operation::Put, "report.json", 1, permanent());
    let result = audit(&destination, &id("run"), at(NOW)).await;
    assert!(matches!(result, Err(AuditError::Storage(_))));
    assert_eq!(sandbox.read(SUCCESS), None);
}

#[tokio::test]
async fn another_run_beside_it_does_not_matter() {
    let (sandbox, _) = complete().await;
    sandbox.recover(request(json!({})), &id("run-2")).await;
    sandbox.recover(request(json!({})), &id("ru")).await;
    assert_eq!(audited(&sandbox).await.verdict, Verdict::Complete);
    let destination = sandbox.destination();
    let listed = destination.list_page("_recovery/run/", None).await.unwrap();
    assert!(!listed.objects.is_empty());
    assert!(destination.get(SUCCESS).await.unwrap().is_some());
}
