//! Two processes that carry out the same run over one storage, as nothing keeps them from on S3:
//! they come to what one of them alone would have.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use std::sync::Arc;

use event_recovery_pipeline::{Destination, LocalFolder, Report, Run, Verdict, audit, inspect};
use serde_json::{Value, json};
use support::doubles::{Effect, FaultyStorage, Operation};
use support::{
    MARKER, NOW, Sandbox, Tree, at, carry_out, event, id, object_key, receipt_key, request,
};

const TIMES: [&str; 3] = [
    "2024-04-01T00:10:00Z",
    "2024-04-01T00:20:00Z",
    "2024-04-01T01:10:00Z",
];
const SUCCESS: &str = "execution_id=run/_SUCCESS";
const REPORT: &str = "_recovery/run/report.json";

/// Objects in two hours; with a torn event if asked for.
fn backup(is_torn: bool) -> Sandbox {
    let sandbox = Sandbox::new();
    for (number, time) in TIMES.iter().enumerate() {
        let mut content = event(&format!("{number}"), time).repeat(3);
        if is_torn && number == 1 {
            content.push_str(MARKER);
        }
        sandbox.back_up(&object_key(time, 1), content);
    }
    sandbox
}

fn two_hours() -> event_recovery_pipeline::ResolvedRequest {
    request(json!({"window": "publish", "end": "2024-04-01T02:00:00Z"}))
}

/// A process: the run with a folder of its own for what it stages.
fn process(sandbox: &Sandbox, name: &str) -> Run {
    let mut run = sandbox.run(two_hours(), &id("run"));
    run.destination = destination(sandbox, name);
    run
}

fn destination(sandbox: &Sandbox, name: &str) -> Arc<LocalFolder> {
    let staging = sandbox.staging_path().join(name);
    Arc::new(LocalFolder::new(sandbox.destination_path(), staging))
}

/// Carries the other process out, from its beginning to its end, in the middle of a call.
fn meanwhile(act: impl Fn() -> Report + Send + Sync + 'static) -> Effect {
    let act = Arc::new(act);
    Effect::Meanwhile(Arc::new(move || {
        let act = Arc::clone(&act);
        std::thread::spawn(move || act()).join().unwrap();
    }))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    runtime.block_on(future)
}

/// What a run leaves, without times: output, rejected fragments, and what receipts and report say.
fn left(sandbox: &Sandbox) -> (Tree, Vec<(String, Value)>) {
    let records = sandbox.tree().into_iter().filter_map(|(path, bytes)| {
        let is_said = path.contains("/receipts/") || path == REPORT;
        let mut record: Value = is_said.then(|| serde_json::from_slice(&bytes).unwrap())?;
        // A file's etag is the time of its last change, too.
        for time in [
            "started_at",
            "finished_at",
            "attempts",
            "times",
            "listed_at",
            "etag",
            "digest",
        ] {
            record.as_object_mut().unwrap().remove(time);
        }
        for hour in record["hours"].as_array_mut().into_iter().flatten() {
            hour.as_object_mut().unwrap().remove("listed_at");
        }
        Some((path, record))
    });
    let records = records.collect();
    (sandbox.output(), records)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_in_the_middle_of_another_changes_nothing() {
    let rows = [
        (Operation::PutIf, "request.json"),
        (Operation::PutIf, "tasks/"),
        (Operation::PutIfDone, "tasks/"),
        (Operation::Put, ".queued"),
        (Operation::PutIf, "plan.json"),
        (Operation::Get, "receipts/"),
        (Operation::Create, "execution_id=run/"),
        (Operation::Commit, "execution_id=run/"),
        (Operation::PutIf, "receipts/"),
        (Operation::PutIfDone, "receipts/"),
        (Operation::List, "execution_id=run/"),
        (Operation::PutIf, REPORT),
        (Operation::PutIfDone, REPORT),
        (Operation::Put, SUCCESS),
    ];
    for is_torn in [false, true] {
        let alone = backup(is_torn);
        let expected = alone.recover(two_hours(), &id("run")).await;
        assert_eq!(expected.verdict == Verdict::NeedsLook, is_torn);
        for (operation, key_part) in rows {
            if is_torn && key_part == SUCCESS {
                continue; // Such a run is not marked.
            }
            let sandbox = Arc::new(backup(is_torn));
            let other = Arc::clone(&sandbox);
            let other = meanwhile(move || block_on(carry_out(process(&other, "other"))));
            let faulty = FaultyStorage::new(destination(&sandbox, "first"));
            let faulty = Arc::new(faulty.at_first(operation, key_part, 1, other));
            let mut run = process(&sandbox, "first");
            run.destination = Arc::clone(&faulty) as Arc<dyn Destination>;
            let report = carry_out(run).await;
            let name = format!("{operation:?} {key_part}, torn: {is_torn}");
            assert!(faulty.calls(operation, key_part) > 0, "{name}");
            assert_eq!(
                report.verdict, expected.verdict,
                "{name}: {:?}",
                report.reasons
            );
            assert!(left(&sandbox) == left(&alone), "{name}");
            // What the two audits wrote agrees with each other, in either order.
            let destination = sandbox.destination();
            let seen = inspect(&*destination, &id("run"), at(NOW)).await.unwrap();
            assert_eq!(seen.verdict, expected.verdict, "{name}: {:?}", seen.reasons);
        }
    }
}

/// A complete run, of which the first auditor sees less than the second.
async fn complete() -> (Arc<Sandbox>, String, Vec<u8>) {
    let sandbox = Arc::new(backup(false));
    let report = sandbox.recover(two_hours(), &id("run")).await;
    assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
    let receipt = receipt_key(&id("run"), &object_key(TIMES[2], 1));
    let bytes = sandbox.read(&receipt).unwrap();
    (sandbox, receipt, bytes)
}

async fn audited(sandbox: &Sandbox) -> Report {
    let audited = audit(&*destination(sandbox, "other"), &id("run"), at(NOW)).await;
    audited.unwrap()
}

fn report(sandbox: &Sandbox) -> Report {
    serde_json::from_slice(&sandbox.read(REPORT).unwrap()).unwrap()
}

/// Audits the run, with another process's change and audit in the middle of it: at each call of each
/// kind in turn. Returns how many audits there were.
async fn audit_with_another_in_the_middle(
    prepare: impl Fn(&Sandbox, &str),
    change: impl Fn(&Sandbox, &str, &[u8]) + Clone + Send + Sync + 'static,
    check: impl Fn(&Sandbox, &str),
) -> u32 {
    let mut audits = 0;
    for (operation, key_part) in [
        (Operation::List, "execution_id=run/"),
        (Operation::Get, REPORT),
        (Operation::Delete, SUCCESS),
        (Operation::PutIf, REPORT),
        (Operation::PutIfDone, REPORT),
        (Operation::Put, SUCCESS),
    ] {
        for calls_before in 0.. {
            let (sandbox, receipt, bytes) = complete().await;
            prepare(&sandbox, &receipt);
            let (other, change) = (Arc::clone(&sandbox), change.clone());
            let other = meanwhile(move || {
                change(&other, &receipt, &bytes);
                block_on(audited(&other))
            });
            let storage = FaultyStorage::new(destination(&sandbox, "first"));
            let storage = storage.after(operation, key_part, calls_before, 1, other);
            audit(&storage, &id("run"), at(NOW)).await.unwrap();
            if storage.calls(operation, key_part) <= calls_before as usize {
                break; // There was no such call.
            }
            check(
                &sandbox,
                &format!("{operation:?} {key_part} {calls_before}"),
            );
            audits += 1;
        }
    }
    audits
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_auditors_the_one_that_saw_more_has_the_last_word() {
    let audits = audit_with_another_in_the_middle(
        |sandbox, receipt| sandbox.remove(receipt),
        |sandbox, receipt, bytes| sandbox.overwrite(receipt, bytes),
        |sandbox, name| {
            assert_eq!(report(sandbox).verdict, Verdict::Complete, "{name}");
            assert!(sandbox.read(SUCCESS).is_some(), "{name}");
        },
    );
    assert!(audits.await > 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mark_is_there_only_beside_a_report_that_says_complete() {
    let audits = audit_with_another_in_the_middle(
        |_, _| (),
        |sandbox, receipt, _| sandbox.remove(receipt),
        |sandbox, name| {
            assert_eq!(report(sandbox).verdict, Verdict::Incomplete, "{name}");
            assert_eq!(sandbox.read(SUCCESS), None, "{name}");
        },
    );
    assert!(audits.await > 6);
}
