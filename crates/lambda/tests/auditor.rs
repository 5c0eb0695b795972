//! How the auditor answers its calls: when it waits, when it notifies people, and how often.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../../pipeline/tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_lambda_events::sqs::SqsEvent;
use event_recovery_aws::TopicError;
use event_recovery_lambda::{AuditorFunction, ChangeVisibility, Notify, Settings};
use event_recovery_pipeline::{
    AUDIT_CALL_VERSION, AuditCall, Destination, Notification, QueueError, Sign, SignError, Verdict,
};
use lambda_runtime::{Context, LambdaEvent};
use serde_json::json;
use support::doubles::{FaultyStorage, Operation, transient};
use support::{Sandbox, at, event, id, object_key, receipt_key, request};

const FAR_FUTURE: &str = "2999-01-01T00:00:00Z";
const PAST: &str = "2024-01-01T00:00:00Z";
const HOUR: &str = "2024-04-01T00:10:00Z";

/// Records notifications, after failing as often as the test says.
#[derive(Default)]
struct People {
    failures: AtomicU32,
    told: Mutex<Vec<(String, Notification)>>,
}

#[async_trait]
impl Notify for People {
    async fn notify(&self, subject: &str, message: &str) -> Result<(), TopicError> {
        let failures = self.failures.load(Ordering::Relaxed);
        if failures > 0 {
            self.failures.store(failures - 1, Ordering::Relaxed);
            return Err(TopicError::new("topic", "the topic was told to fail"));
        }
        let message = serde_json::from_str(message).unwrap();
        self.told
            .lock()
            .unwrap()
            .push((subject.to_owned(), message));
        Ok(())
    }
}

/// Keeps the visibility timeouts that messages get, after so many calls without an answer.
#[derive(Default)]
struct Timeouts(Mutex<Vec<u32>>, AtomicU32);

#[async_trait]
impl ChangeVisibility for Timeouts {
    async fn change_visibility(&self, receipt_handle: &str, secs: u32) -> Result<(), QueueError> {
        assert_eq!(receipt_handle, "r");
        let counted = |calls: u32| calls.checked_sub(1);
        if self
            .1
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, counted)
            .is_ok()
        {
            return Err(QueueError::new(1, "no answer"));
        }
        self.0.lock().unwrap().push(secs);
        Ok(())
    }
}

/// Signs with what is no signature, after failing as often as the test says; `None` for good.
struct Key {
    failures: Option<AtomicU32>,
    signed: AtomicU32,
}

impl Key {
    fn failing(failures: Option<u32>) -> Arc<Self> {
        Arc::new(Self {
            failures: failures.map(AtomicU32::new),
            signed: AtomicU32::new(0),
        })
    }
}

#[async_trait]
impl Sign for Key {
    fn key(&self) -> &str {
        "key"
    }

    async fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignError> {
        let Some(failures) = &self.failures else {
            return Err(SignError::new("key", "the key is disabled", false));
        };
        let left = failures.load(Ordering::SeqCst);
        if left > 0 {
            failures.store(left - 1, Ordering::SeqCst);
            return Err(SignError::new("key", "no answer", true));
        }
        self.signed.fetch_add(1, Ordering::SeqCst);
        Ok(vec![0])
    }
}

/// A run of one object, which is recovered.
struct Case {
    sandbox: Sandbox,
    people: Arc<People>,
    timeouts: Arc<Timeouts>,
    signer: Option<Arc<Key>>,
}

impl Case {
    async fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.back_up(&object_key(HOUR, 1), event("a", HOUR));
        sandbox.recover(request(json!({})), &id("run")).await;
        Self {
            sandbox,
            people: Arc::default(),
            timeouts: Arc::default(),
            signer: None,
        }
    }

    /// As if the object's task were still in its queue.
    async fn unfinished() -> Self {
        let case = Self::new().await;
        let receipt = receipt_key(&id("run"), &object_key(HOUR, 1));
        case.sandbox.remove(&receipt);
        case
    }

    fn faulty(&self) -> FaultyStorage {
        FaultyStorage::new(self.sandbox.destination())
    }

    /// Whether the call stays in its queue.
    async fn handle(
        &self,
        destination: Arc<dyn Destination>,
        deadline: &str,
        receives: u32,
    ) -> bool {
        let timeouts = self.timeouts.clone();
        self.handle_with(timeouts, destination, deadline, receives)
            .await
    }

    async fn handle_with(
        &self,
        queue: Arc<dyn ChangeVisibility>,
        destination: Arc<dyn Destination>,
        deadline: &str,
        receives: u32,
    ) -> bool {
        let call = AuditCall {
            version: AUDIT_CALL_VERSION,
            execution_id: id("run"),
            number: 1,
            quiet: false,
            deadline: at(deadline),
        };
        let body = serde_json::to_string(&call).unwrap();
        self.handle_body(queue, destination, &body, receives).await
    }

    async fn handle_body(
        &self,
        queue: Arc<dyn ChangeVisibility>,
        destination: Arc<dyn Destination>,
        body: &str,
        receives: u32,
    ) -> bool {
        let event: SqsEvent = serde_json::from_value(json!({"Records": [{
            "messageId": "m", "receiptHandle": "r", "body": body,
            "attributes": {"ApproximateReceiveCount": receives.to_string()},
        }]}))
        .unwrap();
        let settings =
            Settings::from_values(|name| (name == "DESTINATION_BUCKET").then(|| "b".to_owned()));
        let people = self.people.clone();
        let mut function = AuditorFunction::with(destination, queue, people, settings).unwrap();
        if let Some(signer) = &self.signer {
            function = function.signing(signer.clone());
        }
        let deadline = SystemTime::now() + Duration::from_secs(900);
        let mut context = Context::default();
        context.deadline = deadline
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64;
        let answer = function.handle(LambdaEvent::new(event, context));
        !answer.await.unwrap().batch_item_failures.is_empty()
    }

    fn told(&self) -> Vec<(String, Notification)> {
        self.people.told.lock().unwrap().clone()
    }
}

/// The queue's own timeout is longer than a function may run: 16 minutes.
#[tokio::test]
async fn an_outage_that_ends_does_not_put_off_the_next_poll() {
    let case = Case::unfinished().await;
    case.timeouts.1.store(2, Ordering::SeqCst);
    let destination = case.sandbox.destination();
    assert!(case.handle(destination, FAR_FUTURE, 1).await);
    assert_eq!(*case.timeouts.0.lock().unwrap(), [15]);
}

/// Counts the changes that it is asked for, and refuses all of them.
#[derive(Default)]
struct InvalidHandle(AtomicU32);

#[async_trait]
impl ChangeVisibility for InvalidHandle {
    async fn change_visibility(&self, _: &str, _: u32) -> Result<(), QueueError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(QueueError::visibility("ReceiptHandleIsInvalid").permanent(true))
    }
}

#[tokio::test]
async fn a_receipt_handle_that_is_invalid_is_not_tried_again() {
    let case = Case::unfinished().await;
    let queue = Arc::new(InvalidHandle::default());
    let destination = case.sandbox.destination();
    assert!(
        case.handle_with(queue.clone(), destination, FAR_FUTURE, 1)
            .await
    );
    assert_eq!(queue.0.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_unfinished_run_is_polled_with_backoff_and_nobody_is_told() {
    let case = Case::unfinished().await;
    for receives in [1, 2, 9] {
        let destination = case.sandbox.destination();
        assert!(case.handle(destination, FAR_FUTURE, receives).await);
    }
    assert_eq!(*case.timeouts.0.lock().unwrap(), [15, 30, 300]);
    assert!(case.told().is_empty());
}

#[tokio::test]
async fn a_finished_run_is_told_once() {
    let case = Case::new().await;
    for _ in 0..2 {
        let destination = case.sandbox.destination();
        assert!(!case.handle(destination, FAR_FUTURE, 1).await);
    }
    let told = case.told();
    let [(subject, Notification::Audited(run))] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(subject, "event-recovery complete: run");
    assert_eq!((run.verdict, run.overdue), (Verdict::Complete, false));
    assert_eq!(run.report, "s3://b/_recovery/run/report.json");
    assert!(case.timeouts.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_overdue_run_is_told_once_as_incomplete() {
    let case = Case::unfinished().await;
    for _ in 0..2 {
        let destination = case.sandbox.destination();
        assert!(!case.handle(destination, PAST, 9).await);
    }
    let told = case.told();
    let [(subject, Notification::Audited(run))] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(subject, "event-recovery incomplete: run");
    assert!(run.overdue && run.objects.missing == 1, "{run:?}");
}

#[tokio::test]
async fn a_transient_error_is_retried_and_then_the_run_is_told() {
    let case = Case::new().await;
    let destination = Arc::new(case.faulty().at_first(Operation::List, "", 1, transient()));
    assert!(case.handle(destination.clone(), FAR_FUTURE, 1).await);
    assert!(case.told().is_empty());
    assert!(!case.handle(destination, FAR_FUTURE, 2).await);
    assert_eq!(case.told().len(), 1);
    assert_eq!(*case.timeouts.0.lock().unwrap(), [15]);
}

#[tokio::test]
async fn a_run_that_cannot_be_audited_by_its_deadline_is_told_as_incomplete() {
    let case = Case::new().await;
    let listing_fails = |case: &Case| {
        let faulty = case.faulty();
        Arc::new(faulty.at_first(Operation::List, "", 1000, transient()))
    };
    assert!(case.handle(listing_fails(&case), FAR_FUTURE, 1).await);
    assert!(case.told().is_empty());
    assert!(!case.handle(listing_fails(&case), PAST, 2).await);
    let told = case.told();
    let [(subject, Notification::NotAudited(run))] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(subject, "event-recovery incomplete: run");
    assert!(run.reasons[0].starts_with("it could not be audited: could not "));
    assert_eq!(run.ledger, "s3://b/_recovery/run/");
}

#[tokio::test]
async fn a_notification_that_fails_is_sent_later() {
    let case = Case::new().await;
    case.people.failures.store(1, Ordering::Relaxed);
    let destination = case.sandbox.destination();
    assert!(case.handle(destination.clone(), FAR_FUTURE, 1).await);
    assert!(case.told().is_empty());
    assert!(!case.handle(destination, FAR_FUTURE, 2).await);
    assert_eq!(case.told().len(), 1);
}

#[tokio::test]
async fn a_message_that_holds_no_call_stays_in_the_queue() {
    let case = Case::new().await;
    let newer = json!({
        "version": AUDIT_CALL_VERSION + 1, "execution_id": "run", "number": 1, "deadline": PAST,
    });
    for body in ["", "{}", &newer.to_string()] {
        let destination = case.sandbox.destination();
        assert!(
            case.handle_body(case.timeouts.clone(), destination, body, 1)
                .await,
            "{body}"
        );
    }
    assert_eq!(*case.timeouts.0.lock().unwrap(), [300; 3]);
    assert!(case.told().is_empty());
}

#[tokio::test]
async fn reports_are_signed_and_a_key_that_refuses_keeps_no_verdict_from_people() {
    let mut case = Case::new().await;
    let key = Key::failing(Some(1));
    case.signer = Some(key.clone());
    // A key that does not answer may answer next time: the call stays.
    assert!(case.handle(case.sandbox.destination(), FAR_FUTURE, 1).await);
    assert_eq!(case.told().len(), 0);
    assert!(!case.handle(case.sandbox.destination(), FAR_FUTURE, 2).await);
    assert_eq!(
        (case.told().len(), key.signed.load(Ordering::SeqCst)),
        (1, 1)
    );
    assert!(case.sandbox.read("_recovery/run/signature.json").is_some());
    // Delivered once more, the call has been answered.
    assert!(!case.handle(case.sandbox.destination(), FAR_FUTURE, 3).await);
    assert_eq!(
        (case.told().len(), key.signed.load(Ordering::SeqCst)),
        (1, 1)
    );

    let mut case = Case::new().await;
    case.signer = Some(Key::failing(None));
    assert!(!case.handle(case.sandbox.destination(), FAR_FUTURE, 1).await);
    assert!(case.told()[0].0.contains("complete"), "{:?}", case.told());
    assert!(case.sandbox.read("_recovery/run/signature.json").is_none());
}
