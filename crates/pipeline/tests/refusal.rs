//! The records of a planner for callers that do not wait for its answer, and how a refusal affects the
//! audit of its run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use event_recovery_pipeline::{
    AuditError, Audited, Ledger, LedgerStorage, ListObjects, PlanError, PlanLimits, Planned,
    Planner, PlanningRecord, PlanningState, Refusal, RefusalKind, RunTerms, Unobserved, Verdict,
    audit_when_finished, check_request, inspect,
};
use serde::de::DeserializeOwned;
use serde_json::json;
use support::doubles::{Effect, FaultyStorage, KeepingQueue, Operation, permanent, transient};
use support::{NOW, Sandbox, at, audit_call, event, first_delivery, id, object_key, request};

const PLANNING: &str = "_recovery/run/planning.json";
const REFUSED: &str = "_recovery/run/refused.json";
const REPORT: &str = "_recovery/run/report.json";
const LATER: &str = "2024-06-01T12:01:00Z";

/// A backup with an object in each of two hours.
fn two_objects() -> Sandbox {
    let sandbox = Sandbox::new();
    for time in ["2024-04-01T00:10:00Z", "2024-04-01T01:10:00Z"] {
        sandbox.back_up(&object_key(time, 1), event("a", time));
    }
    sandbox
}

fn two_hours() -> event_recovery_pipeline::ResolvedRequest {
    request(json!({"window": "publish", "end": "2024-04-01T02:00:00Z"}))
}

/// One call of a planner.
struct Call<'a> {
    source: &'a dyn ListObjects,
    ledger: &'a dyn LedgerStorage,
    queue: &'a KeepingQueue,
    until: Option<Instant>,
    objects_max: u64,
    now: &'static str,
}

impl<'a> Call<'a> {
    fn new(
        source: &'a dyn ListObjects,
        ledger: &'a dyn LedgerStorage,
        queue: &'a KeepingQueue,
    ) -> Self {
        Self {
            source,
            ledger,
            queue,
            until: None,
            objects_max: 10,
            now: NOW,
        }
    }

    async fn plan(self) -> Result<Planned, PlanError> {
        let planner = Planner {
            source: self.source,
            ledger: self.ledger,
            queue: self.queue,
            auditor: None,
            until: self.until,
            terms: RunTerms::default(),
            limits: PlanLimits {
                objects_max: self.objects_max,
                ..PlanLimits::default()
            },
            observer: &Unobserved,
        };
        planner.plan(&two_hours(), &id("run"), at(self.now)).await
    }
}

fn record<T: DeserializeOwned>(sandbox: &Sandbox, key: &str) -> T {
    serde_json::from_slice(&sandbox.read(key).unwrap()).unwrap()
}

fn state(sandbox: &Sandbox) -> PlanningState {
    record::<PlanningRecord>(sandbox, PLANNING).state
}

#[tokio::test]
async fn a_call_writes_down_how_it_stands() {
    let sandbox = two_objects();
    let (ledger, queue) = (sandbox.destination(), KeepingQueue::durable());
    let path = sandbox.destination_path().join(PLANNING);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let look = {
        let seen = Arc::clone(&seen);
        Arc::new(move || {
            let bytes = std::fs::read(&path).unwrap();
            let record: PlanningRecord = serde_json::from_slice(&bytes).unwrap();
            seen.lock().unwrap().push(record.state);
        })
    };
    let source = FaultyStorage::new(sandbox.source());
    let source = source.at_first(Operation::List, "", 1, Effect::Meanwhile(look));
    let mut call = Call::new(&source, &*ledger, &queue);
    call.until = Some(Instant::now());
    assert!(matches!(
        call.plan().await,
        Err(PlanError::OutOfTime { .. })
    ));
    assert_eq!(*seen.lock().unwrap(), [PlanningState::Planning]);
    let out_of_time = PlanningState::OutOfTime {
        hours_done: 1,
        hours: 2,
    };
    assert_eq!(state(&sandbox), out_of_time);
    // A deadline is not a refusal: the next call resumes the plan.
    assert_eq!(sandbox.read(REFUSED), None);
    Call::new(&source, &*ledger, &queue).plan().await.unwrap();
    assert_eq!(state(&sandbox), PlanningState::Planned { tasks_queued: 2 });
    sandbox.assert_no_content_in_the_ledger();
}

#[tokio::test]
async fn an_older_call_leaves_the_newer_ones_record() {
    let sandbox = two_objects();
    let (source, ledger, queue) = (
        sandbox.source(),
        sandbox.destination(),
        KeepingQueue::durable(),
    );
    let mut newer = Call::new(&*source, &*ledger, &queue);
    newer.now = LATER;
    newer.plan().await.unwrap();
    let written = sandbox.read(PLANNING);
    Call::new(&*source, &*ledger, &queue).plan().await.unwrap();
    assert_eq!(sandbox.read(PLANNING), written);
}

#[tokio::test]
async fn a_refusal_stays_until_another_call_resumes_the_run() {
    let rows = [
        (
            "too many objects",
            Effect::Meanwhile(Arc::new(|| ())),
            1,
            RefusalKind::Refused,
        ),
        ("listing denied", permanent(), 10, RefusalKind::Refused),
        ("storage busy", transient(), 10, RefusalKind::Transient),
    ];
    for (name, effect, objects_max, kind) in rows {
        for goes_on in [KeepingQueue::durable(), KeepingQueue::default()] {
            let sandbox = two_objects();
            let (ledger, queue) = (sandbox.destination(), KeepingQueue::durable());
            let source = FaultyStorage::new(sandbox.source());
            let source = source.at_first(Operation::List, "/01/", 1, effect.clone());
            let mut call = Call::new(&source, &*ledger, &queue);
            call.objects_max = objects_max;
            let error = call.plan().await.unwrap_err();
            let refusal: Refusal = record(&sandbox, REFUSED);
            assert_eq!(refusal.kind, kind, "{name}");
            assert_eq!(refusal.message, error.to_string(), "{name}");
            assert_eq!(refusal.hint, error.hint(), "{name}");
            assert_eq!(refusal.called_at, at(NOW), "{name}");
            sandbox.assert_no_content_in_the_ledger();
            let mut again = Call::new(&source, &*ledger, &goes_on);
            again.now = LATER;
            again.plan().await.unwrap();
            assert_eq!(sandbox.read(REFUSED), None, "{name}");
        }
    }
}

#[tokio::test]
async fn another_request_with_the_same_id_leaves_the_runs_ledger_alone() {
    let sandbox = two_objects();
    let (source, ledger, queue) = (
        sandbox.source(),
        sandbox.destination(),
        KeepingQueue::durable(),
    );
    Call::new(&*source, &*ledger, &queue).plan().await.unwrap();
    let tree = sandbox.tree();
    let planner = Planner {
        source: &*source,
        ledger: &*ledger,
        queue: &queue,
        auditor: None,
        until: None,
        limits: PlanLimits::default(),
        terms: RunTerms::default(),
        observer: &Unobserved,
    };
    let other = request(json!({}));
    let planned = planner.plan(&other, &id("run"), at(LATER)).await;
    assert!(matches!(planned, Err(PlanError::OtherRequest { .. })));
    // Asking beforehand says the same, and also writes nothing.
    let run = Ledger::new(id("run"));
    let checked = check_request(&*ledger, &run, &other).await;
    assert!(matches!(checked, Err(PlanError::OtherRequest { .. })));
    check_request(&*ledger, &run, &two_hours()).await.unwrap();
    check_request(&*ledger, &Ledger::new(id("new")), &other)
        .await
        .unwrap();
    assert_eq!(sandbox.tree(), tree);
}

#[tokio::test]
async fn no_audit_counts_a_refused_run_as_incomplete() {
    let sandbox = two_objects();
    let (source, ledger, queue) = (
        sandbox.source(),
        sandbox.destination(),
        KeepingQueue::durable(),
    );
    // The first hour is queued by then.
    let mut call = Call::new(&*source, &*ledger, &queue);
    call.objects_max = 1;
    call.plan().await.unwrap_err();
    let (run, deadline) = (id("run"), at(LATER));
    let call = audit_call(&run, deadline);
    let early = audit_when_finished(&*ledger, &call, None, at(NOW)).await;
    assert!(matches!(early, Ok(Audited::Waiting { .. })), "{early:?}");
    let tree = sandbox.tree();
    for audited in [
        audit_when_finished(&*ledger, &call, None, deadline)
            .await
            .map(drop),
        inspect(&*ledger, &run, at(LATER)).await.map(drop),
    ] {
        let error = audited.unwrap_err();
        assert!(error.to_string().contains("more than 1 objects"), "{error}");
        let AuditError::Refused { refusal, .. } = error else {
            panic!("{error:?}");
        };
        assert!(refusal.hint.unwrap().contains("split the range"));
    }
    assert_eq!(sandbox.tree(), tree);
    // A later call resumes the run, which is audited as any other.
    Call::new(&*source, &*ledger, &queue).plan().await.unwrap();
    for task in queue.take() {
        let worker = sandbox.worker();
        worker.work(&task, first_delivery()).await.unwrap();
    }
    let audited = audit_when_finished(&*ledger, &call, None, at(NOW)).await;
    let Audited::Finished { report, .. } = audited.unwrap() else {
        panic!("it is finished");
    };
    assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
    assert!(sandbox.read(REPORT).is_some());
}

#[tokio::test]
async fn a_refusal_says_nothing_about_a_plan_that_is_complete() {
    let sandbox = two_objects();
    let (source, ledger) = (sandbox.source(), sandbox.destination());
    let queue = KeepingQueue::durable();
    Call::new(&*source, &*ledger, &queue).plan().await.unwrap();
    let tasks = queue.take();
    let worker = sandbox.worker();
    worker.work(&tasks[0], first_delivery()).await.unwrap();
    let busy = FaultyStorage::new(sandbox.destination());
    let busy = busy.at_first(Operation::Get, "receipts/", 1, transient());
    let mut again = Call::new(&*source, &busy, &queue);
    again.now = LATER;
    again.plan().await.unwrap_err();
    assert!(sandbox.read(REFUSED).is_some());
    let report = inspect(&*ledger, &id("run"), at(LATER)).await.unwrap();
    assert_eq!(
        (report.verdict, report.objects.missing),
        (Verdict::Incomplete, 1)
    );
}

/// S3 denies the reading of an absent object to a role that may not list the whole bucket.
#[tokio::test]
async fn a_planner_that_is_called_again_reads_no_receipt_that_is_not_there_yet() {
    let sandbox = two_objects();
    let (source, ledger) = (sandbox.source(), sandbox.destination());
    let queue = KeepingQueue::durable();
    let planned = Call::new(&*source, &*ledger, &queue).plan().await.unwrap();
    let denying = FaultyStorage::new(sandbox.destination());
    let denying = denying.at_first(Operation::Get, "receipts/", 2, transient());
    let mut again = Call::new(&*source, &denying, &queue);
    again.now = LATER;
    assert_eq!(again.plan().await.unwrap().plan, planned.plan);
    assert!(sandbox.read(REFUSED).is_none());
}

#[tokio::test]
async fn a_run_on_one_machine_resumes_where_a_planner_was_refused() {
    let sandbox = two_objects();
    let (source, ledger, queue) = (
        sandbox.source(),
        sandbox.destination(),
        KeepingQueue::durable(),
    );
    let mut call = Call::new(&*source, &*ledger, &queue);
    call.objects_max = 1;
    call.plan().await.unwrap_err();
    let report = sandbox.recover(two_hours(), &id("run")).await;
    assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
    assert_eq!(sandbox.read(REFUSED), None);
}

#[tokio::test]
async fn a_run_whose_plan_is_complete_is_not_refused_for_limits_that_were_lowered_since() {
    let sandbox = two_objects();
    let (source, ledger) = (sandbox.source(), sandbox.destination());
    let queue = KeepingQueue::durable();
    let planned = Call::new(&*source, &*ledger, &queue).plan().await.unwrap();
    let again = Call {
        objects_max: 1,
        now: LATER,
        ..Call::new(&*source, &*ledger, &queue)
    };
    assert_eq!(again.plan().await.unwrap().plan, planned.plan);
    assert!(sandbox.read(REFUSED).is_none());
}
