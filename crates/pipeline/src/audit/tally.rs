//! Adds up the ledger of a run, and finds contradictions in it.

mod compare;
mod rechecks;
mod verdict;

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use futures::TryStreamExt;

use crate::audit::error::AuditError;
use crate::audit::file_check::{ExpectedFile, RejectedCounts};
use crate::backup::hour_prefix::HourPrefix;
use crate::backup::source_key::{SourceKey, TaskId};
use crate::ledger::hour::{FrozenHour, HourHead, read_hour};
use crate::ledger::late_plan::LatePlanRecord;
use crate::ledger::plan_record::PlanRecord;
use crate::ledger::receipt::{
    Counts, Done, FoundReceipt, ListedTask, Output, Receipt, State, with_receipts,
};
use crate::ledger::recheck_record::{NamedKeys, RecheckRecord};
use crate::ledger::report::{
    HourBalance, LateCounts, ObjectCounts, OutputCounts, Report, Unrecovered,
};
use crate::ledger::seal::Seal;
use crate::ledger::task_lists::TaskList;
use crate::ledger::{Ledger, LedgerError, RequestRecord, Sealed, read_sealed, seal};
use crate::storage::{ListedObject, Records};

/// Most disagreements that a report spells out.
const DISAGREEMENTS_MAX: usize = 20;
/// Repairs a receipt: a task whose receipt can't be relied upon is processed again.
const RUN_AGAIN: &str = "run the same request with the same execution id again";

/// The sums over the hours that were added so far, and the contradictions that were found.
pub(crate) struct Tally<'a> {
    ledger: &'a Ledger,
    request: RequestRecord,
    now: DateTime<Utc>,
    plan: Option<PlanRecord>,
    is_plan_damaged: bool,
    plan_digest: Option<String>,
    /// In order, from number 1.
    late_plans: Vec<LatePlanRecord>,
    late_plan_digests: Vec<String>,
    /// The newest recheck.
    recheck: Option<RecheckRecord>,
    /// Late task lists that are gone or damaged.
    lost_late_lists: u64,
    objects: ObjectCounts,
    counts: Counts,
    foreign_names: u64,
    empty_objects: u64,
    unverifiable_records: u64,
    hours: Vec<HourBalance>,
    late: LateCounts,
    /// For each task list whose objects are all done, the digest of its receipts.
    receipts_digests: BTreeMap<TaskList, String>,
    /// Sums over the task lists, to be compared with the plan's.
    listed_bytes: u64,
    listed_foreign_names: u64,
    /// Hours of the window whose first task list was read.
    listed_hours: u64,
    /// Hours of the window that no planner has listed, or whose first task list is gone.
    unlisted_hours: u64,
    unrecovered: Vec<Unrecovered>,
    rejected_files: Vec<String>,
    /// The receipts that tasks may have.
    receipt_keys: HashSet<String>,
    /// What the receipts say of each file.
    files: HashMap<String, ExpectedFile>,
    output: OutputCounts,
    finished_at: Option<DateTime<Utc>>,
    /// Contradictions, at most [`DISAGREEMENTS_MAX`].
    disagreements: Vec<String>,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(
        ledger: &'a Ledger,
        request: Sealed<RequestRecord>,
        now: DateTime<Utc>,
    ) -> Self {
        let mut tally = Self {
            ledger,
            request: request.value,
            now,
            plan: None,
            is_plan_damaged: false,
            plan_digest: None,
            late_plans: Vec::new(),
            late_plan_digests: Vec::new(),
            recheck: None,
            lost_late_lists: 0,
            objects: ObjectCounts::default(),
            counts: Counts::default(),
            foreign_names: 0,
            empty_objects: 0,
            unverifiable_records: 0,
            hours: Vec::new(),
            late: LateCounts::default(),
            receipts_digests: BTreeMap::new(),
            listed_bytes: 0,
            listed_foreign_names: 0,
            listed_hours: 0,
            unlisted_hours: 0,
            unrecovered: Vec::new(),
            rejected_files: Vec::new(),
            receipt_keys: HashSet::new(),
            files: HashMap::new(),
            output: OutputCounts::default(),
            finished_at: None,
            disagreements: Vec::new(),
        };
        tally.check_seal(&ledger.request_key(), request.seal);
        tally.plan_digest = Some(request.digest);
        tally
    }

    /// The hours of the window.
    pub(crate) fn hours(&self) -> Vec<HourPrefix> {
        self.request.request.window().hours().collect()
    }

    fn check_seal(&mut self, key: &str, seal: Seal) {
        match seal {
            Seal::Intact => {}
            Seal::Absent => self.unverifiable_records += 1,
            Seal::Broken => self.disagree(format!(
                "the record `{key}` was changed after it was written"
            )),
        }
    }

    pub(crate) async fn read_plan<D: Records + ?Sized>(
        &mut self,
        destination: &D,
    ) -> Result<(), AuditError> {
        let key = self.ledger.plan_key();
        let request_digest = self.plan_digest.take();
        let plan = match read_sealed::<PlanRecord>(destination, &key).await {
            Ok(None) => return Ok(()),
            Ok(Some(plan)) => plan,
            Err(error @ LedgerError::Invalid { .. }) => {
                self.is_plan_damaged = true;
                self.disagree(format!(
                    "{error}; remove it and {RUN_AGAIN}: it is written anew from the task lists"
                ));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.check_seal(&key, plan.seal);
        if plan.value.request_digest.is_some() && plan.value.request_digest != request_digest {
            let key = self.ledger.request_key();
            self.disagree(format!(
                "the record `{key}` is not the one that was planned"
            ));
        }
        self.plan_digest = Some(plan.digest);
        self.plan = Some(plan.value);
        Ok(())
    }

    /// Whether there is a plan, if only a damaged one.
    pub(crate) fn has_plan(&self) -> bool {
        self.plan.is_some() || self.is_plan_damaged
    }

    /// Adds the hour's first task list and those that rechecks added.
    pub(crate) async fn add_hour<D: Records + ?Sized>(
        &mut self,
        destination: &D,
        hour: HourPrefix,
    ) -> Result<(), AuditError> {
        let mut balance = HourBalance {
            hour,
            listed_at: None,
            objects: ObjectCounts::default(),
            counts: Counts::default(),
        };
        let mut is_listed = false;
        for list in self.lists_of(hour) {
            let listed = self.add_list(destination, list, &mut balance).await?;
            is_listed |= listed;
        }
        if is_listed {
            self.add_balance(balance);
        }
        Ok(())
    }

    /// Whether the list could be read.
    async fn add_list<D: Records + ?Sized>(
        &mut self,
        destination: &D,
        list: TaskList,
        balance: &mut HourBalance,
    ) -> Result<bool, AuditError> {
        let key = list.key(self.ledger);
        let frozen = match read_hour(destination, &key).await {
            Ok(Some(frozen)) => frozen,
            Ok(None) => {
                self.lose_list(list);
                return Ok(false);
            }
            Err(error @ LedgerError::Invalid { .. }) => {
                self.lose_list(list);
                let hint = error.hint().unwrap_or_default();
                self.disagree(format!("{error}; {hint}"));
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        self.check_list(list, &frozen);
        let tasks = frozen.tasks;
        balance.objects.listed += tasks.head.listed;
        balance.objects.pruned += tasks.head.pruned;
        if list.number == 0 {
            self.listed_hours += 1;
            balance.listed_at = Some(self.listed_at(&tasks.head));
        }
        let before = balance.clone();
        let mut listed = with_receipts(destination, self.ledger, &tasks.objects);
        let mut digests = String::new();
        while let Some(task) = listed.try_next().await? {
            balance.objects.planned += 1;
            if let FoundReceipt::Receipt(receipt) = &task.found {
                digests.push_str(&receipt.digest);
            }
            self.add_task(task, balance);
        }
        let planned = balance.objects.planned - before.objects.planned;
        let done = balance.objects.done - before.objects.done;
        if planned == done {
            let digest = seal::digest(digests.as_bytes());
            self.receipts_digests.insert(list, digest);
        }
        if list.number > 0 {
            self.late.objects += planned;
            self.late.done += done;
            self.late.events += balance.counts.events.written - before.counts.events.written;
            let free = NamedKeys::NAMED_MAX.saturating_sub(self.late.named.len());
            let keys = tasks.objects.iter().map(|object| object.key.clone());
            self.late.named.extend(keys.take(free));
        }
        Ok(true)
    }

    fn lose_list(&mut self, list: TaskList) {
        if list.number == 0 {
            self.unlisted_hours += 1;
            return;
        }
        self.lost_late_lists += 1;
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
        self.listed_bytes += head.bytes;
        self.listed_foreign_names += head.foreign_names;
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
            None if is_old => self.unverifiable_records += 1,
            _ => self.disagree(format!(
                "the task list of hour `{hour}` was changed after it was planned"
            )),
        }
    }

    fn add_balance(&mut self, balance: HourBalance) {
        let (sum, hour) = (&mut self.objects, &balance.objects);
        sum.listed += hour.listed;
        sum.pruned += hour.pruned;
        sum.planned += hour.planned;
        sum.done += hour.done;
        sum.failed += hour.failed;
        sum.missing += hour.missing;
        self.counts.add(&balance.counts);
        self.hours.push(balance);
    }

    fn add_task(&mut self, task: ListedTask<'_>, hour: &mut HourBalance) {
        let ListedTask { object, key, found } = task;
        let Ok(key) = key else {
            let listed = hour.hour;
            self.disagree(format!(
                "the task list of hour `{listed}` names no object of an hour"
            ));
            hour.objects.missing += 1;
            return;
        };
        let receipt_key = self.ledger.receipt_key(&TaskId::of(&key));
        let state = match found {
            FoundReceipt::None => None,
            FoundReceipt::Damaged { error, .. } => {
                self.disagree(format!("{error}; {RUN_AGAIN}"));
                None
            }
            FoundReceipt::Receipt(receipt) if receipt.value.key != key => {
                self.disagree(format!(
                    "the receipt of `{key}` names another object; {RUN_AGAIN}"
                ));
                None
            }
            FoundReceipt::Receipt(receipt) => {
                match receipt.seal {
                    Seal::Broken => self.disagree(format!(
                        "the record `{receipt_key}` was changed after it was written; {RUN_AGAIN}"
                    )),
                    seal => self.check_seal(&receipt_key, seal),
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
        };
        self.receipt_keys.insert(receipt_key);
        self.add_state(&key, object, state, hour);
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

    fn add_unrecovered(&mut self, key: &SourceKey, reason: String, hint: Option<String>) {
        if self.unrecovered.len() < Report::UNRECOVERED_MAX {
            self.unrecovered.push(Unrecovered {
                key: key.to_string(),
                reason,
                hint,
            });
        }
    }

    fn add_done(&mut self, key: &SourceKey, object: &ListedObject, done: Done) {
        let counts = &done.counts;
        self.foreign_names += u64::from(done.foreign_name);
        self.empty_objects += u64::from(counts.are_empty());
        self.finished_at = self.finished_at.max(Some(done.finished_at));
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
        if rows != counts.events.written {
            self.disagree(format!(
                "the files of `{key}` hold another number of events"
            ));
        }
        if done.rejected.is_some() != (counts.rejected_fragments > 0) {
            self.disagree(format!("the rejected fragments of `{key}` are not kept"));
        }
        let rejected_counts = RejectedCounts {
            fragments: counts.rejected_fragments,
            bytes: counts.bytes.rejected,
        };
        for output in done.outputs {
            self.output.files += 1;
            self.output.bytes += output.size;
            self.add_file(key, output, None);
        }
        if let Some(rejected) = done.rejected {
            if self.rejected_files.len() < Report::REJECTED_FILES_MAX {
                self.rejected_files.push(rejected.key.clone());
            }
            self.add_file(key, rejected, Some(rejected_counts));
        }
    }

    fn add_file(&mut self, key: &SourceKey, output: Output, rejected: Option<RejectedCounts>) {
        let expected = ExpectedFile {
            size: output.size,
            crc64nvme: output.crc64nvme,
            rows: output.rows,
            rejected,
        };
        if self.files.insert(output.key, expected).is_some() {
            self.disagree(format!("a file of `{key}` is named twice"));
        }
    }

    fn disagree(&mut self, what: String) {
        if self.disagreements.len() < DISAGREEMENTS_MAX {
            self.disagreements.push(what);
        }
    }
}
