//! The answers of the planner to a check and to a request, and what the auditor reports about a run that
//! was refused.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where a failure is a panic"
)]

#[path = "../../pipeline/tests/support/mod.rs"]
mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_lambda_events::sqs::SqsEvent;
use event_recovery_aws::TopicError;
use event_recovery_lambda::{
    AuditorFunction, ChangeVisibility, Notify, PlannerFunction, PlannerReach, Settings,
};
use event_recovery_pipeline::{
    AuditCall, CallAuditor, CheckedRequest, PlannerAnswer, PlannerReply, QueueError, Refusal,
};
use lambda_runtime::{Context, Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use support::doubles::{FaultyStorage, KeepingQueue, Operation, transient};
use support::{ORG, Sandbox, Tree, event, object_key};

#[derive(Default)]
struct Calls(Mutex<Vec<AuditCall>>);

#[async_trait]
impl CallAuditor for Calls {
    async fn call(&self, call: &AuditCall) -> Result<(), QueueError> {
        self.0.lock().unwrap().push(call.clone());
        Ok(())
    }
}

/// A planner over a backup with an object in each of two hours.
struct Case {
    sandbox: Sandbox,
    source: Arc<FaultyStorage>,
    queue: Arc<KeepingQueue>,
    calls: Arc<Calls>,
}

impl Case {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        for time in ["2024-04-01T00:10:00Z", "2024-04-01T01:10:00Z"] {
            sandbox.back_up(&object_key(time, 1), event("a", time));
        }
        Self {
            source: Arc::new(FaultyStorage::new(sandbox.source())),
            sandbox,
            queue: Arc::new(KeepingQueue::durable()),
            calls: Arc::default(),
        }
    }

    fn record(&self, name: &str) -> Option<Value> {
        let record = self.sandbox.read(&format!("_recovery/mine/{name}"))?;
        Some(serde_json::from_slice(&record).unwrap())
    }

    async fn invoke(&self, payload: Value, objects_max: &'static str) -> Result<Value, Diagnostic> {
        self.invoke_for(payload, objects_max, 900).await
    }

    /// With so many seconds until the function's deadline.
    async fn invoke_for(
        &self,
        payload: Value,
        objects_max: &'static str,
        secs: u64,
    ) -> Result<Value, Diagnostic> {
        let reaches = PlannerReach {
            source: self.source.clone(),
            ledger: self.sandbox.destination(),
            queue: self.queue.clone(),
            auditor: self.calls.clone(),
        };
        let function = PlannerFunction::with(reaches, settings(objects_max)).unwrap();
        let deadline = SystemTime::now() + Duration::from_secs(secs);
        let mut context = Context::default();
        context.request_id = "request-id".to_owned();
        context.deadline = deadline
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64;
        let reply: PlannerReply = function.handle(LambdaEvent::new(payload, context)).await?;
        Ok(serde_json::to_value(reply).unwrap())
    }

    async fn check(&self, mut payload: Value) -> Result<CheckedRequest, Diagnostic> {
        payload["check"] = json!(true);
        let answer = self.invoke(payload, "10").await?;
        Ok(serde_json::from_value(answer).unwrap())
    }

    async fn plan(&self, payload: Value) -> Result<PlannerAnswer, Diagnostic> {
        let answer = self.invoke(payload, "10").await?;
        Ok(serde_json::from_value(answer).unwrap())
    }
}

fn settings(objects_max: &'static str) -> Settings {
    Settings::from_values(move |name| {
        let value = match name {
            "ORG_ID" => ORG,
            "DESTINATION_BUCKET" => "bucket",
            "DESTINATION_PREFIX" => "some/prefix",
            "OBJECTS_MAX" => objects_max,
            _ => return None,
        };
        Some(value.to_owned())
    })
}

fn request(changes: Value) -> Value {
    let mut request = json!({
        "org_id": ORG, "window": "publish", "execution_id": "mine",
        "start": "2024-04-01T00:00:00Z", "end": "2024-04-01T02:00:00Z",
    });
    let fields = request.as_object_mut().unwrap();
    fields.extend(changes.as_object().unwrap().clone());
    request
}

#[tokio::test]
async fn a_check_says_where_the_run_will_lie_and_touches_nothing() {
    let case = Case::new();
    let checked = case.check(request(json!({}))).await.unwrap();
    assert_eq!(checked.execution_id.as_str(), "mine");
    assert_eq!(
        checked.places.ledger,
        "s3://bucket/some/prefix/_recovery/mine/"
    );
    assert_eq!(
        checked.places.output,
        "s3://bucket/some/prefix/execution_id=mine/"
    );
    assert_eq!(case.sandbox.tree(), Tree::new());
    assert_eq!(case.source.calls(Operation::List, ""), 0);
    assert_eq!(case.queue.take(), []);
    assert!(case.calls.0.lock().unwrap().is_empty());
    // Nor does it touch a run that is there.
    case.plan(request(json!({}))).await.unwrap();
    let tree = case.sandbox.tree();
    assert_eq!(case.check(request(json!({}))).await.unwrap(), checked);
    assert_eq!(case.sandbox.tree(), tree);
}

#[tokio::test]
async fn a_check_names_the_request_that_the_ledger_will_hold() {
    let case = Case::new();
    let without_id = request(json!({"execution_id": null}));
    let checked = case.check(without_id.clone()).await.unwrap();
    let mut with_id = without_id;
    with_id["execution_id"] = json!(checked.execution_id);
    let answer = case.plan(with_id).await.unwrap();
    assert_eq!(answer.ledger.as_deref(), Some(&*checked.places.ledger));
    assert_eq!(answer.output.as_deref(), Some(&*checked.places.output));
    let path = format!("_recovery/{}/request.json", checked.execution_id);
    let record: Value = serde_json::from_slice(&case.sandbox.read(&path).unwrap()).unwrap();
    assert_eq!(record["request"], json!(checked.request));
}

#[tokio::test]
async fn a_check_refuses_what_a_plan_would_in_the_same_words() {
    let case = Case::new();
    case.plan(request(json!({}))).await.unwrap();
    let tree = case.sandbox.tree();
    let other_org = "tn-00000000-0000-0000-0000-000000000000";
    let rows = [
        (json!({"fin": "x"}), "RefusedRequest", "`fin`"),
        (json!({"end": "2024-03-01"}), "RefusedRequest", "`end`"),
        (json!({"org_id": other_org}), "RefusedRequest", "`org_id`"),
        (
            json!({"execution_id": "a/b"}),
            "RefusedRequest",
            "`execution_id`",
        ),
        (json!({"format": "ndjson"}), "Refused", "`format` differs"),
    ];
    for (changes, kind, says) in rows {
        let checked = case.check(request(changes.clone())).await.unwrap_err();
        assert_eq!(checked.error_type, kind, "{changes}");
        let message = &checked.error_message;
        assert!(message.contains(says), "{message}");
        let planned = case.plan(request(changes)).await.unwrap_err();
        assert_eq!(planned.error_message, *message);
    }
    let error = case.invoke(request(json!({"check": 1})), "10").await;
    assert!(error.unwrap_err().error_message.contains("`check`"));
    assert_eq!(case.sandbox.tree(), tree);
}

#[tokio::test]
async fn a_dry_run_and_a_plan_are_answered_alike() {
    let case = Case::new();
    let dry = case.plan(request(json!({"dry_run": true}))).await.unwrap();
    assert_eq!(case.sandbox.tree(), Tree::new());
    assert_eq!(dry.days.as_ref().map(Vec::len), Some(1));
    let forecast = dry.forecast.as_ref().unwrap();
    assert_eq!(forecast.requests.source_get, 2);
    let planned = case.plan(request(json!({}))).await.unwrap();
    assert_eq!(planned.tasks_queued, 2);
    assert!(planned.ledger.is_some() && planned.output.is_some());
    let as_dry_run = PlannerAnswer {
        dry_run: true,
        days: dry.days.clone(),
        forecast: dry.forecast.clone(),
        tasks_queued: 0,
        ledger: None,
        output: None,
        ..planned
    };
    assert_eq!(as_dry_run, dry);
}

#[tokio::test]
async fn a_refused_request_lists_and_writes_nothing() {
    let case = Case::new();
    let error = case.plan(request(json!({"format": "csv"}))).await;
    let error = error.unwrap_err();
    assert_eq!(error.error_type, "RefusedRequest");
    assert!(error.error_message.contains("`parquet` or `ndjson`"));
    assert_eq!(case.source.calls(Operation::List, ""), 0);
    assert_eq!(case.sandbox.tree(), Tree::new());
}

#[tokio::test]
async fn why_there_is_no_plan_is_in_the_ledger_for_those_who_do_not_wait() {
    let mut case = Case::new();
    let source = FaultyStorage::new(case.sandbox.source());
    let source = source.at_first(Operation::List, "", 1, transient());
    case.source = Arc::new(source);
    let error = case.plan(request(json!({}))).await.unwrap_err();
    assert_eq!(error.error_type, "NotPlanned");
    let refusal = case.record("refused.json").unwrap();
    assert_eq!(refusal["kind"], "transient");
    let message = refusal["message"].as_str().unwrap();
    assert!(error.error_message.starts_with(message), "{error:?}");
    assert_eq!(case.record("planning.json").unwrap()["state"], "planning");
    // Lambda retries the invocation, and what it refused before is lifted.
    case.plan(request(json!({}))).await.unwrap();
    // Hours are listed at the same time: the first invocation may have queued the other hour's task.
    assert_eq!(case.queue.take().len(), 2);
    assert_eq!(case.record("refused.json"), None);
    assert_eq!(case.record("planning.json").unwrap()["state"], "planned");
}

#[tokio::test]
async fn a_recheck_is_answered_with_what_it_found_and_where_the_run_lies() {
    let case = Case::new();
    let unknown = case.invoke(json!({"recheck": "mine"}), "10").await;
    assert_eq!(unknown.unwrap_err().error_type, "Refused");
    case.plan(request(json!({}))).await.unwrap();
    let time = "2024-04-01T00:20:00Z";
    case.sandbox
        .back_up(&object_key(time, 2), event("late", time));
    let before = case.sandbox.tree();
    let checked = case
        .invoke(json!({"recheck": "mine", "check": true}), "10")
        .await;
    let expected = json!({"execution_id": "mine", "destination": "s3://bucket/some/prefix"});
    assert_eq!(checked.unwrap(), expected);
    assert_eq!(case.sandbox.tree(), before);
    case.queue.take();
    let answer = case.invoke(json!({"recheck": "mine"}), "10").await.unwrap();
    assert_eq!(
        (&answer["late_objects"], &answer["tasks_queued"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(answer["ledger"], "s3://bucket/some/prefix/_recovery/mine/");
    assert_eq!(case.queue.take().len(), 1);
    let due = case
        .invoke(json!({"recheck_due": true}), "10")
        .await
        .unwrap();
    assert_eq!(
        (&due["provisional"], &due["missed_windows"]),
        (&json!(1), &json!([]))
    );
    let refused = case
        .invoke(json!({"recheck": "a/b"}), "10")
        .await
        .unwrap_err();
    assert_eq!(refused.error_type, "RefusedRequest");
}

#[tokio::test]
async fn an_invocation_without_time_says_how_far_it_got_and_the_next_one_resumes() {
    let case = Case::new();
    let error = case.invoke_for(request(json!({})), "10", 0).await;
    let error = error.unwrap_err();
    assert_eq!(error.error_type, "OutOfTime");
    assert!(error.error_message.contains("; hint: "), "{error:?}");
    let planning = case.record("planning.json").unwrap();
    assert_eq!(planning["state"], "out_of_time");
    assert_eq!(planning["hours"], 2);
    assert_eq!(planning["hours_done"], 1);
    assert_eq!(case.queue.take(), [], "no task before all hours are listed");
    let answer = case.plan(request(json!({}))).await.unwrap();
    assert_eq!(answer.tasks_queued, 2);
    assert_eq!(case.record("planning.json").unwrap()["state"], "planned");
}

/// Keeps notifications.
#[derive(Default)]
struct People(Mutex<Vec<(String, Value)>>);

#[async_trait]
impl Notify for People {
    async fn notify(&self, subject: &str, message: &str) -> Result<(), TopicError> {
        let message = serde_json::from_str(message).unwrap();
        self.0.lock().unwrap().push((subject.to_owned(), message));
        Ok(())
    }
}

struct Visible;

#[async_trait]
impl ChangeVisibility for Visible {
    async fn change_visibility(&self, _: &str, _: u32) -> Result<(), QueueError> {
        Ok(())
    }
}

/// The calls that stay open.
async fn audit(case: &Case, people: &Arc<People>, deadline: &str) -> usize {
    let call = case.calls.0.lock().unwrap().last().unwrap().clone();
    let mut body = serde_json::to_value(call).unwrap();
    body["deadline"] = json!(deadline);
    let event: SqsEvent = serde_json::from_value(json!({"Records": [{
        "messageId": "m", "receiptHandle": "r", "body": body.to_string(),
    }]}))
    .unwrap();
    let (destination, people) = (case.sandbox.destination(), Arc::clone(people));
    let function =
        AuditorFunction::with(destination, Arc::new(Visible), people, settings("10")).unwrap();
    let answer = function.handle(LambdaEvent::new(event, Context::default()));
    answer.await.unwrap().batch_item_failures.len()
}

#[tokio::test]
async fn a_run_that_is_refused_half_way_is_told_as_refused_and_never_as_incomplete() {
    let case = Case::new();
    let error = case.invoke(request(json!({})), "1").await.unwrap_err();
    assert!(error.error_message.contains("more than 1 objects"));
    let refused = case.sandbox.read("_recovery/mine/refused.json").unwrap();
    let refusal: Refusal = serde_json::from_slice(&refused).unwrap();
    let people = Arc::new(People::default());
    assert_eq!(audit(&case, &people, "2999-01-01T00:00:00Z").await, 1);
    assert!(people.0.lock().unwrap().is_empty());
    for _ in 0..2 {
        assert_eq!(audit(&case, &people, "2024-01-01T00:00:00Z").await, 0);
    }
    let told = people.0.lock().unwrap().clone();
    assert_eq!(told.len(), 1, "it is told once");
    let (subject, message) = &told[0];
    assert_eq!(subject, "event-recovery refused: mine");
    assert_eq!(
        *message,
        json!({
            "kind": "refused", "execution_id": "mine", "message": refusal.message,
            "hint": refusal.hint, "ledger": "s3://bucket/some/prefix/_recovery/mine/",
        })
    );
    assert!(refusal.hint.unwrap().contains("split the range"));
    assert_eq!(case.sandbox.read("_recovery/mine/report.json"), None);
    // A later call that plans the run is audited again.
    case.plan(request(json!({}))).await.unwrap();
    assert_eq!(case.calls.0.lock().unwrap().last().unwrap().number, 2);
}

#[tokio::test]
async fn a_caller_may_lower_the_limits_of_one_run_and_never_raise_them() {
    let case = Case::new();
    let payload = |limits: Value| {
        let mut payload = request(json!({}));
        payload["limits"] = limits;
        payload
    };
    for (limits, word) in [
        (json!({"objects_max": 1}), "more than 1 "),
        (json!({"bytes_max": 1}), "1 bytes"),
        (json!({"micro_usd_max": 0}), "cost"),
    ] {
        let refused = case.plan(payload(limits.clone())).await.unwrap_err();
        assert_eq!(refused.error_type, "Refused", "{limits}: {refused:?}");
        assert!(
            refused.error_message.contains(word),
            "{limits}: {refused:?}"
        );
        assert!(case.queue.take().is_empty());
    }
    let refused = case.invoke(payload(json!({"objects_max": 9})), "1").await;
    assert!(refused.unwrap_err().error_message.contains("more than 1 "));
    for odd in [json!(7), json!({"objects": 1}), json!({"objects_max": -1})] {
        let refused = case.plan(payload(odd.clone())).await.unwrap_err();
        assert!(
            refused.error_message.contains("`limits`"),
            "{odd}: {refused:?}"
        );
    }
    let planned = case.plan(payload(Value::Null)).await.unwrap();
    assert_eq!(planned.tasks_queued, 2);
}
