//! A planner stops when its run is cancelled.

use chrono::SecondsFormat;

use crate::ledger::cancellation::{Cancellation, look_age};
use crate::plan::error::PlanError;
use crate::plan::{Call, Planner};

impl Planner<'_> {
    /// Looks for the mark of a cancelled run, but not more often than workers do.
    ///
    /// # Errors
    ///
    /// [`PlanError::Cancelled`], and the ledger's.
    pub(crate) async fn stop_if_cancelled(&self, call: &Call<'_>) -> Result<(), PlanError> {
        if !call.looks.is_due(look_age(self.ledger)) {
            return Ok(());
        }
        match Cancellation::read(self.ledger, call.ledger).await? {
            Some(mark) => Err(PlanError::Cancelled {
                execution_id: call.ledger.execution_id().clone(),
                cancelled_at: mark.cancelled_at.to_rfc3339_opts(SecondsFormat::Secs, true),
            }),
            None => Ok(()),
        }
    }
}
