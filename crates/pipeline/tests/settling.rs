//! What the audit says of rechecked runs: of which time its verdict is, and what came late.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use event_recovery_pipeline::{
    LateAllowance, PlanLimits, Planner, Rechecked, Report, RunTerms, Unobserved, Verdict, audit,
    inspect, to_json,
};
use serde_json::{Value, json};
use support::doubles::KeepingQueue;
use support::{Sandbox, at, event, first_delivery, id, object_key, receipt_key, request};

const SUCCESS: &str = "execution_id=run/_SUCCESS";
const TIME: &str = "2024-04-01T00:10:00Z";
/// The window ends at 01:00, and its last hour, with lead and lag, at 02:00.
const PLANNED: &str = "2024-04-01T03:00:00Z";
/// 25 hours after the end of the last hour.
const FINAL_AFTER: &str = "2024-04-02T03:00:00Z";
const LATE_PLAN: &str = "_recovery/run/plan.late-1.json";
const LATE_TASKS: &str = "_recovery/run/tasks/2024-04-01T00.late-1.jsonl";

/// A run over the hour of [`TIME`], whose clock the test sets.
struct Case {
    sandbox: Sandbox,
}

impl Case {
    /// One object, listed and recovered at [`PLANNED`].
    async fn new() -> Self {
        let case = Self {
            sandbox: Sandbox::new(),
        };
        case.back_up(1);
        let queue = KeepingQueue::default();
        let (source, ledger) = (case.sandbox.source(), case.sandbox.destination());
        let planner = planner(&source, &ledger, &queue);
        let (request, run) = (request(json!({})), id("run"));
        planner.plan(&request, &run, at(PLANNED)).await.unwrap();
        case.work(&queue).await;
        case
    }

    fn back_up(&self, number: u32) {
        let key = object_key(TIME, number);
        self.sandbox.back_up(&key, event(&number.to_string(), TIME));
    }

    async fn recheck(&self, now: &str) -> Rechecked {
        let queue = KeepingQueue::default();
        let rechecked = self.recheck_without_work(now, &queue).await;
        self.work(&queue).await;
        rechecked
    }

    async fn recheck_without_work(&self, now: &str, queue: &KeepingQueue) -> Rechecked {
        let (source, ledger) = (self.sandbox.source(), self.sandbox.destination());
        let planner = planner(&source, &ledger, queue);
        planner.recheck(&id("run"), at(now)).await.unwrap()
    }

    async fn work(&self, queue: &KeepingQueue) {
        for task in queue.take() {
            let worker = self.sandbox.worker();
            worker.work(&task, first_delivery()).await.unwrap();
        }
    }

    async fn audit(&self, now: &str) -> Report {
        let destination = self.sandbox.destination();
        audit(&*destination, &id("run"), at(now)).await.unwrap()
    }

    async fn inspect(&self, now: &str) -> Report {
        let destination = self.sandbox.destination();
        inspect(&*destination, &id("run"), at(now)).await.unwrap()
    }

    fn mark(&self) -> Option<Value> {
        let mark = self.sandbox.read(SUCCESS)?;
        assert!(mark.ends_with(b"\n") && !mark[..mark.len() - 1].contains(&b'\n'));
        Some(serde_json::from_slice(&mark).unwrap())
    }
}

fn planner<'a>(
    source: &'a event_recovery_pipeline::LocalFolder,
    ledger: &'a event_recovery_pipeline::LocalFolder,
    queue: &'a KeepingQueue,
) -> Planner<'a> {
    Planner {
        source,
        ledger,
        queue,
        auditor: None,
        until: None,
        limits: PlanLimits::default(),
        terms: RunTerms {
            late_allowance: LateAllowance::from_hours(25).unwrap(),
            ..RunTerms::default()
        },
        observer: &Unobserved,
    }
}

fn finality(report: &Report) -> (String, bool, String) {
    let finality = report.finality.unwrap();
    let secs = |time: chrono::DateTime<chrono::Utc>| time.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    (
        secs(finality.listed_at),
        finality.is_final,
        secs(finality.final_after),
    )
}

fn reasons_with(report: &Report, part: &str) -> usize {
    let reasons = report.reasons.iter();
    reasons.filter(|reason| reason.contains(part)).count()
}

#[tokio::test]
async fn a_complete_run_is_provisional_until_its_hours_were_listed_after_the_late_allowance() {
    let case = Case::new().await;
    // However late the audit is: the verdict is of the listing.
    let report = case.audit("2024-06-01T00:00:00Z").await;
    assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
    let provisional = (PLANNED.to_owned(), false, FINAL_AFTER.to_owned());
    assert_eq!(finality(&report), provisional);
    let mark = case.mark().unwrap();
    assert_eq!(
        (&mark["final"], &mark["final_after"]),
        (&json!(false), &json!(FINAL_AFTER))
    );
    // One second too early, and then in time: the mark follows.
    for (rechecked_at, is_final) in [("2024-04-02T02:59:58Z", false), (FINAL_AFTER, true)] {
        case.recheck(rechecked_at).await;
        let report = case.audit("2024-06-01T00:00:00Z").await;
        assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
        let expected = (rechecked_at.to_owned(), is_final, FINAL_AFTER.to_owned());
        assert_eq!(finality(&report), expected);
        assert_eq!(case.mark().unwrap()["final"], json!(is_final));
        for hour in &report.hours {
            assert_eq!(hour.listed_at, Some(report.finality.unwrap().listed_at));
        }
    }
}

#[tokio::test]
async fn objects_that_came_late_are_counted_with_the_others_and_apart() {
    let case = Case::new().await;
    assert_eq!(case.audit(PLANNED).await.objects.done, 1);
    case.back_up(2);
    let rechecked = case.recheck("2024-04-01T12:00:00Z").await;
    assert_eq!(rechecked.late_objects, 1);
    let report = case.audit("2024-04-01T12:00:00Z").await;
    assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
    let objects = report.objects;
    assert_eq!((objects.listed, objects.planned, objects.done), (2, 2, 2));
    let late = &report.late;
    assert_eq!((late.objects, late.done, late.events), (1, 1, 1));
    assert_eq!(late.named, [object_key(TIME, 2)]);
    assert_eq!(case.sandbox.lines(&id("run")).len(), 2);
    // Nothing differs from what the audit saw.
    let again = case.inspect("2024-04-01T12:00:00Z").await;
    assert_eq!((again.verdict, again.reasons.len()), (Verdict::Complete, 0));
}

#[tokio::test]
async fn a_late_object_that_is_not_recovered_yet_makes_the_run_incomplete() {
    let case = Case::new().await;
    case.audit(PLANNED).await;
    case.back_up(2);
    let queue = KeepingQueue::default();
    case.recheck_without_work("2024-04-01T12:00:00Z", &queue)
        .await;
    let report = case.inspect("2024-04-01T12:00:00Z").await;
    assert_eq!(report.verdict, Verdict::Incomplete);
    assert_eq!(report.reasons, ["objects missing: 1"]);
    let late = &report.late;
    assert_eq!((late.objects, late.done, late.events), (1, 0, 0));
    assert_eq!(report.unrecovered[0].key, object_key(TIME, 2));
}

#[tokio::test]
async fn a_late_list_of_a_recheck_that_was_killed_is_not_part_of_the_run_yet() {
    let case = Case::new().await;
    case.back_up(2);
    let queue = KeepingQueue::default();
    case.recheck_without_work("2024-04-01T12:00:00Z", &queue)
        .await;
    // As if it had been killed before its late plan was written.
    for key in [LATE_PLAN, "_recovery/run/recheck.json"] {
        case.sandbox.remove(key);
    }
    let report = case.audit("2024-04-01T12:00:00Z").await;
    assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
    assert_eq!(report.objects.listed, 1);
    assert_eq!(report.late.objects, 0);
}

#[tokio::test]
async fn objects_that_changed_or_vanished_need_a_look() {
    let case = Case::new().await;
    let key = object_key(TIME, 1);
    case.sandbox.back_up(&key, event("changed", TIME));
    case.recheck("2024-04-01T12:00:00Z").await;
    let report = case.audit("2024-04-01T12:00:00Z").await;
    assert_eq!(report.verdict, Verdict::NeedsLook, "{:?}", report.reasons);
    assert_eq!(report.reasons.len(), 1, "{:?}", report.reasons);
    assert!(report.reasons[0].contains("changed after they were listed"));
    assert!(report.reasons[0].ends_with(&format!(": 1, the first `{key}`")));
    assert_eq!(
        (report.changed.objects, &report.changed.named[0]),
        (1, &key)
    );
    assert_eq!(case.mark(), None);

    std::fs::remove_file(case.sandbox.source_path().join(&key)).unwrap();
    case.recheck("2024-04-01T13:00:00Z").await;
    let report = case.audit("2024-04-01T13:00:00Z").await;
    assert_eq!(report.verdict, Verdict::NeedsLook, "{:?}", report.reasons);
    assert!(report.reasons[0].contains("vanished after they were listed"));
    assert_eq!((report.changed.objects, report.vanished.objects), (0, 1));
    // What was recovered stays.
    assert_eq!(report.objects.done, 1);
    assert!(case.sandbox.receipt(&id("run"), &key).is_some());
}

/// A way to disturb what a recheck wrote.
type Disturb = fn(&Sandbox);

fn reseal(sandbox: &Sandbox, key: &str, change: impl Fn(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&sandbox.read(key).unwrap()).unwrap();
    change(&mut value);
    value.as_object_mut().unwrap().remove("digest");
    sandbox.overwrite(key, to_json(key, &value).unwrap());
}

#[tokio::test]
async fn whatever_does_not_agree_about_late_objects_makes_the_run_incomplete() {
    let rows: [(&str, Disturb, &str); 9] = [
        (
            "late plan removed",
            |s| s.remove(LATE_PLAN),
            "plan.late-1.json` is gone",
        ),
        (
            "late plan damaged",
            |s| s.overwrite(LATE_PLAN, "{"),
            "plan.late-1.json` is damaged",
        ),
        (
            "late plan changed",
            |s| {
                let text = String::from_utf8(s.read(LATE_PLAN).unwrap()).unwrap();
                s.overwrite(LATE_PLAN, text.replace("\"bytes\": ", "\"bytes\": 1"));
            },
            "plan.late-1.json` was changed after it was written",
        ),
        (
            "chain broken",
            |s| {
                reseal(s, "_recovery/run/plan.json", |plan| {
                    plan["planned_at"] = json!("2020-01-01T00:00:00Z");
                });
            },
            "plan.late-1.json` does not follow the one before it",
        ),
        (
            "late plan of other sums",
            |s| reseal(s, LATE_PLAN, |plan| plan["objects"]["planned"] = json!(7)),
            "the plan does not agree with its task lists",
        ),
        (
            "late list removed",
            |s| s.remove(LATE_TASKS),
            "2024-04-01T00.late-1.jsonl` is gone",
        ),
        (
            "late list changed",
            |s| {
                let list = String::from_utf8(s.read(LATE_TASKS).unwrap()).unwrap();
                s.overwrite(LATE_TASKS, list.replace("\"etag\":\"", "\"etag\":\"x"));
            },
            "the task list of hour `2024-04-01T00` was changed after it was planned",
        ),
        (
            "late receipt removed",
            |s| s.remove(&receipt_key(&id("run"), &object_key(TIME, 2))),
            "objects missing: 1",
        ),
        (
            "record of the recheck changed",
            |s| {
                let key = "_recovery/run/recheck.json";
                let text = String::from_utf8(s.read(key).unwrap()).unwrap();
                s.overwrite(key, text.replace("2024-04-01T12", "2025-04-01T12"));
            },
            "recheck.json` was changed after it was written",
        ),
    ];
    for (name, disturb, reason) in rows {
        let case = Case::new().await;
        case.back_up(2);
        case.recheck("2024-04-01T12:00:00Z").await;
        let report = case.audit("2024-04-01T12:00:00Z").await;
        assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
        disturb(&case.sandbox);
        let report = case.audit("2024-04-01T12:00:00Z").await;
        assert_eq!(report.verdict, Verdict::Incomplete, "{name}");
        let found = reasons_with(&report, reason);
        assert!(found > 0, "{name}: {:?}", report.reasons);
        assert_eq!(case.mark(), None, "{name}");
    }
}

#[tokio::test]
async fn a_window_is_open_or_not_as_of_its_newest_listing() {
    // The window ends at 01:00, and lead and lag are 75 minutes.
    let case = Case {
        sandbox: Sandbox::new(),
    };
    case.back_up(1);
    let queue = KeepingQueue::default();
    let (source, ledger) = (case.sandbox.source(), case.sandbox.destination());
    let planner = planner(&source, &ledger, &queue);
    let early = at("2024-04-01T02:00:00Z");
    planner
        .plan(&request(json!({})), &id("run"), early)
        .await
        .unwrap();
    case.work(&queue).await;
    let report = case.audit("2024-06-01T00:00:00Z").await;
    assert_eq!(report.verdict, Verdict::NeedsLook);
    assert_eq!(reasons_with(&report, "window still open"), 1);
    case.recheck("2024-04-01T02:15:00Z").await;
    let report = case.audit("2024-06-01T00:00:00Z").await;
    assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
}
