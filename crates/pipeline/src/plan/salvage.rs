//! Queues the task of a damaged object, to recover its events before the damage.

use chrono::{DateTime, Utc};
use tracing::instrument;

use crate::backup::source_key::SourceKey;
use crate::ledger::{Ledger, RequestRecord, find_record};
use crate::plan::error::PlanError;
use crate::plan::{Call, Planner};
use crate::queue::task::Task;
use crate::request::execution_id::ExecutionId;
use crate::runs::planned_object::planned_object;

impl Planner<'_> {
    /// Queues the task of an object of the plan to be salvaged: if the object is damaged, its events before the damage are
    /// recovered. What is done stays as it is.
    ///
    /// # Errors
    ///
    /// See [`PlanError`].
    #[instrument(skip_all, fields(%execution_id, %key))]
    pub async fn salvage(
        &self,
        execution_id: &ExecutionId,
        key: &SourceKey,
        now: DateTime<Utc>,
    ) -> Result<(), PlanError> {
        let ledger = Ledger::new(execution_id.clone());
        let request = find_record::<RequestRecord>(self.ledger, &ledger.request_key()).await?;
        let Some((request, _)) = request else {
            return Err(PlanError::UnknownRun(execution_id.clone()));
        };
        let call = Call::new(&ledger, &request.request, now);
        self.stop_if_cancelled(&call).await?;
        let Some(object) = planned_object(self.ledger, &ledger, key).await? else {
            return Err(PlanError::NotInPlan {
                execution_id: execution_id.clone(),
                key: key.clone(),
            });
        };
        let task = Task::new(execution_id, &request.request, key.clone(), &object);
        self.queue.send(vec![task.to_salvage()]).await?;
        Ok(())
    }
}
