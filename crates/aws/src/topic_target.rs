//! An SNS topic that receives events.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sns::Client;
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use event_recovery_pipeline::{Fate, Outgoing, SendEvents, TargetError, TargetLimits};

use crate::sns_client;
use crate::target::{
    fate_of_failed, fifo_group, has_forbidden, plain_digest, settle, target_failed, without_retries,
};

/// Bytes of one request with all attributes ("PublishBatch" in the SNS API reference).
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Entries of one request (the same).
const BATCH_ENTRIES_MAX: usize = 10;

/// A topic.
pub struct TopicTarget {
    client: Client,
    arn: String,
    attributes: BTreeMap<String, String>,
}

impl TopicTarget {
    /// The topic with this ARN. Messages get these attributes.
    pub fn new(config: &SdkConfig, arn: &str, attributes: BTreeMap<String, String>) -> Self {
        Self {
            client: sns_client(&without_retries(config)),
            arn: arn.to_owned(),
            attributes,
        }
    }

    fn is_fifo(&self) -> bool {
        self.arn.ends_with(".fifo")
    }

    fn attribute_bytes(&self) -> usize {
        let attributes = self.attributes.iter();
        attributes
            .map(|(name, value)| name.len() + "String".len() + value.len())
            .sum()
    }

    fn invalid(&self, problem: impl std::fmt::Display) -> TargetError {
        TargetError::new(&self.arn, problem.to_string(), false)
    }
}

#[async_trait]
impl SendEvents for TopicTarget {
    fn name(&self) -> &str {
        &self.arn
    }

    fn limits(&self) -> TargetLimits {
        TargetLimits {
            batch_events: BATCH_ENTRIES_MAX,
            batch_bytes: BATCH_BYTES_MAX,
            event_overhead: self.attribute_bytes(),
            one_of_group: self.is_fifo(),
        }
    }

    fn refusal(&self, event: &Outgoing) -> Option<String> {
        let bytes = event.event.len() + self.attribute_bytes();
        if bytes > BATCH_BYTES_MAX {
            return Some(format!(
                "it has {bytes} bytes with its attributes, and a topic takes {BATCH_BYTES_MAX}"
            ));
        }
        has_forbidden(&event.event)
            .then(|| "it holds a character that SNS does not pass on: U+FFFE or U+FFFF".to_owned())
    }

    async fn send(&self, batch: &[Outgoing]) -> Result<Vec<Fate>, TargetError> {
        let mut entries = Vec::with_capacity(batch.len());
        for (index, event) in batch.iter().enumerate() {
            let mut entry = PublishBatchRequestEntry::builder()
                .id(index.to_string())
                .message(String::from_utf8_lossy(&event.event));
            for (name, value) in &self.attributes {
                let value = MessageAttributeValue::builder()
                    .data_type("String")
                    .string_value(value)
                    .build()
                    .map_err(|error| self.invalid(error))?;
                entry = entry.message_attributes(name, value);
            }
            if self.is_fifo() {
                entry = entry
                    .message_group_id(fifo_group(event))
                    .message_deduplication_id(plain_digest(&event.place));
            }
            entries.push(entry.build().map_err(|error| self.invalid(error))?);
        }
        let answer = self
            .client
            .publish_batch()
            .topic_arn(&self.arn)
            .set_publish_batch_request_entries(Some(entries))
            .send()
            .await
            .map_err(|error| target_failed(&self.arn, error))?;
        let sent = answer
            .successful
            .unwrap_or_default()
            .into_iter()
            .map(|sent| {
                let id = sent.id.unwrap_or_default();
                let message_id = sent.message_id;
                (id, Fate::Sent { message_id })
            });
        let failed = answer.failed.unwrap_or_default().into_iter();
        let failed = failed.map(|failed| {
            let fate = fate_of_failed(&failed.code, failed.sender_fault);
            (failed.id, fate)
        });
        Ok(settle(batch.len(), sent.chain(failed)))
    }
}
