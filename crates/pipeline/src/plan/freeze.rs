//! Lists the hours of a window and freezes their task lists.

use futures::{StreamExt, TryStreamExt, stream};
use tracing::debug;

use crate::backup::hour_prefix::HourPrefix;
use crate::ledger::hour::{FrozenHour, HourTasks, read_hour};
use crate::ledger::task_lists::{TaskList, TaskLists};
use crate::ledger::{LedgerError, seal};
use crate::plan::error::{PlanError, PlanStep};
use crate::plan::listing::{HOURS_LISTED_AT_ONCE, list_hour};
use crate::plan::summary::Summary;
use crate::plan::{Call, Planner};
use crate::storage::{Precondition, Written};

impl Planner<'_> {
    /// Freezes each hour that is not frozen yet, and adds all of them up. Nothing is queued.
    pub(crate) async fn freeze_hours(
        &self,
        call: &Call<'_>,
        frozen_before: &TaskLists,
    ) -> Result<Summary, PlanError> {
        let hours: Vec<HourPrefix> = call.request.window().hours().collect();
        let mut summary = Summary::default();
        let mut frozen = stream::iter(hours.iter().copied())
            .map(|hour| {
                let list = TaskList { hour, number: 0 };
                self.freeze_hour(call, hour, frozen_before.has(list))
            })
            .buffered(HOURS_LISTED_AT_ONCE);
        while let Some(FrozenHour { tasks, digest }) = frozen.try_next().await? {
            summary.add(&tasks.head);
            summary.task_lists.insert(tasks.head.hour, digest);
            self.limits
                .check(&summary, tasks.head.hour, call.request.output)?;
            self.observer.planned(tasks.head.planned, tasks.head.bytes);
            self.stop_if_cancelled(call).await?;
            if self.is_out_of_time() && summary.hours < hours.len() as u64 {
                let done = usize::try_from(summary.hours).unwrap_or(hours.len());
                return Err(self.out_of_time(call, PlanStep::Listing, done, hours.len()));
            }
        }
        Ok(summary)
    }

    /// The hour's task list: the frozen one if there is one, else that of a listing, which is frozen.
    pub(crate) async fn freeze_hour(
        &self,
        call: &Call<'_>,
        hour: HourPrefix,
        is_frozen: bool,
    ) -> Result<FrozenHour, PlanError> {
        let list = TaskList { hour, number: 0 };
        let key = list.key(call.ledger);
        if is_frozen && let Some(frozen) = read_hour(self.ledger, &key).await? {
            return Ok(frozen);
        }
        let tasks = list_hour(self.source, call.request, hour, call.now()).await?;
        self.freeze(call, list, tasks)
            .await
            .map(|(frozen, _)| frozen)
    }

    /// Writes a task list unless there is one. Returns the list that counts, and whether it is this one.
    pub(crate) async fn freeze(
        &self,
        call: &Call<'_>,
        list: TaskList,
        tasks: HourTasks,
    ) -> Result<(FrozenHour, Written), PlanError> {
        let key = list.key(call.ledger);
        let bytes = tasks.to_jsonl().map_err(|error| LedgerError::Invalid {
            key: key.clone(),
            detail: error.to_string(),
        })?;
        let digest = seal::digest(&bytes);
        let written = self.ledger.put_if(&key, bytes, Precondition::Absent);
        let written = written.await?;
        // Another planner of the same run has written the list meanwhile. That list counts, since workers
        // may know it already.
        if written == Written::PreconditionFailed
            && let Some(frozen) = read_hour(self.ledger, &key).await?
        {
            debug!(key, "another planner has frozen the list");
            return Ok((frozen, written));
        }
        Ok((FrozenHour { tasks, digest }, written))
    }
}
