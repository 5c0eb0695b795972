//! What the functions do with received messages besides handling them.

use async_trait::async_trait;
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsMessage};
use event_recovery_aws::Queue;
use event_recovery_pipeline::QueueError;

/// Hides a received message for a while, so that it comes again later or sooner.
#[async_trait]
pub trait HideMessage: Send + Sync {
    /// Hides it for so many seconds from now.
    async fn hide(&self, receipt_handle: &str, secs: u32) -> Result<(), QueueError>;
}

#[async_trait]
impl HideMessage for Queue {
    async fn hide(&self, receipt_handle: &str, secs: u32) -> Result<(), QueueError> {
        Self::hide(self, receipt_handle, secs).await
    }
}

/// How often the message has been received, this time included.
pub(crate) fn receive_count(message: &SqsMessage) -> u32 {
    message
        .attributes
        .get("ApproximateReceiveCount")
        .and_then(|count| count.parse().ok())
        .unwrap_or(1)
        .max(1)
}

/// Hides the message if it can be; otherwise it comes again when its queue says so.
pub(crate) async fn hide(queue: &dyn HideMessage, message: &SqsMessage, secs: u32) {
    let Some(receipt_handle) = &message.receipt_handle else {
        return;
    };
    if let Err(error) = queue.hide(receipt_handle, secs).await {
        lambda_runtime::tracing::warn!(%error, "the message keeps its visibility timeout");
    }
}

/// `first` doubled for each receive after the first, up to `most`.
pub(crate) fn doubled(first: u32, receives: u32, most: u32) -> u32 {
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
        let waits: Vec<u32> = (1..=7).map(|receives| doubled(15, receives, 300)).collect();
        assert_eq!(waits, [15, 30, 60, 120, 240, 300, 300]);
        assert_eq!(doubled(15, u32::MAX, 300), 300);
        assert_eq!(doubled(15, 0, 300), 15);
    }
}
