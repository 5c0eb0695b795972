//! The queue of tasks between planner and workers.

pub(crate) mod in_process;
pub(crate) mod task;

use std::error::Error;
use std::fmt;

use async_trait::async_trait;

use crate::queue::task::Task;
use crate::storage::{Circumstances, RequestId};

/// How long one delivery belongs to its receiver, in seconds: AWS Lambda's longest run. After that the
/// receiver counts as dead and its claims expire.
pub const ATTEMPT_SECS_MAX: u32 = 15 * 60;

/// Queues tasks.
#[async_trait]
pub trait SendTasks: Send + Sync {
    /// Queues the tasks; waits for room. After an error any part of them may have been queued.
    async fn send(&self, tasks: Vec<Task>) -> Result<(), QueueError>;

    /// Whether queued tasks outlive the process. If not, a run that is resumed queues them again.
    fn is_durable(&self) -> bool;
}

/// A request to a queue has failed.
#[derive(Debug, Clone)]
pub struct QueueError {
    /// How many messages it was about.
    pub tasks: usize,
    /// Why, and which queue, as the queue reports it.
    pub problem: String,
    request: QueueRequest,
    is_permanent: bool,
    circumstances: Circumstances,
}

/// What a queue was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum QueueRequest {
    Send,
    ChangeVisibility,
    Receive,
    Delete,
}

impl QueueError {
    /// So many tasks could not be queued.
    pub fn new(tasks: usize, problem: impl Into<String>) -> Self {
        Self {
            tasks,
            problem: problem.into(),
            request: QueueRequest::Send,
            is_permanent: false,
            circumstances: Circumstances::default(),
        }
    }

    /// The visibility timeout of a message could not be changed.
    pub fn visibility(problem: impl Into<String>) -> Self {
        Self {
            request: QueueRequest::ChangeVisibility,
            ..Self::new(1, problem)
        }
    }

    /// No message could be received.
    pub fn receive(problem: impl Into<String>) -> Self {
        Self {
            request: QueueRequest::Receive,
            ..Self::new(1, problem)
        }
    }

    /// A message could not be deleted.
    pub fn delete(problem: impl Into<String>) -> Self {
        Self {
            request: QueueRequest::Delete,
            ..Self::new(1, problem)
        }
    }

    /// A repeated request would fail in the same way.
    #[must_use]
    pub fn permanent(mut self, is_permanent: bool) -> Self {
        self.is_permanent = is_permanent;
        self
    }

    /// Whether a repeated request may succeed.
    pub fn is_transient(&self) -> bool {
        !self.is_permanent
    }

    /// Replaces all that is known besides the text.
    #[must_use]
    pub fn under(mut self, circumstances: Circumstances) -> Self {
        self.circumstances = circumstances;
        self
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        self.circumstances.hint()
    }

    /// The id of the request that failed, if the queue is a service and it answered.
    pub fn request_id(&self) -> Option<&RequestId> {
        self.circumstances.request_id()
    }
}

impl fmt::Display for QueueError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tasks, problem, .. } = self;
        match self.request {
            QueueRequest::Send => write!(formatter, "could not queue {tasks} tasks: {problem}"),
            QueueRequest::Receive => write!(formatter, "could not receive messages: {problem}"),
            QueueRequest::Delete => write!(formatter, "could not delete a message: {problem}"),
            QueueRequest::ChangeVisibility => {
                write!(
                    formatter,
                    "could not change the visibility timeout: {problem}"
                )
            }
        }
    }
}

impl Error for QueueError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.circumstances.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_the_queue_was_asked() {
        let sending = QueueError::new(3, "no answer");
        assert_eq!(sending.to_string(), "could not queue 3 tasks: no answer");
        let changing = QueueError::visibility("no answer");
        let expected = "could not change the visibility timeout: no answer";
        assert_eq!(changing.to_string(), expected);
    }
}
