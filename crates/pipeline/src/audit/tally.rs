//! Adds up the ledger of a run, and finds contradictions in it.

pub(crate) mod checkpoint;
mod compare;
mod groups;
mod hours;
mod marks;
mod naming;
mod receipts;
mod rechecks;
pub(crate) mod sitting;
mod step;
mod sums;
mod verdict;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sums::Sums;

use crate::audit::error::AuditError;
use crate::backup::hour_prefix::HourPrefix;
use crate::backup::source_key::SourceKey;
use crate::ledger::cancellation::Cancellation;
use crate::ledger::late_plan::LatePlanRecord;
use crate::ledger::loss::LossRecord;
use crate::ledger::plan_record::PlanRecord;
use crate::ledger::recheck_record::RecheckRecord;
use crate::ledger::seal::Seal;
use crate::ledger::{Ledger, LedgerError, RequestRecord, Sealed, read_sealed};
use crate::storage::Records;

/// Repairs a receipt: a task whose receipt can't be relied upon is processed again.
const RUN_AGAIN: &str = "run the same request with the same execution id again";

/// What a run is to be, as its planner and rechecks have recorded it, and the sums over what it is.
pub(crate) struct Tally<'a> {
    ledger: &'a Ledger,
    request: RequestRecord,
    now: DateTime<Utc>,
    plan: Option<PlanRecord>,
    is_plan_damaged: bool,
    /// In order, from number 1.
    late_plans: Vec<LatePlanRecord>,
    /// The newest recheck.
    recheck: Option<RecheckRecord>,
    cancelled: Option<Cancellation>,
    /// By the key of the object.
    losses: BTreeMap<SourceKey, LossRecord>,
    digests: PlanDigests,
    sums: Sums,
}

/// The digests of the records that say what is to be audited. An audit is resumed only if they are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanDigests {
    request: String,
    plan: Option<String>,
    late_plans: Vec<String>,
    recheck: Option<String>,
    #[serde(default)]
    cancelled: Option<String>,
    #[serde(default)]
    losses: Vec<String>,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(
        ledger: &'a Ledger,
        request: Sealed<RequestRecord>,
        now: DateTime<Utc>,
    ) -> Self {
        let mut tally = Self {
            ledger,
            request: request.value,
            now,
            plan: None,
            is_plan_damaged: false,
            late_plans: Vec::new(),
            recheck: None,
            cancelled: None,
            losses: BTreeMap::new(),
            digests: PlanDigests {
                request: request.digest,
                ..PlanDigests::default()
            },
            sums: Sums::default(),
        };
        tally.check_seal(&ledger.request_key(), request.seal);
        tally
    }

    /// The hours of the window.
    fn hours(&self) -> Vec<HourPrefix> {
        self.request.request.window().hours().collect()
    }

    fn disagree(&mut self, what: String) {
        self.sums.disagree(what);
    }

    fn check_seal(&mut self, key: &str, seal: Seal) {
        match seal {
            Seal::Intact => {}
            Seal::Absent => self.sums.unverifiable_records += 1,
            Seal::Broken => self.disagree(format!(
                "the record `{key}` was changed after it was written"
            )),
        }
    }

    pub(crate) async fn read_plan<D: Records + ?Sized>(
        &mut self,
        destination: &D,
    ) -> Result<(), AuditError> {
        let key = self.ledger.plan_key();
        let plan = match read_sealed::<PlanRecord>(destination, &key).await {
            Ok(None) => return Ok(()),
            Ok(Some(plan)) => plan,
            Err(error @ LedgerError::Invalid { .. }) => {
                self.is_plan_damaged = true;
                self.disagree(format!(
                    "{error}; remove it and {RUN_AGAIN}: it is written anew from the task lists"
                ));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.check_seal(&key, plan.seal);
        let planned = plan.value.request_digest.as_ref();
        if planned.is_some_and(|planned| *planned != self.digests.request) {
            let key = self.ledger.request_key();
            self.disagree(format!(
                "the record `{key}` is not the one that was planned"
            ));
        }
        self.digests.plan = Some(plan.digest);
        self.plan = Some(plan.value);
        Ok(())
    }

    /// Whether there is a plan, if only a damaged one.
    pub(crate) fn has_plan(&self) -> bool {
        self.plan.is_some() || self.is_plan_damaged
    }

    /// The tasks of the plan and of the late plans; `None` without a plan that can be read.
    fn planned_tasks(&self) -> Option<u64> {
        let plan = self.plan.as_ref()?;
        let late = self.late_plans.iter().map(|plan| plan.objects.planned);
        Some(plan.objects.planned + late.sum::<u64>())
    }
}
