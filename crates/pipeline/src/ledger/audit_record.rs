//! The newest call of a run's auditor, `audit.json`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ledger::report::Verdict;
use crate::ledger::{Ledger, LedgerError, Versioned, read_record};
use crate::storage::Records;

/// The newest call of a run's auditor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub version: u32,
    /// See [`AuditCall::number`](crate::AuditCall::number).
    pub number: u64,
    /// See [`AuditCall::deadline`](crate::AuditCall::deadline).
    pub deadline: DateTime<Utc>,
    /// How long the auditor may wait for the run, in hours.
    pub wait_hours: u32,
    /// See [`AuditCall::quiet`](crate::AuditCall::quiet).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiet: bool,
    /// Whether an auditor has begun to read the run's receipts. It may have read one that changes from now
    /// on, so such a change needs another call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reading: bool,
    /// Times that an auditor has begun to read since the last one that made progress.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// What an auditor has found and counted in metrics. Only people remain to be notified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<AuditAnswer>,
    /// Whether an auditor has answered it.
    pub ended: bool,
    /// Until when one auditor claims the call exclusively, to send the notification.
    #[serde(default)]
    pub claimed_until: Option<DateTime<Utc>>,
}

/// What an auditor has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditAnswer {
    /// What there is to say.
    pub kind: AuditAnswerKind,
    /// Whether the deadline passed with tasks still missing.
    pub overdue: bool,
    /// The verdict of the report that was replaced.
    pub verdict_before: Option<Verdict>,
}

/// What there is to say about a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditAnswerKind {
    /// It has a report.
    Audited,
    /// The planner refused it.
    Refused,
    /// It could not be audited.
    NotAudited,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Versioned for AuditRecord {
    fn version(&self) -> u32 {
        self.version
    }
}

impl AuditRecord {
    /// Whether an auditor is still waiting for the run, or should be, and will see every change from now on.
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        !self.ended && !self.reading && now < self.deadline
    }
}

/// The newest call of the run and its etag, if there was one.
///
/// # Errors
///
/// The ledger's.
pub async fn audit_record(
    records: &(impl Records + ?Sized),
    ledger: &Ledger,
) -> Result<Option<(AuditRecord, String)>, LedgerError> {
    read_record::<AuditRecord>(records, &ledger.audit_key()).await
}
