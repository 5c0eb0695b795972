//! The auditor: compares plan, receipts and output, and proves that nothing is missing.

pub(crate) mod call;
pub(crate) mod dead_letter;
pub(crate) mod error;
pub(crate) mod file_check;
pub(crate) mod report_slot;
pub(crate) mod tally;

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use tracing::{debug, instrument};

use crate::audit::call::{AuditCall, begin_reading, end_attempt};
use crate::audit::error::AuditError;
use crate::audit::report_slot::{CONFLICTS_MAX, ReportBefore, ReportSlot, conflict};
use crate::audit::tally::Tally;
use crate::audit::tally::checkpoint::{Checkpoint, Keeper};
use crate::audit::tally::sitting::{Manner, Sat, Sitting};
use crate::ledger::planning_record::Refusal;
use crate::ledger::report::{Report, Verdict};
use crate::ledger::{Ledger, RequestRecord, read_sealed};
use crate::request::execution_id::ExecutionId;
use crate::storage::{ListObjects, OpenObject, Records, Written};

/// Most attempts of auditors at one call without progress, after which it is given up.
pub const AUDIT_ATTEMPTS_MAX: u32 = 8;

/// How long the audit of a cancelled run waits for the tasks in flight, in seconds: workers look for the mark every 15 s, and
/// most tasks take less than the rest.
const CANCEL_GRACE_SECS: i64 = 60;

/// The result of an audit that waits for its run.
#[derive(Debug)]
pub enum Audited {
    /// The run is not finished yet.
    Waiting {
        /// Tasks that have a receipt, as far as they were counted.
        receipts: u64,
        /// Tasks of the plan, if it is complete.
        planned: Option<u64>,
    },
    /// Time was up. The next call goes on from the checkpoint.
    Continues,
    /// The run is finished or overdue; the report is written.
    Finished {
        /// The report.
        report: Box<Report>,
        /// Whether the deadline passed with tasks still missing.
        is_overdue: bool,
        /// The verdict of the report that it replaces.
        verdict_before: Option<Verdict>,
    },
}

/// Audits a run if it is finished or the call's deadline has passed. Stops at `until`, and goes on when it is
/// called again.
///
/// # Errors
///
/// See [`AuditError`]; no report is written then.
#[instrument(name = "audit", skip_all, fields(execution_id = %call.execution_id))]
pub async fn audit_when_finished<D>(
    destination: &D,
    call: &AuditCall,
    until: Option<Instant>,
    now: DateTime<Utc>,
) -> Result<Audited, AuditError>
where
    D: ListObjects + Records + ?Sized,
{
    let ledger = Ledger::new(call.execution_id.clone());
    for _ in 0..CONFLICTS_MAX {
        let checkpoint = Checkpoint::find(destination, &ledger, call.number).await?;
        let is_resumed = checkpoint.is_some();
        let result = attend(destination, &ledger, call, checkpoint, until, now).await;
        match result {
            Ok(Some(audited)) => return Ok(audited),
            Ok(None) => {}
            // Such as a place in a listing that the storage does not know any more.
            Err(error @ AuditError::Storage(_)) if is_resumed && !error.is_transient() => {
                debug!(%error, "the audit begins anew without its checkpoint");
                destination.delete(&ledger.checkpoint_key()).await?;
            }
            Err(error) => return Err(error),
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(Audited::Continues);
        }
    }
    Err(conflict(&ledger).into())
}

/// One attempt at a call. `None` if it must begin anew.
async fn attend<D>(
    destination: &D,
    ledger: &Ledger,
    call: &AuditCall,
    checkpoint: Option<Checkpoint>,
    until: Option<Instant>,
    now: DateTime<Utc>,
) -> Result<Option<Audited>, AuditError>
where
    D: ListObjects + Records + ?Sized,
{
    let before = match &checkpoint {
        Some(checkpoint) => checkpoint.before().clone(),
        None => ReportBefore::look(destination, ledger).await?,
    };
    let tally = read_plans(destination, ledger, now).await?;
    let waits = now < call.deadline && !is_long_cancelled(&tally, now);
    if waits && !tally.has_plan() {
        let (receipts, planned) = (0, None);
        return Ok(Some(Audited::Waiting { receipts, planned }));
    }
    refuse_unplanned(destination, ledger, &tally).await?;
    let manner = Manner {
        waits,
        until,
        ..Manner::default()
    };
    let is_there = checkpoint.is_some();
    let keeper = Keeper::new(ledger, call.number, before.clone(), is_there);
    let mut sitting = Sitting::new(destination, tally, manner, Some(keeper));
    if let Some(checkpoint) = checkpoint
        && !sitting.resume(checkpoint)
    {
        destination.delete(&ledger.checkpoint_key()).await?;
        return Ok(None);
    }
    let counted = sitting.count().await?;
    if counted != Sat::ToTheEnd {
        return stop(destination, sitting, counted).await.map(Some);
    }
    let attempts = begin_reading(destination, call, now).await?;
    if attempts > AUDIT_ATTEMPTS_MAX {
        let execution_id = call.execution_id.clone();
        let attempts = AUDIT_ATTEMPTS_MAX;
        return Err(AuditError::Died {
            execution_id,
            attempts,
        });
    }
    let sat = match sitting.sit().await {
        Err(error) if error.is_transient() => {
            // Not an attempt that died. If this fails too, it counts as one.
            end_attempt(destination, call, true, now).await?;
            return Err(error);
        }
        sat => sat?,
    };
    if sat != Sat::ToTheEnd {
        let has_failed = sitting.has_failed();
        let has_progressed = sitting.has_progressed();
        let audited = stop(destination, sitting, sat).await?;
        match sat {
            // What is done does not change any more, and the rest is read again.
            Sat::UntilUnfinished => end_attempt(destination, call, false, now).await?,
            _ if has_progressed => end_attempt(destination, call, true, now).await?,
            _ => {}
        }
        if sat == Sat::UntilUnfinished && has_failed {
            destination.delete(&ledger.checkpoint_key()).await?;
        }
        return Ok(Some(audited));
    }
    let (report, digests, keeper) = sitting.into_report();
    let is_unfinished = report.times.planned_at.is_none() || report.objects.missing > 0;
    let slot = ReportSlot::new(destination, ledger, &before);
    let written = slot.write(&report, digests).await?;
    if let Some(mut keeper) = keeper {
        keeper.remove(destination).await?;
    }
    Ok((written == Written::Yes).then(|| Audited::Finished {
        report: Box::new(report),
        is_overdue: is_unfinished,
        verdict_before: before.verdict,
    }))
}

/// The result of an audit that did not come to its end.
async fn stop<D>(destination: &D, sitting: Sitting<'_, D>, sat: Sat) -> Result<Audited, AuditError>
where
    D: ListObjects + Records + ?Sized,
{
    if sat == Sat::UntilTime {
        return Ok(Audited::Continues);
    }
    let (receipts, planned) = (sitting.receipts(), sitting.planned());
    // A count that came to too few is of no use to the next one.
    if sitting.is_counting()
        && let Some(mut keeper) = sitting.into_keeper()
    {
        keeper.remove(destination).await?;
    }
    Ok(Audited::Waiting { receipts, planned })
}

/// Audits a run and writes what it found: the report, and the mark of a complete run.
///
/// # Errors
///
/// See [`AuditError`]; nothing is written then.
#[instrument(skip_all, fields(%execution_id))]
pub async fn audit<D>(
    destination: &D,
    execution_id: &ExecutionId,
    now: DateTime<Utc>,
) -> Result<Report, AuditError>
where
    D: ListObjects + Records + ?Sized,
{
    let ledger = Ledger::new(execution_id.clone());
    for _ in 0..CONFLICTS_MAX {
        let before = ReportBefore::look(destination, &ledger).await?;
        let sitting = examine(destination, &ledger, Manner::default(), now).await?;
        let (report, digests, _) = sitting.into_report();
        let slot = ReportSlot::new(destination, &ledger, &before);
        if slot.write(&report, digests).await? == Written::Yes {
            return Ok(report);
        }
    }
    Err(conflict(&ledger).into())
}

/// Audits a run without writing anything; also one that is not finished.
///
/// # Errors
///
/// See [`AuditError`].
#[instrument(skip_all, fields(%execution_id))]
pub async fn inspect<D>(
    destination: &D,
    execution_id: &ExecutionId,
    now: DateTime<Utc>,
) -> Result<Report, AuditError>
where
    D: ListObjects + Records + ?Sized,
{
    let ledger = Ledger::new(execution_id.clone());
    let manner = Manner {
        compares_with_audit: true,
        ..Manner::default()
    };
    let sitting = examine(destination, &ledger, manner, now).await?;
    Ok(sitting.into_report().0)
}

/// As [`inspect`], and reads every file of the run back to compare its content with what its receipt says:
/// the checksum, and the number of events or of rejected bytes.
///
/// # Errors
///
/// See [`AuditError`].
#[instrument(skip_all, fields(%execution_id))]
pub async fn verify<D>(
    destination: &D,
    execution_id: &ExecutionId,
    now: DateTime<Utc>,
) -> Result<Report, AuditError>
where
    D: ListObjects + Records + OpenObject,
{
    let ledger = Ledger::new(execution_id.clone());
    let manner = Manner {
        reread: Some(destination as &dyn OpenObject),
        compares_with_audit: true,
        ..Manner::default()
    };
    let sitting = examine(destination, &ledger, manner, now).await?;
    Ok(sitting.into_report().0)
}

/// Audits in one sitting, whether the run is finished or not.
async fn examine<'a, D>(
    destination: &'a D,
    ledger: &'a Ledger,
    manner: Manner<'a>,
    now: DateTime<Utc>,
) -> Result<Sitting<'a, D>, AuditError>
where
    D: ListObjects + Records + ?Sized,
{
    let tally = read_plans(destination, ledger, now).await?;
    refuse_unplanned(destination, ledger, &tally).await?;
    let mut sitting = Sitting::new(destination, tally, manner, None);
    sitting.sit().await?;
    Ok(sitting)
}

/// Reads what is to be audited. Before the task lists and receipts: those of a complete plan can't grow any
/// more.
async fn read_plans<'a, D>(
    destination: &D,
    ledger: &'a Ledger,
    now: DateTime<Utc>,
) -> Result<Tally<'a>, AuditError>
where
    D: ListObjects + Records + ?Sized,
{
    let execution_id = ledger.execution_id();
    let request = read_sealed::<RequestRecord>(destination, &ledger.request_key())
        .await?
        .ok_or_else(|| AuditError::UnknownRun(execution_id.clone()))?;
    let mut tally = Tally::new(ledger, request, now);
    tally.read_plan(destination).await?;
    tally.read_rechecks(destination).await?;
    tally.read_marks(destination).await?;
    Ok(tally)
}

/// Whether the run was cancelled so long ago that no task is in flight any more, as far as it can be waited for.
fn is_long_cancelled(tally: &Tally<'_>, now: DateTime<Utc>) -> bool {
    let mark = tally.cancelled();
    mark.is_some_and(|mark| now - mark.cancelled_at >= TimeDelta::seconds(CANCEL_GRACE_SECS))
}

/// A run that the planner refused has no verdict.
async fn refuse_unplanned<D>(
    destination: &D,
    ledger: &Ledger,
    tally: &Tally<'_>,
) -> Result<(), AuditError>
where
    D: Records + ?Sized,
{
    if tally.has_plan() || tally.cancelled().is_some() {
        return Ok(());
    }
    match Refusal::read(destination, ledger).await? {
        Some(refusal) => Err(AuditError::Refused {
            execution_id: ledger.execution_id().clone(),
            refusal,
        }),
        None => Ok(()),
    }
}
