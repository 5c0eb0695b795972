//! The periodic check: rechecks the runs that are due, and names those that have not ended.

use chrono::{DateTime, TimeDelta, Utc};
use tracing::instrument;

use crate::ledger::audit_record::audit_record;
use crate::ledger::cancellation::Cancellation;
use crate::ledger::planning_record::Refusal;
use crate::ledger::provisional::{ProvisionalRecord, provisional_runs};
use crate::ledger::report::Report;
use crate::ledger::{Ledger, find_record};
use crate::plan::Planner;
use crate::plan::error::PlanError;
use crate::recheck::Rechecked;
use crate::request::execution_id::ExecutionId;

/// How long after the deadline of its audit a run counts as not ended, in hours: an audit may itself take more
/// than one invocation.
const AUDIT_GRACE_HOURS: i64 = 2;

/// What a periodic check did.
#[derive(Debug, Default)]
pub struct CheckedRuns {
    /// Runs that are not final, or whose audit has not ended.
    pub provisional: u64,
    /// Runs that were due.
    pub rechecked: Vec<Rechecked>,
    /// Runs that were due and could not be rechecked; the next check tries again.
    pub failed: Vec<FailedRecheck>,
    /// Runs that were planned, and whose audit is overdue: the auditor does not work.
    pub not_ended: Vec<ExecutionId>,
    /// Runs that were not looked at for lack of time.
    pub left: u64,
}

/// A run that could not be rechecked.
#[derive(Debug)]
pub struct FailedRecheck {
    /// The run.
    pub execution_id: ExecutionId,
    /// Why.
    pub error: PlanError,
}

/// What is to be done about a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It is final, or refused: nothing any more.
    Forget,
    Recheck,
    Wait,
}

impl Planner<'_> {
    /// Rechecks the runs that are due, one after the other, until the deadline. Finds them by their marks in
    /// the ledger.
    ///
    /// # Errors
    ///
    /// A ledger that can't be listed. What goes wrong with one run is in the result.
    #[instrument(skip_all)]
    pub async fn recheck_due(&self, now: DateTime<Utc>) -> Result<CheckedRuns, PlanError> {
        let mut checked = CheckedRuns::default();
        for execution_id in provisional_runs(self.ledger).await? {
            checked.provisional += 1;
            if self.is_out_of_time() {
                checked.left += 1;
                continue;
            }
            match self.check_run(&execution_id, now, &mut checked).await {
                Ok(Some(rechecked)) => checked.rechecked.push(rechecked),
                Ok(None) => {}
                Err(error) => checked.failed.push(FailedRecheck {
                    execution_id,
                    error,
                }),
            }
        }
        Ok(checked)
    }

    async fn check_run(
        &self,
        execution_id: &ExecutionId,
        now: DateTime<Utc>,
        checked: &mut CheckedRuns,
    ) -> Result<Option<Rechecked>, PlanError> {
        let ledger = Ledger::new(execution_id.clone());
        let key = ledger.provisional_key();
        let Some((mark, _)) = find_record::<ProvisionalRecord>(self.ledger, &key).await? else {
            return Ok(None);
        };
        // Until it is resumed.
        if Cancellation::read(self.ledger, &ledger).await?.is_some() {
            return Ok(None);
        }
        let (is_ended, next) = self.next_step(&ledger, &mark, now).await?;
        if !is_ended && mark.audited_by + TimeDelta::hours(AUDIT_GRACE_HOURS) < now {
            checked.not_ended.push(execution_id.clone());
        }
        match next {
            Next::Recheck => self.recheck(execution_id, now).await.map(Some),
            Next::Wait => Ok(None),
            Next::Forget => {
                self.ledger.delete(&key).await?;
                Ok(None)
            }
        }
    }

    /// Whether the run's audit has ended, and what is to be done.
    async fn next_step(
        &self,
        ledger: &Ledger,
        mark: &ProvisionalRecord,
        now: DateTime<Utc>,
    ) -> Result<(bool, Next), PlanError> {
        let audit = audit_record(self.ledger, ledger).await?;
        let is_ended = audit.is_some_and(|(record, _)| record.ended);
        let report = find_record::<Report>(self.ledger, &ledger.report_key()).await?;
        let Some((report, _)) = report else {
            let is_refused = Refusal::read(self.ledger, ledger).await?.is_some();
            let next = match is_ended && is_refused {
                true => Next::Forget,
                false => Next::Wait,
            };
            return Ok((is_ended, next));
        };
        let next = match report.finality {
            Some(finality) if finality.is_final && is_ended => Next::Forget,
            Some(finality) if mark.is_due(finality.listed_at, now) => Next::Recheck,
            _ => Next::Wait,
        };
        Ok((is_ended, next))
    }
}
