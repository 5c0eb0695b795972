//! Objects with events of more days than can be written at a time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use event_recovery_pipeline::{
    CreateObject, DATES_MAX, ListObjects, ListPage, LocalFolder, OPEN_DATES_MAX, Precondition,
    Receipt, Record, Records, ResolvedRequest, StagedObject, StorageError, Task, Worker, Written,
};
use serde_json::json;
use support::doubles::{Effect, FaultyStorage, Operation, transient};
use support::{
    Sandbox, at, done, event, failure, first_delivery, id, object_key, receipt_key, request,
};

const TIME: &str = "2024-04-01T00:10:00Z";

/// An event of the day with this number.
fn event_of_day(id: usize, day: usize) -> String {
    let instant = at("2024-01-01T12:00:00Z") + chrono::TimeDelta::days(day as i64);
    event(&format!("e-{id}"), &instant.to_rfc3339())
}

fn many_days(format: &str, compression: &str) -> ResolvedRequest {
    request(json!({
        "start": "2024-01-01", "end": "2024-05-01", "format": format, "compression": compression,
    }))
}

/// An object in a backup, and the task to recover it.
struct Case {
    sandbox: Sandbox,
    key: String,
    task: Task,
}

impl Case {
    async fn new(request: &ResolvedRequest, content: &str) -> Self {
        let (sandbox, key) = (Sandbox::new(), object_key(TIME, 1));
        sandbox.back_up(&key, content);
        let task = sandbox.task(request, &id("run"), &key).await;
        Self { sandbox, key, task }
    }

    async fn work(&self, worker: Worker) -> Receipt {
        worker.work(&self.task, first_delivery()).await.unwrap()
    }

    fn source(&self) -> FaultyStorage {
        FaultyStorage::new(self.sandbox.source())
    }
}

#[tokio::test]
async fn each_days_file_is_that_of_an_object_with_that_day_alone() {
    // Days come and go, and one begins when all others have ended.
    let days = 2 * OPEN_DATES_MAX + 1;
    let events: Vec<(usize, String)> = (0..40 * days)
        .map(|n| (n * n % days, n))
        .chain([(days, 40 * days)])
        .map(|(day, n)| (day, event_of_day(n, day)))
        .collect();
    let all: String = events.iter().map(|(_, event)| event.as_str()).collect();
    let mut present: Vec<usize> = events.iter().map(|(day, _)| *day).collect();
    present.sort_unstable();
    present.dedup();
    assert!(present.len() > OPEN_DATES_MAX);
    let formats = [
        ("ndjson", "none"),
        ("ndjson", "gzip"),
        ("ndjson", "zstd"),
        ("parquet", "zstd"),
        ("parquet", "none"),
    ];
    for (format, compression) in formats {
        let request = many_days(format, compression);
        let case = Case::new(&request, &all).await;
        let receipt = case.work(case.sandbox.worker()).await;
        let outputs = &done(&receipt).outputs;
        assert_eq!(outputs.len(), present.len(), "{format} {compression}");
        for (output, day) in outputs.iter().zip(&present) {
            let alone: String = events
                .iter()
                .filter(|(of, _)| of == day)
                .map(|(_, event)| event.as_str())
                .collect();
            let alone = Case::new(&request, &alone).await;
            let expected = alone.work(alone.sandbox.worker()).await;
            assert_eq!(done(&expected).outputs, std::slice::from_ref(output));
            let written = case.sandbox.read(&output.key);
            assert!(written == alone.sandbox.read(&output.key), "{}", output.key);
        }
        case.sandbox.assert_nothing_staged();
    }
}

#[tokio::test]
async fn what_is_counted_and_rejected_is_so_once_however_often_the_object_is_read() {
    let days = 3 * OPEN_DATES_MAX;
    let events: Vec<String> = (0..2 * days).map(|n| event_of_day(n, n % days)).collect();
    let outside = event("outside", "2023-06-01T00:00:00Z");
    let content = events.join(" torn} ") + &outside;
    let case = Case::new(&many_days("ndjson", "none"), &content).await;
    let source = Arc::new(case.source());
    let worker = Worker {
        source: source.clone(),
        ..case.sandbox.worker()
    };
    let receipt = case.work(worker).await;
    assert_eq!(source.calls(Operation::Open, ""), 3);
    let done = done(&receipt);
    let counts = done.counts;
    assert!(counts.balances());
    assert_eq!(counts.bytes.read, content.len() as u64);
    assert_eq!(
        (
            counts.events.found,
            counts.events.written,
            counts.events.out_of_window,
        ),
        (2 * days as u64 + 1, 2 * days as u64, 1)
    );
    assert_eq!(counts.rejected_fragments, 2 * days as u64 - 1);
    let rejected = done.rejected.as_ref().unwrap();
    assert_eq!(rejected.rows, counts.rejected_fragments);
    let mut expected = events;
    expected.sort_unstable();
    assert_eq!(case.sandbox.lines(&id("run")), expected);
}

#[tokio::test]
async fn an_object_of_few_days_is_read_once() {
    for days in [1, 2, OPEN_DATES_MAX] {
        let content: String = (0..3 * days).map(|n| event_of_day(n, n % days)).collect();
        let case = Case::new(&many_days("parquet", "zstd"), &content).await;
        let source = Arc::new(case.source());
        let destination = Arc::new(FaultyStorage::new(case.sandbox.destination()));
        let worker = Worker {
            source: source.clone(),
            destination: destination.clone(),
            ..case.sandbox.worker()
        };
        let receipt = case.work(worker).await;
        assert_eq!(done(&receipt).outputs.len(), days);
        assert_eq!(source.calls(Operation::Open, ""), 1, "{days}");
        // On S3, to seal an object means to begin an upload of several parts.
        assert_eq!(destination.calls(Operation::Seal, ""), 0, "{days}");
    }
}

#[tokio::test]
async fn nothing_is_visible_before_the_last_reading_has_come_to_its_end() {
    let days = 2 * OPEN_DATES_MAX;
    let content: String = (0..days).map(|n| event_of_day(n, n)).collect();
    let rows = [
        (Operation::Open, 1),
        (Operation::Read, content.len() as u32 / 64 + 4),
    ];
    for (operation, calls_before) in rows {
        let case = Case::new(&many_days("ndjson", "none"), &content).await;
        let source = case
            .source()
            .after(operation, "", calls_before, 1, transient());
        let worker = Worker {
            source: Arc::new(source),
            ..case.sandbox.worker()
        };
        let error = worker.work(&case.task, first_delivery()).await.unwrap_err();
        assert!(error.is_transient(), "{operation:?}: {error}");
        assert_eq!(case.sandbox.tree(), support::Tree::new(), "{operation:?}");
        case.sandbox.assert_nothing_staged();
        // The next attempt succeeds.
        let receipt = case.work(case.sandbox.worker()).await;
        assert_eq!(done(&receipt).outputs.len(), days, "{operation:?}");
    }
}

#[tokio::test]
async fn an_object_that_changes_between_two_readings_fails_and_shows_nothing() {
    let days = OPEN_DATES_MAX + 1;
    let content: String = (0..days).map(|n| event_of_day(n, n)).collect();
    // As long as the first, with as many events, and with the time of the first put back.
    let disguised: String = (0..days).map(|n| event_of_day(n, n.min(3))).collect();
    assert_eq!(content.len(), disguised.len());
    for (name, replacement) in [("another", "{}"), ("disguised", disguised.as_str())] {
        let case = Case::new(&many_days("ndjson", "none"), &content).await;
        let path = case.sandbox.source_path().join(&case.key);
        let modified = path.metadata().unwrap().modified().unwrap();
        let replacement = replacement.to_owned();
        let replace = Effect::Meanwhile(Arc::new(move || {
            support::write(&path, replacement.as_bytes());
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(modified).unwrap();
        }));
        let source = case.source().after(Operation::Open, "", 1, 1, replace);
        let worker = Worker {
            source: Arc::new(source),
            ..case.sandbox.worker()
        };
        let receipt = case.work(worker).await;
        let (reason, hint) = failure(&receipt);
        assert!(reason.contains("changed since"), "{name}: {reason}");
        assert!(hint.contains("new run"), "{name}: {hint}");
        let only = [receipt_key(&id("run"), &case.key)];
        assert!(case.sandbox.tree().keys().eq(&only), "{name}");
        case.sandbox.assert_nothing_staged();
    }
}

/// A folder whose objects hold memory as uploads to S3 do: a part of 8 MiB from the first byte on, until
/// they are sealed, committed or dropped.
struct HoldsParts {
    inner: Arc<LocalFolder>,
    held: Arc<AtomicUsize>,
    held_max: Arc<AtomicUsize>,
}

const PART_BYTES: usize = 8 * 1024 * 1024;

struct HeldObject {
    /// `None` once it is committed.
    inner: Option<Box<dyn StagedObject>>,
    is_holding: bool,
    held: Arc<AtomicUsize>,
    held_max: Arc<AtomicUsize>,
}

impl HeldObject {
    fn let_go(&mut self) {
        if std::mem::take(&mut self.is_holding) {
            self.held.fetch_sub(PART_BYTES, Ordering::SeqCst);
        }
    }
}

impl Write for HeldObject {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !std::mem::replace(&mut self.is_holding, true) {
            let held = self.held.fetch_add(PART_BYTES, Ordering::SeqCst) + PART_BYTES;
            self.held_max.fetch_max(held, Ordering::SeqCst);
        }
        self.inner.as_mut().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.as_mut().unwrap().flush()
    }
}

impl StagedObject for HeldObject {
    fn seal(&mut self) -> Result<(), StorageError> {
        self.let_go();
        self.inner.as_mut().unwrap().seal()
    }

    fn commit(mut self: Box<Self>) -> Result<(), StorageError> {
        self.let_go();
        self.inner.take().unwrap().commit()
    }
}

impl Drop for HeldObject {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl CreateObject for HoldsParts {
    fn create(&self, key: &str) -> Result<Box<dyn StagedObject>, StorageError> {
        Ok(Box::new(HeldObject {
            inner: Some(self.inner.create(key)?),
            is_holding: false,
            held: Arc::clone(&self.held),
            held_max: Arc::clone(&self.held_max),
        }))
    }
}

#[async_trait]
impl ListObjects for HoldsParts {
    async fn list_page(&self, prefix: &str, next: Option<&str>) -> Result<ListPage, StorageError> {
        self.inner.list_page(prefix, next).await
    }
}

#[async_trait]
impl Records for HoldsParts {
    async fn get(&self, key: &str) -> Result<Option<Record>, StorageError> {
        self.inner.get(key).await
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        self.inner.put(key, bytes).await
    }

    async fn put_if(
        &self,
        key: &str,
        bytes: Vec<u8>,
        precondition: Precondition,
    ) -> Result<Written, StorageError> {
        self.inner.put_if(key, bytes, precondition).await
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.inner.delete(key).await
    }
}

#[tokio::test]
async fn the_parts_of_uploads_that_an_object_holds_are_bounded_whatever_its_days() {
    for format in ["ndjson", "parquet"] {
        let events: Vec<String> = (0..2 * DATES_MAX)
            .map(|n| event_of_day(n, n % DATES_MAX))
            .collect();
        let case = Case::new(&many_days(format, "none"), &events.join(" torn} ")).await;
        let (held, held_max) = (Arc::default(), Arc::<AtomicUsize>::default());
        let destination = HoldsParts {
            inner: case.sandbox.destination(),
            held: Arc::clone(&held),
            held_max: Arc::clone(&held_max),
        };
        let worker = Worker {
            destination: Arc::new(destination),
            ..case.sandbox.worker()
        };
        let receipt = case.work(worker).await;
        assert_eq!(done(&receipt).outputs.len(), DATES_MAX);
        // Stated in `docs/limits.md`: four files of days and one of rejected fragments.
        let bound = 5 * PART_BYTES;
        let held_max = held_max.load(Ordering::SeqCst);
        assert!(
            (PART_BYTES..=bound).contains(&held_max),
            "{format}: {held_max}"
        );
        assert_eq!(held.load(Ordering::SeqCst), 0, "{format}");
    }
}
