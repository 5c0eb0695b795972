//! An SQS queue that receives events, and the health of its consumer.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName, SendMessageBatchRequestEntry};
use event_recovery_pipeline::{
    Fate, Outgoing, SendEvents, TargetError, TargetLimits, WatchConsumer,
};
use serde_json::Value;

use crate::sqs_client;
use crate::target::{
    fate_of_failed, fifo_group, has_forbidden, plain_digest, settle, target_failed, without_retries,
};

/// Bytes of one message with its attributes, and of one request ("Amazon SQS message quotas" in the developer guide).
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Entries of one request (the same).
const BATCH_ENTRIES_MAX: usize = 10;
/// A queue.
pub struct QueueTarget {
    client: Client,
    /// Sends each request once.
    sender: Client,
    /// Its ARN, by which it is recognised.
    arn: String,
    url: String,
    is_fifo: bool,
    message_bytes_max: usize,
    attributes: BTreeMap<String, String>,
    /// Of a standard queue: one group for all, so that fair queues let other messages pass.
    group: String,
    /// The queue of its dead letters, if it has one.
    dead_letters: Option<String>,
    dead_letters_before: OnceLock<u64>,
    dead_letters_max: u64,
}

impl QueueTarget {
    /// The queue with this ARN or URL. Messages get these attributes and, on a standard queue, this group.
    ///
    /// # Errors
    ///
    /// A queue that does not exist, or that one may not ask about.
    pub async fn open(
        config: &SdkConfig,
        queue: &str,
        attributes: BTreeMap<String, String>,
        group: &str,
        dead_letters_max: u64,
    ) -> Result<Self, TargetError> {
        let client = sqs_client(config);
        let url = match queue.starts_with("arn:") {
            true => url_of(&client, queue).await?,
            false => queue.to_owned(),
        };
        let names = [
            QueueAttributeName::QueueArn,
            QueueAttributeName::MaximumMessageSize,
            QueueAttributeName::RedrivePolicy,
        ];
        let asked = client
            .get_queue_attributes()
            .queue_url(&url)
            .set_attribute_names(Some(names.to_vec()))
            .send()
            .await
            .map_err(|error| target_failed(queue, error))?;
        let found = asked.attributes.unwrap_or_default();
        let arn = found.get(&QueueAttributeName::QueueArn).cloned();
        let size = found.get(&QueueAttributeName::MaximumMessageSize);
        let size = size
            .and_then(|size| size.parse().ok())
            .unwrap_or(MESSAGE_BYTES_MAX);
        let redrive = found.get(&QueueAttributeName::RedrivePolicy);
        let redrive = redrive.and_then(|policy| serde_json::from_str::<Value>(policy).ok());
        let dead_letters = match redrive
            .as_ref()
            .and_then(|policy| policy["deadLetterTargetArn"].as_str())
        {
            Some(arn) => Some(url_of(&client, arn).await?),
            None => None,
        };
        Ok(Self {
            arn: arn.unwrap_or_else(|| queue.to_owned()),
            is_fifo: url.ends_with(".fifo"),
            message_bytes_max: size.min(MESSAGE_BYTES_MAX),
            client,
            sender: sqs_client(&without_retries(config)),
            url,
            attributes,
            group: group.to_owned(),
            dead_letters,
            dead_letters_before: OnceLock::new(),
            dead_letters_max,
        })
    }

    /// Whether there is a queue of dead letters to be watched.
    pub fn is_watched(&self) -> bool {
        self.dead_letters.is_some()
    }

    fn attribute_bytes(&self) -> usize {
        // Names, types and values count.
        self.attributes
            .iter()
            .map(|(name, value)| name.len() + "String".len() + value.len())
            .sum()
    }

    fn entry(
        &self,
        index: usize,
        event: &Outgoing,
    ) -> Result<SendMessageBatchRequestEntry, TargetError> {
        let mut entry = SendMessageBatchRequestEntry::builder()
            .id(index.to_string())
            .message_body(String::from_utf8_lossy(&event.event));
        for (name, value) in &self.attributes {
            let value = MessageAttributeValue::builder()
                .data_type("String")
                .string_value(value)
                .build()
                .map_err(|error| TargetError::new(&self.arn, error.to_string(), false))?;
            entry = entry.message_attributes(name, value);
        }
        entry = match self.is_fifo {
            true => entry
                .message_group_id(fifo_group(event))
                // The same for each attempt, so that the queue takes only one of them within five minutes.
                .message_deduplication_id(plain_digest(&event.place)),
            false => entry.message_group_id(&self.group),
        };
        entry
            .build()
            .map_err(|error| TargetError::new(&self.arn, error.to_string(), false))
    }

    async fn depth(&self, url: &str) -> Result<u64, TargetError> {
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let asked = self
            .client
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(name.clone())
            .send()
            .await
            .map_err(|error| target_failed(url, error))?;
        let depth = asked.attributes.unwrap_or_default();
        let depth = depth.get(&name).and_then(|depth| depth.parse().ok());
        depth
            .ok_or_else(|| TargetError::new(url, "SQS answered without a number of messages", true))
    }
}

#[async_trait]
impl SendEvents for QueueTarget {
    fn name(&self) -> &str {
        &self.arn
    }

    fn limits(&self) -> TargetLimits {
        TargetLimits {
            batch_events: BATCH_ENTRIES_MAX,
            batch_bytes: MESSAGE_BYTES_MAX,
            event_overhead: self.attribute_bytes(),
            one_of_group: self.is_fifo,
        }
    }

    fn refusal(&self, event: &Outgoing) -> Option<String> {
        let bytes = event.event.len() + self.attribute_bytes();
        let most = self.message_bytes_max;
        if bytes > most {
            return Some(format!(
                "it has {bytes} bytes with its attributes, and the queue takes {most}"
            ));
        }
        has_forbidden(&event.event)
            .then(|| "it holds a character that SQS does not take: U+FFFE or U+FFFF".to_owned())
    }

    async fn send(&self, batch: &[Outgoing]) -> Result<Vec<Fate>, TargetError> {
        let mut entries = Vec::with_capacity(batch.len());
        for (index, event) in batch.iter().enumerate() {
            entries.push(self.entry(index, event)?);
        }
        let answer = self
            .sender
            .send_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries))
            .send()
            .await
            .map_err(|error| target_failed(&self.arn, error))?;
        let sent = answer.successful.into_iter().map(|sent| {
            let message_id = Some(sent.message_id);
            (sent.id, Fate::Sent { message_id })
        });
        let failed = answer.failed.into_iter().map(|failed| {
            let fate = fate_of_failed(&failed.code, failed.sender_fault);
            (failed.id, fate)
        });
        Ok(settle(batch.len(), sent.chain(failed)))
    }
}

#[async_trait]
impl WatchConsumer for QueueTarget {
    async fn complaint(&self) -> Result<Option<String>, TargetError> {
        let Some(url) = &self.dead_letters else {
            return Ok(None);
        };
        let depth = self.depth(url).await?;
        let before = *self.dead_letters_before.get_or_init(|| depth);
        let more = depth.saturating_sub(before);
        Ok((more > self.dead_letters_max).then(|| {
            format!("the dead-letter queue has {more} messages more than when sending began")
        }))
    }

    async fn backlog(&self) -> Result<Option<u64>, TargetError> {
        self.depth(&self.url).await.map(Some)
    }
}

async fn url_of(client: &Client, arn: &str) -> Result<String, TargetError> {
    let parts: Vec<&str> = arn.split(':').collect();
    let [_, _, "sqs", _, account, name] = parts[..] else {
        return Err(TargetError::new(arn, "it is not the ARN of a queue", false));
    };
    let asked = client
        .get_queue_url()
        .queue_name(name)
        .queue_owner_aws_account_id(account)
        .send()
        .await
        .map_err(|error| target_failed(arn, error))?;
    asked
        .queue_url
        .ok_or_else(|| TargetError::new(arn, "SQS answered without a URL", true))
}
