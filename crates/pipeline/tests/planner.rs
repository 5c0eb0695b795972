//! What a plan holds, and what stays when planning is interrupted.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use event_recovery_pipeline::{
    AuditAnswer, AuditAnswerKind, AuditCall, AuditCaller, Audited, CallAuditor, Claim,
    LedgerStorage, ListObjects, ListedObject, PlanError, PlanLimits, PlanRecord, Planner, Problem,
    QueueError, ResolvedRequest, RunTerms, Unobserved, Verdict, audit_when_finished, claim_call,
    end_call, is_ended, preview, release_call,
};
use serde_json::json;
use support::doubles::{
    Effect, FaultyStorage, KeepingQueue, ListingWith, Operation, permanent, transient,
};
use support::{
    MARKER, NOW, Sandbox, Tree, at, carry_out, event, first_delivery, id, object_key, receipt_key,
    request,
};

/// Two whole hours, whose objects all count.
fn two_hours() -> ResolvedRequest {
    request(json!({"window": "publish", "end": "2024-04-01T02:00:00Z"}))
}

async fn plan_with(
    source: &dyn ListObjects,
    ledger: &dyn LedgerStorage,
    queue: &KeepingQueue,
    request: &ResolvedRequest,
) -> Result<PlanRecord, PlanError> {
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
    let planned = planner.plan(request, &id("run"), at(NOW)).await;
    planned.map(|planned| planned.plan)
}

async fn plan(
    sandbox: &Sandbox,
    queue: &KeepingQueue,
    request: &ResolvedRequest,
) -> Result<PlanRecord, PlanError> {
    plan_with(&*sandbox.source(), &*sandbox.destination(), queue, request).await
}

/// A backup with an object in each hour, and their keys.
fn two_objects() -> (Sandbox, [String; 2]) {
    let sandbox = Sandbox::new();
    let keys = ["2024-04-01T00:10:00Z", "2024-04-01T01:10:00Z"].map(|time| {
        let key = object_key(time, 1);
        sandbox.back_up(&key, event("a", time));
        key
    });
    (sandbox, keys)
}

#[tokio::test]
async fn a_plan_says_what_was_listed_and_queues_it_in_order() {
    let (sandbox, keys) = two_objects();
    let request = request(json!({"window": "publish", "end": "2024-04-01T03:00:00Z"}));
    let queue = KeepingQueue::default();
    let plan = plan(&sandbox, &queue, &request).await.unwrap();
    let tasks = queue.take();
    assert!(tasks.iter().map(|task| task.key.as_str()).eq(&keys));
    assert_eq!(
        (plan.hours, plan.objects.listed, plan.objects.planned),
        (3, 2, 2)
    );
    assert_eq!(plan.empty_hours[0].label(), "2024-04-01T02");
    assert_eq!(plan.bytes, tasks.iter().map(|task| task.size).sum::<u64>());
    assert_eq!(
        (plan.days.len(), plan.days[0].date.as_str()),
        (1, "2024-04-01")
    );
    let tree = sandbox.tree();
    let expected = [
        "plan.json",
        "request.json",
        "tasks/2024-04-01T00.jsonl",
        "tasks/2024-04-01T00.queued",
        "tasks/2024-04-01T01.jsonl",
        "tasks/2024-04-01T01.queued",
        "tasks/2024-04-01T02.jsonl",
        "tasks/2024-04-01T02.queued",
    ];
    assert!(
        tree.keys()
            .eq(&expected.map(|name| format!("_recovery/run/{name}")))
    );
    let written: PlanRecord = serde_json::from_slice(&tree["_recovery/run/plan.json"]).unwrap();
    assert_eq!(written, plan);
    sandbox.assert_no_content_in_the_ledger();
}

#[tokio::test]
async fn hours_stay_as_they_were_first_listed() {
    let (sandbox, keys) = two_objects();
    let queue = KeepingQueue::default();
    let first = plan(&sandbox, &queue, &two_hours()).await.unwrap();
    let (tasks, tree) = (queue.take(), sandbox.tree());
    sandbox.back_up(&object_key("2024-04-01T00:20:00Z", 2), MARKER);
    std::fs::remove_file(sandbox.source_path().join(&keys[1])).unwrap();
    assert_eq!(plan(&sandbox, &queue, &two_hours()).await.unwrap(), first);
    assert_eq!(queue.take(), tasks);
    assert_eq!(sandbox.tree(), tree);
}

#[tokio::test]
async fn a_resumed_run_queues_what_is_not_done() {
    for queue in [KeepingQueue::default(), KeepingQueue::durable()] {
        let (sandbox, keys) = two_objects();
        plan(&sandbox, &queue, &two_hours()).await.unwrap();
        let mut tasks = queue.take();
        tasks.sort_by(|one, other| one.key.as_str().cmp(other.key.as_str()));
        let worker = sandbox.worker();
        worker.work(&tasks[0], first_delivery()).await.unwrap();
        plan(&sandbox, &queue, &two_hours()).await.unwrap();
        assert_eq!(queue.take_keys(), [keys[1].clone()], "{}", queue.durable);

        // A failed one is tried again.
        let (source, destination) = (sandbox.source(), sandbox.destination());
        let faulty = FaultyStorage::new(source).at_first(Operation::Open, "", 1, permanent());
        let failing = event_recovery_pipeline::Worker {
            source: Arc::new(faulty),
            destination,
            ..sandbox.worker()
        };
        failing.work(&tasks[1], first_delivery()).await.unwrap();
        assert!(sandbox.read(&receipt_key(&id("run"), &keys[1])).is_some());
        plan(&sandbox, &queue, &two_hours()).await.unwrap();
        assert_eq!(queue.take_keys(), [keys[1].clone()], "{}", queue.durable);

        worker.work(&tasks[1], first_delivery()).await.unwrap();
        plan(&sandbox, &queue, &two_hours()).await.unwrap();
        assert_eq!(queue.take(), [], "{}", queue.durable);
    }
}

#[tokio::test]
async fn another_request_with_the_same_id_is_refused_and_changes_nothing() {
    let (sandbox, _) = two_objects();
    let queue = KeepingQueue::default();
    plan(&sandbox, &queue, &two_hours()).await.unwrap();
    let tree = sandbox.tree();
    queue.take();
    let rows = [
        (json!({"end": "2024-04-01T03:00:00Z"}), "end"),
        (json!({"window": "arrival"}), "window"),
        (json!({"format": "parquet"}), "format"),
        (json!({"domains": ["account"]}), "domains"),
    ];
    for (changes, expected) in rows {
        let mut all = json!({"window": "publish", "end": "2024-04-01T02:00:00Z"});
        all.as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        let error = plan(&sandbox, &queue, &request(all)).await.unwrap_err();
        assert!(
            matches!(&error, PlanError::OtherRequest { field, .. } if *field == expected),
            "{error:?}"
        );
        assert!(error.to_string().contains(&format!("`{expected}`")));
        assert!(error.hint().unwrap().contains("another id"));
        assert_eq!(sandbox.tree(), tree, "{expected}");
        assert_eq!(queue.take(), [], "{expected}");
    }
}

#[tokio::test]
async fn more_objects_than_the_limit_are_refused_with_where_to_split() {
    let (sandbox, _) = two_objects();
    let (source, destination) = (sandbox.source(), sandbox.destination());
    let queue = KeepingQueue::default();
    let planner = |objects_max| Planner {
        source: &*source,
        ledger: &*destination,
        queue: &queue,
        auditor: None,
        until: None,
        limits: PlanLimits {
            objects_max,
            ..PlanLimits::default()
        },
        terms: RunTerms::default(),
        observer: &Unobserved,
    };
    let (run, now) = (id("run"), at(NOW));
    for result in [
        preview(
            &*source,
            &two_hours(),
            &run,
            PlanLimits {
                objects_max: 1,
                ..PlanLimits::default()
            },
            &Unobserved,
            now,
        )
        .await,
        planner(1)
            .plan(&two_hours(), &run, now)
            .await
            .map(|planned| planned.plan),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(
            error,
            PlanError::TooManyObjects { objects_max: 1, .. }
        ));
        assert!(
            error
                .hint()
                .unwrap()
                .contains("ends at `2024-04-01T01:00:00Z`")
        );
    }
    assert_eq!(sandbox.read("_recovery/run/plan.json"), None);
    let raised = planner(2).plan(&two_hours(), &run, now).await.unwrap();
    assert_eq!(raised.plan.objects.planned, 2);
}

#[tokio::test]
async fn a_run_over_a_limit_queues_nothing_and_resumes_from_its_lists_once_the_limit_is_raised() {
    let (sandbox, keys) = two_objects();
    let source = FaultyStorage::new(sandbox.source());
    let destination = sandbox.destination();
    let queue = KeepingQueue::durable();
    let plan_within = async |limits| {
        let planner = Planner {
            source: &source,
            ledger: &*destination,
            queue: &queue,
            auditor: None,
            until: None,
            limits,
            terms: RunTerms::default(),
            observer: &Unobserved,
        };
        planner.plan(&two_hours(), &id("run"), at(NOW)).await
    };
    let rows = [
        PlanLimits {
            objects_max: 1,
            ..PlanLimits::default()
        },
        PlanLimits {
            bytes_max: 300,
            ..PlanLimits::default()
        },
        PlanLimits {
            micro_usd_max: 1,
            ..PlanLimits::default()
        },
    ];
    for limits in rows {
        let error = plan_within(limits).await.unwrap_err();
        assert!(!error.is_transient());
        assert!(
            error
                .hint()
                .unwrap()
                .contains("nothing was queued; raise the limit")
        );
        assert_eq!(queue.take(), []);
        let refusal = sandbox.read("_recovery/run/refused.json").unwrap();
        assert!(String::from_utf8_lossy(&refusal).contains("\"refused\""));
        let tree = sandbox.tree();
        assert!(
            !tree.keys().any(|key| key.ends_with(".queued")),
            "{:?}",
            tree.keys()
        );
    }
    // What was listed is frozen: an object that came since does not count.
    sandbox.back_up(&object_key("2024-04-01T00:20:00Z", 2), MARKER);
    let listings = source.calls(Operation::List, "/2024/04/01/00/");
    let planned = plan_within(PlanLimits::default()).await.unwrap();
    assert_eq!(source.calls(Operation::List, "/2024/04/01/00/"), listings);
    assert_eq!(planned.plan.objects.planned, 2);
    let mut queued = queue.take_keys();
    queued.sort_unstable();
    assert_eq!(queued, keys);
    assert_eq!(sandbox.read("_recovery/run/refused.json"), None);
}

#[tokio::test]
async fn objects_that_cannot_hold_the_windows_events_are_counted_and_left_out() {
    let sandbox = Sandbox::new();
    let rows = [
        ("2024-03-31T23:44:59Z", false),
        ("2024-03-31T23:45:00Z", true),
        ("2024-04-01T00:30:00Z", true),
        ("2024-04-01T01:59:59Z", true),
        ("2024-04-01T02:00:00Z", false),
    ];
    for (time, _) in rows {
        sandbox.back_up(&object_key(time, 1), event("a", time));
    }
    let queue = KeepingQueue::default();
    let plan = plan(&sandbox, &queue, &request(json!({}))).await.unwrap();
    let kept = rows.iter().filter(|(_, kept)| *kept);
    let expected: Vec<_> = kept.map(|(time, _)| object_key(time, 1)).collect();
    assert_eq!(queue.take_keys(), expected);
    // The last one's prefix, 02, is not even listed.
    let objects = plan.objects;
    assert_eq!(
        (plan.hours, objects.listed, objects.pruned, objects.planned),
        (3, 4, 1, 3)
    );
}

#[tokio::test]
async fn foreign_names_count_with_their_hour() {
    let sandbox = Sandbox::new();
    let prefix = "main_stream/2024/04/01/00/";
    let other_org = object_key("2024-04-01T00:10:00Z", 1).replace("tn-3", "tn-4");
    for key in [
        &format!("{prefix}any name"),
        &format!("{prefix}sub/folder"),
        &other_org,
    ] {
        sandbox.back_up(key, event("a", "2024-04-01T00:10:00Z"));
    }
    let queue = KeepingQueue::default();
    let plan = plan(&sandbox, &queue, &request(json!({}))).await.unwrap();
    assert_eq!((plan.foreign_names, plan.objects.planned), (3, 3));
    assert_eq!(queue.take().len(), 3);
}

#[tokio::test]
async fn folder_markers_are_pruned() {
    let (sandbox, _) = two_objects();
    let marker = |key: &str| ListedObject {
        key: key.to_owned(),
        size: 0,
        etag: "marker".to_owned(),
        last_modified: at(NOW),
    };
    let source = ListingWith {
        inner: sandbox.source(),
        more: vec![
            marker("main_stream/2024/04/01/00/"),
            marker("main_stream/2024/04/01/01/sub/"),
        ],
    };
    let queue = KeepingQueue::default();
    let plan = plan_with(&source, &*sandbox.destination(), &queue, &two_hours())
        .await
        .unwrap();
    let objects = plan.objects;
    assert_eq!((objects.listed, objects.pruned, objects.planned), (4, 2, 2));
    assert_eq!(queue.take().len(), 2);
}

#[tokio::test]
async fn an_object_whose_key_tools_take_for_another_fails_alone() {
    let odd_keys = [
        "main_stream/2024/04/01/00/",
        "main_stream/2024/04/01/00/../secret",
        "main_stream/2024/04/01/00/dir/",
        "main_stream/2024/04/01/01/a//b",
    ];
    let (sandbox, _) = two_objects();
    let odd = odd_keys.map(|key| ListedObject {
        key: key.to_owned(),
        size: 1,
        etag: "etag".to_owned(),
        last_modified: at(NOW),
    });
    let mut run = sandbox.run(two_hours(), &id("run"));
    run.source = Arc::new(ListingWith {
        inner: sandbox.source(),
        more: odd.to_vec(),
    });
    let report = carry_out(run).await;
    assert_eq!((report.objects.done, report.objects.failed), (2, 4));
    assert_eq!(report.events.written, 2);
    let failed: Vec<&str> = report
        .unrecovered
        .iter()
        .map(|object| object.key.as_str())
        .collect();
    assert_eq!(failed, odd_keys);
    for object in &report.unrecovered {
        assert!(
            object.reason.contains("empty, `.` or `..` part"),
            "{object:?}"
        );
        assert!(object.hint.as_ref().unwrap().contains("plain name"));
    }
}

#[tokio::test]
async fn what_belongs_to_no_hour_is_counted_and_named() {
    let (sandbox, _) = two_objects();
    let unexpected = [
        "main_stream/2024/04/01/05",
        "main_stream/2024/04/01/in-the-day",
        "main_stream/2024/04/01/7/not-padded",
        "main_stream/2024/04/01/temporary/00/deep",
    ];
    for key in unexpected {
        sandbox.back_up(key, event("a", "2024-04-01T00:10:00Z"));
    }
    // Hours, days and months outside of the range do not matter for this run.
    for key in [
        "main_stream/2024/04/01/09/object",
        "main_stream/2024/04/02/7/not-padded",
        "main_stream/2024/04/in-the-month",
    ] {
        sandbox.back_up(key, "");
    }
    let queue = KeepingQueue::default();
    let plan = plan(&sandbox, &queue, &two_hours()).await.unwrap();
    assert_eq!(plan.unexpected.objects, 4);
    assert_eq!(plan.unexpected.named, unexpected);
    assert_eq!(plan.objects.planned, 2);
    let report = sandbox.recover(two_hours(), &id("run")).await;
    assert_eq!(report.verdict, Verdict::NeedsLook);
    let reason = &report.reasons[0];
    assert!(
        reason.contains("not recovered: 4") && reason.contains(unexpected[0]),
        "{reason}"
    );
    assert_eq!(report.unexpected, plan.unexpected);
}

#[tokio::test]
async fn an_object_in_the_place_of_a_day_is_unexpected() {
    let sandbox = Sandbox::new();
    sandbox.back_up("main_stream/2024/04/01", "x");
    let queue = KeepingQueue::default();
    let plan = plan(&sandbox, &queue, &two_hours()).await.unwrap();
    assert_eq!(plan.unexpected.named, ["main_stream/2024/04/01"]);
}

#[tokio::test]
async fn a_preview_writes_and_queues_nothing() {
    let (sandbox, _) = two_objects();
    let queue = KeepingQueue::default();
    let (request, limits) = (two_hours(), PlanLimits::default());
    let (source, run) = (sandbox.source(), id("run"));
    let preview = preview(&*source, &request, &run, limits, &Unobserved, at(NOW)).await;
    let preview = preview.unwrap();
    assert_eq!(sandbox.tree(), Tree::new());
    assert_eq!(queue.take(), []);
    let planned = plan(&sandbox, &queue, &two_hours()).await.unwrap();
    // It has read and written no records that could have digests.
    let without_digests = PlanRecord {
        request_digest: None,
        task_lists: BTreeMap::new(),
        ..planned
    };
    assert_eq!(without_digests, preview);
}

#[tokio::test]
async fn a_planner_that_failed_resumes_where_it_stopped() {
    let denied = || Effect::Fail(Problem::AccessDenied("by a policy".to_owned()));
    let rows = [
        ("listing", Operation::List, "/01/", transient()),
        ("listing denied", Operation::List, "/01/", denied()),
        ("request", Operation::PutIf, "request.json", transient()),
        ("task list", Operation::PutIf, "T01.jsonl", transient()),
        (
            "task list, written",
            Operation::PutIfDone,
            "T01.jsonl",
            transient(),
        ),
        ("queued", Operation::Put, "T00.queued", transient()),
        ("plan", Operation::PutIf, "plan.json", transient()),
        (
            "plan, written",
            Operation::PutIfDone,
            "plan.json",
            transient(),
        ),
    ];
    for (name, operation, key_part, effect) in rows {
        for durable in [false, true] {
            let (sandbox, keys) = two_objects();
            let queue = match durable {
                true => KeepingQueue::durable(),
                false => KeepingQueue::default(),
            };
            let faults =
                |storage: FaultyStorage| storage.at_first(operation, key_part, 1, effect.clone());
            let source = faults(FaultyStorage::new(sandbox.source()));
            let ledger = faults(FaultyStorage::new(sandbox.destination()));
            let error = plan_with(&source, &ledger, &queue, &two_hours())
                .await
                .unwrap_err();
            assert!(
                !error.to_string().is_empty() && error.hint().is_some(),
                "{name}"
            );
            let mut queued = queue.take_keys();
            let plan = plan_with(&source, &ledger, &queue, &two_hours()).await;
            assert_eq!(plan.unwrap().objects.planned, 2, "{name}");
            // None is lost; some may be queued twice, which a worker tolerates.
            queued.extend(queue.take_keys());
            queued.sort_unstable();
            queued.dedup();
            assert_eq!(queued, keys, "{name}");
        }
    }
}

#[tokio::test]
async fn a_durable_queue_gets_each_task_once_when_planning_is_resumed() {
    let (sandbox, keys) = two_objects();
    let queue = KeepingQueue::durable().failing_after(1);
    let error = plan(&sandbox, &queue, &two_hours()).await.unwrap_err();
    assert!(matches!(error, PlanError::Queue(_)), "{error:?}");
    let mut queued = queue.take_keys();
    assert_eq!(queued.len(), 1);
    plan(&sandbox, &queue, &two_hours()).await.unwrap();
    queued.extend(queue.take_keys());
    queued.sort_unstable();
    assert_eq!(queued, keys);
}

/// Keeps the calls of the auditor.
#[derive(Debug, Default)]
struct KeepingCalls(std::sync::Mutex<Vec<AuditCall>>);

#[async_trait::async_trait]
impl CallAuditor for KeepingCalls {
    async fn call(&self, call: &AuditCall) -> Result<(), QueueError> {
        self.0.lock().unwrap().push(call.clone());
        Ok(())
    }
}

/// A planner of a deployed pipeline: its queue is durable, and it calls the auditor.
struct Deployed {
    sandbox: Sandbox,
    keys: [String; 2],
    queue: KeepingQueue,
    calls: Arc<KeepingCalls>,
}

impl Deployed {
    fn new() -> Self {
        let (sandbox, keys) = two_objects();
        Self {
            sandbox,
            keys,
            queue: KeepingQueue::durable(),
            calls: Arc::default(),
        }
    }

    async fn plan(&self, until: Option<std::time::Instant>) -> Result<u64, PlanError> {
        let auditor = AuditCaller {
            queue: self.calls.clone(),
            wait_hours: 24,
        };
        let planner = Planner {
            source: &*self.sandbox.source(),
            ledger: &*self.sandbox.destination(),
            queue: &self.queue,
            auditor: Some(&auditor),
            until,
            limits: PlanLimits::default(),
            terms: RunTerms::default(),
            observer: &Unobserved,
        };
        let planned = planner.plan(&two_hours(), &id("run"), at(NOW)).await;
        planned.map(|planned| planned.tasks_queued)
    }

    /// Processes the queued tasks.
    async fn work(&self) {
        let mut worker = self.sandbox.worker();
        worker.auditor = Some(self.calls.clone());
        for task in self.queue.take() {
            worker.work(&task, first_delivery()).await.unwrap();
        }
    }

    /// Answers the newest call.
    async fn audit(&self) -> Audited {
        let destination = self.sandbox.destination();
        let call = self.calls.0.lock().unwrap().last().unwrap().clone();
        let audited = audit_when_finished(&*destination, &call, None, at(NOW)).await;
        let audited = audited.unwrap();
        if matches!(audited, Audited::Finished { .. }) {
            // One of two auditors with the same call.
            let claims = [
                claim_call(&*destination, &call, ANSWER, at(NOW)).await,
                claim_call(&*destination, &call, ANSWER, at(NOW)).await,
            ];
            assert_eq!(claims.map(Result::unwrap), [Claim::First, Claim::Taken]);
            // An auditor that could not notify people releases its call.
            release_call(&*destination, &call, at(NOW)).await.unwrap();
            let again = claim_call(&*destination, &call, ANSWER, at(NOW)).await;
            assert_eq!(again.unwrap(), Claim::Again);
            end_call(&*destination, &call, at(NOW)).await.unwrap();
        }
        audited
    }

    /// The keys of the queued tasks, in the order of time.
    fn keys_queued(&self) -> Vec<String> {
        let mut keys = self.queue.take_keys();
        keys.sort_unstable();
        keys
    }

    fn calls(&self) -> Vec<u64> {
        let calls = self.calls.0.lock().unwrap();
        calls.iter().map(|call| call.number).collect()
    }
}

const ANSWER: AuditAnswer = AuditAnswer {
    kind: AuditAnswerKind::Audited,
    overdue: false,
    verdict_before: None,
};

fn verdict(audited: Audited) -> Option<Verdict> {
    match audited {
        Audited::Waiting { .. } | Audited::Continues => None,
        Audited::Finished { report, .. } => Some(report.verdict),
    }
}

#[tokio::test]
async fn a_repeated_invocation_is_the_same_run_and_does_no_harm() {
    let deployed = Deployed::new();
    assert_eq!(deployed.plan(None).await.unwrap(), 2);
    assert_eq!(deployed.plan(None).await.unwrap(), 0);
    assert_eq!(verdict(deployed.audit().await), None);
    deployed.work().await;
    assert_eq!(deployed.plan(None).await.unwrap(), 0);
    assert_eq!(verdict(deployed.audit().await), Some(Verdict::Complete));
    assert_eq!(deployed.plan(None).await.unwrap(), 0);
    assert_eq!(deployed.calls(), [1]);
}

#[tokio::test]
async fn a_failed_task_is_queued_again_and_audited_again() {
    let deployed = Deployed::new();
    let lost = deployed.sandbox.source_path().join(&deployed.keys[1]);
    deployed.plan(None).await.unwrap();
    let content = std::fs::read(&lost).unwrap();
    let modified = std::fs::metadata(&lost).unwrap().modified().unwrap();
    std::fs::remove_file(&lost).unwrap();
    deployed.work().await;
    assert_eq!(verdict(deployed.audit().await), Some(Verdict::Incomplete));
    std::fs::write(&lost, content).unwrap();
    let file = std::fs::File::options().write(true).open(&lost).unwrap();
    file.set_modified(modified).unwrap();
    assert_eq!(deployed.plan(None).await.unwrap(), 1);
    // While it is queued, nothing is queued again and no verdict is given.
    assert_eq!(deployed.plan(None).await.unwrap(), 0);
    assert_eq!(verdict(deployed.audit().await), None);
    deployed.work().await;
    assert_eq!(verdict(deployed.audit().await), Some(Verdict::Complete));
    assert_eq!(deployed.calls(), [1, 2]);
}

#[tokio::test]
async fn a_task_that_ends_after_the_audit_has_the_run_audited_again() {
    let deployed = Deployed::new();
    deployed.plan(None).await.unwrap();
    let destination = deployed.sandbox.destination();
    let call = deployed.calls.0.lock().unwrap()[0].clone();
    let late = call.deadline;
    let audited = audit_when_finished(&*destination, &call, None, late).await;
    let Audited::Finished {
        report, is_overdue, ..
    } = audited.unwrap()
    else {
        panic!("the deadline has passed");
    };
    assert!(is_overdue);
    assert_eq!(report.objects.missing, 2);
    end_call(&*destination, &call, late).await.unwrap();
    assert!(is_ended(&*destination, &call).await.unwrap());
    deployed.work().await;
    assert_eq!(deployed.calls(), [1, 2]);
    assert_eq!(verdict(deployed.audit().await), Some(Verdict::Complete));
}

#[tokio::test]
async fn a_planner_past_its_deadline_stops_cleanly_and_is_resumed() {
    let deployed = Deployed::new();
    let error = deployed
        .plan(Some(std::time::Instant::now()))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the time was up listing after 1 of 2 hours of the run `run`"
    );
    assert!(error.hint().unwrap().contains("`run`"));
    assert_eq!(deployed.queue.take_keys(), [""; 0]);
    assert_eq!(deployed.plan(None).await.unwrap(), 2);
    assert_eq!(deployed.keys_queued(), deployed.keys);
    assert_eq!(deployed.calls(), [1]);
}

#[tokio::test]
async fn failed_tasks_of_a_run_of_any_size_are_queued_again_by_calls_that_are_each_too_short() {
    let deployed = Deployed::new();
    deployed.plan(None).await.unwrap();
    deployed.queue.take();
    // Both tasks are lost, and no auditor waits for them any more.
    let call = deployed.calls.0.lock().unwrap().last().unwrap().clone();
    let destination = deployed.sandbox.destination();
    end_call(&*destination, &call, at(NOW)).await.unwrap();
    let mut queued = Vec::new();
    let mut calls = 0;
    let total = loop {
        calls += 1;
        let ended = deployed.plan(Some(std::time::Instant::now())).await;
        queued.extend(deployed.queue.take_keys());
        match ended {
            Ok(total) => break total,
            Err(PlanError::OutOfTime { hours_done, .. }) => assert_eq!(hours_done, calls),
            Err(error) => panic!("{error:?}"),
        }
    };
    // One hour in each call, and none of them twice.
    assert_eq!((calls, total), (2, 2));
    assert_eq!(queued, deployed.keys);
    assert_eq!(deployed.calls(), [1, 2], "the auditor is called once more");
}
