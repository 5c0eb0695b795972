//! The record of a comparison.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ledger::Versioned;
use crate::ledger::report::Verdict;
use crate::request::execution_id::{ExecutionId, ExecutionIdError};

/// Names a comparison of a run. Written as execution ids are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ComparisonId(ExecutionId);

impl ComparisonId {
    /// Of a comparison that begins at this time.
    pub(crate) fn new(now: DateTime<Utc>) -> Result<Self, ExecutionIdError> {
        Self::parse(&now.format("%Y%m%dT%H%M%S%6fZ").to_string())
    }

    /// Reads an id.
    ///
    /// # Errors
    ///
    /// As of execution ids.
    pub fn parse(text: &str) -> Result<Self, ExecutionIdError> {
        ExecutionId::parse(text).map(Self)
    }
}

impl fmt::Display for ComparisonId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Which events of a run a consumer lacks, `comparison.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub version: u32,
    /// [`SOFTWARE`](crate::SOFTWARE).
    pub software: String,
    /// The run.
    pub execution_id: ExecutionId,
    /// Names the comparison, for a delivery.
    pub comparison_id: ComparisonId,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// What the run's report said then.
    pub run_verdict: Verdict,
    /// Whether that was final.
    pub run_is_final: bool,
    /// A digest of what the run had written: a delivery of what is missing is refused once the run has changed.
    pub outputs: String,
    /// The column of CSV and Parquet.
    pub column: String,
    /// The files with the ids that the consumer has.
    pub inputs: Vec<ComparedInput>,
    /// Events of the run: `found = missing + received + without_id`.
    pub events: ComparedEvents,
    /// Different ids of the run that the consumer lacks.
    pub missing: u64,
    /// Different ids of the run that it has.
    pub received: u64,
    /// Different ids that it has and the run has not: a sign of a wrong range.
    pub unknown: u64,
    /// Ids that occur more than once.
    pub duplicates: Duplicates,
    /// How many files of missing ids there are: `missing/1.ids` and so on.
    pub missing_files: u64,
    /// As of missing ids.
    pub unknown_files: u64,
    /// Files with the ids that occur more than once in the run.
    pub repeated_files: u64,
    /// Files with the places of events without an id.
    pub positions_files: u64,
}

/// A file with ids that the consumer has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedInput {
    /// As it was given, or found in what was given.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its etag.
    pub etag: String,
    /// Ids in it, also those that repeat.
    pub ids: u64,
}

/// Events of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedEvents {
    /// All.
    pub found: u64,
    /// With an id that the consumer lacks.
    pub missing: u64,
    /// With an id that it has.
    pub received: u64,
    /// Without a string `event_id`: they can't be compared, and count as missing for a delivery.
    pub without_id: u64,
}

/// Ids that occur more than once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicates {
    /// Different ids that occur more than once in the run.
    pub in_run: RepeatedIds,
    /// Different ids that the consumer has more than once.
    pub in_received: u64,
}

/// Different ids that occur more than once in the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepeatedIds {
    /// Always with the same bytes.
    pub same_bytes: u64,
    /// With different bytes.
    pub other_bytes: u64,
}

impl Versioned for Comparison {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Comparison {
    /// Whether the consumer has exactly the events of a complete run.
    pub fn is_clean(&self) -> bool {
        self.run_verdict == Verdict::Complete
            && self.run_is_final
            && self.missing == 0
            && self.unknown == 0
            && self.events.without_id == 0
            && self.duplicates.in_run.other_bytes == 0
    }
}
