//! The recheck: lists the hours of a run again, and adds to the run what came since.

pub(crate) mod due;
pub(crate) mod hour;
pub(crate) mod schedule_watch;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tracing::{debug, instrument};

use crate::backup::hour_prefix::HourPrefix;
use crate::backup::unexpected::Unexpected;
use crate::ledger::hour::read_hour;
use crate::ledger::late_plan::{LatePlanRecord, read_late_plans};
use crate::ledger::plan_record::{PlanRecord, PlannedObjects};
use crate::ledger::recheck_record::{NamedKeys, RecheckRecord};
use crate::ledger::report::Finality;
use crate::ledger::task_lists::{TaskList, TaskLists};
use crate::ledger::{
    LEDGER_VERSION, Ledger, RequestRecord, Sealed, find_record, read_sealed, to_json,
};
use crate::plan::error::{PlanError, PlanStep};
use crate::plan::listing::{HOURS_LISTED_AT_ONCE, is_foreign, list_hour};
use crate::plan::lists::{late_lists, run_lists};
use crate::plan::summary::Summary;
use crate::plan::{Call, Planner};
use crate::recheck::hour::{HourAgain, compare};
use crate::request::execution_id::ExecutionId;
use crate::storage::{LedgerStorage, ListedObject, Precondition, Written};

/// Most listings of one recheck. Another one is needed when an earlier recheck was killed, or another one is
/// in progress.
const ROUNDS_MAX: u32 = 8;
/// Most attempts at a record that other rechecks write at the same time.
const CONFLICTS_MAX: u32 = 8;

/// What a recheck found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rechecked {
    /// The run.
    pub execution_id: ExecutionId,
    /// Objects that came since the hours were last listed.
    pub late_objects: u64,
    /// Their bytes, as stored.
    pub late_bytes: u64,
    /// Objects of the plan whose size or etag is no longer the planned one.
    pub changed: NamedKeys,
    /// Objects of the plan that are gone.
    pub vanished: NamedKeys,
    /// Tasks that this call queued, also those of a recheck that was killed.
    pub tasks_queued: u64,
    /// Of this listing; the report is final once its audit has ended.
    #[serde(flatten)]
    pub finality: Finality,
}

/// Whether the run could be rechecked: its plan is complete. Writes nothing.
///
/// # Errors
///
/// [`PlanError::UnknownRun`], [`PlanError::NotPlanned`], and the ledger's.
pub async fn check_recheck(storage: &dyn LedgerStorage, ledger: &Ledger) -> Result<(), PlanError> {
    planned_run(storage, ledger).await.map(drop)
}

/// A run with a complete plan.
async fn planned_run(
    storage: &dyn LedgerStorage,
    ledger: &Ledger,
) -> Result<(RequestRecord, Sealed<PlanRecord>), PlanError> {
    let id = ledger.execution_id();
    let request = find_record::<RequestRecord>(storage, &ledger.request_key()).await?;
    let Some((request, _)) = request else {
        return Err(PlanError::UnknownRun(id.clone()));
    };
    let plan = read_sealed::<PlanRecord>(storage, &ledger.plan_key()).await?;
    let plan = plan.ok_or_else(|| PlanError::NotPlanned(id.clone()))?;
    Ok((request, plan))
}

/// One listing of all hours, compared with the run's task lists.
#[derive(Default)]
struct Round {
    /// Adds up the late task lists.
    late: Summary,
    changed: NamedKeys,
    vanished: NamedKeys,
    unexpected: Unexpected,
    /// Whether a late list was there already, whose recheck was killed or is in progress.
    met_another: bool,
}

impl Planner<'_> {
    /// Lists the hours of a run again and compares with all of its task lists. New objects are frozen in late
    /// task lists, and their tasks queued; objects that have changed or are gone are counted and named. What is
    /// done stays as it is. A repeated call resumes what another one left.
    ///
    /// # Errors
    ///
    /// See [`PlanError`]. Also a run without a complete plan.
    #[instrument(skip_all, fields(%execution_id))]
    pub async fn recheck(
        &self,
        execution_id: &ExecutionId,
        now: DateTime<Utc>,
    ) -> Result<Rechecked, PlanError> {
        let ledger = Ledger::new(execution_id.clone());
        let (request, plan) = planned_run(self.ledger, &ledger).await?;
        let call = Call::new(&ledger, &request.request, now);
        self.stop_if_cancelled(&call).await?;
        let mut late = Summary::default();
        for _ in 0..ROUNDS_MAX {
            let late_plans = read_late_plans(self.ledger, &ledger).await?;
            let listed_at = call.now();
            let mut round = self.list_again(&call, &late_plans).await?;
            let is_sealed = match round.late.task_lists.is_empty() {
                true => true,
                false => {
                    let written = self.seal(&call, &plan.digest, &late_plans, &round, listed_at);
                    written.await? == Written::Yes
                }
            };
            if is_sealed {
                late.objects.planned += round.late.objects.planned;
                late.bytes += round.late.bytes;
            }
            if !is_sealed || round.met_another {
                debug!("another recheck has written a late list; listing again");
                continue;
            }
            let hours: Vec<HourPrefix> = call.request.window().hours().collect();
            round.unexpected.find_beside(self.source, &hours).await?;
            let finality = Finality::new(listed_at, request.final_after());
            return self.end_recheck(&call, round, &late, finality).await;
        }
        Err(PlanError::RecheckConflict(execution_id.clone()))
    }

    /// Records the recheck, calls the auditor, and queues the tasks of all late lists. The record comes first,
    /// so that the auditor finds it; a recheck that is killed after it is still due, since that is decided by
    /// the report.
    async fn end_recheck(
        &self,
        call: &Call<'_>,
        round: Round,
        late: &Summary,
        finality: Finality,
    ) -> Result<Rechecked, PlanError> {
        let ledger = call.ledger;
        let late_plans = read_late_plans(self.ledger, ledger).await?;
        let record = RecheckRecord {
            version: LEDGER_VERSION,
            execution_id: ledger.execution_id().clone(),
            listed_at: finality.listed_at,
            late_plans: late_plans.len() as u64,
            changed: round.changed,
            vanished: round.vanished,
            unexpected: round.unexpected,
        };
        let before = self.record_recheck(ledger, &record).await?;
        let found = TaskLists::find(self.ledger, ledger).await?;
        let is_queued = |list: &TaskList| self.queue.is_durable() && found.is_queued(*list);
        let lists: Vec<TaskList> = late_lists(&late_plans)
            .filter(|list| !is_queued(list))
            .collect();
        let is_news = !lists.is_empty()
            || (&record.changed, &record.vanished, &record.unexpected)
                != before.as_ref().map_or(
                    (
                        &NamedKeys::default(),
                        &NamedKeys::default(),
                        &record.unexpected,
                    ),
                    |before| (&before.changed, &before.vanished, &before.unexpected),
                );
        if let Some(auditor) = self.auditor {
            let now = call.began_at();
            match is_news {
                true => auditor.call(self.ledger, ledger, now).await?,
                false => auditor.call_quietly(self.ledger, ledger, now).await?,
            }
        }
        let tasks_queued = self.queue_lists(call, &lists, &found, true).await?;
        Ok(Rechecked {
            execution_id: ledger.execution_id().clone(),
            late_objects: late.objects.planned,
            late_bytes: late.bytes,
            changed: record.changed,
            vanished: record.vanished,
            tasks_queued,
            finality,
        })
    }

    /// Lists all hours, and freezes a late list for each that has gained objects.
    async fn list_again(
        &self,
        call: &Call<'_>,
        late_plans: &[Sealed<LatePlanRecord>],
    ) -> Result<Round, PlanError> {
        let number = late_plans.len() as u64 + 1;
        let hours: Vec<HourPrefix> = call.request.window().hours().collect();
        let mut lists = run_lists(call.request, late_plans);
        lists.sort_unstable();
        let mut round = Round::default();
        let mut compared = stream::iter(hours.iter().copied())
            .map(|hour| {
                let from = lists.partition_point(|list| list.hour < hour);
                let until = lists.partition_point(|list| list.hour <= hour);
                self.compare_hour(call, hour, &lists[from..until])
            })
            .buffered(HOURS_LISTED_AT_ONCE);
        let mut hours_done = 0;
        while let Some((hour, again)) = compared.try_next().await? {
            let HourAgain {
                late,
                changed,
                vanished,
                unexpected,
            } = again;
            round.changed.merge(&changed);
            round.vanished.merge(&vanished);
            round.unexpected.merge(&unexpected);
            if let Some(late) = late {
                let list = TaskList { hour, number };
                let (frozen, written) = self.freeze(call, list, late).await?;
                round.met_another |= written == Written::PreconditionFailed;
                round.late.add(&frozen.tasks.head);
                round.late.task_lists.insert(hour, frozen.digest);
                self.limits.check(&round.late, hour, call.request.output)?;
            }
            hours_done += 1;
            if self.is_out_of_time() && hours_done < hours.len() {
                return Err(self.out_of_time(call, PlanStep::Rechecking, hours_done, hours.len()));
            }
        }
        Ok(round)
    }

    async fn compare_hour(
        &self,
        call: &Call<'_>,
        hour: HourPrefix,
        lists: &[TaskList],
    ) -> Result<(HourPrefix, HourAgain), PlanError> {
        let mut known = Vec::with_capacity(lists.len());
        for list in lists {
            let key = list.key(call.ledger);
            let Some(frozen) = read_hour(self.ledger, &key).await? else {
                return Err(PlanError::ListGone { key });
            };
            known.push(frozen.tasks);
        }
        let now = list_hour(self.source, call.request, hour, call.now()).await?;
        let is_foreign = |object: &ListedObject| is_foreign(call.request, hour, &object.key);
        Ok((hour, compare(&known, now, is_foreign)))
    }

    /// Makes the late lists of a round part of the run.
    async fn seal(
        &self,
        call: &Call<'_>,
        plan_digest: &str,
        late_plans: &[Sealed<LatePlanRecord>],
        round: &Round,
        listed_at: DateTime<Utc>,
    ) -> Result<Written, PlanError> {
        let number = late_plans.len() as u64 + 1;
        let PlannedObjects {
            listed,
            pruned,
            planned,
        } = round.late.objects;
        let record = LatePlanRecord {
            version: LEDGER_VERSION,
            execution_id: call.ledger.execution_id().clone(),
            number,
            listed_at,
            previous: late_plans
                .last()
                .map_or(plan_digest, |plan| plan.digest.as_str())
                .to_owned(),
            objects: PlannedObjects {
                listed,
                pruned,
                planned,
            },
            foreign_names: round.late.foreign_names,
            bytes: round.late.bytes,
            task_lists: round.late.task_lists.clone(),
        };
        let key = call.ledger.late_plan_key(number);
        let bytes = to_json(&key, &record)?;
        let written = self.ledger.put_if(&key, bytes, Precondition::Absent);
        Ok(written.await?)
    }

    /// Writes the record, unless there is one of a later listing. Returns the one that was there.
    async fn record_recheck(
        &self,
        ledger: &Ledger,
        record: &RecheckRecord,
    ) -> Result<Option<RecheckRecord>, PlanError> {
        let key = ledger.recheck_key();
        let bytes = to_json(&key, record)?;
        for _ in 0..CONFLICTS_MAX {
            let known = find_record::<RecheckRecord>(self.ledger, &key).await?;
            let (before, precondition) = match known {
                Some((before, _)) if before.listed_at > record.listed_at => {
                    debug!(key, "a later recheck has written its own record");
                    return Ok(Some(before));
                }
                Some((before, etag)) => (Some(before), Precondition::Unchanged(etag)),
                None => (None, Precondition::Absent),
            };
            let written = self.ledger.put_if(&key, bytes.clone(), precondition);
            if written.await? == Written::Yes {
                return Ok(before);
            }
        }
        Err(PlanError::RecheckConflict(ledger.execution_id().clone()))
    }
}
