//! The auditor: compares plan, receipts and output, and proves that nothing is missing.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use thiserror::Error;

use crate::checksum::Checksum;
use crate::execution_id::ExecutionId;
use crate::hour_prefix::HourPrefix;
use crate::ledger::{
    LEDGER_VERSION, Ledger, LedgerError, RequestRecord, SOFTWARE, read_record, to_json,
};
use crate::plan::{PlanRecord, read_hour};
use crate::receipt::{Counts, Done, Output, Receipt, State};
use crate::report::{HourBalance, ObjectCounts, OutputCounts, Report, Times, Unrecovered, Verdict};
use crate::storage::{ListObjects, ListedObject, OpenObject, Problem, Records, StorageError};
use crate::task::{SourceKey, TaskId};

/// Why there is no report.
#[derive(Debug, Error)]
pub enum AuditError {
    /// There is no run with this id.
    #[error("there is no run `{0}`")]
    UnknownRun(ExecutionId),
    /// The ledger could not be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The ledger names an object that no planner can have planned.
    #[error("the ledger of the run `{execution_id}` is damaged: {detail}")]
    Damaged {
        /// The run.
        execution_id: ExecutionId,
        /// What is wrong.
        detail: String,
    },
}

/// Receipts that are read at the same time.
const RECEIPTS_READ_AT_ONCE: usize = 64;

/// How an audit that waits for its run stands.
#[derive(Debug)]
pub enum Audited {
    /// The run is still going on.
    Waiting {
        /// Tasks that have a receipt.
        receipts: u64,
        /// Tasks of the plan, if it is complete.
        planned: Option<u64>,
    },
    /// The run is finished or overdue; the report is written.
    Finished {
        /// The report.
        report: Box<Report>,
        /// Whether the waiting ended with tasks still missing.
        is_overdue: bool,
    },
}

/// Audits a run if it is finished or the deadline has passed.
///
/// # Errors
///
/// See [`AuditError`]; nothing is written then.
pub async fn audit_when_finished<D>(
    destination: &D,
    execution_id: &ExecutionId,
    deadline: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Audited, AuditError>
where
    D: ListObjects + Records + ?Sized,
{
    let ledger = Ledger::new(execution_id.clone());
    if now < deadline {
        // The listing alone tells at a fraction of the cost that receipts are lacking.
        let plan = read_record::<PlanRecord>(destination, &ledger.plan_key()).await?;
        let planned = plan.map(|(plan, _)| plan.objects.planned);
        let receipts = count(destination, &ledger.receipts_prefix()).await?;
        if planned.is_none_or(|planned| receipts < planned) {
            return Ok(Audited::Waiting { receipts, planned });
        }
    }
    let report = inspect(destination, execution_id, now).await?;
    let is_unfinished = report.times.planned_at.is_none() || report.objects.missing > 0;
    if is_unfinished && now < deadline {
        return Ok(Audited::Waiting {
            receipts: report.objects.done + report.objects.failed,
            planned: Some(report.objects.planned),
        });
    }
    write_report(destination, &ledger, &report).await?;
    Ok(Audited::Finished {
        report: Box::new(report),
        is_overdue: is_unfinished,
    })
}

async fn count<D: ListObjects + ?Sized>(storage: &D, prefix: &str) -> Result<u64, StorageError> {
    let (mut objects, mut next) = (0, None);
    loop {
        let page = storage.list_page(prefix, next.as_deref()).await?;
        objects += page.objects.len() as u64;
        next = page.next;
        if next.is_none() {
            return Ok(objects);
        }
    }
}

/// Audits a run and writes what it found: the report, and the mark of a complete run.
///
/// # Errors
///
/// See [`AuditError`]; nothing is written then.
pub async fn audit<D>(
    destination: &D,
    execution_id: &ExecutionId,
    now: DateTime<Utc>,
) -> Result<Report, AuditError>
where
    D: ListObjects + Records + ?Sized,
{
    let ledger = Ledger::new(execution_id.clone());
    let report = inspect(destination, execution_id, now).await?;
    write_report(destination, &ledger, &report).await?;
    Ok(report)
}

async fn write_report<D: Records + ?Sized>(
    destination: &D,
    ledger: &Ledger,
    report: &Report,
) -> Result<(), AuditError> {
    let key = ledger.report_key();
    // In this order, so that an audit cut short never leaves the mark beside a worse report.
    if report.verdict != Verdict::Complete {
        destination.delete(&ledger.success_key()).await?;
    }
    destination.put(&key, to_json(&key, report)?).await?;
    if report.verdict == Verdict::Complete {
        destination.put(&ledger.success_key(), Vec::new()).await?;
    }
    Ok(())
}

/// Audits a run without writing anything; also one that is still going on.
///
/// # Errors
///
/// See [`AuditError`].
pub async fn inspect<D>(
    destination: &D,
    execution_id: &ExecutionId,
    now: DateTime<Utc>,
) -> Result<Report, AuditError>
where
    D: ListObjects + Records + ?Sized,
{
    examine(destination, None, execution_id, now).await
}

/// As [`inspect`], and reads every file of the run back to compare its checksum with its receipt's.
///
/// # Errors
///
/// See [`AuditError`].
pub async fn verify<D>(
    destination: &D,
    execution_id: &ExecutionId,
    now: DateTime<Utc>,
) -> Result<Report, AuditError>
where
    D: ListObjects + Records + OpenObject,
{
    examine(destination, Some(destination), execution_id, now).await
}

async fn examine<D>(
    destination: &D,
    reread: Option<&dyn OpenObject>,
    execution_id: &ExecutionId,
    now: DateTime<Utc>,
) -> Result<Report, AuditError>
where
    D: ListObjects + Records + ?Sized,
{
    let ledger = Ledger::new(execution_id.clone());
    let (record, _) = read_record::<RequestRecord>(destination, &ledger.request_key())
        .await?
        .ok_or_else(|| AuditError::UnknownRun(execution_id.clone()))?;
    let plan = read_record::<PlanRecord>(destination, &ledger.plan_key()).await?;
    let plan = plan.map(|(plan, _)| plan);
    let mut tally = Tally::new(&ledger, now);
    for hour in record.request.window().hours() {
        tally.add_hour(destination, hour).await?;
    }
    tally.compare_outputs(destination, reread).await?;
    Ok(tally.into_report(&record, plan.as_ref(), now))
}

/// The file's checksum, as receipts write it.
async fn checksum(storage: &dyn OpenObject, file: &ListedObject) -> Result<String, StorageError> {
    let mut reader = storage.open(&file.key, &file.etag).await?;
    let key = file.key.clone();
    let failed = move |detail: String| StorageError {
        operation: "read",
        key,
        problem: Problem::Permanent(detail),
        hint: None,
    };
    let reading = tokio::task::spawn_blocking(move || {
        let mut checksum = Checksum::new();
        std::io::copy(&mut reader, &mut checksum).map(|_| checksum.finish())
    });
    match reading.await {
        Ok(Ok(sum)) => Ok(sum),
        Ok(Err(error)) => Err(error
            .downcast()
            .unwrap_or_else(|error| failed(error.to_string()))),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Adds up what the receipts say.
struct Tally<'a> {
    ledger: &'a Ledger,
    now: DateTime<Utc>,
    objects: ObjectCounts,
    counts: Counts,
    foreign_names: u64,
    hours: Vec<HourBalance>,
    /// Hours of the window that no planner has listed.
    unlisted_hours: u64,
    unrecovered: Vec<Unrecovered>,
    rejected_files: Vec<String>,
    /// Size and checksum of each file that the receipts name.
    files: HashMap<String, (u64, String)>,
    output: OutputCounts,
    finished_at: Option<DateTime<Utc>>,
    /// What does not agree.
    disagreements: Vec<String>,
}

/// Most disagreements that a report spells out.
const DISAGREEMENTS_MAX: usize = 20;

impl<'a> Tally<'a> {
    fn new(ledger: &'a Ledger, now: DateTime<Utc>) -> Self {
        Self {
            ledger,
            now,
            objects: ObjectCounts::default(),
            counts: Counts::default(),
            foreign_names: 0,
            hours: Vec::new(),
            unlisted_hours: 0,
            unrecovered: Vec::new(),
            rejected_files: Vec::new(),
            files: HashMap::new(),
            output: OutputCounts::default(),
            finished_at: None,
            disagreements: Vec::new(),
        }
    }

    async fn add_hour<D: Records + ?Sized>(
        &mut self,
        destination: &D,
        hour: HourPrefix,
    ) -> Result<(), AuditError> {
        let Some(tasks) = read_hour(destination, &self.ledger.tasks_key(hour)).await? else {
            self.unlisted_hours += 1;
            return Ok(());
        };
        let mut balance = HourBalance {
            hour,
            objects: ObjectCounts::default(),
            counts: Counts::default(),
        };
        balance.objects.listed = tasks.head.listed;
        balance.objects.pruned = tasks.head.pruned;
        let ledger = self.ledger;
        let mut receipts = stream::iter(&tasks.objects)
            .map(async |object| {
                let key = SourceKey::parse(&object.key).map_err(|error| AuditError::Damaged {
                    execution_id: ledger.execution_id().clone(),
                    detail: error.to_string(),
                })?;
                let receipt_key = ledger.receipt_key(&TaskId::of(&key));
                let receipt = read_record::<Receipt>(destination, &receipt_key).await?;
                Ok::<_, AuditError>((key, receipt.map(|(receipt, _)| receipt)))
            })
            .buffered(RECEIPTS_READ_AT_ONCE);
        while let Some((key, receipt)) = receipts.try_next().await? {
            balance.objects.planned += 1;
            self.add_receipt(&key, receipt, &mut balance);
        }
        drop(receipts);
        if balance.objects.planned != tasks.head.planned {
            self.disagree(format!("the task list of hour `{hour}` does not add up"));
        }
        self.add_balance(balance);
        Ok(())
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

    fn add_receipt(&mut self, key: &SourceKey, receipt: Option<Receipt>, hour: &mut HourBalance) {
        let state = match receipt {
            Some(receipt) if receipt.key == *key => Some(receipt.state),
            Some(_) => {
                self.disagree(format!("the receipt of `{key}` names another object"));
                None
            }
            None => None,
        };
        match state {
            Some(State::Done(done)) => {
                hour.objects.done += 1;
                hour.counts.add(&done.counts);
                self.add_done(key, *done);
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
                let hint = "run the same request with the same execution id again".to_owned();
                self.add_unrecovered(key, "it has not been recovered yet".to_owned(), Some(hint));
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

    fn add_done(&mut self, key: &SourceKey, done: Done) {
        self.foreign_names += u64::from(done.foreign_name);
        self.finished_at = self.finished_at.max(Some(done.finished_at));
        if !done.counts.balances() {
            self.disagree(format!("the counts of `{key}` do not add up"));
        }
        let rows: u64 = done.outputs.iter().map(|output| output.rows).sum();
        if rows != done.counts.events.written {
            self.disagree(format!(
                "the files of `{key}` hold another number of events"
            ));
        }
        if done.rejected.is_some() != (done.counts.rejected_fragments > 0) {
            self.disagree(format!("the rejected fragments of `{key}` are not kept"));
        }
        for output in done.outputs {
            self.output.files += 1;
            self.output.bytes += output.size;
            self.add_file(key, output);
        }
        if let Some(rejected) = done.rejected {
            if self.rejected_files.len() < Report::REJECTED_FILES_MAX {
                self.rejected_files.push(rejected.key.clone());
            }
            self.add_file(key, rejected);
        }
    }

    fn add_file(&mut self, key: &SourceKey, output: Output) {
        if self
            .files
            .insert(output.key, (output.size, output.crc64nvme))
            .is_some()
        {
            self.disagree(format!("a file of `{key}` is named twice"));
        }
    }

    fn disagree(&mut self, what: String) {
        if self.disagreements.len() < DISAGREEMENTS_MAX {
            self.disagreements.push(what);
        }
    }

    /// Compares what lies in the destination with what the receipts name: both ways.
    async fn compare_outputs<D: ListObjects + ?Sized>(
        &mut self,
        destination: &D,
        reread: Option<&dyn OpenObject>,
    ) -> Result<(), AuditError> {
        let success_key = self.ledger.success_key();
        for prefix in [self.ledger.output_prefix(), self.ledger.rejected_prefix()] {
            let mut next = None;
            loop {
                let page = destination.list_page(&prefix, next.as_deref()).await?;
                for object in page
                    .objects
                    .iter()
                    .filter(|object| object.key != success_key)
                {
                    self.compare_file(object, reread).await?;
                }
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
        }
        let mut absent: Vec<String> = self.files.drain().map(|(key, _)| key).collect();
        absent.sort_unstable();
        for key in absent {
            self.disagree(format!("`{key}` is gone: remove its receipt and run again"));
        }
        Ok(())
    }

    async fn compare_file(
        &mut self,
        file: &ListedObject,
        reread: Option<&dyn OpenObject>,
    ) -> Result<(), AuditError> {
        let (key, size) = (&file.key, file.size);
        match (self.files.remove(key), reread) {
            (Some((expected, _)), _) if expected != size => {
                self.disagree(format!("`{key}` has {size} bytes instead of {expected}"));
            }
            (Some((_, expected)), Some(storage)) => {
                if checksum(storage, file).await? != expected {
                    self.disagree(format!("`{key}` has another content than was written"));
                }
            }
            (Some(_), None) => {}
            // While tasks are open, a file can be there before its receipt.
            (None, _) if self.objects.missing > 0 || self.objects.failed > 0 => {}
            (None, _) => self.disagree(format!("`{key}` belongs to no task of the run")),
        }
        Ok(())
    }

    fn into_report(
        mut self,
        record: &RequestRecord,
        plan: Option<&PlanRecord>,
        now: DateTime<Utc>,
    ) -> Report {
        if let Some(plan) = plan {
            let planned = plan.objects;
            let found = &self.objects;
            if (planned.listed, planned.pruned, planned.planned)
                != (found.listed, found.pruned, found.planned)
            {
                self.disagree("the plan does not agree with its task lists".to_owned());
            }
        }
        let incomplete = self.reasons_for_incomplete(plan);
        let needs_look = self.reasons_for_a_look(record);
        let verdict = match (incomplete.is_empty(), needs_look.is_empty()) {
            (false, _) => Verdict::Incomplete,
            (true, false) => Verdict::NeedsLook,
            (true, true) => Verdict::Complete,
        };
        let duration = now - record.created_at;
        Report {
            version: LEDGER_VERSION,
            software: SOFTWARE.to_owned(),
            execution_id: self.ledger.execution_id().clone(),
            verdict,
            reasons: [incomplete, needs_look].concat(),
            request: record.request.clone(),
            objects: self.objects,
            bytes: self.counts.bytes,
            events: self.counts.events,
            rejected_fragments: self.counts.rejected_fragments,
            outside_tolerance_max_millis: self.counts.outside_tolerance_max_millis,
            foreign_names: self.foreign_names,
            output: self.output,
            unrecovered: self.unrecovered,
            rejected_files: self.rejected_files,
            hours: self.hours,
            times: Times {
                created_at: record.created_at,
                planned_at: plan.map(|plan| plan.planned_at),
                finished_at: self.finished_at,
                audited_at: now,
                duration_millis: u64::try_from(duration.num_milliseconds()).unwrap_or(0),
            },
        }
    }

    fn reasons_for_incomplete(&self, plan: Option<&PlanRecord>) -> Vec<String> {
        let mut reasons = Vec::new();
        let objects = &self.objects;
        if plan.is_none() {
            reasons.push(format!(
                "the plan is not complete: {} hours not listed",
                self.unlisted_hours
            ));
        } else if self.unlisted_hours > 0 {
            reasons.push(format!(
                "the task lists of {} hours are gone",
                self.unlisted_hours
            ));
        }
        if objects.failed > 0 {
            reasons.push(format!("objects failed: {}", objects.failed));
        }
        if objects.missing > 0 {
            reasons.push(format!("objects missing: {}", objects.missing));
        }
        if objects.listed != objects.pruned + objects.planned
            || objects.planned != objects.done + objects.failed + objects.missing
            || !self.counts.balances()
        {
            reasons.push("the balance does not close".to_owned());
        }
        reasons.extend(self.disagreements.iter().cloned());
        reasons
    }

    fn reasons_for_a_look(&self, record: &RequestRecord) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.counts.rejected_fragments > 0 {
            reasons.push(format!(
                "rejected fragments: {}",
                self.counts.rejected_fragments
            ));
        }
        if self.counts.events.outside_tolerance > 0 {
            let (events, millis) = (
                self.counts.events.outside_tolerance,
                self.counts.outside_tolerance_max_millis,
            );
            reasons.push(format!(
                "events that arrived outside of their objects' tolerance: {events}, by up to {:.1} s",
                millis as f64 / 1000.0
            ));
        }
        if self.objects.listed == 0 {
            reasons.push("no objects at all in the range".to_owned());
        }
        // Judged as of the planning: what came later is not in the plan, however old it is by now.
        if record.request.window().is_open(record.created_at) {
            reasons
                .push("window still open: objects could still come when it was planned".to_owned());
        }
        if self.foreign_names > 0 {
            reasons.push(format!(
                "objects with foreign names: {}",
                self.foreign_names
            ));
        }
        reasons
    }
}
