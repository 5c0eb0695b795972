//! Records the state of a planner's call, for callers that do not wait for the answer.

use chrono::{DateTime, Utc};
use tracing::debug;

use crate::ledger::plan_record::PlanRecord;
use crate::ledger::planning_record::{PlanningRecord, PlanningState, Refusal, RefusalKind};
use crate::ledger::{LEDGER_VERSION, Ledger, LedgerError, find_record, to_json};
use crate::plan::error::PlanError;
use crate::storage::{LedgerStorage, Precondition, Written};

/// Most attempts at a record that other calls write at the same time.
const CONFLICTS_MAX: u32 = 8;

/// The result of a planner's call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The complete plan.
    pub plan: PlanRecord,
    /// Tasks that this call queued, not those of earlier calls.
    pub tasks_queued: u64,
}

/// One call of a planner whose caller may not wait for the answer.
pub(crate) struct PlanningCall<'a> {
    pub(crate) records: &'a dyn LedgerStorage,
    pub(crate) ledger: &'a Ledger,
    pub(crate) called_at: DateTime<Utc>,
}

impl PlanningCall<'_> {
    /// Records that the call has begun.
    pub(crate) async fn begin(&self) -> Result<(), LedgerError> {
        self.write(PlanningState::Planning).await
    }

    /// Records the result of the call.
    pub(crate) async fn end(&self, planned: &Result<Planned, PlanError>) -> Result<(), PlanError> {
        let error = match planned {
            Ok(Planned { tasks_queued, .. }) => {
                let tasks_queued = *tasks_queued;
                return Ok(self.write(PlanningState::Planned { tasks_queued }).await?);
            }
            Err(error) => error,
        };
        let written = match error {
            PlanError::OutOfTime {
                hours_done, hours, ..
            } => {
                let (hours_done, hours) = (*hours_done, *hours);
                self.write(PlanningState::OutOfTime { hours_done, hours })
                    .await
            }
            _ => self.refuse(error).await,
        };
        // The caller gets the error of the call itself, which says more than an error of this record. A
        // caller that follows the run through the ledger has a deadline of its own.
        drop(written);
        Ok(())
    }

    async fn refuse(&self, error: &PlanError) -> Result<(), LedgerError> {
        let refusal = Refusal {
            version: LEDGER_VERSION,
            kind: match error.is_transient() {
                true => RefusalKind::Transient,
                false => RefusalKind::Refused,
            },
            message: error.to_string(),
            hint: error.hint(),
            called_at: self.called_at,
        };
        let key = self.ledger.refused_key();
        self.records.put(&key, to_json(&key, &refusal)?).await?;
        Ok(())
    }

    /// Writes the state, unless a call that began later has written its own.
    async fn write(&self, state: PlanningState) -> Result<(), LedgerError> {
        let key = self.ledger.planning_key();
        let record = PlanningRecord {
            version: LEDGER_VERSION,
            called_at: self.called_at,
            state,
        };
        let bytes = to_json(&key, &record)?;
        for _ in 0..CONFLICTS_MAX {
            let precondition = match find_record::<PlanningRecord>(self.records, &key).await? {
                None => Precondition::Absent,
                Some((known, _)) if known.called_at > self.called_at => {
                    debug!(key, "a later call has written its own state");
                    return Ok(());
                }
                Some((_, etag)) => Precondition::Unchanged(etag),
            };
            let written = self.records.put_if(&key, bytes.clone(), precondition);
            if written.await? == Written::Yes {
                return Ok(());
            }
            debug!(key, "another call has written the record meanwhile");
        }
        Err(LedgerError::Invalid {
            key,
            detail: "it changes with every attempt to write it".to_owned(),
        })
    }
}
