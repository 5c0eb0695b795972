//! The limits of a plan.

use event_recovery_format::OutputFormat;

use crate::backup::hour_prefix::HourPrefix;
use crate::plan::error::PlanError;
use crate::plan::forecast::forecast_so_far;
use crate::plan::summary::Summary;

/// The limits of a plan, checked while hours are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLimits {
    /// Most planned objects of one run. Pruned ones do not count.
    pub objects_max: u64,
    /// Most bytes of its planned objects together, as stored.
    pub bytes_max: u64,
    /// Most that the run may cost by its forecast, in millionths of a US dollar.
    pub micro_usd_max: u64,
}

impl Default for PlanLimits {
    /// A million objects, and 10 TB: as much as they come to at the platform's largest, 10 MB.
    fn default() -> Self {
        Self {
            objects_max: 1_000_000,
            bytes_max: 10_000_000_000_000,
            micro_usd_max: u64::MAX,
        }
    }
}

impl PlanLimits {
    pub(crate) fn check(
        &self,
        summary: &Summary,
        hour: HourPrefix,
        output: OutputFormat,
    ) -> Result<(), PlanError> {
        let Self {
            objects_max,
            bytes_max,
            micro_usd_max,
        } = *self;
        if summary.bytes > bytes_max {
            return Err(PlanError::TooManyBytes { bytes_max, hour });
        }
        if summary.objects.planned > objects_max {
            return Err(PlanError::TooManyObjects { objects_max, hour });
        }
        let micro_usd = forecast_so_far(summary, output).micro_usd.total;
        if micro_usd > micro_usd_max {
            return Err(PlanError::TooExpensive {
                micro_usd_max,
                hour,
            });
        }
        Ok(())
    }
}
