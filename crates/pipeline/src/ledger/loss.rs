//! The mark of an object whose loss a person has accepted, `losses/<task id>.json`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::source_key::SourceKey;
use crate::ledger::Versioned;

/// An object is gone for good, and a person has accepted that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossRecord {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub version: u32,
    /// The object.
    pub key: SourceKey,
    /// Why its loss is accepted, in the person's words.
    pub reason: String,
    /// When.
    pub accepted_at: DateTime<Utc>,
    /// The ARN of whoever did it, where AWS knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_by: Option<String>,
}

impl Versioned for LossRecord {
    fn version(&self) -> u32 {
        self.version
    }
}
