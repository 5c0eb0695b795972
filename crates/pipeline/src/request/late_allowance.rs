//! How long after its end an hour prefix may still gain objects.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Firehose buffers for up to 15 minutes and retries a delivery for up to 24 hours, and it names an object by
/// its oldest record ("Amazon Data Firehose data delivery" in its developer guide): 24 hours and a quarter,
/// rounded up.
pub const LATE_ALLOWANCE_HOURS_DEFAULT: u32 = 25;

/// The largest late allowance: a week.
pub const LATE_ALLOWANCE_HOURS_MAX: u32 = 168;

/// How long after its end an hour prefix may still gain objects, in hours: 0 to
/// [`LATE_ALLOWANCE_HOURS_MAX`]. A listing after that is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct LateAllowance(u32);

/// A late allowance out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the late allowance is 0 to {LATE_ALLOWANCE_HOURS_MAX} hours: {found}")]
pub struct LateAllowanceError {
    /// The hours found.
    pub found: u32,
}

impl LateAllowance {
    /// A late allowance of so many hours.
    ///
    /// # Errors
    ///
    /// More than [`LATE_ALLOWANCE_HOURS_MAX`].
    pub fn from_hours(hours: u32) -> Result<Self, LateAllowanceError> {
        match hours {
            0..=LATE_ALLOWANCE_HOURS_MAX => Ok(Self(hours)),
            found => Err(LateAllowanceError { found }),
        }
    }

    /// In hours.
    pub fn hours(self) -> u32 {
        self.0
    }

    /// From when on an hour that ends at `end` gains no more objects.
    pub fn after(self, end: DateTime<Utc>) -> DateTime<Utc> {
        end + TimeDelta::hours(i64::from(self.0))
    }
}

impl Default for LateAllowance {
    fn default() -> Self {
        Self(LATE_ALLOWANCE_HOURS_DEFAULT)
    }
}

impl TryFrom<u32> for LateAllowance {
    type Error = LateAllowanceError;

    fn try_from(hours: u32) -> Result<Self, LateAllowanceError> {
        Self::from_hours(hours)
    }
}

impl From<LateAllowance> for u32 {
    fn from(allowance: LateAllowance) -> Self {
        allowance.0
    }
}
