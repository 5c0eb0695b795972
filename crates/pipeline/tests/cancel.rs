//! A run that a person has cancelled, as the functions of a stack see it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use std::sync::Arc;

use chrono::TimeDelta;
use event_recovery_pipeline::{
    Audited, Cancellation, Delivery, Ledger, LedgerStorage, ListObjects, PlanError, PlanLimits,
    Planned, Planner, ResolvedRequest, RunTerms, Unobserved, Verdict, WorkError, Worker,
    audit_when_finished,
};
use serde_json::json;
use support::doubles::{FaultyStorage, KeepingQueue, Operation};
use support::{NOW, Sandbox, at, audit_call, event, first_delivery, id, object_key, request};

const MARK: &str = "cancelled.json";

fn sandbox() -> (Sandbox, Vec<String>) {
    let sandbox = Sandbox::new();
    let keys: Vec<String> = (1..=6)
        .map(|number| {
            let time = "2024-04-01T00:10:00Z";
            let key = object_key(time, number);
            sandbox.back_up(&key, event(&format!("event {number}"), time));
            key
        })
        .collect();
    (sandbox, keys)
}

fn one_hour() -> ResolvedRequest {
    request(json!({"window": "publish", "end": "2024-04-01T01:00:00Z"}))
}

async fn plan(
    source: &dyn ListObjects,
    ledger: &dyn LedgerStorage,
    queue: &KeepingQueue,
) -> Result<Planned, PlanError> {
    let planner = Planner {
        source,
        ledger,
        queue,
        auditor: None,
        until: None,
        limits: PlanLimits::default(),
        terms: RunTerms::default(),
        observer: &Unobserved,
    };
    planner.plan(&one_hour(), &id("run"), at(NOW)).await
}

async fn cancel(sandbox: &Sandbox, run: &str, seconds: i64) -> Cancellation {
    let ledger = Ledger::new(id(run));
    let now = at(NOW) + TimeDelta::seconds(seconds);
    Cancellation::write(&*sandbox.destination(), &ledger, None, now)
        .await
        .unwrap()
}

fn delivered(seconds: i64) -> Delivery {
    Delivery {
        now: at(NOW) + TimeDelta::seconds(seconds),
        ..first_delivery()
    }
}

#[tokio::test]
async fn a_worker_begins_no_task_of_the_run_and_looks_for_the_mark_once_in_fifteen_seconds() {
    let (sandbox, keys) = sandbox();
    let destination = FaultyStorage::new(sandbox.destination());
    let log = destination.log();
    let worker = Worker {
        destination: Arc::new(destination),
        ..sandbox.worker()
    };
    let request = one_hour();
    let task =
        async |run: &str, number: usize| sandbox.task(&request, &id(run), &keys[number]).await;
    for number in 0..3 {
        let task = task("run", number).await;
        assert!(worker.work(&task, delivered(number as i64)).await.is_ok());
    }
    assert_eq!(log.calls(Operation::List, MARK), 1);
    let mark = cancel(&sandbox, "run", 5).await;
    // It was looked for a moment ago.
    let late = task("run", 3).await;
    assert!(worker.work(&late, delivered(14)).await.is_ok());
    let next = task("run", 4).await;
    for seconds in [16, 20, 32] {
        let refused = worker.work(&next, delivered(seconds)).await;
        assert!(matches!(refused, Err(WorkError::Cancelled(run)) if run == id("run")));
    }
    assert_eq!(log.calls(Operation::List, MARK), 3);
    assert!(sandbox.receipt(&id("run"), &keys[4]).is_none());
    // Not even the last delivery leaves anything, nor its announcement.
    let last = Delivery {
        now: at(NOW) + TimeDelta::seconds(31),
        ..support::last_delivery()
    };
    worker.announce(&next, last).await.unwrap();
    assert!(worker.work(&next, last).await.is_err());
    assert!(sandbox.receipt(&id("run"), &keys[4]).is_none());
    // Other runs are untouched.
    let other = task("other", 4).await;
    assert!(worker.work(&other, delivered(20)).await.is_ok());
    // A second mark changes nothing; what is resumed goes on.
    assert_eq!(cancel(&sandbox, "run", 40).await, mark);
    let ledger = Ledger::new(id("run"));
    Cancellation::lift(&*sandbox.destination(), &ledger)
        .await
        .unwrap();
    assert!(worker.work(&next, delivered(60)).await.is_ok());
}

#[tokio::test]
async fn a_planner_of_a_cancelled_run_queues_nothing_until_it_is_resumed() {
    let (sandbox, _) = sandbox();
    let (source, ledger) = (sandbox.source(), sandbox.destination());
    let queue = KeepingQueue::durable();
    cancel(&sandbox, "run", 0).await;
    let error = plan(&*source, &*ledger, &queue).await.unwrap_err();
    assert!(matches!(error, PlanError::Cancelled { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("event-recovery resume"));
    assert!(queue.take().is_empty());
    let run = Ledger::new(id("run"));
    Cancellation::lift(&*ledger, &run).await.unwrap();
    plan(&*source, &*ledger, &queue).await.unwrap();
    assert_eq!(queue.take().len(), 6);
}

#[tokio::test]
async fn the_audit_of_a_cancelled_run_waits_for_what_is_in_flight_and_no_longer() {
    let (sandbox, _) = sandbox();
    let (source, ledger) = (sandbox.source(), sandbox.destination());
    let queue = KeepingQueue::durable();
    plan(&*source, &*ledger, &queue).await.unwrap();
    let tasks = queue.take();
    let worker = sandbox.worker();
    for task in &tasks[..2] {
        worker.work(task, first_delivery()).await.unwrap();
    }
    cancel(&sandbox, "run", 0).await;
    let call = audit_call(&id("run"), at(NOW) + TimeDelta::hours(24));
    let audit = |seconds| {
        let now = at(NOW) + TimeDelta::seconds(seconds);
        audit_when_finished(&*ledger, &call, None, now)
    };
    let early = audit(59).await.unwrap();
    assert!(matches!(early, Audited::Waiting { .. }), "{early:?}");
    let Audited::Finished { report, .. } = audit(60).await.unwrap() else {
        panic!("it waits for nothing");
    };
    assert_eq!(report.verdict, Verdict::Incomplete);
    let expected = "cancelled at 2024-06-01T12:00:00Z; resume the run to carry on";
    assert_eq!(report.reasons[0], expected);
    assert_eq!((report.objects.done, report.objects.missing), (2, 4));
}
