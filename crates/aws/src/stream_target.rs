//! A Kinesis stream that receives events.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::Builder;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use event_recovery_pipeline::{
    BATCH_EVENTS_MAX, Fate, Outgoing, SendEvents, TargetError, TargetLimits,
};

use crate::endpoint::NameEndpoint;
use crate::target::{fate_of_failed, fifo_group, settle, target_failed, without_retries};

/// Bytes of one record with its key ("PutRecords" in the Kinesis API reference).
const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one request (the same).
const BATCH_BYTES_MAX: usize = 5 * 1024 * 1024;
/// The longest partition key that is used, in bytes.
const KEY_BYTES_MAX: usize = 128;

/// A stream.
pub struct StreamTarget {
    client: Client,
    arn: String,
}

impl StreamTarget {
    /// The stream with this ARN.
    pub fn new(config: &SdkConfig, arn: &str) -> Self {
        let settings = Builder::from(&without_retries(config)).interceptor(NameEndpoint);
        Self {
            client: Client::from_conf(settings.build()),
            arn: arn.to_owned(),
        }
    }
}

#[async_trait]
impl SendEvents for StreamTarget {
    fn name(&self) -> &str {
        &self.arn
    }

    fn limits(&self) -> TargetLimits {
        TargetLimits {
            batch_events: BATCH_EVENTS_MAX,
            batch_bytes: BATCH_BYTES_MAX,
            event_overhead: KEY_BYTES_MAX,
            // A record that fails does not hold up those after it in the same request.
            one_of_group: true,
        }
    }

    fn refusal(&self, event: &Outgoing) -> Option<String> {
        let bytes = event.event.len() + KEY_BYTES_MAX;
        (bytes > RECORD_BYTES_MAX).then(|| {
            format!(
                "it has {bytes} bytes with its partition key, and a stream takes {RECORD_BYTES_MAX}"
            )
        })
    }

    async fn send(&self, batch: &[Outgoing]) -> Result<Vec<Fate>, TargetError> {
        let mut records = Vec::with_capacity(batch.len());
        for event in batch {
            let record = PutRecordsRequestEntry::builder()
                .data(Blob::new(event.event.clone()))
                .partition_key(fifo_group(event))
                .build()
                .map_err(|error| TargetError::new(&self.arn, error.to_string(), false))?;
            records.push(record);
        }
        let answer = self
            .client
            .put_records()
            .stream_arn(&self.arn)
            .set_records(Some(records))
            .send()
            .await
            .map_err(|error| target_failed(&self.arn, error))?;
        let fates = answer
            .records
            .into_iter()
            .enumerate()
            .map(|(index, record)| {
                let fate = match record.error_code {
                    None => Fate::Sent {
                        message_id: record
                            .shard_id
                            .zip(record.sequence_number)
                            .map(|(shard, number)| format!("{shard}/{number}")),
                    },
                    // Kinesis refuses no single record for good.
                    Some(code) => fate_of_failed(&code, false),
                };
                (index.to_string(), fate)
            });
        Ok(settle(batch.len(), fates))
    }
}
