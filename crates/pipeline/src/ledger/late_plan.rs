//! What a recheck added to a run's plan, `plan.late-<n>.json`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::hour_prefix::HourPrefix;
use crate::ledger::plan_record::PlannedObjects;
use crate::ledger::task_lists::late_plan_number;
use crate::ledger::{Ledger, LedgerError, Sealed, Versioned, read_sealed};
use crate::request::execution_id::ExecutionId;
use crate::storage::listing::list_all;
use crate::storage::{ListObjects, Records};

/// What a recheck added to a run's plan. Written once all hours are listed, before any of its tasks is
/// queued: a late task list that no late plan names is not part of the run yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatePlanRecord {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub version: u32,
    /// The run.
    pub execution_id: ExecutionId,
    /// Counts the late plans of the run; from 1.
    pub number: u64,
    /// When the recheck began to list.
    pub listed_at: DateTime<Utc>,
    /// The digest of the record before it: of `plan.json`, or of the late plan with the number before.
    pub previous: String,
    /// Objects that no earlier list of the run counts.
    pub objects: PlannedObjects,
    /// Planned objects whose names do not follow the pattern.
    pub foreign_names: u64,
    /// Bytes of the planned objects, as stored.
    pub bytes: u64,
    /// The digest of each late task list.
    pub task_lists: BTreeMap<HourPrefix, String>,
}

impl Versioned for LatePlanRecord {
    fn version(&self) -> u32 {
        self.version
    }
}

/// The late plans of a run in order, without a gap. Ends before the first number that is missing.
///
/// # Errors
///
/// The ledger's.
pub(crate) async fn read_late_plans<D>(
    storage: &D,
    ledger: &Ledger,
) -> Result<Vec<Sealed<LatePlanRecord>>, LedgerError>
where
    D: ListObjects + Records + ?Sized,
{
    // A listing, since most runs have none, and S3 denies reading what is not there.
    let prefix = ledger.late_plans_prefix();
    let listed = list_all(storage, &prefix).await?;
    let mut numbers: Vec<u64> = listed
        .iter()
        .filter_map(|object| late_plan_number(&object.key, &prefix))
        .collect();
    numbers.sort_unstable();
    let mut plans = Vec::with_capacity(numbers.len());
    for (number, expected) in numbers.into_iter().zip(1..) {
        if number != expected {
            break;
        }
        match read_sealed(storage, &ledger.late_plan_key(number)).await? {
            Some(plan) => plans.push(plan),
            None => break,
        }
    }
    Ok(plans)
}
