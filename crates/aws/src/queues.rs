//! The task queue and the audit queue on SQS.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use event_recovery_pipeline::{AuditCall, CallAuditor, QueueError, SendTasks, Task};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use crate::failure::described;

/// Messages of one request ("SendMessageBatch" in the SQS API reference).
const BATCH_MESSAGES_MAX: usize = 10;
/// Bytes of one request. SQS takes 1 MiB by now; emulators and older endpoints a quarter of it.
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Most concurrent requests.
const BATCHES_AT_ONCE: usize = 16;
/// How often the entries that a batch failed with are sent again.
const ATTEMPTS_MAX: u32 = 6;
/// Backoff before the second attempt; doubled for each further one.
const RETRY_WAIT: Duration = Duration::from_millis(100);
/// The longest time a message can stay invisible ("Amazon SQS message quotas").
const VISIBILITY_SECS_MAX: u32 = 12 * 60 * 60;

/// How long a receive waits for a message, in seconds: with any wait, SQS asks all of its servers ("Short and long
/// polling" in the SQS developer guide).
const RECEIVE_WAIT_SECS: i32 = 2;

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The same at every receive.
    pub id: String,
    /// Of this receive; changes and deletes name it.
    pub receipt_handle: String,
    /// The content.
    pub body: String,
}

/// A queue on SQS.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

/// Whether a request was refused for its content, so by a service that would have taken another one.
pub(crate) fn is_refused_content<E: ProvideErrorMetadata>(
    error: &SdkError<E, HttpResponse>,
) -> bool {
    let code = error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code)
        .unwrap_or_default();
    // "SendMessageBatch" in the SQS API reference, "Publish" in that of SNS.
    [
        "EmptyBatchRequest",
        "InvalidParameter",
        "InvalidParameterException",
    ]
    .iter()
    .any(|refused| code.ends_with(refused))
}

impl Queue {
    /// The queue with this URL.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        Self {
            client,
            url: url.into(),
        }
    }

    /// Whether messages may be sent to the queue, without sending one: SQS checks the permission before it refuses a batch
    /// that is empty.
    ///
    /// # Errors
    ///
    /// A denial, or why there was no answer.
    pub async fn may_send(&self) -> Result<(), QueueError> {
        let sent = self
            .client
            .send_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(Vec::new()))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) if is_refused_content(&error) => Ok(()),
            Err(error) => {
                let described = described(error);
                let problem = format!("`{}`: {}", self.url, described.problem);
                Err(QueueError::new(1, problem)
                    .permanent(!described.is_transient)
                    .under(described.circumstances))
            }
        }
    }

    /// Sets a received message's visibility timeout: it is delivered again that many seconds from now, at most
    /// 12 hours.
    ///
    /// # Errors
    ///
    /// SQS's; the message then keeps the timeout that it has.
    pub async fn change_visibility(
        &self,
        receipt_handle: &str,
        secs: u32,
    ) -> Result<(), QueueError> {
        let secs = secs.min(VISIBILITY_SECS_MAX);
        self.client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(receipt_handle)
            .visibility_timeout(i32::try_from(secs).unwrap_or(i32::MAX))
            .send()
            .await
            .map(drop)
            .map_err(|error| self.error(QueueError::visibility, error))
    }

    /// Receives up to ten messages, which nobody else receives for so many seconds. Waits for a moment where there
    /// are none.
    ///
    /// # Errors
    ///
    /// SQS's.
    pub async fn receive(&self, visibility_secs: u32) -> Result<Vec<Message>, QueueError> {
        let received = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(BATCH_MESSAGES_MAX as i32)
            .visibility_timeout(i32::try_from(visibility_secs).unwrap_or(i32::MAX))
            .wait_time_seconds(RECEIVE_WAIT_SECS)
            .send()
            .await
            .map_err(|error| self.error(QueueError::receive, error))?;
        let messages = received.messages.unwrap_or_default().into_iter();
        Ok(messages
            .filter_map(|message| {
                Some(Message {
                    id: message.message_id?,
                    receipt_handle: message.receipt_handle?,
                    body: message.body.unwrap_or_default(),
                })
            })
            .collect())
    }

    /// Deletes a received message.
    ///
    /// # Errors
    ///
    /// SQS's; the message then stays.
    pub async fn delete(&self, receipt_handle: &str) -> Result<(), QueueError> {
        self.client
            .delete_message()
            .queue_url(&self.url)
            .receipt_handle(receipt_handle)
            .send()
            .await
            .map(drop)
            .map_err(|error| self.error(QueueError::delete, error))
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn error<E>(&self, new: impl FnOnce(String) -> QueueError, error: SdkError<E>) -> QueueError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let described = described(error);
        new(format!("{} (queue `{}`)", described.problem, self.url))
            .permanent(!described.is_transient)
            .under(described.circumstances)
    }

    async fn send_batch(&self, bodies: &[String]) -> Result<(), QueueError> {
        let mut open: Vec<&String> = bodies.iter().collect();
        let mut problem = String::new();
        let mut wait = RETRY_WAIT;
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            let failed = self.send_entries(&open).await?;
            if failed.is_empty() {
                return Ok(());
            }
            let is_final = failed.iter().any(|failure| failure.sender_fault);
            problem = failed[0].code.clone();
            tracing::debug!(
                queue = self.url,
                attempt,
                entries = failed.len(),
                error = problem,
                "SQS did not take all entries of a batch"
            );
            // Only those that were not taken are sent again.
            open = failed
                .iter()
                .filter_map(|failure| failure.id.parse::<usize>().ok())
                .filter_map(|index| open.get(index).copied())
                .collect();
            if is_final || open.is_empty() {
                break;
            }
        }
        Err(QueueError::new(
            open.len().max(1),
            format!("{problem} (queue `{}`)", self.url),
        ))
    }

    async fn send_entries(
        &self,
        bodies: &[&String],
    ) -> Result<Vec<aws_sdk_sqs::types::BatchResultErrorEntry>, QueueError> {
        let entries: Result<Vec<_>, _> = bodies
            .iter()
            .enumerate()
            .map(|(index, body)| {
                SendMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .message_body(body.as_str())
                    .build()
            })
            .collect();
        let entries = entries.map_err(|error| QueueError::new(bodies.len(), error.to_string()))?;
        let sent = self
            .client
            .send_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries))
            .send()
            .await
            .map_err(|error| self.error(|problem| QueueError::new(bodies.len(), problem), error))?;
        Ok(sent.failed)
    }
}

#[async_trait]
impl SendTasks for Queue {
    async fn send(&self, tasks: Vec<Task>) -> Result<(), QueueError> {
        let bodies: Result<Vec<String>, QueueError> = tasks.iter().map(body).collect();
        stream::iter(batches(bodies?))
            .map(|batch| async move { self.send_batch(&batch).await })
            .buffer_unordered(BATCHES_AT_ONCE)
            .try_collect()
            .await
    }

    fn is_durable(&self) -> bool {
        true
    }
}

#[async_trait]
impl CallAuditor for Queue {
    async fn call(&self, call: &AuditCall) -> Result<(), QueueError> {
        self.send_batch(&[body(call)?]).await
    }
}

fn body(message: &impl Serialize) -> Result<String, QueueError> {
    serde_json::to_string(message).map_err(|error| QueueError::new(1, error.to_string()))
}

/// The messages in batches that SQS takes.
fn batches(bodies: Vec<String>) -> Vec<Vec<String>> {
    let mut batches: Vec<Vec<String>> = Vec::new();
    let mut batch_bytes = 0;
    for body in bodies {
        match batches.last_mut() {
            Some(batch)
                if batch.len() < BATCH_MESSAGES_MAX
                    && batch_bytes + body.len() <= BATCH_BYTES_MAX =>
            {
                batch_bytes += body.len();
                batch.push(body);
            }
            _ => {
                batch_bytes = body.len();
                batches.push(vec![body]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_to_the_queues_limits_and_lose_nothing() {
        let sizes = [1, 200_000, 70_000, 300_000, 1, 1];
        let bodies: Vec<String> = sizes.iter().map(|size| "x".repeat(*size)).collect();
        let batched: Vec<Vec<usize>> = batches(bodies)
            .iter()
            .map(|batch| batch.iter().map(String::len).collect())
            .collect();
        let expected: [&[usize]; 3] = [&[1, 200_000], &[70_000], &[300_000]];
        assert_eq!(batched[..3], expected);
        assert_eq!(batched[3], [1, 1]);
        let many = batches(vec![String::new(); 25]);
        let lengths: Vec<usize> = many.iter().map(Vec::len).collect();
        assert_eq!(lengths, [10, 10, 5]);
    }
}
