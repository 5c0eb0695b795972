//! What the auditor detects: every way in which a run can be incomplete.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use std::sync::Arc;

use event_recovery_pipeline::{
    AuditError, Ledger, ListObjects, PlanLimits, Planner, Problem, Records, Report, RunTerms,
    Unobserved, Verdict, audit, inspect, to_json, verify,
};
use serde_json::{Value, json};
use support::doubles::{Effect, FaultyStorage, KeepingQueue, Operation, permanent};
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
    assert!(sandbox.read(SUCCESS).is_some());
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
const DISTURBANCES: [(&str, Disturb, &str); 33] = [
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
    (
        "plan.json damaged",
        |s, _| s.overwrite("_recovery/run/plan.json", "{\"version\":1}"),
        "the record `_recovery/run/plan.json` is damaged",
    ),
    (
        "plan.json changed where no sum tells",
        |s, _| {
            edit(s, "_recovery/run/plan.json", |plan| {
                plan["planned_at"] = json!("2020-01-01T00:00:00Z")
            })
        },
        "`_recovery/run/plan.json` was changed after it was written",
    ),
    (
        "request.json changed",
        |s, _| {
            edit(s, "_recovery/run/request.json", |record| {
                record["request"]["domains"] = json!(["account"])
            })
        },
        "`_recovery/run/request.json` was changed after it was written",
    ),
    (
        "task list damaged",
        |s, _| s.overwrite(TASKS, "not JSON"),
        "tasks/2024-04-01T00.jsonl` is damaged",
    ),
    (
        "task list cut short",
        |s, k| {
            let list = String::from_utf8(s.read(TASKS).unwrap()).unwrap();
            let cut = list.lines().filter(|line| !line.contains(&k[1]));
            s.overwrite(TASKS, cut.collect::<Vec<_>>().join("\n"));
        },
        "do not agree with its lines",
    ),
    (
        "size in a task list changed",
        |s, _| edit_list(s, "\"size\":", "\"size\":1"),
        "the task list of hour `2024-04-01T00` does not add up",
    ),
    (
        "etag in a task list changed",
        |s, _| edit_list(s, "\"etag\":\"", "\"etag\":\"x"),
        "the task list of hour `2024-04-01T00` was changed after it was planned",
    ),
    (
        "receipt damaged",
        |s, k| s.overwrite(&receipt_key(&id("run"), &k[0]), "{"),
        "run the same request with the same execution id again",
    ),
    (
        "receipt empty",
        |s, k| s.overwrite(&receipt_key(&id("run"), &k[0]), ""),
        "objects missing: 1",
    ),
    (
        "receipt changed where no sum tells",
        |s, k| edit_receipt(s, k, |r| r["attempts"] = json!(2)),
        "was changed after it was written",
    ),
    (
        "output deleted and not counted",
        |s, k| {
            s.remove(&output(k));
            edit_receipt(s, k, |r| {
                r["outputs"] = json!([]);
                for count in ["found", "written"] {
                    r["events"][count] = json!(0);
                }
                for count in ["read", "events"] {
                    r["bytes"][count] = json!(0);
                }
            });
        },
        "was changed after it was written",
    ),
    (
        "another size as stored",
        |s, k| edit_receipt(s, k, |r| r["bytes"]["source"] = json!(7)),
        "counts 7 bytes as stored instead of",
    ),
    (
        "receipt of another size",
        |s, k| edit_receipt(s, k, |r| r["size"] = json!(7)),
        "is of an object with another size or etag",
    ),
    (
        "a receipt too many",
        |s, k| {
            let receipt = s.read(&receipt_key(&id("run"), &k[0])).unwrap();
            s.overwrite("_recovery/run/receipts/stray.json", receipt);
        },
        "the receipt `_recovery/run/receipts/stray.json` belongs to no task",
    ),
];

const TASKS: &str = "_recovery/run/tasks/2024-04-01T00.jsonl";

/// Replaces the first such text of the task list.
fn edit_list(sandbox: &Sandbox, from: &str, to: &str) {
    let list = String::from_utf8(sandbox.read(TASKS).unwrap()).unwrap();
    let changed = list.replacen(from, to, 1);
    assert_ne!(changed, list);
    sandbox.overwrite(TASKS, changed);
}

/// Seals the record anew, as somebody would who covers up a change.
fn reseal(sandbox: &Sandbox, key: &str, change: impl Fn(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&sandbox.read(key).unwrap()).unwrap();
    change(&mut value);
    value.as_object_mut().unwrap().remove("digest");
    sandbox.overwrite(key, to_json(key, &value).unwrap());
}

#[tokio::test]
async fn a_receipt_that_is_sealed_anew_is_found_by_what_the_audit_saw() {
    let (sandbox, keys) = complete().await;
    let inspected = async || {
        inspect(&*sandbox.destination(), &id("run"), at(NOW))
            .await
            .unwrap()
    };
    assert_eq!(inspected().await.verdict, Verdict::Complete);
    // Some of the bytes of events become white space, and everything adds up.
    reseal(&sandbox, &receipt_key(&id("run"), &keys[0]), |receipt| {
        let events = receipt["bytes"]["events"].as_u64().unwrap();
        receipt["bytes"]["events"] = json!(events - 1);
        receipt["bytes"]["whitespace"] = json!(1);
    });
    let report = inspected().await;
    assert_eq!(report.verdict, Verdict::Incomplete);
    let reason = "receipts of hour `2024-04-01T00` were changed after the audit";
    assert!(
        report.reasons.iter().any(|given| given == reason),
        "{:?}",
        report.reasons
    );
}

#[tokio::test]
async fn a_change_to_what_an_audit_wrote_is_seen() {
    let rows: [(&str, Disturb, &str); 5] = [
        (
            "report changed",
            |s, _| {
                edit(s, "_recovery/run/report.json", |r| {
                    r["events"]["written"] = json!(9)
                })
            },
            "report.json` was changed after the audit",
        ),
        (
            "report damaged",
            |s, _| s.overwrite("_recovery/run/report.json", "{"),
            "report.json` was changed after the audit",
        ),
        (
            "plan sealed anew",
            |s, _| {
                reseal(s, "_recovery/run/plan.json", |plan| {
                    plan["planned_at"] = json!("2020-01-01T00:00:00Z")
                })
            },
            "plan.json` was changed after the audit",
        ),
        (
            "digests changed",
            |s, _| edit(s, "_recovery/run/digests.json", |r| r["plan"] = json!(null)),
            "digests.json` was changed after it was written",
        ),
        (
            "digests removed",
            |s, _| s.remove("_recovery/run/digests.json"),
            "digests.json` is gone",
        ),
    ];
    for (name, disturb, reason) in rows {
        let (sandbox, keys) = complete().await;
        disturb(&sandbox, &keys);
        let destination = sandbox.destination();
        let report = inspect(&*destination, &id("run"), at(NOW)).await.unwrap();
        assert_eq!(report.verdict, Verdict::Incomplete, "{name}");
        assert!(
            report.reasons[0].contains(reason),
            "{name}: {:?}",
            report.reasons
        );
    }
}

/// Ways to change a file and its receipt together, so that the sizes agree.
const CHANGED_FILES: [(&str, Disturb, &str); 4] = [
    (
        "content",
        |s, k| {
            let mut bytes = s.read(&output(k)).unwrap();
            bytes[20] ^= 1;
            s.overwrite(&output(k), bytes);
        },
        "has another content than was written",
    ),
    (
        "fewer events than there are",
        |s, k| {
            reseal(s, &receipt_key(&id("run"), &k[0]), |r| {
                r["events"]["found"] = json!(1);
                r["events"]["written"] = json!(1);
                r["outputs"][0]["rows"] = json!(1);
            });
        },
        "holds another number of events than its receipt says",
    ),
    (
        "fewer rejected bytes than there are",
        |s, k| {
            reseal(s, &receipt_key(&id("run"), &k[0]), |r| {
                r["bytes"]["rejected"] = json!(1);
                r["bytes"]["whitespace"] = json!(MARKER.len() - 1);
            });
        },
        "holds other rejected fragments than its receipt says",
    ),
    (
        "a rejected fragment whose bytes are not there",
        |s, k| {
            let lines = String::from_utf8(s.read(&rejected(k)).unwrap()).unwrap();
            s.overwrite(
                &rejected(k),
                lines.replace(MARKER, &"x".repeat(MARKER.len())),
            );
        },
        "has another content than was written",
    ),
];

#[tokio::test]
async fn a_verification_counts_what_the_files_hold() {
    for (name, disturb, reason) in CHANGED_FILES {
        let sandbox = Sandbox::new();
        let keys = [1, 2].map(|number| object_key(TIME, number));
        for key in &keys {
            sandbox.back_up(key, format!("{}{MARKER}", event("a", TIME).repeat(2)));
        }
        let verified = async || {
            let destination = sandbox.destination();
            verify(&*destination, &id("run"), at(NOW)).await.unwrap()
        };
        sandbox.recover(request(json!({})), &id("run")).await;
        assert_eq!(verified().await.verdict, Verdict::NeedsLook, "{name}");
        disturb(&sandbox, &keys);
        // Without an earlier report to compare with.
        sandbox.remove("_recovery/run/report.json");
        let report = verified().await;
        assert_eq!(report.verdict, Verdict::Incomplete, "{name}");
        let is_given = report.reasons.iter().any(|given| given.contains(reason));
        assert!(is_given, "{name}: {:?}", report.reasons);
    }
}

#[tokio::test]
async fn a_receipt_that_cannot_be_relied_upon_is_written_anew_by_the_next_run() {
    let rows: [(&str, Disturb); 4] = [
        ("damaged", |s, k| {
            s.overwrite(&receipt_key(&id("run"), &k[0]), "{")
        }),
        ("empty", |s, k| {
            s.overwrite(&receipt_key(&id("run"), &k[0]), "")
        }),
        ("changed", |s, k| {
            edit_receipt(s, k, |r| r["attempts"] = json!(2))
        }),
        ("of another object", |s, k| {
            let other = s.read(&receipt_key(&id("run"), &k[1])).unwrap();
            s.overwrite(&receipt_key(&id("run"), &k[0]), other);
        }),
    ];
    for (name, disturb) in rows {
        let (sandbox, keys) = complete().await;
        let output = sandbox.output();
        disturb(&sandbox, &keys);
        let report = sandbox.recover(request(json!({})), &id("run")).await;
        assert_eq!(
            report.verdict,
            Verdict::Complete,
            "{name}: {:?}",
            report.reasons
        );
        assert_eq!(sandbox.output(), output, "{name}");
        let report = inspect(&*sandbox.destination(), &id("run"), at(NOW))
            .await
            .unwrap();
        assert_eq!(
            report.verdict,
            Verdict::Complete,
            "{name}: {:?}",
            report.reasons
        );
    }
}

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
async fn without_its_request_a_run_has_no_verdict() {
    let (sandbox, _) = complete().await;
    let key = "_recovery/run/request.json";
    sandbox.overwrite(key, "{");
    let tree = sandbox.tree();
    let result = audit(&*sandbox.destination(), &id("run"), at(NOW)).await;
    let error = result.unwrap_err();
    assert!(error.to_string().contains(key), "{error}");
    assert!(error.hint().unwrap().contains("start a new run"));
    assert_eq!(sandbox.tree(), tree);
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
        (
            "a repeated id",
            Some((
                object_key(TIME, 1),
                event("a", TIME).replacen('{', r#"{"event_id":"b","#, 1),
            )),
            "events whose id comes twice, perhaps two in one: 1",
        ),
        (
            "no bytes",
            Some((object_key(TIME, 1), String::new())),
            "no events at all in 1 objects, of which 1 hold nothing",
        ),
        (
            "white space alone",
            Some((object_key(TIME, 1), " \r\n".to_owned())),
            "no events at all in 1 objects, of which 1 hold nothing",
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
            terms: RunTerms::default(),
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
    let destination = destination.at_first(Operation::PutIf, "report.json", 1, permanent());
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

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_whose_name_no_key_can_hold_is_seen_among_the_output_and_the_receipts() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    for folder in ["execution_id=run", "_recovery/run/receipts"] {
        let (sandbox, _) = complete().await;
        let stray = OsStr::from_bytes(b"stray\xFF.parquet");
        let folder = sandbox.destination_path().join(folder);
        std::fs::write(folder.join(stray), "{}").unwrap();
        let report = audited(&sandbox).await;
        assert_eq!(report.verdict, Verdict::Incomplete);
        let reason = &report.reasons[0];
        assert!(
            reason.contains(r"stray\xFF.parquet") && reason.contains("belongs to no task"),
            "{reason}"
        );
        assert!(sandbox.read(SUCCESS).is_none());
    }
}

#[tokio::test]
async fn a_file_that_the_storage_finds_damaged_is_a_finding_and_no_error() {
    let (sandbox, keys) = complete().await;
    let damaged = Problem::Damaged("its checksum differs".to_owned());
    let key = output_key(&id("run"), "2024-04-01", &keys[0]);
    let destination = FaultyStorage::new(sandbox.destination()).at_first(
        Operation::Open,
        &key,
        1,
        Effect::Fail(damaged),
    );
    let report = verify(&destination, &id("run"), at(NOW)).await.unwrap();
    assert_eq!(report.verdict, Verdict::Incomplete);
    let expected = format!("`{key}` does not match the checksum that the storage keeps of it");
    assert_eq!(report.reasons, [expected]);
}
