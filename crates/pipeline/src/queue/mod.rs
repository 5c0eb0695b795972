//! The queue of tasks between planner and workers.

pub(crate) mod in_process;
pub(crate) mod task;

use async_trait::async_trait;
use thiserror::Error;

use crate::queue::task::Task;

/// How long a receiver may have one delivery to itself, in seconds: AWS Lambda's longest run. After that
/// it has died, and what it claimed is free for others.
pub const ATTEMPT_SECS_MAX: u32 = 15 * 60;

/// Queues tasks.
#[async_trait]
pub trait SendTasks: Send + Sync {
    /// Queues the tasks; waits for room. After an error any part of them may have been queued.
    async fn send(&self, tasks: Vec<Task>) -> Result<(), QueueError>;

    /// Whether queued tasks outlive the process. If not, a run that is resumed queues them again.
    fn is_durable(&self) -> bool;
}

/// Tasks could not be queued.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("could not queue {tasks} tasks: {problem}")]
pub struct QueueError {
    /// How many.
    pub tasks: usize,
    /// Why.
    pub problem: String,
}
