//! What a recheck adds to a run, and when a run is rechecked.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use event_recovery_pipeline::{
    AuditAnswer, AuditAnswerKind, AuditCall, AuditCaller, Audited, CallAuditor, CheckedRuns, Claim,
    Delivery, LateAllowance, LedgerStorage, ListObjects, LocalFolder, PlanError, PlanLimits,
    Planner, QueueError, Rechecked, Report, ResolvedRequest, RunTerms, Schedule, Tolerance,
    Unobserved, Verdict, audit_when_finished, claim_call, end_call, is_ended, missed_windows,
};
use serde_json::{Value, json};
use support::doubles::{FaultyStorage, KeepingQueue, Operation, transient};
use support::{Sandbox, Tree, at, event, id, object_key, request};

/// The end of the window that all runs here have.
const END: &str = "2024-04-01T01:00:00Z";

const ANSWER: AuditAnswer = AuditAnswer {
    kind: AuditAnswerKind::Audited,
    overdue: false,
    verdict_before: None,
};

fn hours_after_end(hours: i64) -> DateTime<Utc> {
    at(END) + chrono::TimeDelta::hours(hours)
}

/// The object that came at this minute of the window's hour, under the hour's prefix whenever it comes.
fn key(minute: u32) -> String {
    object_key(&format!("2024-04-01T00:{minute:02}:00Z"), minute)
}

fn one_hour() -> ResolvedRequest {
    request(json!({"window": "publish"}))
}

#[derive(Default)]
struct Calls(Mutex<Vec<AuditCall>>);

#[async_trait]
impl CallAuditor for Calls {
    async fn call(&self, call: &AuditCall) -> Result<(), QueueError> {
        self.0.lock().unwrap().push(call.clone());
        Ok(())
    }
}

/// A stack: planner, workers and auditor over one queue, with a clock that a test sets.
struct Stack {
    sandbox: Sandbox,
    queue: KeepingQueue,
    calls: Arc<Calls>,
    until: Option<Instant>,
}

impl Stack {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.back_up(&key(10), event("on-time", "2024-04-01T00:10:00Z"));
        Self {
            sandbox,
            queue: KeepingQueue::durable(),
            calls: Arc::default(),
            until: None,
        }
    }

    /// An event that comes late, of the hour that has ended.
    fn comes_late(&self, event_id: &str, minute: u32) {
        let event = event(event_id, &format!("2024-04-01T00:{minute:02}:00Z"));
        self.sandbox.back_up(&key(minute), event);
    }

    async fn with_planner<T>(
        &self,
        source: &dyn ListObjects,
        ledger: &dyn LedgerStorage,
        act: impl AsyncFnOnce(&Planner<'_>) -> T,
    ) -> T {
        let auditor = AuditCaller {
            queue: self.calls.clone(),
            wait_hours: 24,
        };
        act(&Planner {
            source,
            ledger,
            queue: &self.queue,
            auditor: Some(&auditor),
            until: self.until,
            limits: PlanLimits::default(),
            terms: RunTerms {
                late_allowance: LateAllowance::default(),
                scheduled_for: None,
                source: Some("s3://backup".to_owned()),
            },
            observer: &Unobserved,
        })
        .await
    }

    async fn plan(&self, now: DateTime<Utc>) {
        let (source, ledger) = (self.sandbox.source(), self.sandbox.destination());
        self.with_planner(&*source, &*ledger, async |planner| {
            planner.plan(&one_hour(), &id("run"), now).await
        })
        .await
        .unwrap();
    }

    async fn recheck(&self, now: DateTime<Utc>) -> Result<Rechecked, PlanError> {
        let ledger = self.sandbox.destination();
        self.recheck_with(&*ledger, now).await
    }

    async fn recheck_with(
        &self,
        ledger: &dyn LedgerStorage,
        now: DateTime<Utc>,
    ) -> Result<Rechecked, PlanError> {
        let source = self.sandbox.source();
        self.with_planner(&*source, ledger, async |planner| {
            planner.recheck(&id("run"), now).await
        })
        .await
    }

    /// The periodic check.
    async fn check(&self, now: DateTime<Utc>) -> CheckedRuns {
        let (source, ledger) = (self.sandbox.source(), self.sandbox.destination());
        self.with_planner(&*source, &*ledger, async |planner| {
            planner.recheck_due(now).await
        })
        .await
        .unwrap()
    }

    /// Processes what is queued, and answers the calls of the auditor. Returns whether people are notified.
    async fn work(&self, now: DateTime<Utc>) -> Vec<bool> {
        let worker = self.sandbox.worker();
        for task in self.queue.take() {
            let delivery = Delivery {
                number: 1,
                deliveries_max: 10,
                now,
                attempt_secs_max: 900,
            };
            worker.work(&task, delivery).await.unwrap();
        }
        let storage = self.sandbox.destination();
        let calls = std::mem::take(&mut *self.calls.0.lock().unwrap());
        for call in &calls {
            if is_ended(&*storage, call).await.unwrap() {
                continue;
            }
            let audited = audit_when_finished(&*storage, call, None, now).await;
            assert!(
                matches!(audited, Ok(Audited::Finished { .. })),
                "{audited:?}"
            );
            let claim = claim_call(&*storage, call, ANSWER, now).await.unwrap();
            assert_eq!(claim, Claim::First);
            end_call(&*storage, call, now).await.unwrap();
        }
        calls.iter().map(|call| !call.quiet).collect()
    }

    fn report(&self) -> Report {
        self.record("report.json")
    }

    fn record<T: serde::de::DeserializeOwned>(&self, name: &str) -> T {
        let bytes = self.sandbox.read(&format!("_recovery/run/{name}")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn events(&self) -> Vec<String> {
        let lines = self.sandbox.lines(&id("run"));
        let ids = lines.iter().map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["event_id"].as_str().unwrap().to_owned()
        });
        let mut ids: Vec<String> = ids.collect();
        ids.sort_unstable();
        ids
    }
}

#[tokio::test]
async fn objects_that_come_up_to_a_day_late_end_in_their_run_once() {
    let stack = Stack::new();
    stack.plan(hours_after_end(2)).await;
    assert_eq!(stack.work(hours_after_end(2)).await, [true]);
    let finality = stack.report().finality.unwrap();
    assert!(!finality.is_final);
    assert_eq!(finality.final_after, hours_after_end(25));
    assert_eq!(stack.report().verdict, Verdict::Complete);

    let late = [(3, "three"), (10, "ten"), (23, "twenty-three")];
    let mut rechecks = Vec::new();
    for hour in 3..30 {
        let now = hours_after_end(hour);
        if let Some((_, event_id)) = late.iter().find(|(late_by, _)| *late_by == hour) {
            stack.comes_late(event_id, u32::try_from(hour).unwrap() + 20);
        }
        let checked = stack.check(now).await;
        assert!(
            checked.failed.is_empty() && checked.not_ended.is_empty(),
            "{checked:?}"
        );
        for rechecked in &checked.rechecked {
            rechecks.push((hour, rechecked.late_objects));
        }
        for notified in stack.work(now).await {
            assert!(notified, "what was found at hour {hour} is not told");
        }
    }
    assert_eq!(rechecks, [(6, 1), (25, 2)]);
    assert_eq!(stack.events(), ["on-time", "ten", "three", "twenty-three"]);
    let report = stack.report();
    assert_eq!(
        (report.verdict, report.late.objects, report.late.events),
        (Verdict::Complete, 3, 3)
    );
    assert!(report.finality.unwrap().is_final);
    let mark: Value =
        serde_json::from_slice(&stack.sandbox.read("execution_id=run/_SUCCESS").unwrap()).unwrap();
    assert_eq!(mark["final"], true);
    // Nobody looks for it any more.
    assert_eq!(stack.check(hours_after_end(31)).await.provisional, 0);
    stack.sandbox.assert_no_content_in_the_ledger();
}

#[tokio::test]
async fn a_recheck_that_finds_nothing_tells_nobody_and_makes_the_report_final() {
    let stack = Stack::new();
    stack.plan(hours_after_end(2)).await;
    stack.work(hours_after_end(2)).await;
    let before = stack.sandbox.output();
    for (hour, is_final) in [(6, false), (25, true)] {
        assert_eq!(stack.check(hours_after_end(hour)).await.rechecked.len(), 1);
        assert_eq!(stack.work(hours_after_end(hour)).await, [false]);
        assert_eq!(stack.report().finality.unwrap().is_final, is_final);
    }
    assert_eq!(stack.sandbox.output(), before);
    assert_eq!(stack.sandbox.read("_recovery/run/plan.late-1.json"), None);
}

#[tokio::test]
async fn a_run_over_an_old_window_is_final_at_once() {
    let stack = Stack::new();
    stack.plan(hours_after_end(25)).await;
    stack.work(hours_after_end(25)).await;
    assert!(stack.report().finality.unwrap().is_final);
    let checked = stack.check(hours_after_end(26)).await;
    assert_eq!((checked.provisional, checked.rechecked.len()), (1, 0));
    assert_eq!(stack.check(hours_after_end(27)).await.provisional, 0);
}

#[tokio::test]
async fn what_has_changed_or_is_gone_is_named_and_what_is_done_stays() {
    let stack = Stack::new();
    stack.comes_late("other", 20);
    stack.plan(hours_after_end(2)).await;
    stack.work(hours_after_end(2)).await;
    let before = stack.sandbox.output();
    stack.sandbox.back_up(
        &key(10),
        event("on-time, but longer", "2024-04-01T00:10:00Z"),
    );
    std::fs::remove_file(stack.sandbox.source_path().join(key(20))).unwrap();
    let rechecked = stack.recheck(hours_after_end(6)).await.unwrap();
    assert_eq!(rechecked.changed.named, [key(10)]);
    assert_eq!(rechecked.vanished.named, [key(20)]);
    assert_eq!((rechecked.late_objects, rechecked.tasks_queued), (0, 0));
    assert_eq!(stack.work(hours_after_end(6)).await, [true]);
    let report = stack.report();
    assert_eq!(report.verdict, Verdict::NeedsLook);
    assert!(
        report
            .reasons
            .iter()
            .any(|reason| reason.contains(&key(10))),
        "{:?}",
        report.reasons
    );
    assert!(
        report
            .reasons
            .iter()
            .any(|reason| reason.contains(&key(20))),
        "{:?}",
        report.reasons
    );
    let mut after = stack.sandbox.output();
    let mut before = before;
    for tree in [&mut after, &mut before] {
        tree.remove("execution_id=run/_SUCCESS");
    }
    assert_eq!(after, before);
    // The same once more is no news.
    stack.recheck(hours_after_end(7)).await.unwrap();
    assert_eq!(stack.work(hours_after_end(7)).await, [false]);
}

/// The tree without times.
fn timeless(mut tree: Tree) -> Tree {
    for (path, bytes) in &mut tree {
        if path.ends_with("/_SUCCESS") || path.ends_with("/report.html") {
            bytes.clear();
        }
        if !path.starts_with("_recovery/") {
            continue;
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        let lines = text.lines().filter(|line| {
            ![
                "_at\"", "_until\"", "duration", "digest", "sha256:", "deadline", "previous",
                "etag",
            ]
            .iter()
            .any(|part| line.contains(part))
        });
        *bytes = lines.collect::<Vec<_>>().join("\n").into_bytes();
        // The first line of a task list, which says when it was listed.
        if path.ends_with(".jsonl") {
            bytes.clear();
        }
    }
    tree
}

#[tokio::test]
async fn a_recheck_that_is_killed_anywhere_resumes() {
    let now = hours_after_end(6);
    let prepared = async || {
        let stack = Stack::new();
        stack.plan(hours_after_end(2)).await;
        stack.work(hours_after_end(2)).await;
        stack.comes_late("late", 30);
        stack
    };
    let undisturbed = prepared().await;
    undisturbed.recheck(now).await.unwrap();
    undisturbed.work(now).await;
    let expected = timeless(undisturbed.sandbox.tree());
    let mut killed = 0;
    for operation in [
        Operation::Get,
        Operation::List,
        Operation::Put,
        Operation::PutIf,
        Operation::PutIfDone,
    ] {
        for calls_before in 0.. {
            let stack = prepared().await;
            let ledger = FaultyStorage::new(stack.sandbox.destination()).after(
                operation,
                "",
                calls_before,
                u32::MAX,
                transient(),
            );
            if stack.recheck_with(&ledger, now).await.is_ok() {
                break;
            }
            killed += 1;
            // What it had queued by then is processed, and its run audited, before it is resumed.
            if calls_before % 2 == 0 {
                for task in stack.queue.take() {
                    let delivery = support::first_delivery();
                    stack.sandbox.worker().work(&task, delivery).await.unwrap();
                }
            }
            stack.recheck(now).await.unwrap();
            stack.work(now).await;
            assert_eq!(
                stack.events(),
                ["late", "on-time"],
                "{operation:?} {calls_before}"
            );
            let mut tree = timeless(stack.sandbox.tree());
            // An auditor that was called before is called again.
            tree.remove("_recovery/run/audit.json");
            let mut expected = expected.clone();
            expected.remove("_recovery/run/audit.json");
            let keys = tree.keys().chain(expected.keys());
            let different: Vec<_> = keys
                .filter(|key| tree.get(*key) != expected.get(*key))
                .collect();
            assert!(
                different.is_empty(),
                "{operation:?} {calls_before}: {different:?}"
            );
        }
    }
    assert!(killed >= 15, "{killed}");
}

#[tokio::test]
async fn two_rechecks_at_once_recover_what_is_late_once() {
    let stack = Stack::new();
    stack.plan(hours_after_end(2)).await;
    stack.work(hours_after_end(2)).await;
    stack.comes_late("late", 30);
    let now = hours_after_end(6);
    // What a folder stages has the name of its key, so each has a staging folder of its own.
    let [first, second] = ["first", "second"].map(|name| {
        let staging = stack.sandbox.staging_path().join(name);
        LocalFolder::new(stack.sandbox.destination_path(), staging)
    });
    let (one, other) = tokio::join!(
        stack.recheck_with(&first, now),
        stack.recheck_with(&second, now)
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one.late_objects + other.late_objects >= 1);
    stack.work(now).await;
    assert_eq!(stack.events(), ["late", "on-time"]);
    let report = stack.report();
    assert_eq!((report.objects.planned, report.late.objects), (2, 1));
    assert_eq!(report.verdict, Verdict::Complete);
}

#[tokio::test]
async fn a_recheck_leaves_a_run_alone_that_is_unknown_or_not_planned() {
    let stack = Stack::new();
    let error = stack.recheck(hours_after_end(6)).await.unwrap_err();
    assert!(matches!(error, PlanError::UnknownRun(_)), "{error:?}");
    assert_eq!(stack.sandbox.tree(), Tree::new());
    stack.plan(hours_after_end(2)).await;
    stack.sandbox.remove("_recovery/run/plan.json");
    let before = stack.sandbox.tree();
    let error = stack.recheck(hours_after_end(6)).await.unwrap_err();
    assert!(matches!(error, PlanError::NotPlanned(_)), "{error:?}");
    assert!(error.hint().unwrap().contains("resume"));
    assert_eq!(stack.sandbox.tree(), before);
}

#[tokio::test]
async fn a_run_whose_audit_does_not_end_is_named() {
    let stack = Stack::new();
    stack.plan(hours_after_end(2)).await;
    assert!(stack.check(hours_after_end(27)).await.not_ended.is_empty());
    let late = hours_after_end(2 + 24 + 3);
    assert_eq!(stack.check(late).await.not_ended, [id("run")]);
    // It has ended: nobody needs to look any more.
    stack.work(late).await;
    assert!(stack.check(late).await.not_ended.is_empty());
}

#[tokio::test]
async fn a_resumed_run_includes_what_a_recheck_found() {
    let stack = Stack::new();
    stack.plan(hours_after_end(2)).await;
    stack.work(hours_after_end(2)).await;
    stack.comes_late("late", 30);
    stack.recheck(hours_after_end(6)).await.unwrap();
    // The late task is lost, as from a queue that was purged, and the audit ends with it missing.
    stack.queue.take();
    let call = stack.calls.0.lock().unwrap().pop().unwrap();
    let storage = stack.sandbox.destination();
    let overdue = call.deadline;
    audit_when_finished(&*storage, &call, None, overdue)
        .await
        .unwrap();
    end_call(&*storage, &call, overdue).await.unwrap();
    assert_eq!(stack.report().verdict, Verdict::Incomplete);
    stack.plan(overdue).await;
    stack.work(overdue).await;
    assert_eq!(stack.events(), ["late", "on-time"]);
    assert_eq!(stack.report().verdict, Verdict::Complete);
}

#[tokio::test]
async fn a_scheduled_run_that_never_came_is_named_until_it_comes() {
    let sandbox = Sandbox::new();
    let ledger = sandbox.destination();
    let schedule = Schedule::new(1, 7200, &Tolerance::default()).unwrap();
    let missed = async |now: &str| {
        let missed = missed_windows(&*ledger, &schedule, at(now)).await.unwrap();
        let starts = missed
            .iter()
            .map(|window| window.start.format("%H").to_string());
        starts.collect::<Vec<_>>()
    };
    let comes = |hour: u32| {
        let next = hour + 1;
        let run = format!("20240401T{hour:02}0000Z-20240401T{next:02}0000Z-12345678");
        sandbox.overwrite(&format!("_recovery/{run}/request.json"), "{}");
    };
    // At the first check nothing is missing, however long the schedule has been due.
    assert_eq!(missed("2024-04-01T05:10:00Z").await, [""; 0]);
    // The window from 03 is due at 06:00, and an hour later it is missing.
    assert_eq!(missed("2024-04-01T06:10:00Z").await, [""; 0]);
    assert_eq!(missed("2024-04-01T07:10:00Z").await, ["03"]);
    comes(4);
    assert_eq!(missed("2024-04-01T08:10:00Z").await, ["03"]);
    assert_eq!(missed("2024-04-01T09:10:00Z").await, ["03", "05"]);
    comes(3);
    assert_eq!(missed("2024-04-01T09:20:00Z").await, ["05"]);
    comes(5);
    assert_eq!(missed("2024-04-01T09:30:00Z").await, [""; 0]);
    // A schedule that was changed begins anew.
    let other = Schedule::new(6, 7200, &Tolerance::default()).unwrap();
    let windows = missed_windows(&*ledger, &other, at("2024-04-03T09:30:00Z"))
        .await
        .unwrap();
    assert_eq!(windows, []);
}
