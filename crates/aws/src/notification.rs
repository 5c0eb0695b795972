//! Notifications on SNS.

use std::error::Error;
use std::fmt;

use aws_sdk_sns::Client;
use event_recovery_pipeline::{Circumstances, RequestId};

use crate::failure::described;
use crate::queues::is_refused_content;

/// The longest subject of a notification, in characters ("Publish" in the SNS API reference).
const SUBJECT_CHARACTERS_MAX: usize = 100;

/// The longest message, in bytes (the same).
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// A topic on SNS.
#[derive(Debug, Clone)]
pub struct Topic {
    client: Client,
    arn: String,
}

/// A notification could not be published.
#[derive(Debug, Clone)]
pub struct TopicError {
    /// The topic's ARN.
    pub topic: String,
    /// Why, in SNS's words.
    pub problem: String,
    circumstances: Circumstances,
}

impl TopicError {
    /// Nothing could be published to the topic.
    pub fn new(topic: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            problem: problem.into(),
            circumstances: Circumstances::default(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        self.circumstances.hint()
    }

    /// The id of the request that failed, if SNS answered it.
    pub fn request_id(&self) -> Option<&RequestId> {
        self.circumstances.request_id()
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, problem, .. } = self;
        write!(
            formatter,
            "could not publish to the topic `{topic}`: {problem}"
        )
    }
}

impl Error for TopicError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.circumstances.source()
    }
}

impl Topic {
    /// The topic with this ARN.
    pub fn new(client: Client, arn: impl Into<String>) -> Self {
        Self {
            client,
            arn: arn.into(),
        }
    }

    /// Whether messages may be published to the topic, without publishing one: SNS checks the permission before it refuses a
    /// message that says it is JSON and is not. It is too long, too, for emulators that do not look into it.
    ///
    /// # Errors
    ///
    /// A denial, or why there was no answer.
    pub async fn may_publish(&self) -> Result<(), TopicError> {
        let published = self
            .client
            .publish()
            .topic_arn(&self.arn)
            .message_structure("json")
            .message("x".repeat(MESSAGE_BYTES_MAX + 1))
            .send()
            .await;
        match published {
            Ok(_) => Ok(()),
            Err(error) if is_refused_content(&error) => Ok(()),
            Err(error) => {
                let described = described(error);
                Err(TopicError {
                    topic: self.arn.clone(),
                    problem: described.problem,
                    circumstances: described.circumstances,
                })
            }
        }
    }

    /// How many subscriptions of the topic are confirmed, and how many wait for that.
    ///
    /// # Errors
    ///
    /// SNS's.
    pub async fn subscriptions(&self) -> Result<(u64, u64), TopicError> {
        let attributes = self
            .client
            .get_topic_attributes()
            .topic_arn(&self.arn)
            .send()
            .await
            .map_err(|error| {
                let described = described(error);
                TopicError {
                    topic: self.arn.clone(),
                    problem: described.problem,
                    circumstances: described.circumstances,
                }
            })?;
        let attributes = attributes.attributes.unwrap_or_default();
        let number = |name: &str| {
            let value = attributes.get(name);
            value.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        Ok((
            number("SubscriptionsConfirmed"),
            number("SubscriptionsPending"),
        ))
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
            .map_err(|error| {
                let described = described(error);
                TopicError {
                    topic: self.arn.clone(),
                    problem: described.problem,
                    circumstances: described.circumstances,
                }
            })
    }
}
