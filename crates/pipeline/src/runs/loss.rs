//! Accepts the loss of an object.

use chrono::{DateTime, Utc};
use thiserror::Error;

use crate::backup::source_key::{SourceKey, TaskId};
use crate::ledger::loss::LossRecord;
use crate::ledger::receipt::KnownReceipt;
use crate::ledger::{LEDGER_VERSION, Ledger, LedgerError, read_record, to_json};
use crate::request::execution_id::ExecutionId;
use crate::runs::planned_object::planned_object;
use crate::storage::{ListObjects, Precondition, Records, StorageError, Written};

/// The longest reason in characters: the report repeats it.
pub const LOSS_REASON_CHARS_MAX: usize = 1000;

/// The loss of an object was not accepted.
#[derive(Debug, Error)]
pub enum LossError {
    /// The run has not planned it.
    #[error("the run `{execution_id}` has not planned the object `{key}`")]
    NotPlanned {
        /// The run.
        execution_id: ExecutionId,
        /// The object.
        key: SourceKey,
    },
    /// It is recovered.
    #[error("the object `{0}` is recovered, so nothing of it is lost")]
    Recovered(SourceKey),
    /// Its events before its damage are recovered.
    #[error("the object `{0}` is salvaged, and the report says what is missing of it")]
    Salvaged(SourceKey),
    /// There is no reason, or one that can't be shown.
    #[error("the reason is not 1 to {LOSS_REASON_CHARS_MAX} characters without control characters")]
    Reason,
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<StorageError> for LossError {
    fn from(error: StorageError) -> Self {
        Self::Ledger(error.into())
    }
}

impl LossError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotPlanned { .. } => {
                Some("the report names the objects that failed or are missing".to_owned())
            }
            Self::Recovered(_) | Self::Salvaged(_) => None,
            Self::Reason => Some("say in a sentence why the loss is accepted".to_owned()),
            Self::Ledger(error) => error.hint(),
        }
    }
}

/// Accepts the loss of a planned object that is not recovered: it then counts as lost, and no longer as failed or missing.
/// Returns the record that counts: an earlier one stays. If the object is recovered later nevertheless, that counts.
///
/// # Errors
///
/// See [`LossError`]; nothing is written then.
pub async fn accept_loss<D>(
    storage: &D,
    ledger: &Ledger,
    key: &SourceKey,
    reason: &str,
    accepted_by: Option<String>,
    now: DateTime<Utc>,
) -> Result<LossRecord, LossError>
where
    D: ListObjects + Records + ?Sized,
{
    let reason = reason.trim();
    let length = reason.chars().count();
    if !(1..=LOSS_REASON_CHARS_MAX).contains(&length) || reason.chars().any(char::is_control) {
        return Err(LossError::Reason);
    }
    if planned_object(storage, ledger, key).await?.is_none() {
        return Err(LossError::NotPlanned {
            execution_id: ledger.execution_id().clone(),
            key: key.clone(),
        });
    }
    let task = TaskId::of(key);
    let receipt = KnownReceipt::read(storage, &ledger.receipt_key(&task), key).await?;
    if receipt.done().is_some() {
        return Err(LossError::Recovered(key.clone()));
    }
    if receipt.salvaged().is_some() {
        return Err(LossError::Salvaged(key.clone()));
    }
    let loss_key = ledger.loss_key(&task);
    let loss = LossRecord {
        version: LEDGER_VERSION,
        key: key.clone(),
        reason: reason.to_owned(),
        accepted_at: now,
        accepted_by,
    };
    let bytes = to_json(&loss_key, &loss)?;
    let written = storage.put_if(&loss_key, bytes, Precondition::Absent);
    if written.await? == Written::PreconditionFailed
        && let Some((earlier, _)) = read_record::<LossRecord>(storage, &loss_key).await?
    {
        return Ok(earlier);
    }
    Ok(loss)
}

/// Takes back the acceptance of an object's loss. Returns whether there was one.
///
/// # Errors
///
/// The storage's.
pub async fn revoke_loss<D>(
    storage: &D,
    ledger: &Ledger,
    key: &SourceKey,
) -> Result<bool, LedgerError>
where
    D: Records + ?Sized,
{
    let loss_key = ledger.loss_key(&TaskId::of(key));
    let is_there = storage.find(&loss_key).await?.is_some();
    if is_there {
        storage.delete(&loss_key).await?;
    }
    Ok(is_there)
}
