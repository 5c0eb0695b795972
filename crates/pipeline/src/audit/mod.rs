//! The auditor: compares plan, receipts and output, and proves that nothing is missing.

pub(crate) mod call;
pub(crate) mod error;
pub(crate) mod file_check;
pub(crate) mod report_slot;
pub(crate) mod tally;

use chrono::{DateTime, Utc};
use tracing::instrument;

use crate::audit::error::AuditError;
use crate::audit::report_slot::{CONFLICTS_MAX, ReportSlot};
use crate::audit::tally::Tally;
use crate::ledger::late_plan::read_late_plans;
use crate::ledger::plan_record::PlanRecord;
use crate::ledger::planning_record::Refusal;
use crate::ledger::report::{AuditDigests, Report};
use crate::ledger::{Ledger, LedgerError, RequestRecord, read_record, read_sealed};
use crate::request::execution_id::ExecutionId;
use crate::storage::listing::count_objects;
use crate::storage::{ListObjects, OpenObject, Records, Written};

/// The result of an audit that waits for its run.
#[derive(Debug)]
pub enum Audited {
    /// The run is not finished yet.
    Waiting {
        /// Tasks that have a receipt.
        receipts: u64,
        /// Tasks of the plan, if it is complete.
        planned: Option<u64>,
    },
    /// The run is finished or overdue; the report is written.
    Finished {
        /// The report.
        report: Box<Report>,
        /// Whether the deadline passed with tasks still missing.
        is_overdue: bool,
    },
}

/// Audits a run if it is finished or the deadline has passed.
///
/// # Errors
///
/// See [`AuditError`]; nothing is written then.
#[instrument(name = "audit", skip_all, fields(%execution_id))]
pub async fn audit_when_finished<D>(
    destination: &D,
    execution_id: &ExecutionId,
    deadline: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Audited, AuditError>
where
    D: ListObjects + Records + ?Sized,
{
    let ledger = Ledger::new(execution_id.clone());
    if now < deadline {
        // A listing shows that receipts are missing, at a fraction of the cost of reading them.
        let planned = planned_tasks(destination, &ledger).await?;
        let receipts = count_objects(destination, &ledger.receipts_prefix()).await?;
        if planned.is_none_or(|planned| receipts < planned) {
            return Ok(Audited::Waiting { receipts, planned });
        }
    }
    for _ in 0..CONFLICTS_MAX {
        let slot = ReportSlot::look(destination, &ledger).await?;
        let earlier = EarlierAudit::Ignored;
        let (report, digests) = examine(destination, None, earlier, execution_id, now).await?;
        let is_unfinished = report.times.planned_at.is_none() || report.objects.missing > 0;
        if is_unfinished && now < deadline {
            return Ok(Audited::Waiting {
                receipts: report.objects.done + report.objects.failed,
                planned: Some(report.objects.planned),
            });
        }
        if slot.write(&report, digests).await? == Written::Yes {
            return Ok(Audited::Finished {
                report: Box::new(report),
                is_overdue: is_unfinished,
            });
        }
    }
    Err(ReportSlot::<D>::conflict(&ledger).into())
}

/// The tasks of the run's plan and late plans; `None` while the plan is not complete.
async fn planned_tasks<D>(destination: &D, ledger: &Ledger) -> Result<Option<u64>, LedgerError>
where
    D: ListObjects + Records + ?Sized,
{
    let plan = read_record::<PlanRecord>(destination, &ledger.plan_key()).await?;
    let Some((plan, _)) = plan else {
        return Ok(None);
    };
    let late_plans = match read_late_plans(destination, ledger).await {
        Ok(late_plans) => late_plans,
        // The audit says so.
        Err(LedgerError::Invalid { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    let late = late_plans.iter().map(|plan| plan.value.objects.planned);
    Ok(Some(plan.objects.planned + late.sum::<u64>()))
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
        let slot = ReportSlot::look(destination, &ledger).await?;
        let earlier = EarlierAudit::Ignored;
        let (report, digests) = examine(destination, None, earlier, execution_id, now).await?;
        if slot.write(&report, digests).await? == Written::Yes {
            return Ok(report);
        }
    }
    Err(ReportSlot::<D>::conflict(&ledger).into())
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
    let earlier = EarlierAudit::Compared;
    let (report, _) = examine(destination, None, earlier, execution_id, now).await?;
    Ok(report)
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
    let earlier = EarlierAudit::Compared;
    let reread = Some(destination as &dyn OpenObject);
    let (report, _) = examine(destination, reread, earlier, execution_id, now).await?;
    Ok(report)
}

/// Whether an audit compares with what an earlier one saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EarlierAudit {
    /// The earlier report is about to be replaced: records that were repaired since then may differ from
    /// it.
    Ignored,
    /// Nothing may have changed since.
    Compared,
}

async fn examine<D>(
    destination: &D,
    reread: Option<&dyn OpenObject>,
    earlier: EarlierAudit,
    execution_id: &ExecutionId,
    now: DateTime<Utc>,
) -> Result<(Report, AuditDigests), AuditError>
where
    D: ListObjects + Records + ?Sized,
{
    let ledger = Ledger::new(execution_id.clone());
    let request = read_sealed::<RequestRecord>(destination, &ledger.request_key())
        .await?
        .ok_or_else(|| AuditError::UnknownRun(execution_id.clone()))?;
    let mut tally = Tally::new(&ledger, request, now);
    // Before the task lists and receipts: those of a complete plan can't grow any more.
    tally.read_plan(destination).await?;
    if !tally.has_plan()
        && let Some(refusal) = Refusal::read(destination, &ledger).await?
    {
        let execution_id = execution_id.clone();
        return Err(AuditError::Refused {
            execution_id,
            refusal,
        });
    }
    tally.read_rechecks(destination).await?;
    for hour in tally.hours() {
        tally.add_hour(destination, hour).await?;
    }
    tally.compare_receipts(destination).await?;
    if earlier == EarlierAudit::Compared {
        tally.compare_with_audit(destination).await?;
    }
    tally.compare_files(destination, reread).await?;
    Ok(tally.into_report())
}
