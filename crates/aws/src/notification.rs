//! Notifications on SNS.

use aws_sdk_sns::Client;

use crate::failure::described;

/// The longest subject of a notification, in characters ("Publish" in the SNS API reference).
const SUBJECT_CHARACTERS_MAX: usize = 100;

/// A topic on SNS.
#[derive(Debug, Clone)]
pub struct Topic {
    client: Client,
    arn: String,
}

/// A notification could not be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("could not publish to the topic `{topic}`: {problem}")]
pub struct TopicError {
    /// The topic's ARN.
    pub topic: String,
    /// Why.
    pub problem: String,
}

impl Topic {
    /// The topic with this ARN.
    pub fn new(client: Client, arn: impl Into<String>) -> Self {
        Self {
            client,
            arn: arn.into(),
        }
    }

    /// Publishes a message. The subject is cut to what SNS takes.
    ///
    /// # Errors
    ///
    /// SNS's.
    pub async fn publish(&self, subject: &str, message: &str) -> Result<(), TopicError> {
        self.client
            .publish()
            .topic_arn(&self.arn)
            .subject(
                subject
                    .chars()
                    .take(SUBJECT_CHARACTERS_MAX)
                    .collect::<String>(),
            )
            .message(message)
            .send()
            .await
            .map(drop)
            .map_err(|error| TopicError {
                topic: self.arn.clone(),
                problem: described(&error),
            })
    }
}
