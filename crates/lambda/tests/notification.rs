//! What the auditor does when people can't be notified.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where a failure is a panic"
)]

#[path = "../../pipeline/tests/support/mod.rs"]
mod support;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_lambda_events::sqs::SqsEvent;
use chrono::Utc;
use event_recovery_aws::TopicError;
use event_recovery_lambda::{AuditorFunction, ChangeVisibility, Notify, Settings};
use event_recovery_pipeline::{AuditRecord, CLAIM_SECS, QueueError};
use lambda_runtime::{Context, LambdaEvent};
use serde_json::json;
use support::doubles::{FaultyStorage, Operation, transient};
use support::{ORG, Sandbox, event, id, object_key, request};

/// What becomes of one notification.
#[derive(Clone, Copy)]
enum Network {
    Works,
    Refuses,
    NeverAnswers,
}

struct People {
    network: Network,
    notified: AtomicUsize,
}

#[async_trait]
impl Notify for People {
    async fn notify(&self, _: &str, _: &str) -> Result<(), TopicError> {
        match self.network {
            Network::Works => {
                self.notified.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Network::Refuses => Err(TopicError::new("topic", "connection refused")),
            Network::NeverAnswers => pending().await,
        }
    }
}

struct Visible;

#[async_trait]
impl ChangeVisibility for Visible {
    async fn change_visibility(&self, _: &str, _: u32) -> Result<(), QueueError> {
        Ok(())
    }
}

/// A run that is complete, and the call of its auditor.
struct Case {
    sandbox: Sandbox,
}

impl Case {
    async fn new() -> Self {
        let sandbox = Sandbox::new();
        let time = "2024-04-01T00:10:00Z";
        sandbox.back_up(&object_key(time, 1), event("a", time));
        sandbox.recover(request(json!({})), &id("run")).await;
        Self { sandbox }
    }

    /// Has an auditor answer the call. Returns the calls that stay open and the notifications.
    async fn answer(&self, storage: FaultyStorage, network: Network) -> (usize, usize) {
        let people = Arc::new(People {
            network,
            notified: AtomicUsize::new(0),
        });
        let settings = Settings::from_values(|name| {
            let value = match name {
                "ORG_ID" => ORG,
                "DESTINATION_BUCKET" => "bucket",
                _ => return None,
            };
            Some(value.to_owned())
        });
        let call = json!({
            "version": 1, "execution_id": "run", "number": 1, "deadline": "2999-01-01T00:00:00Z",
        });
        let event: SqsEvent = serde_json::from_value(json!({"Records": [{
            "messageId": "m", "receiptHandle": "r", "body": call.to_string(),
        }]}))
        .unwrap();
        let function = AuditorFunction::with(
            Arc::new(storage),
            Arc::new(Visible),
            people.clone(),
            settings,
        );
        // A function whose time is nearly up: a notification that hangs is given up in a second.
        let deadline = SystemTime::now() + Duration::from_secs(11);
        let mut context = Context::default();
        context.deadline = deadline
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64;
        let answer = function
            .unwrap()
            .handle(LambdaEvent::new(event, context))
            .await
            .unwrap();
        let open = answer.batch_item_failures.len();
        (open, people.notified.load(Ordering::Relaxed))
    }

    fn storage(&self) -> FaultyStorage {
        FaultyStorage::new(self.sandbox.destination())
    }

    fn record(&self) -> AuditRecord {
        let bytes = self.sandbox.read("_recovery/run/audit.json").unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}

#[tokio::test]
async fn a_notification_that_fails_or_hangs_is_sent_at_the_next_poll() {
    for network in [Network::Refuses, Network::NeverAnswers] {
        let case = Case::new().await;
        assert_eq!(case.answer(case.storage(), network).await, (1, 0));
        assert_eq!(case.record().claimed_until, None);
        assert_eq!(case.answer(case.storage(), Network::Works).await, (0, 1));
        assert_eq!(case.answer(case.storage(), Network::Works).await, (0, 0));
    }
}

/// The outage that prevents the notification also prevents the release of the call.
#[tokio::test]
async fn a_call_that_could_not_be_released_is_free_again_after_two_minutes() {
    let case = Case::new().await;
    let outage = case
        .storage()
        .after(Operation::PutIf, "audit.json", 2, 99, transient());
    assert_eq!(case.answer(outage, Network::Refuses).await, (1, 0));
    let claimed_until = case.record().claimed_until.unwrap();
    assert!((claimed_until - Utc::now()).num_seconds() <= i64::from(CLAIM_SECS));
    const { assert!(CLAIM_SECS <= 120) };
    // Until then, no other auditor notifies.
    assert_eq!(case.answer(case.storage(), Network::Works).await, (1, 0));
    let mut record = case.record();
    record.claimed_until = Some(Utc::now());
    let bytes = serde_json::to_vec(&record).unwrap();
    case.sandbox.overwrite("_recovery/run/audit.json", bytes);
    assert_eq!(case.answer(case.storage(), Network::Works).await, (0, 1));
}
