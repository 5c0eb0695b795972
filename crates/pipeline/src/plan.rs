//! The planner: enumerates the hour prefixes of a range and queues one task per backup object.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use thiserror::Error;

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
use crate::resolved_request::ResolvedRequest;
use crate::storage::{
    ListObjects, ListedObject, Precondition, Records, StorageError, Written, list_all,
};
use crate::task::{SourceKey, SourceKeyError, Task, TaskId};

/// Hours that are listed at the same time.
const HOURS_LISTED_AT_ONCE: usize = 8;

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
            Self::TooManyObjects { hour, .. } => Some(format!(
                "split the range: end the first part before `{}`",
                hour.label()
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
    /// How much it may take on.
    pub limits: PlanLimits,
    /// Who watches.
    pub observer: &'a dyn Observer,
}

impl Planner<'_> {
    /// Plans the run, or goes on where an earlier call for the same run stopped. Hours are listed
    /// once and then frozen; their tasks are queued while further hours are listed.
    ///
    /// # Errors
    ///
    /// See [`PlanError`]. What was planned before stays, and the same call goes on with the rest.
    pub async fn plan(
        &self,
        request: &ResolvedRequest,
        execution_id: &ExecutionId,
        now: DateTime<Utc>,
    ) -> Result<PlanRecord, PlanError> {
        let ledger = Ledger::new(execution_id.clone());
        self.record_request(&ledger, request, now).await?;
        let known = read_record::<PlanRecord>(self.ledger, &ledger.plan_key()).await?;
        let mut summary = Summary::default();
        let mut hours = stream::iter(request.window().hours())
            .map(|hour| self.freeze_hour(&ledger, request, hour))
            .buffered(HOURS_LISTED_AT_ONCE);
        while let Some((tasks, frozen_before)) = hours.try_next().await? {
            summary.add(&tasks.head);
            self.check_limit(&summary, tasks.head.hour)?;
            self.observer.planned(tasks.head.planned, tasks.head.bytes);
            self.queue_hour(&ledger, request, tasks, frozen_before, known.is_some())
                .await?;
        }
        if let Some((plan, _)) = known {
            self.observer.plan_complete(&plan);
            return Ok(plan);
        }
        let plan = summary.into_plan(execution_id.clone(), now);
        let key = ledger.plan_key();
        self.ledger
            .put_if(&key, to_json(&key, &plan)?, Precondition::Absent)
            .await?;
        self.observer.plan_complete(&plan);
        Ok(plan)
    }

    /// What a plan would say, without writing or queueing anything.
    ///
    /// # Errors
    ///
    /// See [`PlanError`].
    pub async fn preview(
        &self,
        request: &ResolvedRequest,
        execution_id: &ExecutionId,
        now: DateTime<Utc>,
    ) -> Result<PlanRecord, PlanError> {
        let mut summary = Summary::default();
        let mut hours = stream::iter(request.window().hours())
            .map(|hour| self.list_hour(request, hour))
            .buffered(HOURS_LISTED_AT_ONCE);
        while let Some(tasks) = hours.try_next().await? {
            summary.add(&tasks.head);
            self.check_limit(&summary, tasks.head.hour)?;
            self.observer.planned(tasks.head.planned, tasks.head.bytes);
        }
        Ok(summary.into_plan(execution_id.clone(), now))
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

    fn check_limit(&self, summary: &Summary, hour: HourPrefix) -> Result<(), PlanError> {
        let objects_max = self.limits.objects_max;
        if summary.objects.planned > objects_max {
            return Err(PlanError::TooManyObjects { objects_max, hour });
        }
        Ok(())
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
        let tasks = self.list_hour(request, hour).await?;
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

    async fn list_hour(
        &self,
        request: &ResolvedRequest,
        hour: HourPrefix,
    ) -> Result<HourTasks, PlanError> {
        let listed = list_all(self.source, &hour.key()).await?;
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

    /// Queues the tasks that may not be queued yet.
    async fn queue_hour(
        &self,
        ledger: &Ledger,
        request: &ResolvedRequest,
        tasks: HourTasks,
        frozen_before: bool,
        plan_complete: bool,
    ) -> Result<(), PlanError> {
        let queued_key = ledger.queued_key(tasks.head.hour);
        if frozen_before && self.queue.is_durable() && !plan_complete {
            let queued = self.ledger.get(&queued_key).await?.is_some();
            if queued {
                return Ok(());
            }
        }
        let mut messages = Vec::with_capacity(tasks.objects.len());
        for object in &tasks.objects {
            let key = SourceKey::parse(&object.key)?;
            if frozen_before && self.report_if_done(ledger, &key).await? {
                continue;
            }
            messages.push(Task::new(ledger.execution_id(), request, key, object));
        }
        self.queue.send(messages).await?;
        self.ledger.put(&queued_key, Vec::new()).await?;
        Ok(())
    }

    async fn report_if_done(&self, ledger: &Ledger, key: &SourceKey) -> Result<bool, PlanError> {
        let receipt_key = ledger.receipt_key(&TaskId::of(key));
        let receipt = read_record::<Receipt>(self.ledger, &receipt_key).await?;
        match receipt {
            Some((receipt, _)) if matches!(receipt.state, State::Done(_)) => {
                self.observer.task_ended(&receipt);
                Ok(true)
            }
            _ => Ok(false),
        }
    }
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
