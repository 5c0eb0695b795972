//! The planner: enumerates the hour prefixes of a range and queues one task per backup object.

pub(crate) mod call;
pub(crate) mod cancelled;
pub(crate) mod error;
pub(crate) mod forecast;
pub(crate) mod freeze;
pub(crate) mod limits;
pub(crate) mod listing;
pub(crate) mod lists;
pub(crate) mod preview;
pub(crate) mod queueing;
pub(crate) mod requeue;
pub(crate) mod salvage;
pub(crate) mod summary;

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use tracing::{debug, instrument};

use crate::audit::call::AuditCaller;
use crate::ledger::audit_record::audit_record;
use crate::ledger::cancellation::CancelLooks;
use crate::ledger::late_plan::read_late_plans;
use crate::ledger::observer::Observer;
use crate::ledger::plan_record::PlanRecord;
use crate::ledger::planning_record::Refusal;
use crate::ledger::provisional::ProvisionalRecord;
use crate::ledger::report::{Report, Verdict};
use crate::ledger::task_lists::{TaskList, TaskLists};
use crate::ledger::{
    LEDGER_VERSION, Ledger, RequestRecord, SOFTWARE, Sealed, find_record, read_record, read_sealed,
    seal, to_json,
};
use crate::plan::call::{Planned, PlanningCall};
use crate::plan::error::{PlanError, PlanStep};
use crate::plan::limits::PlanLimits;
use crate::plan::lists::run_lists;
use crate::queue::SendTasks;
use crate::request::execution_id::ExecutionId;
use crate::request::late_allowance::LateAllowance;
use crate::request::resolved::ResolvedRequest;
use crate::storage::{LedgerStorage, ListObjects, Precondition, Records, Written};

/// How long the deadline of an audit is, for a planner that calls no auditor itself.
const WAIT_HOURS_WITHOUT_AUDITOR: u32 = 24;

/// Plans runs.
pub struct Planner<'a> {
    /// Lists the backup.
    pub source: &'a dyn ListObjects,
    /// Holds the ledger.
    pub ledger: &'a dyn LedgerStorage,
    /// Receives the tasks.
    pub queue: &'a dyn SendTasks,
    /// Calls the auditor; `None` where the caller audits the run itself.
    pub auditor: Option<&'a AuditCaller>,
    /// The deadline, checked after each hour; `None` for none. What is planned by then stays.
    pub until: Option<Instant>,
    /// Limits of the plan.
    pub limits: PlanLimits,
    /// Recorded with the request of a new run.
    pub terms: RunTerms,
    /// Receives progress.
    pub observer: &'a dyn Observer,
}

/// What the ledger holds of a run besides its request. It changes nothing in the output, so a run can be
/// resumed with other terms; it keeps those that it began with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunTerms {
    /// How long an hour may gain objects after its end.
    pub late_allowance: LateAllowance,
    /// The scheduled time, for the run of a schedule.
    pub scheduled_for: Option<DateTime<Utc>>,
    /// The URL of the source, if it is a bucket.
    pub source: Option<String>,
}

/// One call of the planner: the run's names, and the clock.
pub(crate) struct Call<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) request: &'a ResolvedRequest,
    began: Instant,
    began_at: DateTime<Utc>,
    looks: CancelLooks,
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        ledger: &'a Ledger,
        request: &'a ResolvedRequest,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            ledger,
            request,
            began: Instant::now(),
            began_at: now,
            looks: CancelLooks::default(),
        }
    }

    /// When the call began.
    pub(crate) fn began_at(&self) -> DateTime<Utc> {
        self.began_at
    }

    /// The time now, by the clock of the call's beginning.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.began_at + TimeDelta::from_std(self.began.elapsed()).unwrap_or_default()
    }
}

impl Planner<'_> {
    /// Plans the run, or resumes the plan of an earlier call for the same run. All hours are listed once and
    /// then frozen; when all of them are frozen and within the limits, their tasks are queued. If the plan is
    /// complete already, the tasks that have failed since are queued again.
    ///
    /// # Errors
    ///
    /// See [`PlanError`]. What was planned before stays, and the same call resumes with the rest.
    #[instrument(skip_all, fields(%execution_id))]
    pub async fn plan(
        &self,
        request: &ResolvedRequest,
        execution_id: &ExecutionId,
        now: DateTime<Utc>,
    ) -> Result<Planned, PlanError> {
        let ledger = Ledger::new(execution_id.clone());
        let recorded = self.record_request(&ledger, request, now).await?;
        let call = Call::new(&ledger, request, now);
        if !self.queue.is_durable() {
            // The consumer of such a queue waits for the answer, which a record need not repeat.
            Refusal::lift(self.ledger, &ledger).await?;
            return self.plan_hours(&call, recorded.digest).await;
        }
        self.mark_provisional(&recorded.value, &ledger, now).await?;
        let record = PlanningCall {
            records: self.ledger,
            ledger: &ledger,
            called_at: now,
        };
        record.begin().await?;
        Refusal::lift(self.ledger, &ledger).await?;
        let planned = self.plan_hours(&call, recorded.digest).await;
        record.end(&planned).await?;
        planned
    }

    async fn plan_hours(
        &self,
        call: &Call<'_>,
        request_digest: String,
    ) -> Result<Planned, PlanError> {
        self.stop_if_cancelled(call).await?;
        let ledger = call.ledger;
        let known = find_record::<PlanRecord>(self.ledger, &ledger.plan_key()).await?;
        let Some((plan, _)) = known else {
            self.call_auditor(ledger, call.began_at()).await?;
            return self.plan_anew(call, request_digest).await;
        };
        let late_plans = read_late_plans(self.ledger, ledger).await?;
        let lists = run_lists(call.request, &late_plans);
        let tasks_queued = if self.queue.is_durable() {
            self.queue_run_again(call, &lists).await?
        } else {
            let found = TaskLists::find(self.ledger, ledger).await?;
            self.queue_lists(call, &lists, &found, true).await?
        };
        self.observer.plan_complete(&plan);
        Ok(Planned { plan, tasks_queued })
    }

    /// Freezes all hours, and then queues their tasks: a run that exceeds a limit queues nothing.
    async fn plan_anew(
        &self,
        call: &Call<'_>,
        request_digest: String,
    ) -> Result<Planned, PlanError> {
        let ledger = call.ledger;
        let frozen_before = TaskLists::find(self.ledger, ledger).await?;
        let mut summary = self.freeze_hours(call, &frozen_before).await?;
        let lists = run_lists(call.request, &[]);
        let tasks_queued = self
            .queue_lists(call, &lists, &frozen_before, false)
            .await?;
        let hours: Vec<_> = call.request.window().hours().collect();
        summary.unexpected.find_beside(self.source, &hours).await?;
        summary.request_digest = Some(request_digest);
        let plan = summary.into_plan(ledger.execution_id().clone(), call.began_at());
        let key = ledger.plan_key();
        let bytes = to_json(&key, &plan)?;
        let written = self.ledger.put_if(&key, bytes, Precondition::Absent);
        if written.await? == Written::PreconditionFailed {
            debug!(key, "another planner has completed the plan");
        }
        self.observer.plan_complete(&plan);
        Ok(Planned { plan, tasks_queued })
    }

    /// Queues the tasks of a complete plan again that have failed, and calls the auditor if that changes
    /// anything.
    async fn queue_run_again(&self, call: &Call<'_>, lists: &[TaskList]) -> Result<u64, PlanError> {
        let (ledger, now) = (call.ledger, call.began_at());
        let is_awaited = match audit_record(self.ledger, ledger).await? {
            Some((record, _)) => record.is_open(now),
            None => false,
        };
        let queued = self.requeue(call, lists, is_awaited).await?;
        if queued == 0 && !is_awaited && !self.is_settled(ledger).await? {
            self.call_auditor(ledger, now).await?;
        }
        Ok(queued)
    }

    pub(crate) fn is_out_of_time(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    pub(crate) fn out_of_time(
        &self,
        call: &Call<'_>,
        step: PlanStep,
        hours_done: usize,
        hours: usize,
    ) -> PlanError {
        PlanError::OutOfTime {
            execution_id: call.ledger.execution_id().clone(),
            step,
            hours_done: hours_done as u64,
            hours: hours as u64,
        }
    }

    /// Whether the newest report says that nothing is missing.
    async fn is_settled(&self, ledger: &Ledger) -> Result<bool, PlanError> {
        let report = read_record::<Report>(self.ledger, &ledger.report_key()).await?;
        Ok(report.is_some_and(|(report, _)| report.verdict != Verdict::Incomplete))
    }

    /// Marks the run for the periodic check, which removes the mark when the run is final.
    async fn mark_provisional(
        &self,
        request: &RequestRecord,
        ledger: &Ledger,
        now: DateTime<Utc>,
    ) -> Result<(), PlanError> {
        let wait_hours = self
            .auditor
            .map_or(WAIT_HOURS_WITHOUT_AUDITOR, |auditor| auditor.wait_hours);
        let mark = ProvisionalRecord::new(ledger.execution_id(), request, now, wait_hours);
        Ok(mark.write(self.ledger).await?)
    }

    /// Records the request, or compares it with the recorded one. Returns the record that counts.
    async fn record_request(
        &self,
        ledger: &Ledger,
        request: &ResolvedRequest,
        now: DateTime<Utc>,
    ) -> Result<Recorded, PlanError> {
        let key = ledger.request_key();
        let RunTerms {
            late_allowance,
            scheduled_for,
            source,
        } = self.terms.clone();
        let record = RequestRecord {
            version: LEDGER_VERSION,
            software: SOFTWARE.to_owned(),
            created_at: now,
            request: request.clone(),
            late_allowance,
            scheduled_for,
            source,
        };
        let bytes = to_json(&key, &record)?;
        let digest = seal::digest(&bytes);
        let written = self.ledger.put_if(&key, bytes, Precondition::Absent);
        if written.await? == Written::Yes {
            let value = record;
            return Ok(Recorded { value, digest });
        }
        match first_request(self.ledger, ledger, request).await? {
            Some(Sealed { value, digest, .. }) => Ok(Recorded { value, digest }),
            // Removed in between.
            None => Ok(Recorded {
                value: record,
                digest,
            }),
        }
    }

    pub(crate) async fn call_auditor(
        &self,
        ledger: &Ledger,
        now: DateTime<Utc>,
    ) -> Result<(), PlanError> {
        match self.auditor {
            Some(auditor) => Ok(auditor.call(self.ledger, ledger, now).await?),
            None => Ok(()),
        }
    }
}

/// A request as the ledger holds it, with the digest of the record.
struct Recorded {
    value: RequestRecord,
    digest: String,
}

/// Whether the run could be planned with this request: it is new, or has the same. Writes nothing.
///
/// # Errors
///
/// [`PlanError::OtherRequest`], and the ledger's.
pub async fn check_request(
    records: &dyn Records,
    ledger: &Ledger,
    request: &ResolvedRequest,
) -> Result<(), PlanError> {
    first_request(records, ledger, request).await.map(drop)
}

/// The request that the run began with, which must be the same.
async fn first_request<R: Records + ?Sized>(
    records: &R,
    ledger: &Ledger,
    request: &ResolvedRequest,
) -> Result<Option<Sealed<RequestRecord>>, PlanError> {
    let first = read_sealed::<RequestRecord>(records, &ledger.request_key()).await?;
    let difference = first
        .as_ref()
        .and_then(|first| first.value.request.first_difference(request));
    match difference {
        Some(field) => Err(PlanError::OtherRequest {
            execution_id: ledger.execution_id().clone(),
            field,
        }),
        None => Ok(first),
    }
}
