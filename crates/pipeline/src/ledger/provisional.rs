//! The marks of runs that are not final, `../_provisional/<execution id>`.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::ledger::{LEDGER_VERSION, Ledger, LedgerError, RequestRecord, Versioned, to_json};
use crate::request::execution_id::ExecutionId;
use crate::storage::listing::list_all;
use crate::storage::{ListObjects, Records};

/// When a run is rechecked for the first time, in hours after the end of its window: most of what is late is
/// less late than that, and a person learns of it on the same day.
const FIRST_RECHECK_HOURS: i64 = 6;

/// The mark of a run that was planned and is not final yet: what a periodic check must know of it without
/// reading its ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvisionalRecord {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub version: u32,
    /// The run.
    pub execution_id: ExecutionId,
    /// When its newest planning began.
    pub planned_at: DateTime<Utc>,
    /// By when its audit should have ended.
    pub audited_by: DateTime<Utc>,
    /// When it is to be rechecked: a listing is due that is not older than this. In order; the last one makes
    /// the run final.
    pub rechecks: Vec<DateTime<Utc>>,
}

impl Versioned for ProvisionalRecord {
    fn version(&self) -> u32 {
        self.version
    }
}

impl ProvisionalRecord {
    pub(crate) fn new(
        execution_id: &ExecutionId,
        request: &RequestRecord,
        now: DateTime<Utc>,
        wait_hours: u32,
    ) -> Self {
        let last = request.final_after();
        let first = request.hours_end() + TimeDelta::hours(FIRST_RECHECK_HOURS);
        Self {
            version: LEDGER_VERSION,
            execution_id: execution_id.clone(),
            planned_at: now,
            audited_by: now + TimeDelta::hours(i64::from(wait_hours)),
            rechecks: match first < last {
                true => vec![first, last],
                false => vec![last],
            },
        }
    }

    pub(crate) async fn write<R: Records + ?Sized>(&self, records: &R) -> Result<(), LedgerError> {
        let key = Ledger::new(self.execution_id.clone()).provisional_key();
        records.put(&key, to_json(&key, self)?).await?;
        Ok(())
    }

    /// The newest recheck that is due at this time, for a run whose hours were listed then.
    pub fn is_due(&self, listed_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        self.rechecks
            .iter()
            .any(|recheck| listed_at < *recheck && *recheck <= now)
    }
}

/// The ids of all runs that are marked, in order.
///
/// # Errors
///
/// The storage's.
pub(crate) async fn provisional_runs<D: ListObjects + ?Sized>(
    storage: &D,
) -> Result<Vec<ExecutionId>, LedgerError> {
    let marks = list_all(storage, Ledger::PROVISIONAL_PREFIX).await?;
    let names = marks
        .iter()
        .filter_map(|mark| mark.key.strip_prefix(Ledger::PROVISIONAL_PREFIX));
    Ok(names
        .filter_map(|name| ExecutionId::parse(name).ok())
        .collect())
}
