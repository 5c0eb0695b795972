//! One delivery of a task.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};

use crate::ledger::receipt::State;
use crate::queue::task::Task;

/// One delivery of a task by the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// The task's receive count, this delivery included; from 1.
    pub number: u32,
    /// The queue's limit, after which the task becomes a dead letter.
    pub deliveries_max: u32,
    /// The current time.
    pub now: DateTime<Utc>,
    /// How long the attempt may take, in seconds; at most [`ATTEMPT_SECS_MAX`](crate::ATTEMPT_SECS_MAX).
    pub attempt_secs_max: u32,
}

impl Delivery {
    /// Whether this is the last delivery that the queue's limit allows.
    pub fn is_last(&self) -> bool {
        self.number >= self.deliveries_max
    }

    /// Whether no earlier delivery can have left a receipt, so that there is nothing to read before the task is
    /// processed. Only a message that was sent or delivered twice makes it wrong, which costs one more
    /// processing of the object: the receipt itself is only written if there is none.
    ///
    /// The last delivery is different, since it writes to the receipt before it begins.
    pub(crate) fn is_first_of(&self, task: &Task) -> bool {
        self.number == 1 && !self.is_last() && !task.queued_again
    }

    pub(crate) fn attempting(&self) -> State {
        State::Attempting {
            expires_at: self.now + TimeDelta::seconds(i64::from(self.attempt_secs_max)),
        }
    }
}

/// The time in the course of a delivery, by the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began_at: DateTime<Utc>,
    began: Instant,
}

impl Clock {
    pub(crate) fn of(delivery: &Delivery) -> Self {
        Self {
            began_at: delivery.now,
            began: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        let elapsed = TimeDelta::from_std(self.began.elapsed()).unwrap_or_default();
        self.began_at + elapsed
    }
}
