//! What the functions do with received messages apart from processing them.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsMessage};
use event_recovery_aws::Queue;
use event_recovery_pipeline::QueueError;
use lambda_runtime::tracing;
use serde::de::DeserializeOwned;

/// The first pause before a visibility timeout is changed again; it doubles up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE: Duration = Duration::from_millis(500);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(8);

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

/// Sets the message's visibility timeout, in seconds. If that fails, it is tried again with backoff, but not begun after
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
        if Instant::now() + pause > until {
            tracing::warn!(%error, hint, failed_request_id, "the message keeps its visibility timeout");
            return;
        }
        tracing::debug!(%error, hint, failed_request_id, "changing the visibility timeout again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
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
