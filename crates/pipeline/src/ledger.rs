//! The ledger: what a run writes down, and where.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::execution_id::ExecutionId;
use crate::hour_prefix::HourPrefix;
use crate::org_id::OrgId;
use crate::resolved_request::ResolvedRequest;
use crate::storage::{ListedObject, Records, StorageError};
use crate::task::TaskId;

/// The version of every record of the ledger that this software writes, and the newest it reads.
pub const LEDGER_VERSION: u32 = 1;

/// The name and version of this software, as records give it.
pub const SOFTWARE: &str = concat!("event-recovery ", env!("CARGO_PKG_VERSION"));

/// The keys of one run in the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    execution_id: ExecutionId,
}

impl Ledger {
    /// The ledger of the run.
    pub fn new(execution_id: ExecutionId) -> Self {
        Self { execution_id }
    }

    /// The run.
    pub fn execution_id(&self) -> &ExecutionId {
        &self.execution_id
    }

    /// What all of the run's records have in common.
    pub fn folder(&self) -> String {
        format!("_recovery/{}", self.execution_id)
    }

    /// [`RequestRecord`].
    pub fn request_key(&self) -> String {
        format!("{}/request.json", self.folder())
    }

    /// [`HourTasks`].
    pub fn tasks_key(&self, hour: HourPrefix) -> String {
        format!("{}/tasks/{}.jsonl", self.folder(), hour.label())
    }

    /// An empty record: the hour's tasks have been queued.
    pub fn queued_key(&self, hour: HourPrefix) -> String {
        format!("{}/tasks/{}.queued", self.folder(), hour.label())
    }

    /// [`PlanRecord`](crate::plan::PlanRecord).
    pub fn plan_key(&self) -> String {
        format!("{}/plan.json", self.folder())
    }

    /// [`Receipt`](crate::receipt::Receipt).
    pub fn receipt_key(&self, task: &TaskId) -> String {
        format!("{}{task}.json", self.receipts_prefix())
    }

    /// [`AuditRecord`](crate::audit_call::AuditRecord).
    pub fn audit_key(&self) -> String {
        format!("{}/audit.json", self.folder())
    }

    /// What all receipts have in common.
    pub fn receipts_prefix(&self) -> String {
        format!("{}/receipts/", self.folder())
    }

    /// [`Report`](crate::report::Report).
    pub fn report_key(&self) -> String {
        format!("{}/report.json", self.folder())
    }

    /// The task's rejected fragments. Not in the run's folder, because it holds content.
    pub fn rejected_key(&self, task: &TaskId) -> String {
        format!("{}{task}.jsonl", self.rejected_prefix())
    }

    /// The rejected fragments of all tasks.
    pub fn rejected_prefix(&self) -> String {
        format!("_recovery/_rejected/{}/", self.execution_id)
    }

    /// The events of all tasks.
    pub fn output_prefix(&self) -> String {
        format!("execution_id={}/", self.execution_id)
    }

    /// The events of one task on one day.
    pub fn output_key(&self, org_id: &OrgId, date: &str, task: &TaskId, extension: &str) -> String {
        format!(
            "{}org_id={org_id}/date={date}/{task}.{extension}",
            self.output_prefix()
        )
    }

    /// An empty record: the run is complete.
    pub fn success_key(&self) -> String {
        format!("{}_SUCCESS", self.output_prefix())
    }
}

/// The request as it was when the run began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// [`LEDGER_VERSION`].
    pub version: u32,
    /// [`SOFTWARE`].
    pub software: String,
    /// When the run began.
    pub created_at: DateTime<Utc>,
    /// The request, with every default filled in.
    pub request: ResolvedRequest,
}

/// The frozen task list of one hour: the first line of its file, then one object a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourTasks {
    /// The first line.
    pub head: HourHead,
    /// The planned objects in the order of their keys.
    pub objects: Vec<ListedObject>,
}

/// What the planner found under one hour prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourHead {
    /// [`LEDGER_VERSION`].
    pub version: u32,
    /// The hour.
    pub hour: HourPrefix,
    /// Objects under the prefix: pruned and planned ones.
    pub listed: u64,
    /// Objects that can't hold events of the window, going by the time in their names.
    pub pruned: u64,
    /// Objects to recover.
    pub planned: u64,
    /// Planned objects whose names do not follow the pattern.
    pub foreign_names: u64,
    /// Bytes of the planned objects, as stored.
    pub bytes: u64,
}

impl HourTasks {
    /// The file's content.
    ///
    /// # Errors
    ///
    /// None that can happen: the types always serialise.
    pub fn to_jsonl(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(&self.head)?;
        for object in &self.objects {
            bytes.push(b'\n');
            serde_json::to_writer(&mut bytes, object)?;
        }
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the file's content.
    ///
    /// # Errors
    ///
    /// Anything that [`to_jsonl`](Self::to_jsonl) does not write, also a list cut short.
    pub fn from_jsonl(key: &str, bytes: &[u8]) -> Result<Self, LedgerError> {
        let mut lines = bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let head: HourHead = parse(key, lines.next().unwrap_or_default())?;
        check_version(key, head.version)?;
        let objects: Vec<ListedObject> = lines
            .map(|line| parse(key, line))
            .collect::<Result<_, _>>()?;
        if objects.len() as u64 != head.planned || head.listed != head.pruned + head.planned {
            return Err(LedgerError::Invalid {
                key: key.to_owned(),
                detail: "its counts do not agree with its lines".to_owned(),
            });
        }
        Ok(Self { head, objects })
    }
}

/// A record of the ledger could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LedgerError {
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The record is not what this software writes.
    #[error("the record `{key}` is damaged: {detail}")]
    Invalid {
        /// Its key.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A newer version of this software wrote the record.
    #[error(
        "the record `{key}` has version {found}, and this software reads up to {LEDGER_VERSION}"
    )]
    Newer {
        /// Its key.
        key: String,
        /// Its version.
        found: u32,
    },
}

/// A record that says which version wrote it.
pub trait Versioned: DeserializeOwned {
    /// The record's version.
    fn version(&self) -> u32;
}

impl Versioned for RequestRecord {
    fn version(&self) -> u32 {
        self.version
    }
}

/// Reads a JSON record and checks its version; `None` if there is none. With it comes its etag.
///
/// # Errors
///
/// The storage's, and records that are damaged or too new.
pub async fn read_record<T: Versioned>(
    records: &(impl Records + ?Sized),
    key: &str,
) -> Result<Option<(T, String)>, LedgerError> {
    let Some(record) = records.get(key).await? else {
        return Ok(None);
    };
    let value: T = parse(key, &record.bytes)?;
    check_version(key, value.version())?;
    Ok(Some((value, record.etag)))
}

/// The JSON of a record, indented for people.
pub(crate) fn to_json(key: &str, value: &impl Serialize) -> Result<Vec<u8>, LedgerError> {
    let invalid = |error: serde_json::Error| LedgerError::Invalid {
        key: key.to_owned(),
        detail: error.to_string(),
    };
    let mut bytes = serde_json::to_vec_pretty(value).map_err(invalid)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, LedgerError> {
    serde_json::from_slice(bytes).map_err(|error| LedgerError::Invalid {
        key: key.to_owned(),
        detail: format!(
            "line {}, column {}: not as written",
            error.line(),
            error.column()
        ),
    })
}

fn check_version(key: &str, found: u32) -> Result<(), LedgerError> {
    if found > LEDGER_VERSION {
        return Err(LedgerError::Newer {
            key: key.to_owned(),
            found,
        });
    }
    Ok(())
}
