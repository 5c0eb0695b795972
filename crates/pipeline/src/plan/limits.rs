//! What a planner may take on.

use crate::backup::hour_prefix::HourPrefix;
use crate::plan::error::PlanError;
use crate::plan::summary::Summary;

/// What a planner may take on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLimits {
    /// Most objects of one run.
    pub objects_max: u64,
}

impl Default for PlanLimits {
    /// A million objects: about 10 TB at the 10 MB that the platform writes at most.
    fn default() -> Self {
        Self {
            objects_max: 1_000_000,
        }
    }
}

impl PlanLimits {
    pub(crate) fn check(&self, summary: &Summary, hour: HourPrefix) -> Result<(), PlanError> {
        let objects_max = self.objects_max;
        if summary.objects.planned > objects_max {
            return Err(PlanError::TooManyObjects { objects_max, hour });
        }
        Ok(())
    }
}
