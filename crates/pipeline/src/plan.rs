//! The planner: enumerates the hour prefixes of a range and queues one task per backup object.

use std::collections::BTreeMap;
use std::time::Instant;

use chrono::{DateTime, SecondsFormat, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::audit_call::{AuditCallError, AuditCaller, audit_record};
use crate::execution_id::ExecutionId;
use crate::hour_prefix::HourPrefix;
use crate::ledger::{
    HourHead, HourTasks, LEDGER_VERSION, Ledger, LedgerError, RequestRecord, SOFTWARE, Versioned,
    read_record, to_json,
};
use crate::object_name::ObjectTime;
use crate::observer::Observer;
use crate::queue::{QueueError, SendTasks};
use crate::receipt::{Receipt, State};
use crate::report::{Report, Verdict};
use crate::resolved_request::ResolvedRequest;
use crate::storage::{
    ListObjects, ListedObject, Precondition, Records, StorageError, Written, list_all,
};
use crate::task::{SourceKey, SourceKeyError, Task, TaskId};

/// Hours that are listed at the same time.
const HOURS_LISTED_AT_ONCE: usize = 8;
/// Receipts that are read at the same time.
const RECEIPTS_READ_AT_ONCE: usize = 64;

/// What a planner may take on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLimits {
    /// Most objects of one run.
    pub objects_max: u64,
}

impl Default for PlanLimits {
    /// A million objects: about 10 TB at the 10 MB that the platform writes at most.
    fn default() -> Self {
        Self {
            objects_max: 1_000_000,
        }
    }
}

impl PlanLimits {
    fn check(&self, summary: &Summary, hour: HourPrefix) -> Result<(), PlanError> {
        let objects_max = self.objects_max;
        if summary.objects.planned > objects_max {
            return Err(PlanError::TooManyObjects { objects_max, hour });
        }
        Ok(())
    }
}

/// The summary of a complete plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// [`LEDGER_VERSION`].
    pub version: u32,
    /// The run.
    pub execution_id: ExecutionId,
    /// When the planning began that completed the plan.
    pub planned_at: DateTime<Utc>,
    /// Hour prefixes that were listed.
    pub hours: u64,
    /// Those without objects.
    pub empty_hours: Vec<HourPrefix>,
    /// Objects found.
    pub objects: PlannedObjects,
    /// Planned objects whose names do not follow the pattern.
    pub foreign_names: u64,
    /// Bytes of the planned objects, as stored.
    pub bytes: u64,
    /// The same for each day of the hour prefixes.
    pub days: Vec<PlannedDay>,
}

/// What a call of the planner came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The plan, which is complete.
    pub plan: PlanRecord,
    /// Tasks that this call queued.
    pub tasks_queued: u64,
}

/// Objects of a plan: `listed = pruned + planned`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedObjects {
    /// Under the hour prefixes.
    pub listed: u64,
    /// Left out, since they can't hold events of the window.
    pub pruned: u64,
    /// To be recovered.
    pub planned: u64,
}

/// One day of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDay {
    /// The day of the hour prefixes, `YYYY-MM-DD`.
    pub date: String,
    /// Objects found.
    pub objects: PlannedObjects,
    /// Bytes of the planned objects, as stored.
    pub bytes: u64,
    /// Listed hours without objects.
    pub empty_hours: Vec<HourPrefix>,
}

impl Versioned for PlanRecord {
    fn version(&self) -> u32 {
        self.version
    }
}

/// Why there is no plan.
#[derive(Debug, Error)]
pub enum PlanError {
    /// A run with this id has another request.
    #[error("the run `{execution_id}` has another request: `{field}` differs")]
    OtherRequest {
        /// The run.
        execution_id: ExecutionId,
        /// The first field that differs.
        field: &'static str,
    },
    /// More objects than the limit.
    #[error("the range holds more than {objects_max} objects")]
    TooManyObjects {
        /// The limit.
        objects_max: u64,
        /// The hour at which the limit was passed.
        hour: HourPrefix,
    },
    /// The caller's time was up.
    #[error("the time was up after {hours_done} of {hours} hours of the run `{execution_id}`")]
    OutOfTime {
        /// The run.
        execution_id: ExecutionId,
        /// Hours whose tasks are queued.
        hours_done: u64,
        /// Hours of the window.
        hours: u64,
    },
    /// An object has a name that can't be planned.
    #[error(transparent)]
    Key(#[from] SourceKeyError),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl PlanError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::OtherRequest { .. } => Some(
                "repeat the first request to go on with the run, or choose another id".to_owned(),
            ),
            Self::TooManyObjects { hour, .. } => {
                let split = hour.start().to_rfc3339_opts(SecondsFormat::Secs, true);
                Some(format!(
                    "split the range: once with `--end {split}` (`\"end\": \"{split}\"`), once with \
                     `--start {split}`, both with instants and further execution ids"
                ))
            }
            Self::OutOfTime { execution_id, .. } => Some(format!(
                "repeat the request with `execution_id` `{execution_id}`: it goes on with the rest"
            )),
            Self::Storage(error) | Self::Ledger(LedgerError::Storage(error)) => error.hint.clone(),
            Self::Key(_) => Some(
                "copy the object to a plain name under the same hour prefix, and move it away"
                    .to_owned(),
            ),
            Self::Ledger(_) | Self::Queue(_) => None,
        }
    }
}

/// Plans runs.
pub struct Planner<'a> {
    /// Where the backup is.
    pub source: &'a dyn ListObjects,
    /// Where the ledger is.
    pub ledger: &'a dyn Records,
    /// Where tasks go.
    pub queue: &'a dyn SendTasks,
    /// Whom to call to audit the run, where that is not the caller itself.
    pub auditor: Option<&'a AuditCaller>,
    /// When to stop, with what was planned so far; `None` for never.
    pub until: Option<Instant>,
    /// How much it may take on.
    pub limits: PlanLimits,
    /// Who watches.
    pub observer: &'a dyn Observer,
}

impl Planner<'_> {
    /// Plans the run, or goes on where an earlier call for the same run stopped. Hours are listed
    /// once and then frozen; their tasks are queued while further hours are listed. If the plan is
    /// complete already, what has failed since is queued again.
    ///
    /// # Errors
    ///
    /// See [`PlanError`]. What was planned before stays, and the same call goes on with the rest.
    pub async fn plan(
        &self,
        request: &ResolvedRequest,
        execution_id: &ExecutionId,
        now: DateTime<Utc>,
    ) -> Result<Planned, PlanError> {
        let ledger = Ledger::new(execution_id.clone());
        self.record_request(&ledger, request, now).await?;
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
        let mut frozen = stream::iter(hours)
            .map(|hour| self.freeze_hour(&ledger, request, hour))
            .buffered(HOURS_LISTED_AT_ONCE);
        while let Some((tasks, frozen_before)) = frozen.try_next().await? {
            summary.add(&tasks.head);
            self.limits.check(&summary, tasks.head.hour)?;
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
                let plan = summary.into_plan(execution_id.clone(), now);
                let key = ledger.plan_key();
                self.ledger
                    .put_if(&key, to_json(&key, &plan)?, Precondition::Absent)
                    .await?;
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

    async fn record_request(
        &self,
        ledger: &Ledger,
        request: &ResolvedRequest,
        now: DateTime<Utc>,
    ) -> Result<(), PlanError> {
        let key = ledger.request_key();
        let record = RequestRecord {
            version: LEDGER_VERSION,
            software: SOFTWARE.to_owned(),
            created_at: now,
            request: request.clone(),
        };
        self.ledger
            .put_if(&key, to_json(&key, &record)?, Precondition::Absent)
            .await?;
        let first = read_record::<RequestRecord>(self.ledger, &key).await?;
        match first.and_then(|(first, _)| first.request.first_difference(request)) {
            Some(field) => {
                let execution_id = ledger.execution_id().clone();
                Err(PlanError::OtherRequest {
                    execution_id,
                    field,
                })
            }
            None => Ok(()),
        }
    }

    /// The hour's task list, and whether an earlier call froze it.
    async fn freeze_hour(
        &self,
        ledger: &Ledger,
        request: &ResolvedRequest,
        hour: HourPrefix,
    ) -> Result<(HourTasks, bool), PlanError> {
        let key = ledger.tasks_key(hour);
        if let Some(tasks) = read_hour(self.ledger, &key).await? {
            return Ok((tasks, true));
        }
        let tasks = list_hour(self.source, request, hour).await?;
        let bytes = tasks.to_jsonl().map_err(|error| LedgerError::Invalid {
            key: key.clone(),
            detail: error.to_string(),
        })?;
        match self
            .ledger
            .put_if(&key, bytes, Precondition::Absent)
            .await?
        {
            Written::Yes => Ok((tasks, false)),
            // Another planner of the same run was faster; its list counts.
            Written::PreconditionFailed => {
                Ok((read_hour(self.ledger, &key).await?.unwrap_or(tasks), true))
            }
        }
    }

    /// Queues the tasks of an hour that was not planned before, or is planned by a queue that
    /// forgets: those without a receipt that says done. Returns how many.
    async fn queue_hour(
        &self,
        ledger: &Ledger,
        request: &ResolvedRequest,
        tasks: HourTasks,
        frozen_before: bool,
    ) -> Result<u64, PlanError> {
        let queued_key = ledger.queued_key(tasks.head.hour);
        if frozen_before && self.queue.is_durable() {
            let queued = self.ledger.get(&queued_key).await?.is_some();
            if queued {
                return Ok(0);
            }
        }
        let mut messages = Vec::with_capacity(tasks.objects.len());
        if frozen_before {
            for (key, object, receipt) in self.receipts(ledger, &tasks).await? {
                match receipt {
                    Some((receipt, _)) if receipt.is_done() => self.observer.task_ended(&receipt),
                    _ => messages.push(Task::new(ledger.execution_id(), request, key, object)),
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

    /// Queues the tasks of a complete plan again that have failed, and those that nothing was
    /// heard of if no auditor waits for them any more. Returns how many.
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
        for (key, object, receipt) in self.receipts(ledger, tasks).await? {
            let task = Task::new(ledger.execution_id(), request, key, object);
            match receipt {
                Some((receipt, _)) if receipt.is_done() => self.observer.task_ended(&receipt),
                Some((receipt, etag)) if receipt.has_failed(now) => {
                    failed.push((ledger.receipt_key(&task.id()), receipt, etag));
                    again.push(task);
                }
                _ if is_awaited => {}
                _ => again.push(task),
            }
        }
        if again.is_empty() {
            return Ok(0);
        }
        let queued = again.len() as u64;
        // The auditor first, so that it is there when the last task ends.
        self.call_auditor(ledger, now).await?;
        self.queue.send(again).await?;
        // Only now: a planner that dies in between leaves them failed, to be queued again.
        for (key, receipt, etag) in failed {
            let receipt = Receipt {
                state: State::Queued { queued_at: now },
                ..receipt
            };
            let bytes = to_json(&key, &receipt)?;
            // A worker that was faster has written a newer one, which stays.
            self.ledger
                .put_if(&key, bytes, Precondition::Unchanged(etag))
                .await?;
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

    /// The hour's objects in order, each with its receipt and the receipt's etag.
    async fn receipts<'t>(
        &self,
        ledger: &Ledger,
        tasks: &'t HourTasks,
    ) -> Result<Vec<(SourceKey, &'t ListedObject, Option<(Receipt, String)>)>, PlanError> {
        stream::iter(&tasks.objects)
            .map(async |object| {
                let key = SourceKey::parse(&object.key)?;
                let receipt_key = ledger.receipt_key(&TaskId::of(&key));
                let receipt = read_record::<Receipt>(self.ledger, &receipt_key).await?;
                Ok((key, object, receipt))
            })
            .buffered(RECEIPTS_READ_AT_ONCE)
            .try_collect()
            .await
    }
}

/// What a plan would say, without writing or queueing anything.
///
/// # Errors
///
/// See [`PlanError`].
pub async fn preview(
    source: &dyn ListObjects,
    request: &ResolvedRequest,
    execution_id: &ExecutionId,
    limits: PlanLimits,
    observer: &dyn Observer,
    now: DateTime<Utc>,
) -> Result<PlanRecord, PlanError> {
    let mut summary = Summary::default();
    let mut hours = stream::iter(request.window().hours())
        .map(|hour| list_hour(source, request, hour))
        .buffered(HOURS_LISTED_AT_ONCE);
    while let Some(tasks) = hours.try_next().await? {
        summary.add(&tasks.head);
        limits.check(&summary, tasks.head.hour)?;
        observer.planned(tasks.head.planned, tasks.head.bytes);
    }
    Ok(summary.into_plan(execution_id.clone(), now))
}

async fn list_hour(
    source: &dyn ListObjects,
    request: &ResolvedRequest,
    hour: HourPrefix,
) -> Result<HourTasks, PlanError> {
    let listed = list_all(source, &hour.key()).await?;
    let window = request.window();
    let mut head = HourHead {
        version: LEDGER_VERSION,
        hour,
        listed: listed.len() as u64,
        pruned: 0,
        planned: 0,
        foreign_names: 0,
        bytes: 0,
    };
    let mut objects = Vec::with_capacity(listed.len());
    for object in listed {
        if is_folder_marker(&object) {
            head.pruned += 1;
            continue;
        }
        let key = SourceKey::parse(&object.key)?;
        let time = ObjectTime::parse(key.name(), &request.org_id, hour);
        if window.may_hold(&time) {
            head.planned += 1;
            head.bytes += object.size;
            head.foreign_names += u64::from(time.is_foreign());
            objects.push(object);
        } else {
            head.pruned += 1;
        }
    }
    Ok(HourTasks { head, objects })
}

/// Reads a frozen hour.
pub(crate) async fn read_hour(
    ledger: &(impl Records + ?Sized),
    key: &str,
) -> Result<Option<HourTasks>, LedgerError> {
    match ledger.get(key).await? {
        Some(record) => HourTasks::from_jsonl(key, &record.bytes).map(Some),
        None => Ok(None),
    }
}

/// Consoles mark folders with empty objects whose keys end with a slash.
fn is_folder_marker(object: &ListedObject) -> bool {
    object.size == 0 && object.key.ends_with('/')
}

/// Adds up the hours of a plan.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    hours: u64,
    empty_hours: Vec<HourPrefix>,
    pub(crate) objects: PlannedObjects,
    foreign_names: u64,
    bytes: u64,
    days: BTreeMap<String, PlannedDay>,
}

impl Summary {
    pub(crate) fn add(&mut self, head: &HourHead) {
        let date = head.hour.start().format("%Y-%m-%d").to_string();
        let day = self.days.entry(date.clone()).or_insert_with(|| PlannedDay {
            date,
            objects: PlannedObjects::default(),
            bytes: 0,
            empty_hours: Vec::new(),
        });
        for objects in [&mut self.objects, &mut day.objects] {
            objects.listed += head.listed;
            objects.pruned += head.pruned;
            objects.planned += head.planned;
        }
        if head.listed == 0 {
            self.empty_hours.push(head.hour);
            day.empty_hours.push(head.hour);
        }
        self.hours += 1;
        self.foreign_names += head.foreign_names;
        self.bytes += head.bytes;
        day.bytes += head.bytes;
    }

    fn into_plan(self, execution_id: ExecutionId, planned_at: DateTime<Utc>) -> PlanRecord {
        PlanRecord {
            version: LEDGER_VERSION,
            execution_id,
            planned_at,
            hours: self.hours,
            empty_hours: self.empty_hours,
            objects: self.objects,
            foreign_names: self.foreign_names,
            bytes: self.bytes,
            days: self.days.into_values().collect(),
        }
    }
}
