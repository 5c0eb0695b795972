//! Plans a month of many objects and prints the time, CPU time and memory that it took. Storage and queue
//! are stand-ins in memory that answer after the latencies of S3 and SQS.
//!
//! `cargo bench --package event-recovery-pipeline --bench plan_many -- OBJECTS`, 200,000 by default.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a measurement that prints, where a failure is a panic"
)]

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use event_recovery_pipeline::{
    ExecutionId, ListObjects, ListPage, ListedObject, PlanLimits, Planner, Precondition,
    QueueError, Record, Records, RecoveryRequest, RequestLimits, RunTerms, SendTasks, StorageError,
    Task, Tolerance, Unobserved, Written,
};
use futures::{StreamExt, stream};
use support::{cpu_secs, objects_argument, peak_resident_mib};
use tokio::time::sleep;

const ORG: &str = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";
const HOURS: u64 = 720;
/// Latencies of S3 and SQS from within their region, on the slow side.
const LIST_PAGE: Duration = Duration::from_millis(100);
const RECORD: Duration = Duration::from_millis(30);
const SEND_BATCH: Duration = Duration::from_millis(20);
/// The concurrency of `event-recovery-aws` when it sends batches to SQS.
const BATCHES_AT_ONCE: usize = 16;

struct Source {
    objects_per_hour: u64,
}

#[async_trait]
impl ListObjects for Source {
    async fn list_page(&self, prefix: &str, next: Option<&str>) -> Result<ListPage, StorageError> {
        sleep(LIST_PAGE).await;
        let first: u64 = next.map_or(0, |next| next.parse().unwrap());
        let last = (first + 1000).min(self.objects_per_hour);
        let time = prefix["main_stream/".len()..].replace('/', "-");
        let objects = (first..last).map(|number| ListedObject {
            key: format!(
                "{prefix}dataplatform-{ORG}-5-{time}{:02}-{:02}-1142260c-c088-427a-bbaa-{number:012x}",
                number % 60,
                number / 60 % 60
            ),
            size: 10_000_000,
            etag: "\"d41d8cd98f00b204e9800998ecf8427e\"".to_owned(),
            last_modified: DateTime::UNIX_EPOCH,
        });
        Ok(ListPage {
            objects: objects.collect(),
            unreadable: Vec::new(),
            next: (last < self.objects_per_hour).then(|| last.to_string()),
        })
    }
}

struct Ledger {
    records: Mutex<BTreeSet<String>>,
    folder: tempfile::TempDir,
}

impl Ledger {
    fn new() -> Self {
        Self {
            records: Mutex::default(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, key: &str) -> PathBuf {
        self.folder.path().join(key.replace('/', "!"))
    }
}

#[async_trait]
impl ListObjects for Ledger {
    async fn list_page(&self, prefix: &str, _: Option<&str>) -> Result<ListPage, StorageError> {
        sleep(LIST_PAGE).await;
        let records = self.records.lock().unwrap();
        let keys = records.iter().filter(|key| key.starts_with(prefix));
        let objects = keys.map(|key| ListedObject {
            key: key.clone(),
            size: 0,
            etag: "etag".to_owned(),
            last_modified: DateTime::UNIX_EPOCH,
        });
        Ok(ListPage {
            objects: objects.collect(),
            ..ListPage::default()
        })
    }
}

#[async_trait]
impl Records for Ledger {
    async fn get(&self, key: &str) -> Result<Option<Record>, StorageError> {
        sleep(RECORD).await;
        if !self.records.lock().unwrap().contains(key) {
            return Ok(None);
        }
        Ok(Some(Record {
            bytes: std::fs::read(self.file(key)).unwrap(),
            etag: "etag".to_owned(),
        }))
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        sleep(RECORD).await;
        // In files: in memory they would count as the planner's.
        std::fs::write(self.file(key), bytes).unwrap();
        self.records.lock().unwrap().insert(key.to_owned());
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

#[derive(Default)]
struct Queue {
    bytes: AtomicU64,
}

#[async_trait]
impl SendTasks for Queue {
    async fn send(&self, tasks: Vec<Task>) -> Result<(), QueueError> {
        stream::iter(tasks.chunks(10))
            .for_each_concurrent(BATCHES_AT_ONCE, |batch| async move {
                let bytes = batch
                    .iter()
                    .map(|task| serde_json::to_string(task).unwrap().len());
                self.bytes
                    .fetch_add(bytes.sum::<usize>() as u64, Ordering::Relaxed);
                sleep(SEND_BATCH).await;
            })
            .await;
        Ok(())
    }

    fn is_durable(&self) -> bool {
        true
    }
}

#[tokio::main]
async fn main() {
    let objects = objects_argument().unwrap_or(200_000);
    let request = format!(
        r#"{{"org_id":"{ORG}","start":"2024-04-01","end":"2024-04-30","window":"publish"}}"#
    );
    let request = RecoveryRequest::from_json(request.as_bytes()).unwrap();
    let limits = RequestLimits::default();
    let resolved = request.resolve(&limits, &Tolerance::default(), Utc::now());
    let (source, ledger, queue) = (
        Source {
            objects_per_hour: objects.div_ceil(HOURS),
        },
        Ledger::new(),
        Queue::default(),
    );
    let planner = Planner {
        source: &source,
        ledger: &ledger,
        queue: &queue,
        auditor: None,
        until: None,
        terms: RunTerms::default(),
        limits: PlanLimits {
            objects_max: u64::MAX,
            bytes_max: u64::MAX,
            micro_usd_max: u64::MAX,
        },
        observer: &Unobserved,
    };
    let began = Instant::now();
    let id = ExecutionId::parse("many").unwrap();
    let request = resolved.unwrap().request;
    let planned = planner.plan(&request, &id, Utc::now()).await.unwrap();
    let took = began.elapsed().as_secs_f64();
    println!(
        "{} objects listed, recorded and queued in {took:.1} s of waiting for stand-ins; {:.2} CPU-s; {} MiB resident at the most",
        planned.tasks_queued,
        cpu_secs(),
        peak_resident_mib(),
    );
}
