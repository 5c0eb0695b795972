//! Tries what a run does with its destination.

use std::io::Write as _;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::ledger::Ledger;
use crate::preflight::check::Check;
use crate::preflight::need::Reach;
use crate::request::execution_id::ExecutionId;
use crate::storage::{Destination, Precondition, Problem, StorageError, StorageOperation, Written};

/// Larger than one part of an upload.
const LARGE_BYTES: usize = 9 * 1024 * 1024;
/// How far this machine's clock may be from the storage's: AWS refuses requests beyond 15 minutes.
const CLOCK_MAX: TimeDelta = TimeDelta::minutes(5);
const CONTENT: &[u8] = b"{\"preflight\":true}\n";

/// Who tries, which decides what they may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// A process that does everything.
    Everything,
    /// Writes the ledger, and may remove a refusal.
    Planner,
    /// Writes events, rejected fragments and receipts, and removes nothing.
    Worker,
    /// Writes reports, lists events, and may remove a checkpoint.
    Auditor,
}

/// Lists, writes with and without a condition, reads back, uploads in parts, and removes what it wrote, in the folders of a
/// run that does not exist.
pub async fn check_destination(
    destination: Arc<dyn Destination>,
    writer: Writer,
    id: &ExecutionId,
    reach: &Reach,
    now: DateTime<Utc>,
) -> Vec<Check> {
    let ledger = Ledger::new(id.clone());
    let probe = Probe {
        destination,
        ledger,
        reach,
        now,
    };
    let ledger_prefix = format!("{}/", probe.ledger.folder());
    let events_prefix = probe.ledger.output_prefix();
    let mut checks = vec![probe.list("destination_list", &ledger_prefix).await];
    if matches!(writer, Writer::Everything | Writer::Auditor) {
        checks.push(probe.list("destination_list_events", &events_prefix).await);
    }
    let events = format!("{events_prefix}probe.bin");
    match writer {
        Writer::Everything => {
            checks.extend(probe.record("probe.json").await);
            let upload = probe.upload("destination_upload", events, Upload::Complete);
            checks.push(upload.await);
        }
        Writer::Planner => checks.extend(probe.record("refused.json").await),
        Writer::Auditor => checks.extend(probe.record("checkpoint.json").await),
        Writer::Worker => {
            checks.push(probe.refused_write().await);
            let rejected = format!("{}probe.bin", probe.ledger.rejected_prefix());
            for (name, key) in [
                ("destination_upload", events),
                ("destination_upload_rejected", rejected),
            ] {
                checks.push(probe.upload(name, key, Upload::GiveUp).await);
            }
        }
    }
    checks
}

struct Probe<'a> {
    destination: Arc<dyn Destination>,
    ledger: Ledger,
    reach: &'a Reach,
    now: DateTime<Utc>,
}

/// What becomes of an upload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upload {
    /// It is completed, and the object removed.
    Complete,
    /// It is aborted, so that nothing becomes visible.
    GiveUp,
}

impl Probe<'_> {
    fn failed(&self, name: &str, actions: &[&str], error: &StorageError) -> Check {
        Check::failed(name, self.reach, actions, error)
    }

    async fn list(&self, name: &str, prefix: &str) -> Check {
        match self.destination.list_page(prefix, None).await {
            Ok(_) => Check::works(name, "may be listed"),
            Err(error) => self.failed(name, &["s3:ListBucket"], &error),
        }
    }

    /// A record that is written, written again under a condition that no longer holds, read and removed.
    async fn record(&self, record: &str) -> Vec<Check> {
        let key = format!("{}/{record}", self.ledger.folder());
        let (write, conditional, read, remove) = (
            "destination_write",
            "destination_conditional_write",
            "destination_read",
            "destination_remove",
        );
        let put = || {
            self.destination
                .put_if(&key, CONTENT.to_vec(), Precondition::Absent)
        };
        let mut checks = Vec::new();
        match put().await {
            Ok(_) => checks.push(Check::works(write, "may be written")),
            Err(error) => {
                checks.push(self.failed(write, &["s3:PutObject"], &error));
                let unknown = "nothing could be written";
                let others = [conditional, read, remove];
                checks.extend(others.map(|name| Check::cannot_tell(name, unknown)));
                return checks;
            }
        }
        checks.push(match put().await {
            Ok(Written::PreconditionFailed) => {
                Check::works(conditional, "a record is written only once")
            }
            Ok(Written::Yes) => Check::missing(
                conditional,
                "a record that must be absent was written over another: this storage does not honour conditional writes, on which the ledger relies",
                Vec::new(),
            ),
            Err(error) => self.failed(conditional, &["s3:PutObject"], &error),
        });
        checks.push(match self.destination.get(&key).await {
            Ok(Some(found)) if found.bytes == CONTENT => {
                Check::works(read, "what was written can be read")
            }
            Ok(_) => Check::missing(read, "what was written reads as something else", Vec::new()),
            Err(error) => self.failed(read, &["s3:GetObject"], &error),
        });
        checks.push(self.clock(&key).await);
        checks.push(match self.destination.delete(&key).await {
            Ok(()) => Check::works(remove, "what was written is removed"),
            Err(error) => {
                let check = self.failed(remove, &["s3:DeleteObject"], &error);
                let detail = format!("{}; remove `{key}` by hand", check.detail);
                Check { detail, ..check }
            }
        });
        checks
    }

    /// Compares this machine's clock with the time that the storage gives to what was written just now.
    async fn clock(&self, key: &str) -> Check {
        let name = "clock";
        let listed = self.destination.list_page(key, None).await;
        let objects = listed.map(|page| page.objects).unwrap_or_default();
        let Some(written) = objects.iter().find(|object| object.key == key) else {
            return Check::cannot_tell(name, "what was written could not be listed");
        };
        let ahead = self.now - written.last_modified;
        let seconds = ahead.num_seconds();
        match ahead.abs() <= CLOCK_MAX {
            true => Check::works(
                name,
                format!("within {} s of the storage's", seconds.abs() + 1),
            ),
            false => Check::missing(
                name,
                format!("this machine's clock is {seconds} s ahead of the storage's: set it right"),
                Vec::new(),
            ),
        }
    }

    /// A write that is allowed and does not happen: its condition can't hold.
    async fn refused_write(&self) -> Check {
        let name = "destination_write";
        let key = format!("{}probe.json", self.ledger.receipts_prefix());
        let condition = Precondition::Unchanged("\"00000000000000000000000000000000\"".to_owned());
        let written = self
            .destination
            .put_if(&key, CONTENT.to_vec(), condition)
            .await;
        match written {
            Ok(Written::PreconditionFailed) => Check::works(name, "records may be written"),
            // What is absent has no etag that could be unchanged.
            Err(error) if error.problem == Problem::Gone => {
                Check::works(name, "records may be written")
            }
            Ok(Written::Yes) => Check::missing(
                name,
                format!(
                    "`{key}` was written although it was absent: this storage does not honour conditional writes, on which the ledger relies"
                ),
                Vec::new(),
            ),
            Err(error) => self.failed(name, &["s3:PutObject"], &error),
        }
    }

    async fn upload(&self, name: &str, key: String, upload: Upload) -> Check {
        let (destination, uploaded) = (Arc::clone(&self.destination), key.clone());
        let uploading = tokio::task::spawn_blocking(move || -> Result<(), StorageError> {
            let mut object = destination.create(&uploaded)?;
            let block = vec![b'\n'; 64 * 1024];
            for _ in 0..LARGE_BYTES.div_ceil(block.len()) {
                object.write_all(&block).map_err(|error| {
                    error.downcast::<StorageError>().unwrap_or_else(|error| {
                        let problem = Problem::Permanent(error.to_string());
                        StorageError::new(StorageOperation::Write, uploaded.clone(), problem)
                    })
                })?;
            }
            match upload {
                Upload::Complete => object.commit(),
                Upload::GiveUp => {
                    drop(object);
                    Ok(())
                }
            }
        });
        let actions = ["s3:PutObject", "s3:AbortMultipartUpload"];
        match uploading.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return self.failed(name, &actions, &error),
            Err(_) => return Check::cannot_tell(name, "the upload died"),
        }
        if upload == Upload::GiveUp {
            return Check::works(name, "events may be uploaded in parts");
        }
        match self.destination.delete(&key).await {
            Ok(()) => Check::works(name, "events may be uploaded in parts"),
            Err(error) => {
                let check = self.failed(name, &["s3:DeleteObject"], &error);
                let detail = format!("{}; remove `{key}` by hand", check.detail);
                Check { detail, ..check }
            }
        }
    }
}
