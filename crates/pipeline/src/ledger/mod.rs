//! The ledger: the records of a run and their keys.

pub(crate) mod audit_record;
pub(crate) mod cancellation;
pub(crate) mod hour;
pub(crate) mod kinds;
pub(crate) mod late_plan;
pub(crate) mod loss;
pub(crate) mod observer;
pub(crate) mod orgs;
pub(crate) mod plan_record;
pub(crate) mod planning_record;
pub(crate) mod provisional;
pub(crate) mod receipt;
pub(crate) mod recheck_record;
pub(crate) mod report;
pub(crate) mod requeue_record;
pub(crate) mod seal;
pub(crate) mod task_lists;

use std::fmt::Display;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::backup::hour_prefix::HourPrefix;
use crate::backup::org_id::OrgId;
use crate::backup::source_key::TaskId;
use crate::ledger::seal::Seal;
use crate::request::execution_id::ExecutionId;
use crate::request::late_allowance::LateAllowance;
use crate::request::resolved::ResolvedRequest;
use crate::storage::{Record, Records, RequestId, StorageError};

/// The version of every record of the ledger that this software writes, and the newest it reads.
/// Since version 2 records are sealed by a digest. Since version 3 a run may have late task lists, which
/// earlier software would leave out of its audit.
pub const LEDGER_VERSION: u32 = 3;

/// The name and version of this software, as records give it.
pub const SOFTWARE: &str = concat!("event-recovery ", env!("CARGO_PKG_VERSION"));

/// The keys of one run in the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    execution_id: ExecutionId,
}

impl Ledger {
    /// The keys of the run; nothing is read or written.
    pub fn new(execution_id: ExecutionId) -> Self {
        Self { execution_id }
    }

    /// The run.
    pub fn execution_id(&self) -> &ExecutionId {
        &self.execution_id
    }

    /// The folder of the run's records, without a slash at its end.
    pub fn folder(&self) -> String {
        format!("_recovery/{}", self.execution_id)
    }

    /// [`RequestRecord`].
    pub fn request_key(&self) -> String {
        format!("{}/request.json", self.folder())
    }

    /// [`HourTasks`](crate::HourTasks).
    pub fn tasks_key(&self, hour: HourPrefix) -> String {
        format!("{}/tasks/{}.jsonl", self.folder(), hour.label())
    }

    /// An empty record: the hour's tasks have been queued.
    pub fn queued_key(&self, hour: HourPrefix) -> String {
        format!("{}/tasks/{}.queued", self.folder(), hour.label())
    }

    /// [`HourTasks`](crate::HourTasks) that the recheck with this number added to the hour; from 1.
    pub fn late_tasks_key(&self, hour: HourPrefix, number: u64) -> String {
        format!(
            "{}{}.late-{number}.jsonl",
            self.tasks_prefix(),
            hour.label()
        )
    }

    /// As [`queued_key`](Self::queued_key), of a late task list.
    pub fn late_queued_key(&self, hour: HourPrefix, number: u64) -> String {
        format!(
            "{}{}.late-{number}.queued",
            self.tasks_prefix(),
            hour.label()
        )
    }

    /// The prefix of all task lists, with a slash at its end.
    pub fn tasks_prefix(&self) -> String {
        format!("{}/tasks/", self.folder())
    }

    /// [`LatePlanRecord`](crate::LatePlanRecord); from 1.
    pub fn late_plan_key(&self, number: u64) -> String {
        format!("{}{number}.json", self.late_plans_prefix())
    }

    /// What the keys of all late plans begin with.
    pub fn late_plans_prefix(&self) -> String {
        format!("{}/plan.late-", self.folder())
    }

    /// [`RecheckRecord`](crate::RecheckRecord).
    pub fn recheck_key(&self) -> String {
        format!("{}/recheck.json", self.folder())
    }

    /// Where a call that queues failed tasks again continues after its deadline.
    pub fn requeue_key(&self) -> String {
        format!("{}/requeue.json", self.folder())
    }

    /// The state of an audit that takes more than one invocation.
    pub fn checkpoint_key(&self) -> String {
        format!("{}/checkpoint.json", self.folder())
    }

    /// The prefix of the marks of all runs that are not final, with a slash at its end.
    pub const PROVISIONAL_PREFIX: &'static str = "_recovery/_provisional/";

    /// A mark: the run is not final, so it must be rechecked. Not in the run's folder, so that a listing of
    /// these runs costs nothing for all others.
    pub fn provisional_key(&self) -> String {
        format!("{}{}", Self::PROVISIONAL_PREFIX, self.execution_id)
    }

    /// [`PlanRecord`](crate::PlanRecord).
    pub fn plan_key(&self) -> String {
        format!("{}/plan.json", self.folder())
    }

    /// [`PlanningRecord`](crate::ledger::planning_record::PlanningRecord).
    pub fn planning_key(&self) -> String {
        format!("{}/planning.json", self.folder())
    }

    /// [`Refusal`](crate::ledger::planning_record::Refusal).
    pub fn refused_key(&self) -> String {
        format!("{}/refused.json", self.folder())
    }

    /// [`Cancellation`](crate::Cancellation).
    pub fn cancelled_key(&self) -> String {
        format!("{}/cancelled.json", self.folder())
    }

    /// [`LossRecord`](crate::LossRecord).
    pub fn loss_key(&self, task: &TaskId) -> String {
        format!("{}{task}.json", self.losses_prefix())
    }

    /// The prefix of all accepted losses, with a slash at its end.
    pub fn losses_prefix(&self) -> String {
        format!("{}/losses/", self.folder())
    }

    /// [`Receipt`](crate::ledger::receipt::Receipt).
    pub fn receipt_key(&self, task: &TaskId) -> String {
        format!("{}{task}.json", self.receipts_prefix())
    }

    /// [`AuditRecord`](crate::AuditRecord).
    pub fn audit_key(&self) -> String {
        format!("{}/audit.json", self.folder())
    }

    /// The prefix of all receipts, with a slash at its end.
    pub fn receipts_prefix(&self) -> String {
        format!("{}/receipts/", self.folder())
    }

    /// [`Report`](crate::ledger::report::Report).
    pub fn report_key(&self) -> String {
        format!("{}/report.json", self.folder())
    }

    /// The report as a page, [`report_page`](crate::report_page).
    pub fn page_key(&self) -> String {
        format!("{}/report.html", self.folder())
    }

    /// What the keys of all files of a comparison begin with.
    pub fn comparison_prefix(&self, id: &impl Display) -> String {
        format!("{}/comparisons/{id}/", self.folder())
    }

    /// [`Comparison`](crate::Comparison).
    pub fn comparison_key(&self, id: &impl Display) -> String {
        format!("{}comparison.json", self.comparison_prefix(id))
    }

    /// What the keys of all deliveries begin with.
    pub fn deliveries_prefix(&self) -> String {
        format!("{}/deliveries/", self.folder())
    }

    /// A file of a delivery.
    pub fn delivery_key(&self, id: &ExecutionId, name: &str) -> String {
        format!("{}{id}/{name}", self.deliveries_prefix())
    }

    /// [`SignatureRecord`](crate::SignatureRecord).
    pub fn signature_key(&self) -> String {
        format!("{}/signature.json", self.folder())
    }

    /// [`AuditDigests`](crate::ledger::report::AuditDigests).
    pub fn digests_key(&self) -> String {
        format!("{}/digests.json", self.folder())
    }

    /// The task's rejected fragments. Not in the run's folder, because it holds content.
    pub fn rejected_key(&self, task: &TaskId) -> String {
        format!("{}{task}.jsonl", self.rejected_prefix())
    }

    /// The prefix of all tasks' rejected fragments, with a slash at its end.
    pub fn rejected_prefix(&self) -> String {
        format!("_recovery/_rejected/{}/", self.execution_id)
    }

    /// The prefix of all tasks' events, with a slash at its end.
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

    /// [`Finality`](crate::Finality) in one line, while the run is complete.
    pub fn success_key(&self) -> String {
        format!("{}_SUCCESS", self.output_prefix())
    }
}

/// The request that the run began with, `request.json`. It never changes.
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
    /// How long an hour may gain objects after its end. Not part of the request: it changes nothing in the
    /// output, only until when the report is provisional.
    #[serde(default, rename = "late_allowance_hours")]
    pub late_allowance: LateAllowance,
    /// The scheduled time, for the run of a schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_for: Option<DateTime<Utc>>,
    /// The URL of the bucket that the run reads, so that a recheck needs not be told again. `None` for
    /// a folder, which may lie elsewhere by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl RequestRecord {
    /// The end of the last hour that the window lists.
    pub fn hours_end(&self) -> DateTime<Utc> {
        let last = self.request.window().hours().next_back();
        last.map_or(self.request.end, HourPrefix::end)
    }

    /// From when on the hours of the window gain no more objects.
    pub fn final_after(&self) -> DateTime<Utc> {
        self.late_allowance.after(self.hours_end())
    }
}

/// A record of the ledger could not be read or written.
#[derive(Debug, Clone, Error)]
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

impl LedgerError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Storage(error) => error.hint(),
            Self::Invalid { .. } => Some(
                "restore the record from a version that the destination keeps, or start a new run"
                    .to_owned(),
            ),
            Self::Newer { .. } => Some("use the version of this software that wrote it".to_owned()),
        }
    }

    /// The id of the request that failed, if the ledger is with a service and it answered.
    pub fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::Storage(error) => error.request_id(),
            Self::Invalid { .. } | Self::Newer { .. } => None,
        }
    }

    /// Whether trying again can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_transient())
    }
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

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed<T> {
    /// What it says.
    pub value: T,
    /// The record's etag.
    pub etag: String,
    /// Whether it is as it was written.
    pub seal: Seal,
    /// The digest of its bytes.
    pub digest: String,
}

/// Reads a JSON record and its etag, and checks its version; `None` if there is none.
///
/// # Errors
///
/// The storage's, and records that are damaged or too new.
pub async fn read_record<T: Versioned>(
    records: &(impl Records + ?Sized),
    key: &str,
) -> Result<Option<(T, String)>, LedgerError> {
    let sealed = read_sealed(records, key).await?;
    Ok(sealed.map(|sealed| (sealed.value, sealed.etag)))
}

/// As [`read_record`], for readers that must know whether the record was changed.
///
/// # Errors
///
/// The storage's, and records that are damaged or too new.
pub async fn read_sealed<T: Versioned>(
    records: &(impl Records + ?Sized),
    key: &str,
) -> Result<Option<Sealed<T>>, LedgerError> {
    let record = records.find(key).await?;
    record.map(|record| unseal(key, &record)).transpose()
}

/// As [`read_record`], for a record that usually is not there.
///
/// # Errors
///
/// The storage's, and records that are damaged or too new.
pub async fn find_record<T: Versioned>(
    records: &(impl Records + ?Sized),
    key: &str,
) -> Result<Option<(T, String)>, LedgerError> {
    let record = records.find(key).await?;
    let sealed = record.map(|record| unseal(key, &record)).transpose()?;
    Ok(sealed.map(|sealed| (sealed.value, sealed.etag)))
}

/// What a record says, and whether it was changed.
pub(crate) fn unseal<T: Versioned>(key: &str, record: &Record) -> Result<Sealed<T>, LedgerError> {
    let value: T = parse(key, &record.bytes)?;
    check_version(key, value.version())?;
    Ok(Sealed {
        seal: seal::check(&record.bytes, value.version()),
        digest: seal::digest(&record.bytes),
        value,
        etag: record.etag.clone(),
    })
}

/// The JSON of a record, indented for people and sealed.
///
/// # Errors
///
/// A value that JSON can't express; none of this crate's records is one.
pub fn to_json(key: &str, value: &impl Serialize) -> Result<Vec<u8>, LedgerError> {
    Ok(seal::seal(to_unsealed_json(key, value)?))
}

/// The JSON of a record whose digest another record holds.
pub(crate) fn to_unsealed_json(key: &str, value: &impl Serialize) -> Result<Vec<u8>, LedgerError> {
    let mut json = serde_json::to_vec_pretty(value).map_err(|error| LedgerError::Invalid {
        key: key.to_owned(),
        detail: error.to_string(),
    })?;
    json.push(b'\n');
    Ok(json)
}

pub(crate) fn parse<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, LedgerError> {
    serde_json::from_slice(bytes).map_err(|error| LedgerError::Invalid {
        key: key.to_owned(),
        detail: format!(
            "line {}, column {}: not as written",
            error.line(),
            error.column()
        ),
    })
}

/// The digest of a report but for its times: two audits that find the same have the same.
pub(crate) fn report_digest(key: &str, json: &[u8]) -> Result<String, LedgerError> {
    let mut report: serde_json::Map<String, serde_json::Value> = parse(key, json)?;
    report.remove("times");
    Ok(seal::digest(&to_unsealed_json(key, &report)?))
}

/// The version of a JSON record of any kind.
pub(crate) fn read_version(key: &str, bytes: &[u8]) -> Result<u32, LedgerError> {
    #[derive(Deserialize)]
    struct AnyRecord {
        version: u32,
    }
    let AnyRecord { version } = parse(key, bytes)?;
    check_version(key, version)?;
    Ok(version)
}

pub(crate) fn check_version(key: &str, found: u32) -> Result<(), LedgerError> {
    if found > LEDGER_VERSION {
        return Err(LedgerError::Newer {
            key: key.to_owned(),
            found,
        });
    }
    Ok(())
}
