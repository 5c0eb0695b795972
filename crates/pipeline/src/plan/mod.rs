//! The planner: enumerates the hour prefixes of a range and queues one task per backup object.

pub(crate) mod call;
pub(crate) mod error;
pub(crate) mod limits;
pub(crate) mod listing;
pub(crate) mod preview;
pub(crate) mod summary;

use std::time::Instant;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use tracing::{debug, instrument};

use crate::audit::call::{AuditCallError, AuditCaller};
use crate::backup::hour_prefix::HourPrefix;
use crate::backup::source_key::SourceKey;
use crate::ledger::audit_record::audit_record;
use crate::ledger::hour::{FrozenHour, HourTasks, read_hour};
use crate::ledger::observer::Observer;
use crate::ledger::plan_record::PlanRecord;
use crate::ledger::planning_record::Refusal;
use crate::ledger::receipt::{ListedTask, Receipt, State, with_receipts};
use crate::ledger::report::{Report, Verdict};
use crate::ledger::{
    LEDGER_VERSION, Ledger, LedgerError, RequestRecord, SOFTWARE, Sealed, read_record, read_sealed,
    seal, to_json,
};
use crate::plan::call::{Planned, PlanningCall};
use crate::plan::error::PlanError;
use crate::plan::limits::PlanLimits;
use crate::plan::listing::{HOURS_LISTED_AT_ONCE, list_hour};
use crate::plan::summary::Summary;
use crate::queue::SendTasks;
use crate::queue::task::Task;
use crate::request::execution_id::ExecutionId;
use crate::request::resolved::ResolvedRequest;
use crate::storage::{ListObjects, Precondition, Records, Written};

/// Plans runs.
pub struct Planner<'a> {
    /// Lists the backup.
    pub source: &'a dyn ListObjects,
    /// Holds the ledger.
    pub ledger: &'a dyn Records,
    /// Receives the tasks.
    pub queue: &'a dyn SendTasks,
    /// Calls the auditor; `None` where the caller audits the run itself.
    pub auditor: Option<&'a AuditCaller>,
    /// The deadline, checked after each hour; `None` for none. What is planned by then stays.
    pub until: Option<Instant>,
    /// Limits of the plan.
    pub limits: PlanLimits,
    /// Receives progress.
    pub observer: &'a dyn Observer,
}

impl Planner<'_> {
    /// Plans the run, or resumes the plan of an earlier call for the same run. Hours are listed once and
    /// then frozen; their tasks are queued while further hours are listed. If the plan is complete
    /// already, the tasks that have failed since are queued again.
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
        let request_digest = self.record_request(&ledger, request, now).await?;
        if !self.queue.is_durable() {
            // The consumer of such a queue waits for the answer, which a record need not repeat.
            Refusal::lift(self.ledger, &ledger).await?;
            return self.plan_hours(ledger, request, request_digest, now).await;
        }
        let call = PlanningCall {
            records: self.ledger,
            ledger: &ledger,
            called_at: now,
        };
        call.begin().await?;
        Refusal::lift(self.ledger, &ledger).await?;
        let planned = self
            .plan_hours(ledger.clone(), request, request_digest, now)
            .await;
        call.end(&planned).await?;
        planned
    }

    async fn plan_hours(
        &self,
        ledger: Ledger,
        request: &ResolvedRequest,
        request_digest: String,
        now: DateTime<Utc>,
    ) -> Result<Planned, PlanError> {
        let execution_id = ledger.execution_id();
        let known = read_record::<PlanRecord>(self.ledger, &ledger.plan_key()).await?;
        let is_replanned = known.is_some() && self.queue.is_durable();
        let is_awaited = match audit_record(self.ledger, &ledger).await? {
            Some((record, _)) => record.is_open(now),
            None => false,
        };
        if !is_replanned {
            self.call_auditor(&ledger, now).await?;
        }
        let hours: Vec<HourPrefix> = request.window().hours().collect();
        let hours_planned = hours.len();
        let mut summary = Summary::default();
        let mut tasks_queued = 0;
        let mut frozen = stream::iter(hours.iter().copied())
            .map(|hour| self.freeze_hour(&ledger, request, hour))
            .buffered(HOURS_LISTED_AT_ONCE);
        while let Some(FrozenHour {
            tasks,
            digest,
            frozen_before,
        }) = frozen.try_next().await?
        {
            summary.add(&tasks.head);
            summary.task_lists.insert(tasks.head.hour, digest);
            // A complete plan stays valid, also where the limits have been lowered since.
            if known.is_none() {
                self.limits.check(&summary, tasks.head.hour)?;
            }
            self.observer.planned(tasks.head.planned, tasks.head.bytes);
            tasks_queued += if is_replanned {
                self.queue_again(&ledger, request, &tasks, is_awaited, now)
                    .await?
            } else {
                self.queue_hour(&ledger, request, tasks, frozen_before)
                    .await?
            };
            if self.is_out_of_time() && summary.hours < hours_planned as u64 {
                return Err(PlanError::OutOfTime {
                    execution_id: execution_id.clone(),
                    hours_done: summary.hours,
                    hours: hours_planned as u64,
                });
            }
        }
        if is_replanned && tasks_queued == 0 && !is_awaited && !self.is_settled(&ledger).await? {
            self.call_auditor(&ledger, now).await?;
        }
        let plan = match known {
            Some((plan, _)) => plan,
            None => {
                let unexpected = &mut summary.unexpected;
                unexpected.find_beside(self.source, &hours).await?;
                summary.request_digest = Some(request_digest);
                let plan = summary.into_plan(execution_id.clone(), now);
                let key = ledger.plan_key();
                let bytes = to_json(&key, &plan)?;
                let written = self.ledger.put_if(&key, bytes, Precondition::Absent);
                if written.await? == Written::PreconditionFailed {
                    debug!(key, "another planner has completed the plan");
                }
                plan
            }
        };
        self.observer.plan_complete(&plan);
        Ok(Planned { plan, tasks_queued })
    }

    fn is_out_of_time(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Whether the newest report says that nothing is missing.
    async fn is_settled(&self, ledger: &Ledger) -> Result<bool, PlanError> {
        let report = read_record::<Report>(self.ledger, &ledger.report_key()).await?;
        Ok(report.is_some_and(|(report, _)| report.verdict != Verdict::Incomplete))
    }

    /// Records the request, or compares it with the recorded one. Returns the record's digest.
    async fn record_request(
        &self,
        ledger: &Ledger,
        request: &ResolvedRequest,
        now: DateTime<Utc>,
    ) -> Result<String, PlanError> {
        let key = ledger.request_key();
        let record = RequestRecord {
            version: LEDGER_VERSION,
            software: SOFTWARE.to_owned(),
            created_at: now,
            request: request.clone(),
        };
        let bytes = to_json(&key, &record)?;
        let digest = seal::digest(&bytes);
        self.ledger
            .put_if(&key, bytes, Precondition::Absent)
            .await?;
        let first = first_request(self.ledger, ledger, request).await?;
        Ok(first.map_or(digest, |first| first.digest))
    }

    /// Lists the hour and records its task list, unless there is one.
    async fn freeze_hour(
        &self,
        ledger: &Ledger,
        request: &ResolvedRequest,
        hour: HourPrefix,
    ) -> Result<FrozenHour, PlanError> {
        let key = ledger.tasks_key(hour);
        if let Some(frozen) = read_hour(self.ledger, &key).await? {
            return Ok(frozen);
        }
        let tasks = list_hour(self.source, request, hour).await?;
        let bytes = tasks.to_jsonl().map_err(|error| LedgerError::Invalid {
            key: key.clone(),
            detail: error.to_string(),
        })?;
        let digest = seal::digest(&bytes);
        let written = self.ledger.put_if(&key, bytes, Precondition::Absent);
        let frozen_before = written.await? == Written::PreconditionFailed;
        // Another planner of the same run has written the list meanwhile. That list counts, since workers
        // may know it already.
        if frozen_before && let Some(frozen) = read_hour(self.ledger, &key).await? {
            debug!(key, "another planner has frozen the hour");
            return Ok(frozen);
        }
        Ok(FrozenHour {
            tasks,
            digest,
            frozen_before,
        })
    }

    /// Queues the tasks of an hour that was not queued before, or whose queue did not outlive its process:
    /// those without a receipt that says done. Returns how many.
    async fn queue_hour(
        &self,
        ledger: &Ledger,
        request: &ResolvedRequest,
        tasks: HourTasks,
        frozen_before: bool,
    ) -> Result<u64, PlanError> {
        let queued_key = ledger.queued_key(tasks.head.hour);
        if frozen_before && self.queue.is_durable() {
            let queued = self.ledger.find(&queued_key).await?.is_some();
            if queued {
                return Ok(0);
            }
        }
        let mut messages = Vec::with_capacity(tasks.objects.len());
        if frozen_before {
            let mut listed = with_receipts(self.ledger, ledger, &tasks.objects);
            while let Some(ListedTask { object, key, found }) = listed.try_next().await? {
                let key = key?;
                match found.known(&key).done() {
                    Some(receipt) => self.observer.task_ended(receipt),
                    None => messages.push(Task::new(ledger.execution_id(), request, key, object)),
                }
            }
        } else {
            for object in &tasks.objects {
                let key = SourceKey::parse(&object.key)?;
                messages.push(Task::new(ledger.execution_id(), request, key, object));
            }
        }
        let queued = messages.len() as u64;
        self.queue.send(messages).await?;
        self.ledger.put(&queued_key, Vec::new()).await?;
        Ok(queued)
    }

    /// Queues the failed tasks of a complete plan again, and those without a receipt if no auditor waits
    /// for them any more. Returns how many.
    async fn queue_again(
        &self,
        ledger: &Ledger,
        request: &ResolvedRequest,
        tasks: &HourTasks,
        is_awaited: bool,
        now: DateTime<Utc>,
    ) -> Result<u64, PlanError> {
        let mut again = Vec::new();
        let mut failed = Vec::new();
        let mut listed = with_receipts(self.ledger, ledger, &tasks.objects);
        while let Some(ListedTask { object, key, found }) = listed.try_next().await? {
            let key = key?;
            let receipt = found.known(&key);
            let task = Task::new(ledger.execution_id(), request, key, object);
            match (receipt.receipt, receipt.etag) {
                (Some(receipt), _) if receipt.is_done() => self.observer.task_ended(&receipt),
                (Some(receipt), Some(etag)) if receipt.has_failed(now) => {
                    failed.push((ledger.receipt_key(&task.id()), receipt, etag));
                    again.push(task.again());
                }
                _ if is_awaited => {}
                _ => again.push(task),
            }
        }
        if again.is_empty() {
            return Ok(0);
        }
        let queued = again.len() as u64;
        // The auditor first, so that it is waiting when the last task ends.
        self.call_auditor(ledger, now).await?;
        self.queue.send(again).await?;
        // Only now: a planner that dies in between leaves them failed, to be queued again.
        for (key, receipt, etag) in failed {
            let receipt = Receipt {
                state: State::Queued { queued_at: now },
                ..receipt
            };
            let bytes = to_json(&key, &receipt)?;
            // A receipt that a worker has written since then is newer and stays.
            let written = self
                .ledger
                .put_if(&key, bytes, Precondition::Unchanged(etag));
            if written.await? == Written::PreconditionFailed {
                debug!(key, "a worker has written the receipt meanwhile");
            }
        }
        Ok(queued)
    }

    async fn call_auditor(&self, ledger: &Ledger, now: DateTime<Utc>) -> Result<(), PlanError> {
        let Some(auditor) = self.auditor else {
            return Ok(());
        };
        auditor
            .call(self.ledger, ledger, now)
            .await
            .map_err(|error| match error {
                AuditCallError::Ledger(error) => PlanError::Ledger(error),
                AuditCallError::Queue(error) => PlanError::Queue(error),
            })
    }
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
async fn first_request(
    records: &dyn Records,
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
