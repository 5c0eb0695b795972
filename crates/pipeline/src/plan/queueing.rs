//! Queues the tasks of frozen task lists.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt, TryStreamExt, stream};

use crate::backup::source_key::SourceKey;
use crate::ledger::hour::{FrozenHour, HourTasks, read_hour};
use crate::ledger::receipt::{ListedTask, with_receipts};
use crate::ledger::task_lists::{TaskList, TaskLists};
use crate::plan::error::{PlanError, PlanStep};
use crate::plan::{Call, Planner};
use crate::queue::task::Task;

/// Task lists that are read and queued at the same time where the queue is durable, so that a window of
/// many small hours does not wait for one request after the other. Elsewhere tasks keep their order.
const LISTS_QUEUED_AT_ONCE: usize = 8;

impl Planner<'_> {
    /// Queues the tasks of the lists that are not queued yet, or whose queue did not outlive its process.
    /// `is_resumed` reports the tasks to the observer, which then has not heard of them. Returns how many
    /// tasks were queued.
    pub(crate) async fn queue_lists(
        &self,
        call: &Call<'_>,
        lists: &[TaskList],
        found: &TaskLists,
        is_resumed: bool,
    ) -> Result<u64, PlanError> {
        let is_durable = self.queue.is_durable();
        let at_once = if is_durable { LISTS_QUEUED_AT_ONCE } else { 1 };
        // A list that is in flight when another one fails is marked as queued nevertheless; none is begun.
        let failed = &AtomicBool::new(false);
        let mut queued = stream::iter(lists)
            .map(|list| async move {
                if failed.load(Ordering::Relaxed) {
                    return Ok(0);
                }
                if is_durable && found.is_queued(*list) {
                    return Ok(0);
                }
                let tasks = self.read_list(call, *list).await?.tasks;
                if is_resumed {
                    self.observer.planned(tasks.head.planned, tasks.head.bytes);
                }
                self.queue_list(call, *list, tasks, found.has(*list)).await
            })
            .buffered(at_once);
        let (mut tasks_queued, mut lists_done, mut first_error) = (0, 0, None);
        while let Some(tasks) = queued.next().await {
            match tasks {
                Ok(tasks) => {
                    tasks_queued += tasks;
                    if let Err(error) = self.stop_if_cancelled(call).await {
                        first_error.get_or_insert(error);
                    }
                }
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
            lists_done += 1;
            if first_error.is_none() && self.is_out_of_time() && lists_done < lists.len() {
                let step = PlanStep::Queueing;
                first_error = Some(self.out_of_time(call, step, lists_done, lists.len()));
            }
            failed.store(first_error.is_some(), Ordering::Relaxed);
        }
        match first_error {
            Some(error) => Err(error),
            None => Ok(tasks_queued),
        }
    }

    /// Reads a frozen list. The first list of an hour is written anew if it is gone.
    pub(crate) async fn read_list(
        &self,
        call: &Call<'_>,
        list: TaskList,
    ) -> Result<FrozenHour, PlanError> {
        if list.number == 0 {
            return self.freeze_hour(call, list.hour, true).await;
        }
        let key = list.key(call.ledger);
        match read_hour(self.ledger, &key).await? {
            Some(frozen) => Ok(frozen),
            None => Err(PlanError::ListGone { key }),
        }
    }

    /// Queues those tasks of a list that have no receipt which says done. Only one whose receipt was found is
    /// queued as one that may have it: to a role that may not list, a receipt that is absent is denied.
    async fn queue_list(
        &self,
        call: &Call<'_>,
        list: TaskList,
        tasks: HourTasks,
        may_have_receipts: bool,
    ) -> Result<u64, PlanError> {
        let (id, request) = (call.ledger.execution_id(), call.request);
        let mut messages = Vec::with_capacity(tasks.objects.len());
        if may_have_receipts {
            let mut listed = with_receipts(self.ledger, call.ledger, &tasks.objects);
            while let Some(ListedTask { object, key, found }) = listed.try_next().await? {
                let key = key?;
                let known = found.known(&key);
                let has_receipt = known.etag.is_some();
                let task = Task::new(id, request, key, object);
                match known.done() {
                    Some(receipt) => self.observer.task_ended(receipt),
                    None if has_receipt => messages.push(task.again()),
                    None => messages.push(task),
                }
            }
        } else {
            for object in &tasks.objects {
                let key = SourceKey::parse(&object.key)?;
                messages.push(Task::new(id, request, key, object));
            }
        }
        let queued = messages.len() as u64;
        self.queue.send(messages).await?;
        self.ledger
            .put(&list.queued_key(call.ledger), Vec::new())
            .await?;
        Ok(queued)
    }
}
