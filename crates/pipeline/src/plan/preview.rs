//! The plan of a dry run.

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use tracing::instrument;

use crate::backup::hour_prefix::HourPrefix;
use crate::ledger::observer::Observer;
use crate::ledger::plan_record::PlanRecord;
use crate::plan::error::PlanError;
use crate::plan::limits::PlanLimits;
use crate::plan::listing::{HOURS_LISTED_AT_ONCE, list_hour};
use crate::plan::summary::Summary;
use crate::request::execution_id::ExecutionId;
use crate::request::resolved::ResolvedRequest;
use crate::storage::ListObjects;

/// The plan that [`Planner::plan`](crate::Planner::plan) would write. Lists only: nothing is written or
/// queued.
///
/// # Errors
///
/// See [`PlanError`].
#[instrument(skip_all, fields(%execution_id))]
pub async fn preview(
    source: &dyn ListObjects,
    request: &ResolvedRequest,
    execution_id: &ExecutionId,
    limits: PlanLimits,
    observer: &dyn Observer,
    now: DateTime<Utc>,
) -> Result<PlanRecord, PlanError> {
    let mut summary = Summary::default();
    let hours: Vec<HourPrefix> = request.window().hours().collect();
    let mut listed = stream::iter(hours.iter().copied())
        .map(|hour| list_hour(source, request, hour, now))
        .buffered(HOURS_LISTED_AT_ONCE);
    while let Some(tasks) = listed.try_next().await? {
        summary.add(&tasks.head);
        limits.check(&summary, tasks.head.hour, request.output)?;
        observer.planned(tasks.head.planned, tasks.head.bytes);
    }
    summary.unexpected.find_beside(source, &hours).await?;
    Ok(summary.into_plan(execution_id.clone(), now))
}
