//! Audits a run of many objects and prints the time, CPU time and memory that it took. The storage is a
//! stand-in that makes up each record when it is read, and answers after the latency of S3. An audit that takes
//! longer than an invocation of the function may goes on from its checkpoint in the next one.
//!
//! `cargo bench --package event-recovery-pipeline --bench audit_many -- OBJECTS`, 100,000 by default.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::panic,
    missing_docs,
    reason = "a measurement that prints, where a failure is a panic"
)]

mod support;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use event_recovery_pipeline::{
    AUDIT_CALL_VERSION, AuditCall, Audited, ByteCounts, Counts, Done, EventCounts, ExecutionId,
    HourHead, HourPrefix, HourTasks, LEDGER_VERSION, LateAllowance, Ledger, ListObjects, ListPage,
    ListedObject, Output, PlanRecord, PlannedObjects, Precondition, Receipt, Record, Records,
    RecoveryRequest, RequestLimits, RequestRecord, ResolvedRequest, SOFTWARE, SourceKey, State,
    StorageError, TaskId, Tolerance, Unexpected, Verdict, Written, audit_when_finished, digest,
    to_json,
};
use support::{cpu_secs, objects_argument, peak_resident_mib};
use tokio::time::sleep;

const ORG: &str = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";
/// What an invocation of the auditor has: the 15 minutes of its timeout, less what it keeps for notifying people
/// and for giving the message back.
const INVOCATION: Duration = Duration::from_secs(13 * 60);
/// Latencies of S3 from within its region, on the slow side.
const LIST_PAGE: Duration = Duration::from_millis(100);
const RECORD: Duration = Duration::from_millis(30);
const SOURCE_BYTES: u64 = 10_000_000;
const ETAG: &str = "\"d41d8cd98f00b204e9800998ecf8427e\"";
const OUTPUT_BYTES: u64 = 2_000_000;
const EVENTS: u64 = 4_000;

/// A run whose tasks are all done, with one file each. Records are computed, so that the memory
/// measured is the auditor's.
struct FinishedRun {
    ledger: Ledger,
    request: ResolvedRequest,
    hours: Vec<HourPrefix>,
    objects_per_hour: u64,
    /// The one time that all records carry.
    at: DateTime<Utc>,
    /// Records that the audit itself writes and reads back, by key.
    written: Mutex<HashMap<String, Vec<u8>>>,
    reads: AtomicU64,
    bytes_read: AtomicU64,
    report_bytes: AtomicU64,
}

impl FinishedRun {
    fn objects(&self) -> u64 {
        self.hours.len() as u64 * self.objects_per_hour
    }

    fn hour(&self, number: u64) -> HourPrefix {
        self.hours[usize::try_from(number / self.objects_per_hour).unwrap()]
    }

    fn source_key(&self, number: u64) -> SourceKey {
        let hour = self.hour(number);
        let time = hour.start().format("%Y-%m-%d-%H");
        let key = format!(
            "{}dataplatform-{ORG}-5-{time}-30-00-1142260c-c088-427a-bbaa-{number:012x}",
            hour.key()
        );
        SourceKey::parse(&key).unwrap()
    }

    fn output_key(&self, number: u64) -> String {
        let task = TaskId::of(&self.source_key(number));
        let date = self.hour(number).start().format("%Y-%m-%d").to_string();
        self.ledger
            .output_key(&self.request.org_id, &date, &task, "parquet")
    }

    fn receipt_key(&self, number: u64) -> String {
        self.ledger
            .receipt_key(&TaskId::of(&self.source_key(number)))
    }

    fn request_record(&self) -> RequestRecord {
        RequestRecord {
            version: LEDGER_VERSION,
            software: SOFTWARE.to_owned(),
            created_at: self.at,
            request: self.request.clone(),
            late_allowance: LateAllowance::default(),
            scheduled_for: None,
            source: None,
        }
    }

    fn plan_record(&self) -> PlanRecord {
        PlanRecord {
            version: LEDGER_VERSION,
            execution_id: self.ledger.execution_id().clone(),
            planned_at: self.at,
            hours: self.hours.len() as u64,
            empty_hours: Vec::new(),
            objects: PlannedObjects {
                listed: self.objects(),
                pruned: 0,
                planned: self.objects(),
            },
            foreign_names: 0,
            bytes: self.objects() * SOURCE_BYTES,
            days: Vec::new(),
            unexpected: Unexpected::default(),
            request_digest: self
                .record(&self.ledger.request_key())
                .as_deref()
                .map(digest),
            task_lists: (self.hours.iter().enumerate())
                .map(|(index, hour)| (*hour, digest(&self.hour_tasks(index).to_jsonl().unwrap())))
                .collect(),
        }
    }

    fn hour_tasks(&self, index: usize) -> HourTasks {
        let first = index as u64 * self.objects_per_hour;
        let objects = (first..first + self.objects_per_hour)
            .map(|number| listed(self.source_key(number).to_string(), SOURCE_BYTES));
        HourTasks {
            head: HourHead {
                version: LEDGER_VERSION,
                hour: self.hours[index],
                listed_at: Some(self.at),
                listed: self.objects_per_hour,
                pruned: 0,
                planned: self.objects_per_hour,
                foreign_names: 0,
                bytes: self.objects_per_hour * SOURCE_BYTES,
                unexpected: Unexpected::default(),
            },
            objects: objects.collect(),
        }
    }

    fn receipt(&self, number: u64) -> Receipt {
        let output = Output {
            key: self.output_key(number),
            size: OUTPUT_BYTES,
            crc64nvme: format!("{number:016x}"),
            rows: EVENTS,
        };
        let counts = Counts {
            bytes: ByteCounts {
                source: SOURCE_BYTES,
                read: SOURCE_BYTES,
                events: SOURCE_BYTES,
                ..ByteCounts::default()
            },
            events: EventCounts {
                found: EVENTS,
                written: EVENTS,
                ..EventCounts::default()
            },
            ..Counts::default()
        };
        Receipt {
            version: LEDGER_VERSION,
            software: SOFTWARE.to_owned(),
            key: self.source_key(number),
            size: Some(SOURCE_BYTES),
            etag: Some(ETAG.to_owned()),
            attempts: 1,
            started_at: self.at,
            state: State::Done(Box::new(Done {
                finished_at: self.at,
                foreign_name: false,
                counts,
                orgs: event_recovery_pipeline::Orgs::default(),
                kinds: event_recovery_pipeline::Kinds::default(),
                outputs: vec![output],
                rejected: None,
            })),
        }
    }

    /// `None` for a record that this run does not have, such as the report of an earlier audit.
    fn record(&self, key: &str) -> Option<Vec<u8>> {
        if key == self.ledger.request_key() {
            return Some(to_json(key, &self.request_record()).unwrap());
        }
        if key == self.ledger.plan_key() {
            return Some(to_json(key, &self.plan_record()).unwrap());
        }
        if let Some(name) = key.strip_prefix(&self.ledger.receipts_prefix()) {
            return Some(to_json(key, &self.receipt(number_in(name))).unwrap());
        }
        let is_asked_for = |hour: &HourPrefix| self.ledger.tasks_key(*hour) == key;
        let index = self.hours.iter().position(is_asked_for)?;
        Some(self.hour_tasks(index).to_jsonl().unwrap())
    }
}

fn listed(key: String, size: u64) -> ListedObject {
    ListedObject {
        key,
        size,
        etag: ETAG.to_owned(),
        last_modified: DateTime::UNIX_EPOCH,
    }
}

/// The object's number in the name of its receipt, which ends with `-NUMBER-HASH.json`.
fn number_in(receipt: &str) -> u64 {
    let number = receipt.rsplit('-').nth(1).unwrap();
    u64::from_str_radix(number, 16).unwrap()
}

#[async_trait]
impl ListObjects for FinishedRun {
    async fn list_page(&self, prefix: &str, next: Option<&str>) -> Result<ListPage, StorageError> {
        sleep(LIST_PAGE).await;
        let key_of: fn(&Self, u64) -> String = match prefix {
            prefix if prefix == self.ledger.receipts_prefix() => Self::receipt_key,
            prefix if prefix == self.ledger.output_prefix() => Self::output_key,
            _ => return Ok(ListPage::default()),
        };
        let first: u64 = next.map_or(0, |next| next.parse().unwrap());
        let last = (first + 1000).min(self.objects());
        let objects = (first..last).map(|number| listed(key_of(self, number), OUTPUT_BYTES));
        Ok(ListPage {
            objects: objects.collect(),
            unreadable: Vec::new(),
            next: (last < self.objects()).then(|| last.to_string()),
        })
    }
}

#[async_trait]
impl Records for FinishedRun {
    async fn get(&self, key: &str) -> Result<Option<Record>, StorageError> {
        sleep(RECORD).await;
        let written = self.written.lock().unwrap().get(key).cloned();
        let Some(bytes) = written.or_else(|| self.record(key)) else {
            return Ok(None);
        };
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes_read
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(Some(Record {
            bytes,
            etag: "etag".to_owned(),
        }))
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        sleep(RECORD).await;
        if key == self.ledger.report_key() {
            self.report_bytes
                .store(bytes.len() as u64, Ordering::Relaxed);
        }
        self.written.lock().unwrap().insert(key.to_owned(), bytes);
        Ok(())
    }

    async fn put_if(
        &self,
        key: &str,
        bytes: Vec<u8>,
        _: Precondition,
    ) -> Result<Written, StorageError> {
        self.put(key, bytes).await?;
        Ok(Written::Yes)
    }

    async fn delete(&self, _: &str) -> Result<(), StorageError> {
        Ok(())
    }
}

fn finished_run(objects: u64) -> FinishedRun {
    let request = format!(
        r#"{{"org_id":"{ORG}","start":"2024-04-01","end":"2024-04-30","window":"publish"}}"#
    );
    let request = RecoveryRequest::from_json(request.as_bytes()).unwrap();
    let limits = RequestLimits::default();
    let resolved = request.resolve(&limits, &Tolerance::default(), Utc::now());
    let request = resolved.unwrap().request;
    let hours: Vec<HourPrefix> = request.window().hours().collect();
    FinishedRun {
        ledger: Ledger::new(ExecutionId::parse("many").unwrap()),
        objects_per_hour: objects.div_ceil(hours.len() as u64),
        request,
        hours,
        at: Utc::now(),
        written: Mutex::default(),
        reads: AtomicU64::new(0),
        bytes_read: AtomicU64::new(0),
        report_bytes: AtomicU64::new(0),
    }
}

#[tokio::main]
async fn main() {
    let run = finished_run(objects_argument().unwrap_or(100_000));
    let before = peak_resident_mib();
    let began = Instant::now();
    let now = Utc::now();
    let id = run.ledger.execution_id().clone();
    let call = AuditCall {
        version: AUDIT_CALL_VERSION,
        execution_id: id,
        number: 1,
        deadline: now + TimeDelta::hours(1),
        quiet: false,
    };
    let mut invocations = 0;
    let report = loop {
        invocations += 1;
        let until = Some(Instant::now() + INVOCATION);
        match audit_when_finished(&run, &call, until, now).await.unwrap() {
            Audited::Finished { report, .. } => break report,
            Audited::Continues => eprintln!("{:.1} s", began.elapsed().as_secs_f64()),
            Audited::Waiting { .. } => panic!("the run is finished"),
        }
    };
    let took = began.elapsed().as_secs_f64();
    assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
    assert_eq!(report.output.files, run.objects());
    println!(
        "{} receipts audited by {invocations} invocations in {took:.1} s, waiting for a stand-in; {:.2} CPU-s, the stand-in's included; {} MiB resident at the most, {before} MiB before",
        report.objects.done,
        cpu_secs(),
        peak_resident_mib(),
    );
    println!(
        "{} records of {} bytes in all read; report of {} bytes",
        run.reads.load(Ordering::Relaxed),
        run.bytes_read.load(Ordering::Relaxed),
        run.report_bytes.load(Ordering::Relaxed),
    );
}
