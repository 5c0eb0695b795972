//! The newest call of a run's auditor, `audit.json`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

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
    /// Whether an auditor has answered it.
    pub ended: bool,
    /// Until when one auditor claims the call exclusively, to send the notification.
    #[serde(default)]
    pub claimed_until: Option<DateTime<Utc>>,
}

impl Versioned for AuditRecord {
    fn version(&self) -> u32 {
        self.version
    }
}

impl AuditRecord {
    /// Whether an auditor is still waiting for the run, or should be.
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        !self.ended && now < self.deadline
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
