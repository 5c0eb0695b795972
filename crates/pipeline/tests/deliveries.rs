//! What a worker asks of source and destination at each delivery of a task.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use event_recovery_pipeline::{
    AuditCall, AuditCaller, CallAuditor, Delivery, Ended, ExecutionId, Ledger, Problem, QueueError,
    Receipt, Records, State, Task, TransformLimits, Verdict, WorkError, Worker, end_call, to_json,
};
use serde_json::json;
use support::doubles::{CallLog, Effect, FaultyStorage, Operation, transient};
use support::{
    Sandbox, delivery, done, event, failure, first_delivery, id, last_delivery, object_key,
    receipt_key, request,
};
use tokio::task::JoinSet;

const TIME: &str = "2024-04-01T00:10:00Z";

/// Keeps the calls of the auditor.
#[derive(Default)]
struct Calls(Mutex<Vec<AuditCall>>);

#[async_trait]
impl CallAuditor for Calls {
    async fn call(&self, call: &AuditCall) -> Result<(), QueueError> {
        self.0.lock().unwrap().push(call.clone());
        Ok(())
    }
}

/// A backup of some objects, and a run whose auditor waits for it.
struct Case {
    sandbox: Sandbox,
    run: ExecutionId,
    keys: Vec<String>,
    tasks: Vec<Task>,
    calls: Arc<Calls>,
}

impl Case {
    async fn new(objects: u32) -> Self {
        let (sandbox, run) = (Sandbox::new(), id("run"));
        let (mut keys, mut tasks) = (Vec::new(), Vec::new());
        for number in 1..=objects {
            let key = object_key(TIME, number);
            sandbox.back_up(&key, event(&format!("event {number}"), TIME));
            tasks.push(sandbox.task(&request(json!({})), &run, &key).await);
            keys.push(key);
        }
        let case = Self {
            sandbox,
            run,
            keys,
            tasks,
            calls: Arc::default(),
        };
        case.call_auditor(now()).await;
        case
    }

    async fn call_auditor(&self, now: DateTime<Utc>) {
        let caller = AuditCaller {
            queue: self.calls.clone(),
            wait_hours: 24,
        };
        let destination = self.sandbox.destination();
        let ledger = Ledger::new(self.run.clone());
        caller.call(&*destination, &ledger, now).await.unwrap();
    }

    async fn end_audit(&self) {
        let call = self.calls.0.lock().unwrap().last().unwrap().clone();
        let destination = self.sandbox.destination();
        end_call(&*destination, &call, now()).await.unwrap();
    }

    fn source(&self) -> FaultyStorage {
        FaultyStorage::new(self.sandbox.source())
    }

    fn destination(&self) -> FaultyStorage {
        FaultyStorage::new(self.sandbox.destination()).keeping_first()
    }

    /// A worker of a stack, and the calls of its source and its destination.
    fn worker(
        &self,
        source: FaultyStorage,
        destination: FaultyStorage,
    ) -> (Arc<Worker>, CallLog, CallLog) {
        let (read, written) = (source.log(), destination.log());
        let worker = Worker {
            source: Arc::new(source),
            destination: Arc::new(destination),
            auditor: Some(self.calls.clone()),
            ..self.sandbox.worker()
        };
        (Arc::new(worker), read, written)
    }

    fn receipt(&self, object: usize) -> Option<Receipt> {
        self.sandbox.receipt(&self.run, &self.keys[object])
    }

    async fn write_receipt(&self, object: usize, receipt: &Receipt) {
        let key = receipt_key(&self.run, &self.keys[object]);
        let destination = self.sandbox.destination();
        let bytes = to_json(&key, receipt).unwrap();
        destination.put(&key, bytes).await.unwrap();
    }

    fn audits_called(&self) -> usize {
        self.calls.0.lock().unwrap().len()
    }
}

fn now() -> DateTime<Utc> {
    first_delivery().now
}

fn later(secs: i64) -> Delivery {
    Delivery {
        now: now() + TimeDelta::seconds(secs),
        ..first_delivery()
    }
}

fn denied() -> Effect {
    Effect::Fail(Problem::AccessDenied("by a policy".to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_delivery_reads_the_object_and_writes_its_files_and_looks_for_nothing_else() {
    const OBJECTS: usize = 20;
    let case = Case::new(OBJECTS as u32).await;
    let (worker, read, written) = case.worker(case.source(), case.destination());
    let mut attempts = JoinSet::new();
    for task in case.tasks.clone() {
        let worker = Arc::clone(&worker);
        attempts.spawn(async move { worker.work(&task, first_delivery()).await });
    }
    while let Some(attempt) = attempts.join_next().await {
        done(&attempt.unwrap().unwrap());
    }
    assert_eq!(read.keys(Operation::Open).len(), OBJECTS);
    assert_eq!(
        written.calls(Operation::Commit, "execution_id=run/"),
        OBJECTS
    );
    assert_eq!(written.calls(Operation::PutIf, "receipts/"), OBJECTS);
    assert_eq!(written.calls(Operation::Get, "receipts/"), 0);
    assert_eq!(written.keys(Operation::Get), ["_recovery/run/audit.json"]);
    // One look for the mark of a cancelled run, whatever the number of objects.
    assert_eq!(
        written.keys(Operation::List),
        ["_recovery/run/cancelled.json"]
    );
    assert_eq!(case.audits_called(), 1, "by the planner");
}

#[tokio::test]
async fn a_look_at_the_audit_is_repeated_after_seconds_and_for_a_task_that_may_have_a_receipt() {
    let case = Case::new(6).await;
    let (worker, _, written) = case.worker(case.source(), case.destination());
    let looks = || written.calls(Operation::Get, "audit.json");
    let rows = [
        (first_delivery(), false, 1),
        (later(10), false, 1),
        (later(20), false, 2),
        (delivery(2), false, 3),
        (later(21), true, 4),
        // The deadline of the audit.
        (later(24 * 3600), false, 6),
    ];
    for (task, (delivery, queued_again, expected)) in case.tasks.iter().zip(rows) {
        let task = match queued_again {
            true => task.clone().again(),
            false => task.clone(),
        };
        done(&worker.work(&task, delivery).await.unwrap());
        assert_eq!(looks(), expected, "{delivery:?}");
    }
    // The last one found the audit overdue, and called the next.
    assert_eq!(case.audits_called(), 2);
}

#[tokio::test]
async fn a_receipt_that_nobody_spoke_of_is_found_when_the_new_one_is_written() {
    let case = Case::new(2).await;
    let (worker, _, _) = case.worker(case.source(), case.destination());
    // This task's look at the open audit would be enough for another one.
    let first = worker.work(&case.tasks[0], first_delivery()).await.unwrap();
    let failed = Receipt {
        key: case.tasks[1].key.clone(),
        attempts: 3,
        state: State::Failed {
            reason: "once".to_owned(),
            hint: None,
        },
        ..first
    };
    case.write_receipt(1, &failed).await;
    case.end_audit().await;
    let receipt = worker.work(&case.tasks[1], first_delivery()).await.unwrap();
    assert!(receipt.is_done());
    assert_eq!(receipt.attempts, 4);
    assert_eq!(case.receipt(1), Some(receipt));
    assert_eq!(case.audits_called(), 2, "what was audited has changed");
}

#[tokio::test]
async fn a_message_that_comes_twice_changes_nothing_even_after_an_upgrade() {
    let (sandbox, run, key) = (Sandbox::new(), id("run"), object_key(TIME, 1));
    let long = event(&"x".repeat(300), TIME);
    sandbox.back_up(&key, [event("a", TIME), long].concat());
    let task = sandbox.task(&request(json!({})), &run, &key).await;
    let destination = FaultyStorage::new(sandbox.destination()).keeping_first();
    let destination = Arc::new(destination);
    let worker = Worker {
        destination: destination.clone(),
        ..sandbox.worker()
    };
    let first = worker.work(&task, first_delivery()).await.unwrap();
    let tree = sandbox.tree();
    // This one would write other bytes.
    let mut limits = TransformLimits::default();
    limits.event.event_bytes_max = 300;
    let upgraded = Worker {
        destination: destination.clone(),
        limits,
        ..sandbox.worker()
    };
    let error = upgraded.work(&task, first_delivery()).await.unwrap_err();
    assert!(matches!(error, WorkError::Transient(_)), "{error:?}");
    assert!(error.to_string().contains("another attempt"), "{error}");
    assert_eq!(sandbox.tree(), tree);
    // The next delivery looks for the receipt.
    assert_eq!(upgraded.work(&task, delivery(2)).await.unwrap(), first);
    assert_eq!(sandbox.tree(), tree);
    sandbox.assert_nothing_staged();
}

#[tokio::test]
async fn an_object_that_is_denied_alone_fails_at_once() {
    let case = Case::new(2).await;
    let source = case
        .source()
        .at_first(Operation::Open, &case.keys[1], u32::MAX, denied());
    let (worker, read, _) = case.worker(source, case.destination());
    done(&worker.work(&case.tasks[0], first_delivery()).await.unwrap());
    let receipt = worker.work(&case.tasks[1], first_delivery()).await.unwrap();
    let (reason, hint) = failure(&receipt);
    assert!(reason.contains("access denied"), "{reason}");
    assert!(reason.contains(&case.keys[1]), "{reason}");
    assert_eq!(hint, "mend the double");
    // The other object shows that the source can be read.
    assert_eq!(read.calls(Operation::Open, &case.keys[0]), 2);
    assert_eq!(worker.access.denials(), None);
}

#[tokio::test]
async fn a_denial_that_may_be_that_of_the_whole_source_is_retried_to_the_last_delivery() {
    // Revoked in the middle of the run, and not propagated yet when it begins.
    for readable_before in [true, false] {
        let case = Case::new(4).await;
        let passes = u32::from(readable_before);
        let source = case
            .source()
            .after(Operation::Open, "", passes, u32::MAX, denied());
        let (worker, _, _) = case.worker(source, case.destination());
        if readable_before {
            done(&worker.work(&case.tasks[0], first_delivery()).await.unwrap());
        }
        for (count, task) in (1..).zip(&case.tasks[1..]) {
            for number in 1..=9 {
                let error = worker.work(task, delivery(number)).await.unwrap_err();
                assert!(matches!(error, WorkError::Transient(_)), "{error:?}");
                assert!(error.is_transient() && error.is_denied(), "{error}");
                assert_eq!(error.hint().as_deref(), Some("mend the double"));
            }
            assert_eq!(worker.access.denials().unwrap().count, 10 * count - 1);
            let receipt = worker.work(task, last_delivery()).await.unwrap();
            let (reason, hint) = failure(&receipt);
            assert!(reason.starts_with("gave up after 10 attempts"), "{reason}");
            assert!(reason.contains("access denied"), "{reason}");
            assert!(hint.starts_with("mend the double; then "), "{hint}");
        }
    }
}

#[tokio::test]
async fn a_denial_in_the_middle_of_an_object_that_could_be_opened_is_retried() {
    let case = Case::new(1).await;
    let source = case.source().at_first(Operation::Read, "", 1, denied());
    let (worker, _, _) = case.worker(source, case.destination());
    let error = worker.work(&case.tasks[0], first_delivery()).await;
    assert!(error.unwrap_err().is_denied());
    done(&worker.work(&case.tasks[0], delivery(2)).await.unwrap());
    assert_eq!(worker.access.denials(), None);
}

#[tokio::test]
async fn a_run_on_one_machine_waits_for_a_denied_source_once_and_not_with_every_object() {
    const OBJECTS: u32 = 12;
    let case = Case::new(OBJECTS).await;
    let source = case
        .source()
        .at_first(Operation::Open, "", u32::MAX, denied());
    let opened = source.log();
    let mut run = case.sandbox.run(request(json!({})), &id("here"));
    run.source = Arc::new(source);
    let began = tokio::time::Instant::now();
    let (_keep, stop) = tokio::sync::watch::channel(false);
    let Ended::Audited(report) = run.carry_out(stop).await.unwrap() else {
        panic!("nobody stopped it");
    };
    assert_eq!(report.verdict, Verdict::Incomplete);
    assert_eq!(report.objects.failed, u64::from(OBJECTS));
    let secs = began.elapsed().as_secs();
    assert!((20..60).contains(&secs), "{secs} s");
    let attempts = opened.calls(Operation::Open, "") as u32;
    assert!(attempts < 2 * OBJECTS + 20, "{attempts}");
    // Once the source can be read, the same run recovers everything.
    let run = case.sandbox.run(request(json!({})), &id("here"));
    let (_keep, stop) = tokio::sync::watch::channel(false);
    let Ended::Audited(report) = run.carry_out(stop).await.unwrap() else {
        panic!("nobody stopped it");
    };
    assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
    let receipt = case.sandbox.receipt(&id("here"), &case.keys[0]).unwrap();
    assert!(receipt.attempts > 1, "{}", receipt.attempts);
}

/// The auditor begins to read receipts at the worst moment: after the worker processed the object, and before its receipt
/// is there.
#[tokio::test]
async fn an_audit_that_begins_before_a_receipt_is_written_is_followed_by_another() {
    let case = Arc::new(Case::new(1).await);
    let sandbox = case.sandbox.destination_path();
    let destination = case.destination().at_first(
        Operation::PutIf,
        "receipts/",
        1,
        Effect::Meanwhile(Arc::new(move || {
            let path = sandbox.join("_recovery/run/audit.json");
            let text = std::fs::read_to_string(&path).unwrap();
            let mut record: serde_json::Value = serde_json::from_str(&text).unwrap();
            record.as_object_mut().unwrap().remove("digest");
            record["reading"] = json!(true);
            let bytes = to_json("audit.json", &record).unwrap();
            std::fs::write(&path, bytes).unwrap();
        })),
    );
    let (worker, _, _) = case.worker(case.source(), destination);
    done(&worker.work(&case.tasks[0], delivery(2)).await.unwrap());
    assert_eq!(case.audits_called(), 2);
}

#[tokio::test]
async fn a_worker_that_dies_after_its_receipt_has_the_next_one_call_the_auditor() {
    let case = Case::new(1).await;
    case.end_audit().await;
    let unreachable = case
        .destination()
        .at_first(Operation::Get, "audit.json", 1, transient());
    let (worker, _, _) = case.worker(case.source(), unreachable);
    let attempt = worker.work(&case.tasks[0], delivery(2)).await;
    assert!(attempt.is_err(), "the message stays in the queue");
    assert!(case.receipt(0).unwrap().is_done());
    assert_eq!(case.audits_called(), 1);
    done(&worker.work(&case.tasks[0], delivery(3)).await.unwrap());
    assert_eq!(case.audits_called(), 2);
}
