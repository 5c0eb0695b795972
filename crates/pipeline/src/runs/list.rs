//! The runs of a destination.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use crate::ledger::cancellation::Cancellation;
use crate::ledger::planning_record::Refusal;
use crate::ledger::report::{Finality, ObjectCounts, Report, Verdict};
use crate::ledger::{Ledger, LedgerError, RequestRecord, find_record};
use crate::request::execution_id::ExecutionId;
use crate::request::resolved::ResolvedRequest;
use crate::storage::listing::list_level_pages;
use crate::storage::{ListObjects, Records};

/// The folder that holds the ledgers of all runs, with a slash at its end.
const LEDGERS_PREFIX: &str = "_recovery/";
/// Runs whose records are read at the same time.
const RUNS_READ_AT_ONCE: usize = 16;

/// A run in a list of runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedRun {
    /// The run.
    pub execution_id: ExecutionId,
    /// How far it has come.
    pub state: RunState,
    /// What was asked for; `None` where the record is damaged.
    pub request: Option<ResolvedRequest>,
    /// When the run began.
    pub created_at: Option<DateTime<Utc>>,
    /// How long ago that is, in seconds.
    pub age_secs: Option<u64>,
    /// The verdict of its newest report.
    pub verdict: Option<Verdict>,
    /// Of which time the verdict is, and whether the backup may still grow.
    #[serde(flatten)]
    pub finality: Option<Finality>,
    /// Its objects, by the newest report.
    pub objects: Option<ObjectCounts>,
    /// Events written, by the newest report.
    pub events: Option<u64>,
    /// What is wrong with its records.
    pub error: Option<String>,
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It has no report: it goes on, or was interrupted.
    NotAudited,
    /// The planner refused it.
    Refused,
    /// It was cancelled, and not resumed since.
    Cancelled,
    /// It has a report.
    Audited,
    /// A record that says how far it has come can't be read.
    Damaged,
}

/// The runs whose ledgers are in the destination, the oldest first. Reads two or three records of each, none of its
/// receipts, and writes nothing.
///
/// # Errors
///
/// The storage's. What is wrong with the records of one run is said there.
pub async fn list_runs<D>(storage: &D, now: DateTime<Utc>) -> Result<Vec<ListedRun>, LedgerError>
where
    D: ListObjects + Records + ?Sized,
{
    let mut ids = BTreeSet::new();
    let mut pages = list_level_pages(storage, LEDGERS_PREFIX);
    while let Some(page) = pages.try_next().await? {
        let names = page
            .folders
            .iter()
            .filter_map(|folder| folder.strip_prefix(LEDGERS_PREFIX)?.strip_suffix('/'));
        // The ledger's own folders begin with an underscore, which no id does.
        ids.extend(names.filter_map(|name| ExecutionId::parse(name).ok()));
    }
    let read = stream::iter(ids).map(|id| read_run(storage, id, now));
    let runs = read.buffer_unordered(RUNS_READ_AT_ONCE);
    let mut runs: Vec<ListedRun> = runs
        .try_filter_map(|run| async { Ok(run) })
        .try_collect()
        .await?;
    runs.sort_by(|a, b| (a.created_at, &a.execution_id).cmp(&(b.created_at, &b.execution_id)));
    Ok(runs)
}

/// `None` if the folder has nothing of a run, such as that of a process that died before it began.
async fn read_run<D>(
    storage: &D,
    execution_id: ExecutionId,
    now: DateTime<Utc>,
) -> Result<Option<ListedRun>, LedgerError>
where
    D: Records + ?Sized,
{
    let ledger = Ledger::new(execution_id.clone());
    let mut run = ListedRun {
        execution_id,
        state: RunState::NotAudited,
        request: None,
        created_at: None,
        age_secs: None,
        verdict: None,
        finality: None,
        objects: None,
        events: None,
        error: None,
    };
    let request = find_record::<RequestRecord>(storage, &ledger.request_key()).await;
    match readable(request, &mut run)? {
        Some(record) => {
            let age = (now - record.created_at).max(TimeDelta::zero());
            run.created_at = Some(record.created_at);
            run.age_secs = u64::try_from(age.num_seconds()).ok();
            run.request = Some(record.request);
        }
        None if run.error.is_none() => return Ok(None),
        None => {}
    }
    let report = find_record::<Report>(storage, &ledger.report_key()).await;
    match readable(report, &mut run)? {
        Some(report) => {
            run.state = RunState::Audited;
            run.verdict = Some(report.verdict);
            run.finality = report.finality;
            run.objects = Some(report.objects);
            run.events = Some(report.events.written);
        }
        None if run.error.is_none() && Refusal::read(storage, &ledger).await?.is_some() => {
            run.state = RunState::Refused;
        }
        None => {}
    }
    if run.error.is_some() {
        run.state = RunState::Damaged;
    } else if run.verdict != Some(Verdict::Complete) {
        let mark = find_record::<Cancellation>(storage, &ledger.cancelled_key()).await;
        if readable(mark, &mut run)?.is_some() {
            run.state = RunState::Cancelled;
        }
    }
    Ok(Some(run))
}

/// The record, unless it can't be read for what it is, which is then said of the run.
fn readable<T>(
    found: Result<Option<(T, String)>, LedgerError>,
    run: &mut ListedRun,
) -> Result<Option<T>, LedgerError> {
    match found {
        Ok(found) => Ok(found.map(|(record, _)| record)),
        Err(error @ (LedgerError::Invalid { .. } | LedgerError::Newer { .. })) => {
            run.error = Some(error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
