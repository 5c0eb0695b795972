//! Rechecks: of one run that somebody names, or of all that are due.

use event_recovery_pipeline::{
    CheckedRecheck, CheckedRuns, DueAnswer, ExecutionId, Ledger, MissedWindow, PlanError,
    PlannerError, PlannerReply, RecheckAnswer, RecheckPayload, Rechecked, check_recheck,
    missed_windows,
};
use serde_json::json;

use super::{Invocation, PlannerFunction, not_planned};
use crate::metrics::{LogLine, Unit};
use crate::time::millis;

impl PlannerFunction {
    pub(super) async fn recheck(
        &self,
        asked: RecheckPayload,
        invocation: &Invocation,
    ) -> Result<PlannerReply, PlannerError> {
        match asked {
            RecheckPayload::Run {
                execution_id,
                check: true,
            } => self.check_recheck(execution_id).await,
            RecheckPayload::Run { execution_id, .. } => {
                self.recheck_run(&execution_id, invocation).await
            }
            RecheckPayload::Due => self.recheck_due(invocation).await,
        }
    }

    /// Whether the run can be rechecked. Lists and writes nothing.
    async fn check_recheck(&self, execution_id: ExecutionId) -> Result<PlannerReply, PlannerError> {
        let ledger = Ledger::new(execution_id.clone());
        check_recheck(&*self.reaches.ledger, &ledger)
            .await
            .map_err(|error| not_planned(&execution_id, &error))?;
        Ok(PlannerReply::CheckedRecheck(CheckedRecheck {
            destination: self.places(&execution_id).destination,
            execution_id,
        }))
    }

    async fn recheck_run(
        &self,
        execution_id: &ExecutionId,
        invocation: &Invocation,
    ) -> Result<PlannerReply, PlannerError> {
        let auditor = self.audit_caller();
        let planner = self.planner(&auditor, invocation, None);
        let rechecked = planner
            .recheck(execution_id, invocation.now)
            .await
            .map_err(|error| self.not_rechecked(execution_id, &error))?;
        self.log_rechecked(&rechecked);
        let answer = RecheckAnswer::new(rechecked, self.places(execution_id));
        Ok(PlannerReply::Rechecked(Box::new(answer)))
    }

    async fn recheck_due(&self, invocation: &Invocation) -> Result<PlannerReply, PlannerError> {
        let auditor = self.audit_caller();
        let planner = self.planner(&auditor, invocation, None);
        let no_run = |error: PlanError| {
            PlannerError::new((&error).into(), &error.to_string(), error.hint().as_deref())
        };
        let checked = planner.recheck_due(invocation.now).await.map_err(no_run)?;
        let missed = match &self.settings.schedule {
            Some(schedule) => missed_windows(&*self.reaches.ledger, schedule, invocation.now)
                .await
                .map_err(|error| no_run(error.into()))?,
            None => Vec::new(),
        };
        checked
            .rechecked
            .iter()
            .for_each(|rechecked| self.log_rechecked(rechecked));
        self.log_check(&checked, &missed, invocation);
        let mut failed = checked.failed.iter();
        let first = failed
            .next()
            .map(|failed| self.not_rechecked(&failed.execution_id, &failed.error));
        let others: Vec<_> = failed
            .map(|failed| self.not_rechecked(&failed.execution_id, &failed.error))
            .collect();
        match first {
            // One that a person must see comes before one that is expected.
            Some(first) => {
                let all = std::iter::once(first).chain(others);
                let (expected, unexpected): (Vec<_>, Vec<_>) =
                    all.partition(|error| error.error_type.is_expected());
                let error = unexpected.into_iter().chain(expected).next();
                Err(error.unwrap_or_else(|| super::refusal("a run could not be rechecked", None)))
            }
            None => {
                let answer = DueAnswer::new(checked, missed);
                Ok(PlannerReply::CheckedRuns(Box::new(answer)))
            }
        }
    }

    fn not_rechecked(&self, execution_id: &ExecutionId, error: &PlanError) -> PlannerError {
        LogLine::new("run not rechecked")
            .field("execution_id", execution_id.as_str())
            .error(error, error.hint(), error.request_id())
            .write(&self.settings.stack);
        not_planned(execution_id, error)
    }

    fn log_rechecked(&self, rechecked: &Rechecked) {
        LogLine::new("run rechecked")
            .field("execution_id", rechecked.execution_id.as_str())
            .field("final", rechecked.finality.is_final)
            .field("changed", rechecked.changed.objects)
            .field("vanished", rechecked.vanished.objects)
            .field("tasks_queued", rechecked.tasks_queued)
            .metric("LateObjects", Unit::Count, rechecked.late_objects)
            .write(&self.settings.stack);
    }

    fn log_check(&self, checked: &CheckedRuns, missed: &[MissedWindow], invocation: &Invocation) {
        let not_ended: Vec<&str> = checked.not_ended.iter().map(ExecutionId::as_str).collect();
        LogLine::new("runs checked")
            .field("provisional", checked.provisional)
            .field("left", checked.left)
            .field("not_ended", not_ended)
            .field("missed_windows", json!(missed))
            .metric("ChecksDone", Unit::Count, 1)
            .metric("RunsNotEnded", Unit::Count, checked.not_ended.len() as u64)
            .metric("ScheduledRunsMissing", Unit::Count, missed.len() as u64)
            // So that the alarm that subtracts it from `Errors` has data before the first expected error.
            .metric("PlannerErrorsExpected", Unit::Count, 0)
            .metric(
                "CheckDurationMillis",
                Unit::Milliseconds,
                millis(invocation.began.elapsed()),
            )
            .write(&self.settings.stack);
    }
}
