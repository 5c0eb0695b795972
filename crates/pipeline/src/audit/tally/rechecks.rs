//! What rechecks added to a run: late plans with their task lists, and the record of the newest one.

use std::collections::BTreeSet;

use super::Tally;
use crate::audit::error::AuditError;
use crate::backup::hour_prefix::HourPrefix;
use crate::ledger::late_plan::LatePlanRecord;
use crate::ledger::recheck_record::RecheckRecord;
use crate::ledger::task_lists::{TaskList, late_plan_number};
use crate::ledger::{Ledger, LedgerError, read_sealed, unseal};
use crate::storage::listing::list_entries;
use crate::storage::{ListObjects, Records, StorageError};

/// Repairs what a recheck wrote: its task lists are frozen, and everything else follows from them.
const RECHECK_AGAIN: &str = "recheck the run: it is written anew from its task lists";

impl Tally<'_> {
    /// Reads what rechecks have recorded. Call after reading the plan. Everything is written before what names it, and read after it: late task lists before their late
    /// plan, late plans before the record of the recheck.
    pub(crate) async fn read_rechecks<D>(&mut self, destination: &D) -> Result<(), AuditError>
    where
        D: ListObjects + Records + ?Sized,
    {
        self.read_recheck(destination).await?;
        self.read_late_plans(destination).await?;
        let known = self
            .recheck
            .as_ref()
            .map_or(0, |recheck| recheck.late_plans);
        let plans = self.late_plans.len() as u64;
        if plans < known {
            let gone = self.ledger.late_plan_key(plans + 1);
            self.disagree(format!("the record `{gone}` is gone; {RECHECK_AGAIN}"));
        }
        Ok(())
    }

    /// The hour's task lists in order: the first one, also where it is gone, and those that late plans name.
    /// Any other is of a recheck that was killed, or was overtaken by another one: the next recheck finds its
    /// objects again.
    pub(super) fn lists_of(&self, hour: HourPrefix) -> BTreeSet<TaskList> {
        let first = TaskList { hour, number: 0 };
        let planned = (1..)
            .zip(&self.late_plans)
            .filter(|(_, plan)| plan.task_lists.contains_key(&hour))
            .map(|(number, _)| TaskList { hour, number });
        std::iter::once(first).chain(planned).collect()
    }

    /// Each late plan names the digest of the record before it, so that none can be exchanged or removed
    /// unnoticed. The tasks of those after a gap do not count: the report is incomplete anyway.
    async fn read_late_plans<D>(&mut self, destination: &D) -> Result<(), AuditError>
    where
        D: ListObjects + Records + ?Sized,
    {
        let numbers = late_plan_numbers(destination, self.ledger).await?;
        let mut previous = self.digests.plan.clone();
        for (number, expected) in numbers.into_iter().zip(1..) {
            let key = self.ledger.late_plan_key(number);
            if number != expected {
                let gone = self.ledger.late_plan_key(expected);
                self.disagree(format!(
                    "the record `{gone}` is gone, and there is `{key}`; {RECHECK_AGAIN}"
                ));
                return Ok(());
            }
            let plan = match read_sealed::<LatePlanRecord>(destination, &key).await {
                Ok(Some(plan)) => plan,
                Ok(None) => return Ok(()),
                Err(error @ LedgerError::Invalid { .. }) => {
                    self.disagree(format!("{error}; remove it and {RECHECK_AGAIN}"));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            self.check_seal(&key, plan.seal);
            // A plan that is damaged has no digest, which is said already.
            let follows = previous.is_none() || previous.as_ref() == Some(&plan.value.previous);
            let is_of_the_run = plan.value.execution_id == *self.ledger.execution_id();
            if !follows || !is_of_the_run || plan.value.number != number {
                self.disagree(format!(
                    "the record `{key}` does not follow the one before it; remove it and {RECHECK_AGAIN}"
                ));
            }
            previous = Some(plan.digest.clone());
            self.digests.late_plans.push(plan.digest);
            self.late_plans.push(plan.value);
        }
        Ok(())
    }

    async fn read_recheck<D>(&mut self, destination: &D) -> Result<(), AuditError>
    where
        D: Records + ?Sized,
    {
        let key = self.ledger.recheck_key();
        let Some(record) = destination.find(&key).await? else {
            return Ok(());
        };
        match unseal::<RecheckRecord>(&key, &record) {
            Ok(recheck) => {
                self.check_seal(&key, recheck.seal);
                self.digests.recheck = Some(recheck.digest);
                self.recheck = Some(recheck.value);
            }
            Err(error @ LedgerError::Invalid { .. }) => {
                self.disagree(format!(
                    "{error}; remove it and recheck the run: it is written anew"
                ));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// In order. A listing, since most runs have none, and S3 denies reading what is not there.
async fn late_plan_numbers<D>(
    destination: &D,
    ledger: &Ledger,
) -> Result<BTreeSet<u64>, StorageError>
where
    D: ListObjects + ?Sized,
{
    let prefix = ledger.late_plans_prefix();
    let listed = list_entries(destination, &prefix).await?;
    let keys = listed.objects.iter().map(|object| &object.key);
    Ok(keys
        .filter_map(|key| late_plan_number(key, &prefix))
        .collect())
}
