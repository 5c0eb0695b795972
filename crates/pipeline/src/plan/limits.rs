//! The limits of a plan.

use crate::backup::hour_prefix::HourPrefix;
use crate::plan::error::PlanError;
use crate::plan::summary::Summary;

/// The limits of a plan, checked while hours are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLimits {
    /// Most planned objects of one run. Pruned ones do not count.
    pub objects_max: u64,
}

impl Default for PlanLimits {
    /// A million objects: up to 10 TB, since the platform's objects have up to 10 MB.
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
