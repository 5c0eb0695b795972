//! What the functions do with received messages apart from processing them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsMessage};
use event_recovery_aws::Queue;
use event_recovery_pipeline::QueueError;
use lambda_runtime::tracing;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

/// The first pause before a visibility timeout is changed again; it doubles up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE: Duration = Duration::from_millis(500);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(8);
/// How long a change that was begun in time may take beyond it.
const LAST_CHANGE_TIME: Duration = Duration::from_secs(2);
/// How long the worker tries to change the visibility timeout of one message.
const VISIBILITY_TIME: Duration = Duration::from_secs(60);

/// Decides when a received message is delivered again.
#[async_trait]
pub trait ChangeVisibility: Send + Sync {
    /// Sets the message's visibility timeout: it is delivered again that many seconds from now.
    async fn change_visibility(&self, receipt_handle: &str, secs: u32) -> Result<(), QueueError>;
}

#[async_trait]
impl ChangeVisibility for Queue {
    async fn change_visibility(&self, receipt_handle: &str, secs: u32) -> Result<(), QueueError> {
        Self::change_visibility(self, receipt_handle, secs).await
    }
}

/// Reads a message's body, whose kind `what` names. A body that is anything else is logged, without its content.
pub(crate) fn parse<T: DeserializeOwned>(message: &SqsMessage, what: &str) -> Option<T> {
    let body = message.body.as_deref().unwrap_or_default();
    match serde_json::from_str(body) {
        Ok(value) => Some(value),
        Err(error) => {
            let message_id = message.message_id.as_deref();
            let (line, column) = (error.line(), error.column());
            tracing::error!(message_id, line, column, "the message holds no {what}");
            None
        }
    }
}

/// The message's receive count, this delivery included.
pub(crate) fn receive_count(message: &SqsMessage) -> u32 {
    message
        .attributes
        .get("ApproximateReceiveCount")
        .and_then(|count| count.parse().ok())
        .unwrap_or(1)
        .max(1)
}

/// Sets the message's visibility timeout, in seconds. If that fails with a transient error, it is tried again with backoff, but not begun after
/// `until`; then the queue's own timeout applies.
pub(crate) async fn deliver_again(
    queue: &dyn ChangeVisibility,
    message: &SqsMessage,
    secs: u32,
    until: Instant,
) {
    let Some(receipt_handle) = &message.receipt_handle else {
        return;
    };
    let mut pause = RETRY_PAUSE;
    while let Err(error) = queue.change_visibility(receipt_handle, secs).await {
        let hint = error.hint();
        let failed_request_id = error.request_id().map(ToString::to_string);
        // A receipt handle that is invalid, or a denied action, stays so.
        if !error.is_transient() || Instant::now() + pause > until {
            tracing::warn!(%error, hint, failed_request_id, "the message keeps its visibility timeout");
            return;
        }
        tracing::debug!(%error, hint, failed_request_id, "changing the visibility timeout again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
    }
}

/// Changes of visibility timeouts in the background, so that an outage of the queue delays nothing else.
pub(crate) struct Postponed {
    queue: Arc<dyn ChangeVisibility>,
    /// No change is begun again after this.
    until: Instant,
    changes: JoinSet<()>,
}

impl Postponed {
    pub(crate) fn new(queue: Arc<dyn ChangeVisibility>, until: Instant) -> Self {
        Self {
            queue,
            until,
            changes: JoinSet::new(),
        }
    }

    /// Has the message delivered again that many seconds from now.
    pub(crate) fn add(&mut self, message: SqsMessage, secs: u32) {
        let until = self.until.min(Instant::now() + VISIBILITY_TIME);
        let queue = Arc::clone(&self.queue);
        self.changes.spawn(async move {
            deliver_again(&*queue, &message, secs, until).await;
        });
    }

    /// Waits for all changes. Those that hang are given up a moment after the end of their time, since the answer
    /// for the rest of the batch is worth more.
    pub(crate) async fn settle(mut self) {
        let now = Instant::now();
        let until = self.until.min(now + VISIBILITY_TIME).max(now) + LAST_CHANGE_TIME;
        let all = async { while self.changes.join_next().await.is_some() {} };
        if timeout_at(until.into(), all).await.is_err() {
            tracing::warn!(
                "messages keep their visibility timeout, since the queue does not answer"
            );
        }
    }
}

/// Exponential backoff: `first` doubled for each receive after the first, up to `most`.
pub(crate) fn backoff(first: u32, receives: u32, most: u32) -> u32 {
    let factor = 1_u32
        .checked_shl(receives.saturating_sub(1))
        .unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(most)
}

/// The answer that keeps these messages in the queue.
pub(crate) fn failures(message_ids: impl IntoIterator<Item = String>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = message_ids
        .into_iter()
        .map(|id| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = id;
            failure
        })
        .collect();
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_limit() {
        let waits: Vec<u32> = (1..=7).map(|receives| backoff(15, receives, 300)).collect();
        assert_eq!(waits, [15, 30, 60, 120, 240, 300, 300]);
        assert_eq!(backoff(15, u32::MAX, 300), 300);
        assert_eq!(backoff(15, 0, 300), 15);
    }
}
