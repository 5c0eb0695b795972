//! A queue within the process, for runs on one machine.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Notify, Semaphore};

use crate::queue::task::Task;
use crate::queue::{QueueError, SendTasks};

/// A bounded queue within the process. Each task goes to one receiver, in the order of sending.
#[derive(Debug)]
pub struct InProcessQueue {
    state: Mutex<State>,
    room: Semaphore,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    tasks: VecDeque<Task>,
    closed: bool,
}

impl InProcessQueue {
    /// A queue that holds at most so many tasks; senders wait for room.
    pub fn new(tasks_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            room: Semaphore::new(tasks_max.max(1)),
            changed: Notify::new(),
        }
    }

    /// Waits for the next task; `None` once the queue is closed and empty.
    pub async fn receive(&self) -> Option<Task> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the check, so that a task that is sent in between wakes this receiver.
            changed.as_mut().enable();
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(task) = state.tasks.pop_front() {
                    self.room.add_permits(1);
                    return Some(task);
                }
                if state.closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Ends [`receive`](Self::receive) once the queue is empty.
    pub fn close(&self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
        self.changed.notify_waiters();
    }

    /// Closes the queue, discards its tasks and fails all senders, also those that wait.
    pub fn abandon(&self) {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.closed = true;
            state.tasks.clear();
        }
        self.room.close();
        self.changed.notify_waiters();
    }
}

#[async_trait]
impl SendTasks for InProcessQueue {
    async fn send(&self, tasks: Vec<Task>) -> Result<(), QueueError> {
        let count = tasks.len();
        let closed = || QueueError::new(count, "the run was stopped");
        for task in tasks {
            let permit = self.room.acquire().await.map_err(|_| closed())?;
            permit.forget();
            {
                // Checked here too, since the queue may have been closed after there was room.
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.closed {
                    return Err(closed());
                }
                state.tasks.push_back(task);
            }
            self.changed.notify_one();
        }
        Ok(())
    }

    fn is_durable(&self) -> bool {
        false
    }
}
