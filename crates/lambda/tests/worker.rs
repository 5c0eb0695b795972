//! What the worker answers to a batch of tasks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../../pipeline/tests/support/mod.rs"]
mod support;

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use aws_lambda_events::sqs::SqsEvent;
use chrono::Utc;
use event_recovery_lambda::{ChangeVisibility, WorkerFunction};
use event_recovery_pipeline::{
    Cancellation, Ledger, Problem, QueueError, State, TASK_VERSION, Worker,
};
use lambda_runtime::{Context, LambdaEvent};
use serde_json::{Value, json};
use support::doubles::{Effect, FaultyStorage, Operation, transient};
use support::{Sandbox, event, id, object_key, request};

/// Keeps the visibility timeouts that messages get, after some requests that fail.
#[derive(Default)]
struct Timeouts(Mutex<Vec<(String, u32)>>, Mutex<u32>);

#[async_trait]
impl ChangeVisibility for Timeouts {
    async fn change_visibility(&self, receipt_handle: &str, secs: u32) -> Result<(), QueueError> {
        let mut outages = self.1.lock().unwrap();
        if *outages > 0 {
            *outages -= 1;
            return Err(QueueError::visibility("the queue was told to fail"));
        }
        self.0
            .lock()
            .unwrap()
            .push((receipt_handle.to_owned(), secs));
        Ok(())
    }
}

/// Three objects and a worker whose source fails as the test says.
struct Case {
    sandbox: Sandbox,
    keys: Vec<String>,
    timeouts: Arc<Timeouts>,
}

impl Case {
    fn new() -> Self {
        Self::of(3)
    }

    fn of(objects: u32) -> Self {
        let sandbox = Sandbox::new();
        let keys = (1..=objects).map(|number| {
            let key = object_key("2024-04-01T00:10:00Z", number);
            sandbox.back_up(
                &key,
                event(&format!("event {number}"), "2024-04-01T00:10:01Z"),
            );
            key
        });
        let keys = keys.collect();
        Self {
            sandbox,
            keys,
            timeouts: Arc::default(),
        }
    }

    fn faulty(&self) -> FaultyStorage {
        FaultyStorage::new(self.sandbox.source())
    }

    async fn message(&self, number: usize, receives: u32) -> Value {
        let task = self
            .sandbox
            .task(&request(json!({})), &id("run"), &self.keys[number])
            .await;
        json!({
            "messageId": format!("m{number}"), "receiptHandle": format!("r{number}"),
            "body": serde_json::to_string(&task).unwrap(),
            "attributes": {"ApproximateReceiveCount": receives.to_string()},
        })
    }

    fn function(&self, source: FaultyStorage, memory_mb: u32) -> WorkerFunction {
        let worker = Worker {
            source: Arc::new(source),
            ..self.sandbox.worker()
        };
        let timeouts: Arc<dyn ChangeVisibility> = self.timeouts.clone();
        WorkerFunction::with(worker, timeouts, 10, memory_mb, "stack".to_owned())
    }

    /// The ids of the messages that stay in the queue.
    async fn handle(&self, source: FaultyStorage, messages: Vec<Value>, secs: u64) -> Vec<String> {
        Self::answer(&self.function(source, 1769), messages, secs).await
    }

    async fn answer(function: &WorkerFunction, messages: Vec<Value>, secs: u64) -> Vec<String> {
        let event: SqsEvent = serde_json::from_value(json!({"Records": messages})).unwrap();
        let deadline = SystemTime::now() + Duration::from_secs(secs);
        let mut context = Context::default();
        context.deadline = deadline
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64;
        let answer = function.handle(LambdaEvent::new(event, context)).await;
        let failures = answer.unwrap().batch_item_failures;
        failures.into_iter().map(|f| f.item_identifier).collect()
    }

    fn events(&self) -> usize {
        self.sandbox.lines(&id("run")).len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_recovered_and_acknowledged() {
    let case = Case::new();
    let messages = vec![case.message(0, 1).await, case.message(1, 1).await];
    assert!(case.handle(case.faulty(), messages, 300).await.is_empty());
    assert_eq!(case.events(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_batch_of_small_objects_is_in_flight_and_as_many_large_ones_as_memory_allows() {
    for (size, expected) in [(100, 20), (128 * 1024, 20), (128 * 1024 + 1, 6)] {
        let case = Case::of(20);
        let in_flight = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let (counts, until) = (
            Arc::clone(&in_flight),
            Instant::now() + Duration::from_secs(10),
        );
        // Each waits for as many as are expected, and a little for more.
        let meanwhile = Effect::Meanwhile(Arc::new(move || {
            let (now, most) = &*counts;
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            while most.load(SeqCst) < expected && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(20));
            now.fetch_sub(1, SeqCst);
        }));
        let source = case
            .faulty()
            .at_first(Operation::Open, "", u32::MAX, meanwhile);
        let mut messages = Vec::new();
        for number in 0..20 {
            let mut message = case.message(number, 1).await;
            let mut task: Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
            task["size"] = json!(size);
            message["body"] = json!(task.to_string());
            messages.push(message);
        }
        assert!(case.handle(source, messages, 300).await.is_empty());
        assert_eq!(in_flight.1.load(SeqCst), expected, "of {size} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tasks_of_a_cancelled_run_are_acknowledged_and_leave_nothing() {
    let case = Case::of(3);
    let ledger = Ledger::new(id("run"));
    let destination = case.sandbox.destination();
    let cancelled = Cancellation::write(&*destination, &ledger, None, Utc::now());
    cancelled.await.unwrap();
    let source = case.faulty();
    let opened = source.log();
    let mut messages = vec![case.message(0, 1).await, case.message(1, 4).await];
    // The last delivery is announced before any task of the batch.
    messages.push(case.message(2, 10).await);
    assert!(case.handle(source, messages, 300).await.is_empty());
    assert_eq!(opened.calls(Operation::Open, ""), 0);
    for key in &case.keys {
        assert!(case.sandbox.receipt(&id("run"), key).is_none(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_with_a_transient_error_stays_and_is_delivered_again_with_backoff() {
    for (receives, wait_secs) in [(1, 30), (2, 60), (9, 900)] {
        let case = Case::new();
        let source = case
            .faulty()
            .at_first(Operation::Open, &case.keys[1], 1, transient());
        let messages = vec![case.message(0, 1).await, case.message(1, receives).await];
        assert_eq!(case.handle(source, messages, 300).await, ["m1"]);
        assert_eq!(case.events(), 1);
        let timeouts = case.timeouts.0.lock().unwrap().clone();
        assert_eq!(timeouts, [("r1".to_owned(), wait_secs)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_one_task_only() {
    let case = Case::new();
    let source = case
        .faulty()
        .at_first(Operation::Read, &case.keys[1], 1, Effect::Panic)
        .at_first(Operation::Open, &case.keys[2], 1, Effect::Panic);
    let mut messages = Vec::new();
    for number in 0..3 {
        messages.push(case.message(number, 1).await);
    }
    assert_eq!(case.handle(source, messages, 300).await, ["m1", "m2"]);
    assert_eq!(case.events(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_someone_else_is_left_and_reaches_nothing() {
    let case = Case::new();
    let good = case.message(0, 1).await;
    let body: Value = serde_json::from_str(good["body"].as_str().unwrap()).unwrap();
    let rows = [
        ("nothing", json!("")),
        ("another bucket", json!({"bucket": "another"})),
        (
            "another destination",
            json!({"destination": "s3://another"}),
        ),
        ("outside of the backup", json!({"key": "secret"})),
        ("a newer version", json!({"version": TASK_VERSION + 1})),
        (
            "an id that leads elsewhere",
            json!({"execution_id": "../../elsewhere"}),
        ),
        (
            "the ledger's own folder",
            json!({"execution_id": "_rejected"}),
        ),
        ("a negative size", json!({"size": -1})),
        ("a size beyond all bounds", json!({"size": 1e300})),
        ("an unknown format", json!({"format": "csv"})),
        (
            "a format that does not go with its compression",
            json!({"compression": "snappy"}),
        ),
    ];
    for (name, changes) in rows {
        let mut hostile = body.clone();
        if let Some(changes) = changes.as_object() {
            for (field, value) in changes {
                hostile[field] = value.clone();
            }
        } else {
            hostile = changes;
        }
        let mut message = case.message(0, 1).await;
        message["messageId"] = json!("hostile");
        message["body"] = json!(hostile.to_string());
        let left = case.handle(case.faulty(), vec![message], 300).await;
        assert_eq!(left, ["hostile"], "{name}");
        assert!(
            case.sandbox.tree().is_empty(),
            "{name}: something was written"
        );
    }
    // Absurd numbers are tolerated, as long as they are numbers.
    let mut absurd = body;
    absurd["size"] = json!(u64::MAX);
    absurd["window"]["lead_secs"] = json!(u32::MAX);
    absurd["window"]["lag_secs"] = json!(u32::MAX);
    let mut message = good;
    message["body"] = json!(absurd.to_string());
    let messages = vec![message, case.message(1, 1).await];
    case.handle(case.faulty(), messages, 300).await;
    assert!(case.events() >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_leads_out_of_its_hour_fails_and_opens_nothing() {
    let case = Case::new();
    let source = case.faulty();
    let opened = source.log();
    let mut message = case.message(0, 1).await;
    let mut body: Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
    let key = "main_stream/2024/04/01/00/../../../../../secret";
    body["key"] = json!(key);
    message["body"] = json!(body.to_string());
    assert!(case.handle(source, vec![message], 300).await.is_empty());
    assert_eq!(opened.calls(Operation::Open, ""), 0);
    let receipt = case.sandbox.receipt(&id("run"), key).unwrap();
    assert!(support::failure(&receipt).0.contains("`..` part"));
    assert_eq!(case.sandbox.tree().len(), 1, "the receipt alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_to_fail_outlives_a_last_attempt_that_dies() {
    let case = Case::new();
    let (first, last) = (case.message(0, 4).await, case.message(0, 10).await);
    std::fs::remove_file(case.sandbox.source_path().join(&case.keys[0])).unwrap();
    assert!(
        case.handle(case.faulty(), vec![first], 300)
            .await
            .is_empty()
    );
    let failed = case.sandbox.receipt(&id("run"), &case.keys[0]).unwrap();
    assert!(matches!(failed.state, State::Failed { .. }), "{failed:?}");
    // Another task of its batch killed the worker before the message was acknowledged, and does so again.
    let source = case
        .faulty()
        .at_first(Operation::Open, &case.keys[0], 1, Effect::Panic);
    assert_eq!(case.handle(source, vec![last], 300).await, ["m0"]);
    let receipt = case.sandbox.receipt(&id("run"), &case.keys[0]).unwrap();
    assert_eq!(receipt, failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_task_is_begun_when_time_runs_short() {
    let case = Case::new();
    let messages = vec![case.message(0, 1).await];
    let left = case.handle(case.faulty(), messages, 0).await;
    assert_eq!(left, ["m0"]);
    assert_eq!(case.events(), 0);
    // It is delivered again at once.
    assert_eq!(*case.timeouts.0.lock().unwrap(), [("r0".to_owned(), 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_came_often_is_tried_after_all_others() {
    let case = Case::new();
    let destination = case.sandbox.destination_path();
    let others_done = Arc::new(Mutex::new(None));
    let (seen, keys) = (Arc::clone(&others_done), case.keys.clone());
    let receipts = move || {
        let receipt = |key: &String| destination.join(support::receipt_key(&id("run"), key));
        let done = keys[1..].iter().filter(|key| receipt(key).exists());
        *seen.lock().unwrap() = Some(done.count());
    };
    let source = case.faulty().at_first(
        Operation::Open,
        &case.keys[0],
        1,
        Effect::Meanwhile(Arc::new(receipts)),
    );
    let messages = vec![
        case.message(0, 4).await,
        case.message(1, 1).await,
        case.message(2, 3).await,
    ];
    assert!(case.handle(source, messages, 300).await.is_empty());
    assert_eq!(*others_done.lock().unwrap(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_tasks_tried_alone_each_comes_before_each_other_one_within_two_receives() {
    let order = async |receives: u32| {
        let case = Case::new();
        let source = case.faulty();
        let log = source.log();
        let mut messages = Vec::new();
        for number in 0..3 {
            messages.push(case.message(number, receives).await);
        }
        assert!(case.handle(source, messages, 300).await.is_empty());
        log.keys(Operation::Open)
    };
    for first in [4, 6, 8] {
        let mut reversed = order(first + 1).await;
        reversed.reverse();
        assert_eq!(order(first).await, reversed);
        assert_eq!(reversed.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_attempt_is_announced_before_anything_can_go_wrong() {
    let case = Case::new();
    // The attempt dies.
    let source = case
        .faulty()
        .at_first(Operation::Open, &case.keys[0], 1, Effect::Panic);
    let messages = vec![case.message(0, 10).await];
    assert_eq!(case.handle(source, messages, 300).await, ["m0"]);
    let receipt = case.sandbox.receipt(&id("run"), &case.keys[0]).unwrap();
    assert!(
        matches!(receipt.state, State::Attempting { .. }),
        "{receipt:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_denies_everything_pauses_the_worker_and_burns_no_task() {
    let case = Case::of(8);
    let denied = Effect::Fail(Problem::AccessDenied("by a policy".to_owned()));
    let source = case
        .faulty()
        .at_first(Operation::Open, "", u32::MAX, denied);
    let opened = source.log();
    // Memory for one task at a time.
    let function = case.function(source, 96);
    let mut messages = Vec::new();
    for number in 0..8 {
        messages.push(case.message(number, 2).await);
    }
    let left = Case::answer(&function, messages, 300).await;
    assert_eq!(left.len(), 8, "every task stays in the queue");
    assert_eq!(opened.calls(Operation::Open, ""), 5);
    assert!(case.sandbox.tree().is_empty(), "no receipt says failed");
    let timeouts = case.timeouts.0.lock().unwrap().clone();
    let of_pause = timeouts.iter().filter(|(_, secs)| *secs == 1800).count();
    // The first ones may be over before the pause begins, and wait as after any transient error.
    assert!(of_pause >= 4, "{timeouts:?}");
    assert!(timeouts.iter().all(|(_, secs)| [60, 1800].contains(secs)));
    assert_eq!(timeouts.len(), 8);
    // What comes in the pause is not begun, but for a last delivery, which leaves a receipt.
    let messages = vec![case.message(0, 3).await, case.message(1, 10).await];
    let left = Case::answer(&function, messages, 300).await;
    assert_eq!(left, ["m0"]);
    assert_eq!(opened.calls(Operation::Open, ""), 6);
    let receipt = case.sandbox.receipt(&id("run"), &case.keys[1]).unwrap();
    let (reason, hint) = support::failure(&receipt);
    assert!(reason.contains("access denied"), "{reason}");
    assert!(hint.starts_with("mend the double; then run"), "{hint}");
    let last = case.timeouts.0.lock().unwrap().last().cloned();
    assert_eq!(last, Some(("r0".to_owned(), 3600)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_object_that_is_denied_alone_fails_while_the_others_are_recovered() {
    let case = Case::new();
    let denied = Effect::Fail(Problem::AccessDenied("by a policy".to_owned()));
    let source = case
        .faulty()
        .at_first(Operation::Open, &case.keys[1], u32::MAX, denied);
    let function = case.function(source, 320);
    for number in [0, 1, 2] {
        let messages = vec![case.message(number, 1).await];
        let left = Case::answer(&function, messages, 300).await;
        assert_eq!(left, [] as [&str; 0]);
    }
    assert_eq!(case.events(), 2);
    let receipt = case.sandbox.receipt(&id("run"), &case.keys[1]).unwrap();
    assert!(support::failure(&receipt).0.contains("access denied"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_queue_does_not_put_off_the_next_delivery() {
    let case = Case::new();
    *case.timeouts.1.lock().unwrap() = 2;
    let source = case
        .faulty()
        .at_first(Operation::Open, &case.keys[0], 1, transient());
    let messages = vec![case.message(0, 1).await, case.message(1, 1).await];
    assert_eq!(case.handle(source, messages, 300).await, ["m0"]);
    assert_eq!(*case.timeouts.0.lock().unwrap(), [("r0".to_owned(), 30)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_queue_ends_no_later_than_the_function_may_answer() {
    let case = Case::new();
    *case.timeouts.1.lock().unwrap() = u32::MAX;
    let source = case
        .faulty()
        .at_first(Operation::Open, &case.keys[0], 1, transient());
    let messages = vec![case.message(0, 1).await, case.message(1, 1).await];
    let began = Instant::now();
    assert_eq!(case.handle(source, messages, 8).await, ["m0"]);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(case.events(), 1);
    assert!(case.timeouts.0.lock().unwrap().is_empty());
}
