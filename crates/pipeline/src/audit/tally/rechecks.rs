//! What rechecks added to a run: late plans with their task lists, and the record of the newest one.

use std::collections::BTreeSet;

use super::Tally;
use crate::audit::error::AuditError;
use crate::audit::records::RecordsFound;
use crate::backup::hour_prefix::HourPrefix;
use crate::ledger::LedgerError;
use crate::ledger::late_plan::LatePlanRecord;
use crate::ledger::read_sealed;
use crate::ledger::recheck_record::RecheckRecord;
use crate::ledger::task_lists::{TaskList, TaskLists};
use crate::storage::{ListObjects, Records};

/// Repairs what a recheck wrote: its task lists are frozen, and everything else follows from them.
const RECHECK_AGAIN: &str = "recheck the run: it is written anew from its task lists";

impl Tally<'_> {
    /// Reads what rechecks have recorded, and finds out which task lists there are. Call after reading the
    /// plan and before reading task lists: a late plan is written after its lists, so those of every late
    /// plan that is seen are there.
    pub(crate) async fn read_rechecks<D>(
        &mut self,
        destination: &D,
        found: &RecordsFound,
    ) -> Result<(), AuditError>
    where
        D: ListObjects + Records + ?Sized,
    {
        self.read_late_plans(destination, found).await?;
        self.read_recheck(destination, found).await?;
        self.task_lists = TaskLists::find(destination, self.ledger).await?;
        Ok(())
    }

    /// The hour's task lists in order: the first one, also where the listing does not show it, those of late
    /// plans, and any other that would be one of theirs by its number.
    pub(super) fn lists_of(&self, hour: HourPrefix) -> BTreeSet<TaskList> {
        let plans = self.late_plans.len() as u64;
        let first = TaskList { hour, number: 0 };
        let planned = (1..)
            .zip(&self.late_plans)
            .filter(|(_, plan)| plan.task_lists.contains_key(&hour))
            .map(|(number, _)| TaskList { hour, number });
        let found = self.task_lists.of_hour(hour, plans);
        std::iter::once(first).chain(planned).chain(found).collect()
    }

    /// Each late plan names the digest of the record before it, so that none can be exchanged or removed
    /// unnoticed. The tasks of those after a gap do not count: the report is incomplete anyway.
    async fn read_late_plans<D>(
        &mut self,
        destination: &D,
        found: &RecordsFound,
    ) -> Result<(), AuditError>
    where
        D: Records + ?Sized,
    {
        let numbers = found.late_plan_numbers(self.ledger);
        let last = numbers.last().copied().unwrap_or_default();
        let mut previous = self.plan_digest.clone();
        for number in 1..=last {
            let key = self.ledger.late_plan_key(number);
            let plan = match read_sealed::<LatePlanRecord>(destination, &key).await {
                Ok(Some(plan)) => plan,
                Ok(None) => {
                    self.disagree(format!("the record `{key}` is gone; {RECHECK_AGAIN}"));
                    return Ok(());
                }
                Err(error @ LedgerError::Invalid { .. }) => {
                    self.disagree(format!("{error}; remove it and {RECHECK_AGAIN}"));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            self.check_seal(&key, plan.seal);
            let follows = previous.as_ref() == Some(&plan.value.previous);
            let is_of_the_run = plan.value.execution_id == *self.ledger.execution_id();
            // A plan that is damaged has no digest, which is said already.
            if (previous.is_some() && !follows) || !is_of_the_run || plan.value.number != number {
                self.disagree(format!(
                    "the record `{key}` does not follow the one before it; remove it and {RECHECK_AGAIN}"
                ));
            }
            previous = Some(plan.digest.clone());
            self.late_plan_digests.push(plan.digest);
            self.late_plans.push(plan.value);
        }
        Ok(())
    }

    async fn read_recheck<D>(
        &mut self,
        destination: &D,
        found: &RecordsFound,
    ) -> Result<(), AuditError>
    where
        D: Records + ?Sized,
    {
        let key = self.ledger.recheck_key();
        if !found.has(&key) {
            return Ok(());
        }
        let recheck = match read_sealed::<RecheckRecord>(destination, &key).await {
            Ok(Some(recheck)) => recheck,
            Ok(None) => return Ok(()),
            Err(error @ LedgerError::Invalid { .. }) => {
                self.disagree(format!("{error}; recheck the run: it is written anew"));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.check_seal(&key, recheck.seal);
        let recheck = recheck.value;
        let plans = self.late_plans.len() as u64;
        // More than these are of a recheck that came later.
        if recheck.late_plans > plans {
            let gone = self.ledger.late_plan_key(plans + 1);
            self.disagree(format!(
                "the record `{gone}`, of which `{key}` knows, can't be read; {RECHECK_AGAIN}"
            ));
        }
        self.recheck = Some(recheck);
        Ok(())
    }
}
