//! Whether a worker's runs were cancelled.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;

use crate::ledger::cancellation::{Cancellation, look_age};
use crate::ledger::{Ledger, LedgerError};
use crate::request::execution_id::ExecutionId;
use crate::storage::LedgerStorage;

/// Runs whose looks a worker remembers.
const LOOKS_MAX: usize = 64;

/// What a worker has seen of the marks of its runs: a look is a request, and must not be one for each object.
#[derive(Debug, Default)]
pub struct Cancellations(Mutex<BTreeMap<ExecutionId, Look>>);

#[derive(Debug, Clone, Copy)]
struct Look {
    at: DateTime<Utc>,
    is_cancelled: bool,
}

impl Look {
    fn is_enough(&self, now: DateTime<Utc>, age: Duration) -> bool {
        // Another task may have looked after this one read its clock.
        (now - self.at)
            .abs()
            .to_std()
            .is_ok_and(|since| since <= age)
    }
}

impl Cancellations {
    /// Whether the run was cancelled, as of a moment ago.
    pub(crate) async fn is_cancelled<R: LedgerStorage + ?Sized>(
        &self,
        records: &R,
        ledger: &Ledger,
        now: DateTime<Utc>,
    ) -> Result<bool, LedgerError> {
        // Locked until the answer is there, so that tasks that begin together share one look.
        let mut looks = self.0.lock().await;
        let (run, age) = (ledger.execution_id(), look_age(records));
        if let Some(look) = looks.get(run).filter(|look| look.is_enough(now, age)) {
            return Ok(look.is_cancelled);
        }
        let is_cancelled = Cancellation::is_there(records, ledger).await?;
        looks.retain(|_, look| look.is_enough(now, age));
        if looks.len() < LOOKS_MAX {
            let look = Look {
                at: now,
                is_cancelled,
            };
            looks.insert(run.clone(), look);
        }
        Ok(is_cancelled)
    }
}
