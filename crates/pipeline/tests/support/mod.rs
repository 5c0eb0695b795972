//! A backup, a destination and a request to try the pipeline on.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "shared by several test programs, each of which uses a part"
)]

pub(crate) mod doubles;
pub(crate) mod power_cut;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use event_recovery_format::{
    Envelope, EnvelopeScratch, EventWriter, NdjsonCompression, OutputFormat,
};
use event_recovery_pipeline::{
    AUDIT_CALL_VERSION, AuditCall, AuditLooks, Cancellations, Delivery, Ended, ExecutionId, Ledger,
    ListObjects, LocalFolder, PlanLimits, Receipt, RecoveryRequest, Report, RequestLimits,
    ResolvedRequest, Run, RunTerms, SourceAccess, SourceKey, State, Task, TaskId, Tolerance,
    TransformLimits, Unobserved, Worker,
};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const ORG: &str = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";
/// Represents the content of customers' events, which must never leave the output.
pub(crate) const MARKER: &str = "MARKER-c0ffee";
/// Long after every event here, so that no window is open.
pub(crate) const NOW: &str = "2024-06-01T12:00:00Z";

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub(crate) fn id(text: &str) -> ExecutionId {
    ExecutionId::parse(text).unwrap()
}

/// The key of a backup object with this time; `number` distinguishes objects of the same time.
pub(crate) fn object_key(time: &str, number: u32) -> String {
    let time = at(time);
    format!(
        "{}dataplatform-{ORG}-5-{}-1142260c-c088-427a-bbaa-{number:012x}",
        time.format("main_stream/%Y/%m/%d/%H/"),
        time.format("%Y-%m-%d-%H-%M-%S"),
    )
}

/// An event that arrived then, in the domain `account`.
pub(crate) fn event(event_id: &str, arrival: &str) -> String {
    event_of(event_id, arrival, "account", "status-change-2")
}

pub(crate) fn event_of(event_id: &str, arrival: &str, domain: &str, event_type: &str) -> String {
    let millis = at(arrival).timestamp_millis();
    json!({
        "event_id": event_id, "org_id": ORG, "domain": domain, "event_type": event_type,
        "arrival_epoch": millis, "data": {"note": MARKER},
    })
    .to_string()
}

/// One gzip member that holds the event and a line break.
pub(crate) fn gzip(event: &str) -> Vec<u8> {
    let format = OutputFormat::Ndjson(NdjsonCompression::Gzip);
    let mut writer = EventWriter::open(format, Vec::new()).unwrap();
    let mut scratch = EnvelopeScratch::default();
    writer
        .write(&Envelope::read(event.as_bytes(), &mut scratch))
        .unwrap();
    writer.finish().unwrap()
}

/// The request of one hour of 2024-04-01 as NDJSON, with `changes` over it.
pub(crate) fn request(changes: Value) -> ResolvedRequest {
    let mut request = json!({
        "org_id": ORG, "format": "ndjson",
        "start": "2024-04-01T00:00:00Z", "end": "2024-04-01T01:00:00Z",
    });
    for (field, value) in changes.as_object().unwrap() {
        request[field] = value.clone();
    }
    RecoveryRequest::from_json(request.to_string().as_bytes())
        .unwrap()
        .resolve(&RequestLimits::default(), &Tolerance::default(), at(NOW))
        .unwrap()
        .request
}

/// The first call of the run's auditor.
pub(crate) fn audit_call(run: &ExecutionId, deadline: DateTime<Utc>) -> AuditCall {
    AuditCall {
        version: AUDIT_CALL_VERSION,
        execution_id: run.clone(),
        number: 1,
        deadline,
        quiet: false,
    }
}

/// The first delivery of ten.
pub(crate) fn first_delivery() -> Delivery {
    delivery(1)
}

pub(crate) fn last_delivery() -> Delivery {
    delivery(10)
}

/// The delivery with this number, of ten.
pub(crate) fn delivery(number: u32) -> Delivery {
    Delivery {
        number,
        deliveries_max: 10,
        now: at(NOW),
        attempt_secs_max: 900,
    }
}

/// Every file of a folder: its path and its bytes.
pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

/// A backup and a destination in a temporary folder.
pub(crate) struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn source_path(&self) -> PathBuf {
        self.folder.path().join("backup")
    }

    pub(crate) fn destination_path(&self) -> PathBuf {
        self.folder.path().join("recovered")
    }

    /// Next to the destination, so that a tree of the destination holds only what is visible.
    pub(crate) fn staging_path(&self) -> PathBuf {
        self.folder.path().join("staging")
    }

    pub(crate) fn source(&self) -> Arc<LocalFolder> {
        let unused = self.folder.path().join("unused");
        Arc::new(LocalFolder::new(self.source_path(), unused))
    }

    pub(crate) fn destination(&self) -> Arc<LocalFolder> {
        Arc::new(LocalFolder::new(
            self.destination_path(),
            self.staging_path(),
        ))
    }

    /// Puts an object into the backup.
    pub(crate) fn back_up(&self, key: &str, content: impl AsRef<[u8]>) {
        write(&self.source_path().join(key), content.as_ref());
    }

    /// The task for an object of the backup, as the planner would make it.
    pub(crate) async fn task(
        &self,
        request: &ResolvedRequest,
        run: &ExecutionId,
        key: &str,
    ) -> Task {
        let page = self.source().list_page(key, None).await.unwrap();
        let object = page.objects.first().expect("the object was backed up");
        Task::new(run, request, SourceKey::parse(key).unwrap(), object)
    }

    pub(crate) fn worker(&self) -> Worker {
        Worker {
            linked_orgs: event_recovery_pipeline::LinkedOrgs::default(),
            source: self.source(),
            destination: self.destination(),
            org_id: request(json!({})).org_id,
            auditor: None,
            limits: TransformLimits::default(),
            observer: Arc::new(Unobserved),
            access: SourceAccess::default(),
            audits: AuditLooks::default(),
            cancellations: Cancellations::default(),
        }
    }

    pub(crate) fn run(&self, request: ResolvedRequest, run: &ExecutionId) -> Run {
        Run {
            linked_orgs: event_recovery_pipeline::LinkedOrgs::default(),
            source: self.source(),
            destination: self.destination(),
            request,
            execution_id: run.clone(),
            concurrency: 2,
            small_objects: 1,
            only: None,
            terms: RunTerms::default(),
            plan_limits: PlanLimits::default(),
            transform_limits: TransformLimits::default(),
            observer: Arc::new(Unobserved),
        }
    }

    /// Carries the run out to its report.
    pub(crate) async fn recover(&self, request: ResolvedRequest, run: &ExecutionId) -> Report {
        carry_out(self.run(request, run)).await
    }

    /// What is visible at the destination.
    pub(crate) fn tree(&self) -> Tree {
        tree(&self.destination_path())
    }

    /// What was recovered and what was rejected, without the ledger.
    pub(crate) fn output(&self) -> Tree {
        let mut tree = self.tree();
        tree.retain(|path, _| {
            path.starts_with("execution_id=") || path.starts_with("_recovery/_rejected/")
        });
        // The mark says when the run was listed.
        for (path, content) in &mut tree {
            if path.ends_with("/_SUCCESS") {
                content.clear();
            }
        }
        tree
    }

    /// The lines of all recovered files, sorted.
    pub(crate) fn lines(&self, run: &ExecutionId) -> Vec<String> {
        let prefix = Ledger::new(run.clone()).output_prefix();
        let tree = self.tree();
        let files = tree
            .iter()
            .filter(|(path, _)| path.starts_with(&prefix) && !path.ends_with("/_SUCCESS"));
        let text = files.map(|(_, bytes)| std::str::from_utf8(bytes).unwrap());
        let mut lines: Vec<String> = text.flat_map(str::lines).map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    /// The bytes of a file at the destination.
    pub(crate) fn read(&self, key: &str) -> Option<Vec<u8>> {
        fs::read(self.destination_path().join(key)).ok()
    }

    pub(crate) fn overwrite(&self, key: &str, content: impl AsRef<[u8]>) {
        write(&self.destination_path().join(key), content.as_ref());
    }

    pub(crate) fn remove(&self, key: &str) {
        fs::remove_file(self.destination_path().join(key)).unwrap();
    }

    /// The receipt of an object.
    pub(crate) fn receipt(&self, run: &ExecutionId, key: &str) -> Option<Receipt> {
        let bytes = self.read(&receipt_key(run, key))?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }

    /// Asserts that the content of events is only in the output and in the rejected fragments.
    pub(crate) fn assert_no_content_in_the_ledger(&self) {
        let tree = self.tree();
        let ledger = tree.iter().filter(|(path, _)| {
            !path.starts_with("execution_id=") && !path.starts_with("_recovery/_rejected/")
        });
        let mut files = 0;
        for (path, bytes) in ledger {
            assert!(
                !String::from_utf8_lossy(bytes).contains(MARKER),
                "`{path}` holds content"
            );
            files += 1;
        }
        assert!(files > 0, "there is no ledger");
    }

    /// Asserts that nothing is left of what was written and not committed.
    pub(crate) fn assert_nothing_staged(&self) {
        assert_eq!(tree(&self.staging_path()), Tree::new());
    }
}

pub(crate) async fn carry_out(run: Run) -> Report {
    let (_keep, stop) = tokio::sync::watch::channel(false);
    match run.carry_out(stop).await.unwrap() {
        Ended::Audited(report) => *report,
        Ended::Stopped => panic!("nobody stopped it"),
    }
}

pub(crate) fn task_id(key: &str) -> TaskId {
    TaskId::of(&SourceKey::parse(key).unwrap())
}

pub(crate) fn receipt_key(run: &ExecutionId, key: &str) -> String {
    Ledger::new(run.clone()).receipt_key(&task_id(key))
}

pub(crate) fn output_key(run: &ExecutionId, date: &str, key: &str) -> String {
    let org_id = request(json!({})).org_id;
    Ledger::new(run.clone()).output_key(&org_id, date, &task_id(key), "ndjson")
}

/// The reason and the hint of a receipt that is failed.
pub(crate) fn failure(receipt: &Receipt) -> (&str, &str) {
    match &receipt.state {
        State::Failed { reason, hint } => (reason, hint.as_deref().unwrap_or_default()),
        other => panic!("not failed: {other:?}"),
    }
}

pub(crate) fn done(receipt: &Receipt) -> &event_recovery_pipeline::Done {
    match &receipt.state {
        State::Done(done) => done,
        other => panic!("not done: {other:?}"),
    }
}

pub(crate) fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub(crate) fn tree(root: &Path) -> Tree {
    fn add(root: &Path, folder: &Path, tree: &mut Tree) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(root, &path, tree);
            } else {
                let relative = path.strip_prefix(root).unwrap().to_str().unwrap();
                tree.insert(relative.to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut tree = Tree::new();
    add(root, root, &mut tree);
    tree
}
