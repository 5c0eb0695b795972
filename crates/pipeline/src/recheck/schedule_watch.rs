//! Notices scheduled runs that never came.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::ledger::{LEDGER_VERSION, LedgerError, Versioned, find_record, to_json};
use crate::request::execution_id::ExecutionId;
use crate::request::schedule::Schedule;
use crate::storage::LedgerStorage;

/// The record of the newest scheduled window that is known to be planned.
const KEY: &str = "_recovery/_schedule.json";
/// How long after its scheduled time a run counts as missing, in hours: EventBridge Scheduler and Lambda may
/// retry for a while.
const GRACE_HOURS: i64 = 1;
/// For how long a missing window is named, in days. Whoever has not recovered it by then knows of it.
const NAMED_DAYS_MAX: i64 = 7;

/// A scheduled window that no run was planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedWindow {
    /// Its first instant.
    pub start: DateTime<Utc>,
    /// The first instant after it.
    pub end: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ScheduleRecord {
    version: u32,
    interval_hours: u32,
    settle_secs: u32,
    /// The end of the last window before the first one that is missing.
    planned_until: DateTime<Utc>,
}

impl Versioned for ScheduleRecord {
    fn version(&self) -> u32 {
        self.version
    }
}

/// The windows of the schedule whose time has come and that no run was planned for. The first call for a
/// schedule only records where it begins, so a new deployment misses nothing.
///
/// # Errors
///
/// The ledger's.
pub async fn missed_windows(
    ledger: &dyn LedgerStorage,
    schedule: &Schedule,
    now: DateTime<Utc>,
) -> Result<Vec<MissedWindow>, LedgerError> {
    let known = find_record::<ScheduleRecord>(ledger, KEY).await?;
    let known = known.map(|(record, _)| record).filter(|record| {
        (record.interval_hours, record.settle_secs)
            == (schedule.interval_hours(), schedule.settle_secs())
    });
    let Some(known) = known else {
        let (_, end) = schedule.window(now);
        record(ledger, schedule, end).await?;
        return Ok(Vec::new());
    };
    let interval = TimeDelta::hours(i64::from(schedule.interval_hours()));
    let (_, last_due) = schedule.window(now - TimeDelta::hours(GRACE_HOURS));
    let oldest = last_due - TimeDelta::days(NAMED_DAYS_MAX);
    let mut planned_until = known.planned_until;
    while planned_until < oldest {
        planned_until += interval;
    }
    let mut missed = Vec::new();
    let mut end = planned_until + interval;
    while end <= last_due {
        let start = end - interval;
        match is_planned(ledger, start, end).await? {
            true if missed.is_empty() => planned_until = end,
            true => {}
            false => missed.push(MissedWindow { start, end }),
        }
        end += interval;
    }
    if planned_until != known.planned_until {
        record(ledger, schedule, planned_until).await?;
    }
    Ok(missed)
}

/// Whether a run over the window has begun: its derived id begins with the window.
async fn is_planned(
    ledger: &dyn LedgerStorage,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    let prefix = format!("_recovery/{}", ExecutionId::derived_prefix(start, end));
    let level = ledger.list_level(&prefix, None).await?;
    Ok(!level.folders.is_empty())
}

async fn record(
    ledger: &dyn LedgerStorage,
    schedule: &Schedule,
    planned_until: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let record = ScheduleRecord {
        version: LEDGER_VERSION,
        interval_hours: schedule.interval_hours(),
        settle_secs: schedule.settle_secs(),
        planned_until,
    };
    ledger.put(KEY, to_json(KEY, &record)?).await?;
    Ok(())
}
