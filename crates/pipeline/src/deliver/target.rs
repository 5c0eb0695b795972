//! Where events are sent to.

use async_trait::async_trait;

use crate::storage::{Circumstances, RequestId};

/// An event on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its bytes.
    pub event: Vec<u8>,
    /// Its `event_id`, if it has one that is a string.
    pub event_id: Option<String>,
    /// Its `event_type`, if it has one that is a string.
    pub event_type: Option<String>,
    /// What keeps events in order at a target that has such groups, if the delivery asks for that.
    pub group: Option<String>,
    /// Unique to the event in its run, and the same in every attempt.
    pub place: String,
}

/// What a target takes at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetLimits {
    /// Events of one request, at most [`BATCH_EVENTS_MAX`].
    pub batch_events: usize,
    /// Bytes of them together, with what the target adds to each.
    pub batch_bytes: usize,
    /// Bytes that count for each event besides its own.
    pub event_overhead: usize,
    /// Whether a request may hold only one event of each group, so that one that fails does not come after its followers.
    pub one_of_group: bool,
}

/// Most events of one request of any target: so many may be sent twice when a process dies.
pub const BATCH_EVENTS_MAX: usize = 10;

/// What became of an event that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The target has it.
    Sent {
        /// What the target calls it.
        message_id: Option<String>,
    },
    /// The target will never take it.
    Refused {
        /// Why, without content.
        reason: String,
    },
    /// The target may take it later.
    Delayed {
        /// Why, without content.
        reason: String,
    },
}

/// A target could not be reached, or refuses everything.
#[derive(Debug, Clone)]
pub struct TargetError {
    /// The target.
    pub target: String,
    /// Why.
    pub problem: String,
    is_transient: bool,
    circumstances: Circumstances,
}

impl TargetError {
    /// A transient problem may be gone at the next attempt.
    pub fn new(target: impl Into<String>, problem: impl Into<String>, is_transient: bool) -> Self {
        Self {
            target: target.into(),
            problem: problem.into(),
            is_transient,
            circumstances: Circumstances::default(),
        }
    }

    /// Replaces all that is known besides the text.
    #[must_use]
    pub fn under(mut self, circumstances: Circumstances) -> Self {
        self.circumstances = circumstances;
        self
    }

    /// Whether another attempt may succeed.
    pub fn is_transient(&self) -> bool {
        self.is_transient
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        self.circumstances.hint()
    }

    /// The id of the request that failed.
    pub fn request_id(&self) -> Option<&RequestId> {
        self.circumstances.request_id()
    }
}

impl std::fmt::Display for TargetError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "could not send to `{}`: {}",
            self.target, self.problem
        )
    }
}

impl std::error::Error for TargetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.circumstances.source()
    }
}

/// Sends events to one target.
#[async_trait]
pub trait SendEvents: Send + Sync {
    /// The target as its ARN, its URL, or `-`.
    fn name(&self) -> &str;
    /// What it takes at a time.
    fn limits(&self) -> TargetLimits;
    /// Why the target will never take the event, if that is known without asking.
    fn refusal(&self, event: &Outgoing) -> Option<String>;
    /// Sends the events. Returns the fate of each, in their order.
    async fn send(&self, batch: &[Outgoing]) -> Result<Vec<Fate>, TargetError>;
}

/// Watches the health of whoever receives the events.
#[async_trait]
pub trait WatchConsumer: Send + Sync {
    /// Why nothing more is to be sent, if so.
    async fn complaint(&self) -> Result<Option<String>, TargetError>;
    /// Messages that wait at the target, if that is known.
    async fn backlog(&self) -> Result<Option<u64>, TargetError>;
}

/// A consumer that nobody watches.
pub struct Unwatched;

#[async_trait]
impl WatchConsumer for Unwatched {
    async fn complaint(&self) -> Result<Option<String>, TargetError> {
        Ok(None)
    }

    async fn backlog(&self) -> Result<Option<u64>, TargetError> {
        Ok(None)
    }
}
