//! Adds the hours of a run to its tally, task by task.

use chrono::{DateTime, Utc};

use super::groups::group_of;
use super::receipts::ReadTask;
use super::{RUN_AGAIN, Tally};
use crate::audit::file_check::RejectedCounts;
use crate::backup::hour_prefix::HourPrefix;
use crate::backup::source_key::{SourceKey, TaskId};
use crate::ledger::hour::{FrozenHour, HourHead};
use crate::ledger::kinds::{add_kinds, events_of};
use crate::ledger::orgs::add_orgs;
use crate::ledger::receipt::{
    Counts, Damage, Done, FoundReceipt, Output, Receipt, Salvaged, State,
};
use crate::ledger::recheck_record::NamedKeys;
use crate::ledger::report::{
    AcceptedLoss, HourBalance, ObjectCounts, Report, SalvagedObject, Unrecovered,
};
use crate::ledger::seal::{DigestSum, Seal};
use crate::ledger::task_lists::TaskList;
use crate::ledger::{LedgerError, seal};
use crate::storage::ListedObject;

/// An hour that is being added.
pub(super) struct HourInProgress {
    balance: HourBalance,
    /// Whether any of its task lists could be read.
    is_listed: bool,
    list: Option<ListInProgress>,
}

/// A task list whose tasks are being added.
struct ListInProgress {
    list: TaskList,
    /// The hour's counts before the list.
    before: HourBalance,
    /// Of the digests of its receipts.
    receipts: DigestSum,
}

impl HourInProgress {
    pub(super) fn new(hour: HourPrefix) -> Self {
        Self {
            balance: HourBalance {
                hour,
                listed_at: None,
                objects: ObjectCounts::default(),
                late_objects: 0,
                counts: Counts::default(),
            },
            is_listed: false,
            list: None,
        }
    }

    pub(super) fn hour(&self) -> HourPrefix {
        self.balance.hour
    }

    /// Whether a task of it has not ended.
    pub(super) fn is_unfinished(&self) -> bool {
        self.balance.objects.missing > 0
    }
}

impl Tally<'_> {
    /// Begins a task list of the hour.
    pub(super) fn begin_list(
        &mut self,
        hour: &mut HourInProgress,
        list: TaskList,
        frozen: Result<Option<&FrozenHour>, LedgerError>,
    ) {
        self.end_list(hour);
        let frozen = match frozen {
            Ok(Some(frozen)) => frozen,
            Ok(None) => return self.lose_list(list),
            Err(error) => {
                self.lose_list(list);
                let hint = error.hint().unwrap_or_default();
                return self.disagree(format!("{error}; {hint}"));
            }
        };
        self.check_list(list, frozen);
        let head = &frozen.tasks.head;
        hour.is_listed = true;
        hour.balance.objects.listed += head.listed;
        hour.balance.objects.pruned += head.pruned;
        if list.number == 0 {
            self.sums.listed_hours += 1;
            hour.balance.listed_at = Some(self.listed_at(head));
        } else {
            let late = &mut self.sums.late;
            let free = NamedKeys::NAMED_MAX.saturating_sub(late.named.len());
            let keys = frozen.tasks.objects.iter().map(|object| object.key.clone());
            late.named.extend(keys.take(free));
        }
        hour.list = Some(ListInProgress {
            list,
            before: hour.balance.clone(),
            receipts: DigestSum::default(),
        });
    }

    /// Ends the task list that is in progress.
    fn end_list(&mut self, hour: &mut HourInProgress) {
        let Some(ended) = hour.list.take() else {
            return;
        };
        let (before, after) = (&ended.before, &hour.balance);
        let planned = after.objects.planned - before.objects.planned;
        let done = after.objects.done - before.objects.done;
        let written = after.counts.events.written - before.counts.events.written;
        if planned == done {
            let digest = ended.receipts.finish();
            let label = ended.list.label();
            self.sums.receipts_digests.insert(label, digest);
        }
        if ended.list.number > 0 {
            hour.balance.late_objects += planned;
            let late = &mut self.sums.late;
            late.objects += planned;
            late.done += done;
            late.events += written;
        }
    }

    pub(super) fn end_hour(&mut self, mut hour: HourInProgress) {
        self.end_list(&mut hour);
        if hour.is_listed {
            self.sums.add_balance(hour.balance);
        }
    }

    fn lose_list(&mut self, list: TaskList) {
        if list.number == 0 {
            self.sums.unlisted_hours += 1;
            return;
        }
        self.sums.lost_late_lists += 1;
        let key = list.key(self.ledger);
        self.disagree(format!("the task list `{key}` is gone or damaged"));
    }

    /// When an hour was listed for the last time.
    fn listed_at(&self, head: &HourHead) -> DateTime<Utc> {
        let rechecked_at = self.recheck.as_ref().map(|recheck| recheck.listed_at);
        // Lists of versions 1 and 2 do not say; it was after their runs began.
        rechecked_at
            .or(head.listed_at)
            .unwrap_or(self.request.created_at)
    }

    /// Compares a task list with what the plan says of it, or the late plan.
    fn check_list(&mut self, list: TaskList, frozen: &FrozenHour) {
        let head = &frozen.tasks.head;
        let hour = list.hour;
        self.sums.listed_bytes += head.bytes;
        self.sums.listed_foreign_names += head.foreign_names;
        let sum: u64 = frozen.tasks.objects.iter().map(|object| object.size).sum();
        if sum != head.bytes || head.hour != hour {
            self.disagree(format!("the task list of hour `{hour}` does not add up"));
        }
        let (expected, is_old) = match list.number {
            0 => {
                let Some(plan) = &self.plan else { return };
                let is_old = plan.version < seal::SEALED_SINCE_VERSION;
                (plan.task_lists.get(&hour), is_old)
            }
            number => {
                let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
                let plan = self.late_plans.get(index);
                (plan.and_then(|plan| plan.task_lists.get(&hour)), false)
            }
        };
        match expected {
            Some(digest) if *digest == frozen.digest => {}
            None if is_old => self.sums.unverifiable_records += 1,
            _ => self.disagree(format!(
                "the task list of hour `{hour}` was changed after it was planned"
            )),
        }
    }

    pub(super) fn add_task(&mut self, hour: &mut HourInProgress, task: ReadTask) {
        hour.balance.objects.planned += 1;
        let Some(object) = task.object().cloned() else {
            return;
        };
        let ReadTask { key, found, .. } = task;
        let Ok(key) = key else {
            let listed = hour.hour();
            self.disagree(format!(
                "the task list of hour `{listed}` names no object of an hour"
            ));
            hour.balance.objects.missing += 1;
            return;
        };
        let task = TaskId::of(&key);
        let receipt_key = self.ledger.receipt_key(&task);
        if !matches!(found, FoundReceipt::None)
            && let Some(group) = group_of(task.as_str())
        {
            self.sums.receipts.add(group, &receipt_key, 0);
        }
        if let (FoundReceipt::Receipt(receipt), Some(list)) = (&found, &mut hour.list) {
            list.receipts.update(receipt.digest.as_bytes());
        }
        let state = self.state_of(&key, &receipt_key, &object, found);
        self.add_state(&key, &object, state, &mut hour.balance);
    }

    /// What the receipt says, as far as it can be relied upon.
    fn state_of(
        &mut self,
        key: &SourceKey,
        receipt_key: &str,
        object: &ListedObject,
        found: FoundReceipt,
    ) -> Option<State> {
        let receipt = match found {
            FoundReceipt::None => return None,
            FoundReceipt::Damaged { error, .. } => {
                self.disagree(format!("{error}; {RUN_AGAIN}"));
                return None;
            }
            FoundReceipt::Receipt(receipt) => receipt,
        };
        if receipt.value.key != *key {
            self.disagree(format!(
                "the receipt of `{key}` names another object; {RUN_AGAIN}"
            ));
            return None;
        }
        match receipt.seal {
            Seal::Broken => self.disagree(format!(
                "the record `{receipt_key}` was changed after it was written; {RUN_AGAIN}"
            )),
            seal => self.check_seal(receipt_key, seal),
        }
        let Receipt {
            size, etag, state, ..
        } = receipt.value;
        let is_other = size.is_some_and(|size| size != object.size)
            || etag.is_some_and(|etag| etag != object.etag);
        if is_other {
            self.disagree(format!(
                "the receipt of `{key}` is of an object with another size or etag"
            ));
        }
        Some(state)
    }

    fn add_state(
        &mut self,
        key: &SourceKey,
        object: &ListedObject,
        state: Option<State>,
        hour: &mut HourBalance,
    ) {
        match state {
            Some(State::Done(done)) => {
                hour.objects.done += 1;
                hour.counts.add(&done.counts);
                self.add_done(key, object, *done);
            }
            Some(State::Salvaged(salvaged)) => {
                let Salvaged { done, damage } = *salvaged;
                hour.objects.salvaged += 1;
                hour.counts.add(&done.counts);
                self.add_damage(key, done.counts.events.found, damage);
                self.add_done(key, object, done);
            }
            _ if self.losses.contains_key(key) => {
                hour.objects.lost += 1;
                self.add_loss(key);
            }
            Some(State::Failed { reason, hint }) => {
                hour.objects.failed += 1;
                self.add_unrecovered(key, reason, hint);
            }
            Some(State::Attempting { expires_at }) if expires_at <= self.now => {
                hour.objects.failed += 1;
                let reason = "its worker died on the last attempt".to_owned();
                let hint = "look for its key in the worker's log, and give it more memory or time";
                self.add_unrecovered(key, reason, Some(hint.to_owned()));
            }
            Some(State::Attempting { .. } | State::Queued { .. }) | None => {
                hour.objects.missing += 1;
                let reason = "it has not been recovered yet".to_owned();
                self.add_unrecovered(key, reason, Some(RUN_AGAIN.to_owned()));
            }
        }
    }

    fn add_damage(&mut self, key: &SourceKey, events: u64, damage: Damage) {
        let salvage = &mut self.sums.salvage;
        salvage.undecoded_bytes += damage.undecoded_bytes;
        salvage.events += events;
        salvage.unverified_events += damage.unverified_events;
        if salvage.named.len() < Report::SALVAGED_MAX {
            salvage.named.push(SalvagedObject {
                key: key.to_string(),
                reason: damage.reason,
                undecoded_bytes: damage.undecoded_bytes,
                events,
                unverified_events: damage.unverified_events,
            });
        }
    }

    fn add_loss(&mut self, key: &SourceKey) {
        let Some(loss) = self.losses.get(key) else {
            return;
        };
        if self.sums.losses.len() < Report::LOSSES_MAX {
            self.sums.losses.push(AcceptedLoss {
                key: key.to_string(),
                reason: loss.reason.clone(),
                accepted_at: loss.accepted_at,
                accepted_by: loss.accepted_by.clone(),
            });
        }
    }

    fn add_unrecovered(&mut self, key: &SourceKey, reason: String, hint: Option<String>) {
        let unrecovered = &mut self.sums.unrecovered;
        if unrecovered.len() < Report::UNRECOVERED_MAX {
            unrecovered.push(Unrecovered {
                key: key.to_string(),
                reason,
                hint,
            });
        }
    }

    fn add_done(&mut self, key: &SourceKey, object: &ListedObject, done: Done) {
        let counts = &done.counts;
        self.sums.foreign_names += u64::from(done.foreign_name);
        self.sums.empty_objects += u64::from(counts.are_empty());
        self.sums.finished_at = self.sums.finished_at.max(Some(done.finished_at));
        if !counts.balances() {
            self.disagree(format!("the counts of `{key}` do not add up"));
        }
        if counts.bytes.source != object.size {
            self.disagree(format!(
                "the receipt of `{key}` counts {} bytes as stored instead of {}",
                counts.bytes.source, object.size
            ));
        }
        let rows: u64 = done.outputs.iter().map(|output| output.rows).sum();
        let of_orgs: u64 = done.orgs.values().sum();
        if !done.orgs.is_empty() && of_orgs != counts.events.written {
            self.disagree(format!("the events of `{key}` by org do not add up"));
        }
        add_orgs(&mut self.sums.orgs, &done.orgs);
        if !done.kinds.is_empty() && events_of(&done.kinds) != counts.events.written {
            self.disagree(format!(
                "the events of `{key}` by domain and type do not add up"
            ));
        }
        add_kinds(&mut self.sums.kinds, &done.kinds);
        if rows != counts.events.written {
            self.disagree(format!(
                "the files of `{key}` hold another number of events"
            ));
        }
        // One without lines replaces fragments that were only found because of damage.
        let kept = done.rejected.as_ref().is_some_and(|file| file.rows > 0);
        if kept != (counts.rejected_fragments > 0) {
            self.disagree(format!("the rejected fragments of `{key}` are not kept"));
        }
        self.add_files(key, &done);
    }

    fn add_files(&mut self, key: &SourceKey, done: &Done) {
        let group = group_of(TaskId::of(key).as_str());
        let mut names: Vec<&str> = Vec::with_capacity(done.outputs.len() + 1);
        for output in done.outputs.iter().chain(&done.rejected) {
            if names.contains(&output.key.as_str()) {
                self.disagree(format!("a file of `{key}` is named twice"));
                continue;
            }
            names.push(&output.key);
            match group {
                // A file is looked for by the task that its name says.
                Some(group) if group_of(&output.key) == Some(group) => {
                    self.sums.files.add(group, &output.key, output.size);
                }
                _ => self.disagree(format!(
                    "the file `{}` of `{key}` is not named by its task",
                    output.key
                )),
            }
        }
        for output in &done.outputs {
            self.sums.output.files += 1;
            self.sums.output.bytes += output.size;
        }
        if let Some(rejected) = done.rejected.as_ref().filter(|file| file.rows > 0)
            && self.sums.rejected_files.len() < Report::REJECTED_FILES_MAX
        {
            self.sums.rejected_files.push(rejected.key.clone());
        }
    }
}

/// The files of a task that is done or salvaged, each with what its receipt says of its content.
pub(super) fn files_of(done: Done) -> impl Iterator<Item = (Output, Option<RejectedCounts>)> {
    let rejected_counts = RejectedCounts {
        fragments: done.counts.rejected_fragments,
        bytes: done.counts.bytes.rejected,
    };
    let outputs = done.outputs.into_iter().map(|output| (output, None));
    outputs.chain(
        done.rejected
            .map(|rejected| (rejected, Some(rejected_counts))),
    )
}
