//! An EventBridge bus that receives events.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::config::Builder;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use event_recovery_pipeline::{Fate, Outgoing, SendEvents, TargetError, TargetLimits};

use crate::endpoint::NameEndpoint;
use crate::target::{fate_of_failed, settle, target_failed, without_retries};

/// Bytes of one request ("Calculating PutEvents event entry size" in the EventBridge user guide).
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Entries of one request (the same).
const BATCH_ENTRIES_MAX: usize = 10;
/// The longest detail type ("PutEventsRequestEntry" in the API reference).
const DETAIL_TYPE_BYTES_MAX: usize = 128;
/// The detail type of an event without a type.
const DETAIL_TYPE_DEFAULT: &str = "event";

/// A bus.
pub struct BusTarget {
    client: Client,
    arn: String,
    detail_type: Option<String>,
    source: String,
    /// They say that it is a redelivery: `detail` stays the event's own bytes.
    resources: Vec<String>,
}

impl BusTarget {
    /// The bus with this ARN. The detail type is that of each event unless one is given.
    pub fn new(
        config: &SdkConfig,
        arn: &str,
        detail_type: Option<String>,
        source: &str,
        resources: Vec<String>,
    ) -> Self {
        let settings = Builder::from(&without_retries(config)).interceptor(NameEndpoint);
        Self {
            client: Client::from_conf(settings.build()),
            arn: arn.to_owned(),
            detail_type,
            source: source.to_owned(),
            resources,
        }
    }

    fn overhead(&self) -> usize {
        let resources: usize = self.resources.iter().map(String::len).sum();
        // The time of an entry counts 14 bytes.
        self.source.len() + DETAIL_TYPE_BYTES_MAX + resources + 14
    }

    fn detail_type<'a>(&'a self, event: &'a Outgoing) -> &'a str {
        let own = event.event_type.as_deref();
        let own = own.filter(|own| !own.is_empty() && own.len() <= DETAIL_TYPE_BYTES_MAX);
        self.detail_type
            .as_deref()
            .or(own)
            .unwrap_or(DETAIL_TYPE_DEFAULT)
    }
}

#[async_trait]
impl SendEvents for BusTarget {
    fn name(&self) -> &str {
        &self.arn
    }

    fn limits(&self) -> TargetLimits {
        TargetLimits {
            batch_events: BATCH_ENTRIES_MAX,
            batch_bytes: BATCH_BYTES_MAX,
            event_overhead: self.overhead(),
            one_of_group: false,
        }
    }

    fn refusal(&self, event: &Outgoing) -> Option<String> {
        let bytes = event.event.len() + self.overhead();
        (bytes > BATCH_BYTES_MAX).then(|| {
            format!(
                "it has {bytes} bytes with what is sent besides, and a bus takes {BATCH_BYTES_MAX}"
            )
        })
    }

    async fn send(&self, batch: &[Outgoing]) -> Result<Vec<Fate>, TargetError> {
        let entries = batch.iter().map(|event| {
            PutEventsRequestEntry::builder()
                .event_bus_name(&self.arn)
                .source(&self.source)
                .detail_type(self.detail_type(event))
                .detail(String::from_utf8_lossy(&event.event))
                .set_resources(Some(self.resources.clone()))
                .build()
        });
        let answer = self
            .client
            .put_events()
            .set_entries(Some(entries.collect()))
            .send()
            .await
            .map_err(|error| target_failed(&self.arn, error))?;
        let entries = answer.entries.unwrap_or_default().into_iter().enumerate();
        let fates = entries.map(|(index, entry)| {
            let fate = match entry.error_code {
                None => Fate::Sent {
                    message_id: entry.event_id,
                },
                Some(code) => fate_of_failed(&code, true),
            };
            (index.to_string(), fate)
        });
        Ok(settle(batch.len(), fates))
    }
}
