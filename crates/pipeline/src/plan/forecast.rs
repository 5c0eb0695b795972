//! What a plan will cost.

use event_recovery_format::OutputFormat;

use crate::cost::bill::{Cost, Work};
use crate::ledger::plan_record::PlanRecord;
use crate::plan::summary::Summary;

/// What the planned run will take and cost on AWS.
pub fn forecast(plan: &PlanRecord, output: OutputFormat) -> Cost {
    let objects = &plan.objects;
    let work = Work::planned(
        plan.hours,
        objects.listed,
        objects.planned,
        plan.bytes,
        output,
    );
    Cost::of(&work, output)
}

/// As [`forecast`], of the hours that were listed so far.
pub(crate) fn forecast_so_far(summary: &Summary, output: OutputFormat) -> Cost {
    let objects = &summary.objects;
    let work = Work::planned(
        summary.hours,
        objects.listed,
        objects.planned,
        summary.bytes,
        output,
    );
    Cost::of(&work, output)
}
