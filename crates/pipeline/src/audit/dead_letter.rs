//! Messages that became dead letters: whether what they asked for has been done since.

use serde::Serialize;

use crate::audit::call::{AuditCall, is_ended};
use crate::ledger::receipt::KnownReceipt;
use crate::ledger::{Ledger, LedgerError};
use crate::queue::task::Task;
use crate::request::execution_id::ExecutionId;
use crate::storage::Records;

/// A message of a dead-letter queue, judged by the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// The run, unless the message can't be read.
    pub execution_id: Option<ExecutionId>,
    /// The object of a task.
    pub key: Option<String>,
    /// What has become of the work.
    pub standing: Standing,
}

/// What has become of the work that a dead letter asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is done, so the message has no further use.
    Moot,
    /// It is not done.
    Open,
    /// The message is neither a task nor a call of the auditor.
    Unreadable,
}

impl DeadLetter {
    /// Judges a message by its body: a task is moot when its receipt says that it is done, a call of the auditor
    /// when it was answered, or a later one has taken its place.
    ///
    /// # Errors
    ///
    /// The ledger's.
    pub async fn judge(records: &(impl Records + ?Sized), body: &str) -> Result<Self, LedgerError> {
        if let Ok(task) = serde_json::from_str::<Task>(body) {
            return Self::of_task(records, task).await;
        }
        let Ok(call) = serde_json::from_str::<AuditCall>(body) else {
            return Ok(Self {
                execution_id: None,
                key: None,
                standing: Standing::Unreadable,
            });
        };
        let is_moot = is_ended(records, &call).await?;
        Ok(Self {
            execution_id: Some(call.execution_id),
            key: None,
            standing: Standing::of(is_moot),
        })
    }

    async fn of_task(records: &(impl Records + ?Sized), task: Task) -> Result<Self, LedgerError> {
        let ledger = Ledger::new(task.execution_id.clone());
        let receipt_key = ledger.receipt_key(&task.id());
        // Looked for first: to a role that may not list the whole bucket, what is absent is denied.
        let is_done = match records.find(&receipt_key).await? {
            None => false,
            Some(_) => {
                let known = KnownReceipt::read(records, &receipt_key, &task.key).await?;
                known.done().is_some()
            }
        };
        Ok(Self {
            execution_id: Some(task.execution_id),
            key: Some(task.key.to_string()),
            standing: Standing::of(is_done),
        })
    }
}

impl Standing {
    fn of(is_moot: bool) -> Self {
        match is_moot {
            true => Self::Moot,
            false => Self::Open,
        }
    }
}
