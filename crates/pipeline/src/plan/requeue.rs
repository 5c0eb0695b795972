//! Queues the failed tasks of a complete plan again.

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use tracing::debug;

use crate::ledger::receipt::{ListedTask, Receipt, State, with_receipts};
use crate::ledger::requeue_record::RequeueRecord;
use crate::ledger::task_lists::TaskList;
use crate::ledger::{LEDGER_VERSION, LedgerError, find_record, to_json};
use crate::plan::error::{PlanError, PlanStep};
use crate::plan::{Call, Planner};
use crate::queue::task::Task;
use crate::storage::{Precondition, Written};

/// How long the cursor of a call that reached its deadline is followed, in hours: as long as Lambda retries an
/// invocation. Later calls begin anew, since what was read by then may have failed since.
const CURSOR_HOURS_MAX: i64 = 6;
/// Task lists whose receipts are read at the same time.
const LISTS_READ_AT_ONCE: usize = 4;

/// A receipt that said failed, and its task.
struct FailedReceipt {
    key: String,
    receipt: Receipt,
    etag: String,
}

/// What is to be queued again of one task list.
#[derive(Default)]
struct Again {
    tasks: Vec<Task>,
    failed: Vec<FailedReceipt>,
}

impl Planner<'_> {
    /// Queues the failed tasks of a complete plan again, and those without a receipt if no auditor waits for
    /// them any more. Continues where an earlier call reached its deadline. Returns how many.
    pub(crate) async fn requeue(
        &self,
        call: &Call<'_>,
        lists: &[TaskList],
        is_awaited: bool,
    ) -> Result<u64, PlanError> {
        // By hour, so that one hour is the cursor of all lists.
        let mut lists = lists.to_vec();
        lists.sort_unstable();
        let key = call.ledger.requeue_key();
        let known = find_record::<RequeueRecord>(self.ledger, &key).await?;
        let continued = known.map(|(record, _)| record).filter(|record| {
            call.began_at() - record.called_at < TimeDelta::hours(CURSOR_HOURS_MAX)
        });
        let (next_hour, is_awaited, mut tasks_queued) = match continued {
            Some(record) if record.next_hour.is_some() => {
                (record.next_hour, record.is_awaited, record.tasks_queued)
            }
            _ => (None, is_awaited, 0),
        };
        let skipped = next_hour.map_or(0, |next| lists.partition_point(|list| list.hour < next));
        let mut found = stream::iter(lists.iter().skip(skipped))
            .map(|list| self.find_failed(call, *list, is_awaited))
            .buffered(LISTS_READ_AT_ONCE);
        let mut done = skipped;
        while let Some(again) = found.try_next().await? {
            tasks_queued += self.send_again(call, again).await?;
            done += 1;
            self.stop_if_cancelled(call).await?;
            if let Some(next) = lists.get(done)
                && self.is_out_of_time()
            {
                self.record_cursor(call, Some(next), is_awaited, tasks_queued)
                    .await?;
                return Err(self.out_of_time(call, PlanStep::Requeueing, done, lists.len()));
            }
        }
        if next_hour.is_some() {
            self.record_cursor(call, None, is_awaited, tasks_queued)
                .await?;
        }
        Ok(tasks_queued)
    }

    async fn find_failed(
        &self,
        call: &Call<'_>,
        list: TaskList,
        is_awaited: bool,
    ) -> Result<Again, PlanError> {
        let (ledger, now) = (call.ledger, call.began_at());
        let tasks = self.read_list(call, list).await?.tasks;
        self.observer.planned(tasks.head.planned, tasks.head.bytes);
        let mut again = Again::default();
        let mut listed = with_receipts(self.ledger, ledger, &tasks.objects);
        while let Some(ListedTask { object, key, found }) = listed.try_next().await? {
            let key = key?;
            let receipt = found.known(&key);
            let task = Task::new(ledger.execution_id(), call.request, key, object);
            match (receipt.receipt, receipt.etag) {
                (Some(receipt), _) if receipt.is_done() => self.observer.task_ended(&receipt),
                // Its receipt stays: it says what is written.
                (Some(receipt), _) if receipt.is_salvaged() => again.tasks.push(task.again()),
                (Some(receipt), Some(etag)) if receipt.has_failed(now) => {
                    let key = ledger.receipt_key(&task.id());
                    again.failed.push(FailedReceipt { key, receipt, etag });
                    again.tasks.push(task.again());
                }
                _ if is_awaited => {}
                (_, Some(_)) => again.tasks.push(task.again()),
                (_, None) => again.tasks.push(task),
            }
        }
        Ok(again)
    }

    async fn send_again(&self, call: &Call<'_>, again: Again) -> Result<u64, PlanError> {
        if again.tasks.is_empty() {
            return Ok(0);
        }
        let now = call.began_at();
        let queued = again.tasks.len() as u64;
        // The auditor first, so that it is waiting when the last task ends.
        self.call_auditor(call.ledger, now).await?;
        self.queue.send(again.tasks).await?;
        // Only now: a planner that dies in between leaves them failed, to be queued again.
        stream::iter(again.failed)
            .map(|failed| self.mark_queued(failed, now))
            .buffer_unordered(LISTS_READ_AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(queued)
    }

    async fn mark_queued(
        &self,
        failed: FailedReceipt,
        now: DateTime<Utc>,
    ) -> Result<(), PlanError> {
        let FailedReceipt { key, receipt, etag } = failed;
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
        Ok(())
    }

    /// Records where the next call continues.
    async fn record_cursor(
        &self,
        call: &Call<'_>,
        next: Option<&TaskList>,
        is_awaited: bool,
        tasks_queued: u64,
    ) -> Result<(), LedgerError> {
        let key = call.ledger.requeue_key();
        let record = RequeueRecord {
            version: LEDGER_VERSION,
            called_at: call.began_at(),
            next_hour: next.map(|list| list.hour),
            is_awaited,
            tasks_queued,
        };
        self.ledger.put(&key, to_json(&key, &record)?).await?;
        Ok(())
    }
}
