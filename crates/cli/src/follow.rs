//! Has a remote planner plan a run, and follows the run through its ledger.
//!
//! A planner may take as long as a function may run, longer than connections live. So it is invoked
//! asynchronously, and its result is read from the ledger. Lambda retries a planner that failed or ran out
//! of time; only when its retries are used up is the planner invoked again. All invocations have the same
//! execution id, and so make one run.

use std::fmt::Display;
use std::time::Duration;

use chrono::{DateTime, Utc};
use event_recovery_aws::{Deployment, InvocationError};
use event_recovery_pipeline::{
    AskedLimits, CheckedRequest, Ledger, LedgerError, PlanRecord, Planned, PlannerAnswer,
    PlannerPayload, PlanningRecord, PlanningState, Records, RecoveryRequest, Refusal, RefusalKind,
    RequestRecord, read_record,
};

use crate::failure::Failure;

/// Most asynchronous invocations for one request: each of them plans some more hours.
const HAND_OVERS_MAX: u32 = 100;
/// Most further invocations of a planner that wrote nothing new: one that crashed twice would crash again.
const SILENCES_MAX: u32 = 1;
/// Consecutive polls of the ledger that may fail with a transient error: two minutes of them, in addition
/// to the requests' own attempts.
pub(crate) const FAILED_LOOKS_MAX: u32 = 60;

/// The waits while a run is planned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Between two polls of the ledger.
    pub(crate) look: Duration,
    /// For a planner at work: Lambda's longest run, and the time until its next retry.
    pub(crate) at_work: Duration,
    /// For Lambda's next retry, which comes after one minute and after two more ("Asynchronous
    /// invocation" in the Lambda developer guide).
    pub(crate) next_try: Duration,
    /// For a planner that may not have been reached.
    pub(crate) unsure: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(2),
            at_work: Duration::from_secs(20 * 60),
            next_try: Duration::from_secs(5 * 60),
            unsure: Duration::from_secs(30),
        }
    }
}

/// A remote planner.
pub(crate) trait ReachPlanner {
    /// Asks whether the planner would accept the request.
    async fn check(&self, request: &RecoveryRequest) -> Result<CheckedRequest, InvocationError>;
    /// Invokes the planner asynchronously.
    async fn hand_over(&self, request: &RecoveryRequest) -> Result<(), InvocationError>;
}

/// The planner of a stack.
pub(crate) struct DeployedPlanner<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) function: &'a str,
    /// Of the run.
    pub(crate) limits: AskedLimits,
}

impl ReachPlanner for DeployedPlanner<'_> {
    async fn check(&self, request: &RecoveryRequest) -> Result<CheckedRequest, InvocationError> {
        let check = true;
        let payload = PlannerPayload {
            check,
            limits: self.limits,
            request,
        };
        self.deployment.ask(self.function, &payload).await
    }

    async fn hand_over(&self, request: &RecoveryRequest) -> Result<(), InvocationError> {
        let check = false;
        let payload = PlannerPayload {
            check,
            limits: self.limits,
            request,
        };
        self.deployment.hand_over(self.function, &payload).await
    }
}

/// A run while it is planned.
pub(crate) struct Planning<'a, P, R> {
    pub(crate) planner: &'a P,
    /// The destination.
    pub(crate) records: &'a R,
    /// With the id that the run is to have.
    pub(crate) request: &'a RecoveryRequest,
    /// What the planner said about it.
    pub(crate) checked: &'a CheckedRequest,
    pub(crate) pace: Pace,
    /// Prints progress for people.
    pub(crate) say: &'a dyn Fn(&str),
}

/// What the ledger says about the calls of the planner.
#[derive(Debug, Clone, Default, PartialEq)]
struct Seen {
    planning: Option<PlanningRecord>,
    refusal: Option<Refusal>,
}

impl Seen {
    fn called_at(&self) -> Option<DateTime<Utc>> {
        self.planning.as_ref().map(|planning| planning.called_at)
    }

    /// Whether the planner stopped at its deadline, having planned some hours.
    fn is_out_of_time(&self) -> bool {
        let state = self.planning.as_ref().map(|planning| planning.state);
        matches!(state, Some(PlanningState::OutOfTime { .. }))
    }

    /// What was written since the invocation; `before` is what was there before it.
    fn since(self, before: &Self) -> Self {
        let called_at = self.called_at();
        // A call that began after the refused one is about to remove the refusal.
        let refusal = self.refusal.filter(|refusal| {
            let is_old = before.refusal.as_ref() == Some(refusal);
            !is_old && Some(refusal.called_at) >= called_at
        });
        Self {
            planning: self
                .planning
                .filter(|planning| Some(planning.called_at) != before.called_at()),
            refusal,
        }
    }
}

impl<P: ReachPlanner, R: Records> Planning<'_, P, R> {
    /// Invokes the planner, and waits until the plan is complete or refused.
    ///
    /// # Errors
    ///
    /// A refusal, a planner that stopped reporting, and a ledger that can't be read. Only a refusal says
    /// that the run has ended.
    pub(crate) async fn follow(&self) -> Result<PlannerAnswer, Failure> {
        // An unreadable ledger is reported before anything is started.
        let before = self.look().await.map_err(Failure::from)?;
        let mut patience = self.hand_over().await?;
        let (mut seen, mut silence) = (Seen::default(), Duration::ZERO);
        let (mut hand_overs, mut silences, mut failed_looks) = (1, 0, 0);
        loop {
            tokio::time::sleep(self.pace.look).await;
            let now = match self.look().await {
                Ok(now) => now.since(&before),
                Err(error) => {
                    failed_looks += 1;
                    self.tolerate(failed_looks, error)?;
                    continue;
                }
            };
            failed_looks = 0;
            if now != seen {
                (silence, seen) = (Duration::ZERO, now);
                patience = self.patience(&seen);
                if seen.is_out_of_time() {
                    silences = 0;
                }
                if let Some(tasks_queued) = self.heard(&seen)? {
                    return self.answer(tasks_queued).await;
                }
                continue;
            }
            silence += self.pace.look;
            if silence < patience {
                continue;
            }
            if let Some(refusal) = &seen.refusal {
                return Err(self.refused(refusal));
            }
            silences += 1;
            hand_overs += 1;
            if silences > SILENCES_MAX || hand_overs > HAND_OVERS_MAX {
                return Err(self.unheard());
            }
            silence = Duration::ZERO;
            patience = self.hand_over_again().await?;
        }
    }

    /// Invokes the planner. Returns how long to wait until the ledger changes.
    async fn hand_over(&self) -> Result<Duration, Failure> {
        match self.planner.hand_over(self.request).await {
            Ok(()) => Ok(self.pace.next_try),
            Err(error @ InvocationError::Unanswered { .. }) => {
                let text = with_hint(&error, error.hint());
                (self.say)(&format!("{text}; looking whether it has begun"));
                Ok(self.pace.unsure)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Invokes it again, unless a check says why it would refuse.
    async fn hand_over_again(&self) -> Result<Duration, Failure> {
        (self.say)("nothing is heard of the planner; asking it again");
        match self.planner.check(self.request).await {
            Ok(_) | Err(InvocationError::Unanswered { .. }) => self.hand_over().await,
            Err(error) => Err(error.into()),
        }
    }

    /// How long to wait until the ledger changes again.
    fn patience(&self, seen: &Seen) -> Duration {
        let is_at_work = seen
            .planning
            .as_ref()
            .is_some_and(|planning| planning.state == PlanningState::Planning);
        match is_at_work && seen.refusal.is_none() {
            true => self.pace.at_work,
            false => self.pace.next_try,
        }
    }

    /// The tasks that were queued, once the plan is complete.
    fn heard(&self, seen: &Seen) -> Result<Option<u64>, Failure> {
        match (&seen.planning, &seen.refusal) {
            (Some(planning), refusal) => match (planning.state, refusal) {
                (PlanningState::Planned { tasks_queued }, _) => return Ok(Some(tasks_queued)),
                (PlanningState::OutOfTime { hours_done, hours }, _) => (self.say)(&format!(
                    "planning continues: the planner ran out of time after {hours_done} of {hours} hours"
                )),
                (PlanningState::Planning, Some(refusal)) => self.weigh(refusal)?,
                (PlanningState::Planning, None) => {}
            },
            (None, Some(refusal)) => self.weigh(refusal)?,
            (None, None) => {}
        }
        Ok(None)
    }

    /// A refusal is final unless Lambda's next retry can succeed.
    fn weigh(&self, refusal: &Refusal) -> Result<(), Failure> {
        match refusal.kind {
            RefusalKind::Refused => Err(self.refused(refusal)),
            RefusalKind::Transient => {
                let text = with_hint(&refusal.message, refusal.hint.clone());
                (self.say)(&format!("waiting for the next retry: {text}"));
                Ok(())
            }
        }
    }

    async fn look(&self) -> Result<Seen, LedgerError> {
        let ledger = self.ledger();
        let planning = read_record(self.records, &ledger.planning_key()).await?;
        Ok(Seen {
            planning: planning.map(|(planning, _)| planning),
            refusal: Refusal::read(self.records, &ledger).await?,
        })
    }

    async fn answer(&self, tasks_queued: u64) -> Result<PlannerAnswer, Failure> {
        let ledger = self.ledger();
        let read = async {
            let request_key = ledger.request_key();
            let request = read_record::<RequestRecord>(self.records, &request_key).await?;
            let plan = read_record::<PlanRecord>(self.records, &ledger.plan_key()).await?;
            Ok::<_, LedgerError>((request.map(|(record, _)| record.request), plan))
        };
        let (request, plan) = read.await.map_err(|error| self.goes_on(&error))?;
        // Another request can have come between the check and the invocation.
        if let Some(field) = request.and_then(|known| known.first_difference(&self.checked.request))
        {
            let id = &self.checked.execution_id;
            return Err(Failure::could_not_run(format!(
                "the run `{id}` has another request: `{field}` differs"
            ))
            .hint("choose another `--execution-id`"));
        }
        let Some((plan, _)) = plan else {
            return Err(self.goes_on(&"it has no plan although the planner says so"));
        };
        let planned = Planned { plan, tasks_queued };
        Ok(PlannerAnswer::planned(planned, self.checked.places.clone()))
    }

    fn ledger(&self) -> Ledger {
        Ledger::new(self.checked.execution_id.clone())
    }

    /// Continues after a poll that failed with a transient error.
    fn tolerate(&self, failed_looks: u32, error: LedgerError) -> Result<(), Failure> {
        if !error.is_transient() || failed_looks > FAILED_LOOKS_MAX {
            return Err(self.goes_on(&error));
        }
        if failed_looks == 1 {
            (self.say)(&format!("looking again: {error}"));
        }
        Ok(())
    }

    fn refused(&self, refusal: &Refusal) -> Failure {
        let (message, id) = (&refusal.message, &self.checked.execution_id);
        Failure::could_not_run(format!("{message} (execution id `{id}`)"))
            .hint_if_any(refusal.hint.clone())
    }

    fn unheard(&self) -> Failure {
        let id = &self.checked.execution_id;
        Failure::could_not_run(format!("nothing is heard of the planner of the run `{id}`")).hint(
            format!(
                "look for the id in the planner's log; the same command with `--execution-id {id}` resumes the run"
            ),
        )
    }

    fn goes_on(&self, problem: &dyn std::fmt::Display) -> Failure {
        let id = &self.checked.execution_id;
        Failure::could_not_run(format!(
            "could not follow the run `{id}`, which may continue: {problem}"
        ))
        .hint(format!(
            "the same command with `--execution-id {id}` follows it again"
        ))
    }
}

/// An error that does not end the command, on one line.
fn with_hint(text: &impl Display, hint: Option<String>) -> String {
    match hint {
        Some(hint) => format!("{text}; hint: {hint}"),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests;
