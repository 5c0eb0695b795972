//! The planner as a function: takes a request or a schedule's event and plans the run, or rechecks runs.

mod checks;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use event_recovery_pipeline::{
    AuditCaller, CallAuditor, CheckedRequest, ExecutionId, Ledger, LedgerStorage, ListObjects,
    PlanError, PlanLimits, Planned, Planner, PlannerAnswer, PlannerError, PlannerErrorKind,
    PlannerPayload, PlannerReply, RecheckPayload, RecoveryRequest, RequestError, Resolution,
    RunOrigin, RunPlaces, RunTerms, SalvageAnswer, SalvagePayload, SendTasks, Unobserved,
    check_request, forecast, preview,
};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::Value;

use crate::clients::Clients;
use crate::metrics::{LogLine, Unit};
use crate::settings::{PlannerPlaces, PlannerSettings, Settings, SettingsError};
use crate::time::{millis, time_left};

/// Time reserved for the answer and for the hour that is being queued.
const RESERVE: Duration = Duration::from_secs(60);

/// The planner.
pub struct PlannerFunction {
    reaches: PlannerReach,
    settings: PlannerSettings,
}

/// The storages and queues of a planner.
pub struct PlannerReach {
    /// The backup.
    pub source: Arc<dyn ListObjects>,
    /// The ledger in the destination.
    pub ledger: Arc<dyn LedgerStorage>,
    /// Where tasks go.
    pub queue: Arc<dyn SendTasks>,
    /// Whom to call to audit a run.
    pub auditor: Arc<dyn CallAuditor>,
}

/// What one event asks for.
struct Asked {
    resolution: Resolution,
    execution_id: ExecutionId,
    scheduled_for: Option<DateTime<Utc>>,
}

/// What is known of an invocation besides its payload.
struct Invocation {
    request_id: String,
    now: DateTime<Utc>,
    began: Instant,
    /// When to stop cleanly.
    until: Instant,
    limits: PlanLimits,
}

impl PlannerFunction {
    /// Reads the settings and builds the clients.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub async fn new(settings: Settings) -> Result<Self, SettingsError> {
        let places = PlannerPlaces::read(settings)?;
        let clients = Clients::new().await;
        Ok(Self {
            reaches: PlannerReach {
                source: Arc::new(clients.source(&places.source).await),
                ledger: Arc::new(clients.destination(&places.settings.destination)),
                queue: Arc::new(clients.queue(places.task_queue_url)),
                auditor: Arc::new(clients.queue(places.audit_queue_url)),
            },
            settings: places.settings,
        })
    }

    /// A function that reaches this, with the other settings as they are.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn with(reaches: PlannerReach, mut settings: Settings) -> Result<Self, SettingsError> {
        let settings = PlannerSettings::read(&mut settings)?;
        Ok(Self { reaches, settings })
    }

    /// Plans what the event asks for, or only checks whether it would.
    ///
    /// # Errors
    ///
    /// A request that is refused, or a plan that could not be completed; the same invocation again
    /// resumes it.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<PlannerReply, Diagnostic> {
        let (began, began_at) = (Instant::now(), Utc::now());
        let (mut payload, context) = event.into_parts();
        let until = began + time_left(&context).saturating_sub(RESERVE);
        let asked = PlannerPayload::take_limits(&mut payload)
            .map_err(|error| self.failed(refused(error), began_at))?;
        let invocation = Invocation {
            limits: asked.lower(self.settings.plan_limits),
            request_id: context.request_id,
            now: self.settings.clock.now(),
            began,
            until,
        };
        let reply = match RecheckPayload::read(&payload).map_err(refused) {
            Ok(Some(asked)) => self.recheck(asked, &invocation).await,
            Ok(None) => match SalvagePayload::read(&payload).map_err(refused) {
                Ok(Some(asked)) => self.salvage(asked, &invocation).await,
                Ok(None) => self.plan_or_check(payload, &invocation).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        reply.map_err(|error| self.failed(error, began_at))
    }

    /// Queues the task of an object that a person wants to be salvaged.
    async fn salvage(
        &self,
        asked: SalvagePayload,
        invocation: &Invocation,
    ) -> Result<PlannerReply, PlannerError> {
        let SalvagePayload { execution_id, key } = asked;
        let auditor = self.audit_caller();
        let planner = self.planner(&auditor, invocation, None);
        planner
            .salvage(&execution_id, &key, invocation.now)
            .await
            .map_err(|error| not_planned(&execution_id, &error))?;
        LogLine::new("object to be salvaged")
            .field("execution_id", execution_id.as_str())
            .field("key", key.as_str())
            .write(&self.settings.stack);
        Ok(PlannerReply::Salvaging(SalvageAnswer {
            execution_id,
            salvaging: key,
        }))
    }

    async fn plan_or_check(
        &self,
        mut payload: Value,
        invocation: &Invocation,
    ) -> Result<PlannerReply, PlannerError> {
        let is_check = PlannerPayload::take_check(&mut payload).map_err(refused)?;
        let asked = self.read(&payload, &invocation.request_id, invocation.now)?;
        if is_check {
            let checked = self.check(asked).await?;
            return Ok(PlannerReply::Checked(Box::new(checked)));
        }
        let planned = self.plan(&asked, invocation).await;
        self.log(&asked, planned.as_ref(), invocation.began.elapsed());
        let planned = planned.map_err(|error| not_planned(&asked.execution_id, &error))?;
        let answer = match asked.resolution.dry_run {
            true => {
                let forecast = forecast(&planned.plan, asked.resolution.request.output);
                PlannerAnswer::dry_run(planned.plan, Some(forecast))
            }
            false => PlannerAnswer::planned(planned, self.places(&asked.execution_id)),
        };
        Ok(PlannerReply::Planned(Box::new(answer)))
    }

    /// The request, from any kind of event.
    fn read(
        &self,
        payload: &Value,
        request_id: &str,
        now: DateTime<Utc>,
    ) -> Result<Asked, PlannerError> {
        let scheduled = scheduled_time(payload)?;
        let request = match scheduled {
            Some(time) => {
                let schedule = self.settings.schedule.ok_or_else(|| {
                    refusal(
                        "this deployment has no schedule",
                        Some("deploy it with the parameter `Schedule`, or send a recovery request"),
                    )
                })?;
                schedule.request(time, &self.settings.org_id, self.settings.format)
            }
            None => {
                let mut request =
                    RecoveryRequest::from_json(payload.to_string().as_bytes()).map_err(refused)?;
                let defaults = &self.settings;
                request.window.get_or_insert(defaults.window);
                request.format.get_or_insert(defaults.format);
                request
            }
        };
        let resolution = request
            .resolve(&self.settings.request_limits, &self.settings.tolerance, now)
            .map_err(refused)?;
        resolution
            .check_org(&self.settings.org_id)
            .map_err(refused)?;
        let execution_id = match &resolution.execution_id {
            Some(execution_id) => execution_id.clone(),
            None => {
                let origin = match scheduled {
                    Some(_) => RunOrigin::Schedule,
                    None => RunOrigin::Invocation { request_id },
                };
                ExecutionId::of_request(&resolution.request, origin)
                    .map_err(|error| refusal(&error.to_string(), None))?
            }
        };
        Ok(Asked {
            resolution,
            execution_id,
            scheduled_for: scheduled,
        })
    }

    /// Checks whether the run could be planned with this request. Lists and writes nothing.
    async fn check(&self, asked: Asked) -> Result<CheckedRequest, PlannerError> {
        let execution_id = asked.execution_id;
        let ledger = Ledger::new(execution_id.clone());
        let request = asked.resolution.request;
        check_request(&*self.reaches.ledger, &ledger, &request)
            .await
            .map_err(|error| not_planned(&execution_id, &error))?;
        Ok(CheckedRequest {
            places: self.places(&execution_id),
            execution_id,
            request,
        })
    }

    /// The error as the runtime answers it. One that says that the planner works as it should is counted, so
    /// that no alarm is raised for it, at the time at which Lambda counts the error: that of the beginning.
    fn failed(&self, error: PlannerError, began_at: DateTime<Utc>) -> Diagnostic {
        if error.error_type.is_expected() {
            LogLine::new("the invocation ends with an expected error")
                .at(began_at)
                .field("kind", error.error_type.as_str())
                .metric("PlannerErrorsExpected", Unit::Count, 1)
                .write(&self.settings.stack);
        }
        diagnostic(error)
    }

    async fn plan(&self, asked: &Asked, invocation: &Invocation) -> Result<Planned, PlanError> {
        let reaches = &self.reaches;
        let (request, id) = (&asked.resolution.request, &asked.execution_id);
        let (limits, now) = (invocation.limits, invocation.now);
        if asked.resolution.dry_run {
            let plan = preview(&*reaches.source, request, id, limits, &Unobserved, now).await?;
            return Ok(Planned {
                plan,
                tasks_queued: 0,
            });
        }
        let auditor = self.audit_caller();
        let planner = self.planner(&auditor, invocation, asked.scheduled_for);
        planner.plan(request, id, now).await
    }

    fn audit_caller(&self) -> AuditCaller {
        AuditCaller {
            queue: Arc::clone(&self.reaches.auditor),
            wait_hours: self.settings.audit_wait_hours,
        }
    }

    fn planner<'a>(
        &'a self,
        auditor: &'a AuditCaller,
        invocation: &Invocation,
        scheduled_for: Option<DateTime<Utc>>,
    ) -> Planner<'a> {
        Planner {
            source: &*self.reaches.source,
            ledger: &*self.reaches.ledger,
            queue: &*self.reaches.queue,
            auditor: Some(auditor),
            until: Some(invocation.until),
            limits: invocation.limits,
            terms: RunTerms {
                late_allowance: self.settings.late_allowance,
                scheduled_for,
                source: self.settings.source.clone(),
            },
            observer: &Unobserved,
        }
    }

    fn places(&self, execution_id: &ExecutionId) -> RunPlaces {
        RunPlaces::of(execution_id, &self.settings.destination.url())
    }

    fn log(&self, asked: &Asked, planned: Result<&Planned, &PlanError>, took: Duration) {
        let is_dry_run = asked.resolution.dry_run;
        let mut line = LogLine::new(match (planned.is_ok(), is_dry_run) {
            (false, _) => "not planned",
            (true, true) => "dry run",
            (true, false) => "planned",
        })
        .field("execution_id", asked.execution_id.as_str())
        .field("scheduled", asked.scheduled_for.is_some())
        .metric("PlanDurationMillis", Unit::Milliseconds, millis(took));
        if let Err(error) = planned {
            line = line.error(error, error.hint(), error.request_id());
        }
        if let Some(planned) = planned.ok().filter(|_| !is_dry_run) {
            let plan = &planned.plan;
            line = line
                .field("hours", plan.hours)
                .field("bytes", plan.bytes)
                .field("tasks_queued", planned.tasks_queued)
                .metric("RunsPlanned", Unit::Count, 1)
                .metric("ObjectsPlanned", Unit::Count, plan.objects.planned);
            if asked.scheduled_for.is_some() {
                line = line.metric("ScheduledRunsPlanned", Unit::Count, 1);
            }
        }
        line.write(&self.settings.stack);
    }
}

/// The scheduled time of an event of EventBridge Scheduler or of an EventBridge rule.
fn scheduled_time(payload: &Value) -> Result<Option<DateTime<Utc>>, PlannerError> {
    let is_rule = payload["detail-type"] == "Scheduled Event" && payload["source"] == "aws.events";
    let field = if is_rule { "time" } else { "scheduled_time" };
    let Some(time) = payload.get(field) else {
        return Ok(None);
    };
    let parsed = time
        .as_str()
        .and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    match parsed {
        Some(time) => Ok(Some(time.to_utc())),
        None => Err(refusal(
            &format!("`{field}` is not an instant"),
            Some(
                "it is an RFC 3339 instant; EventBridge Scheduler writes it for `<aws.scheduler.scheduled-time>`",
            ),
        )),
    }
}

fn not_planned(execution_id: &ExecutionId, error: &PlanError) -> PlannerError {
    let message = format!("{error} (execution id `{execution_id}`)");
    let kind = PlannerErrorKind::from(error);
    PlannerError::new(kind, &message, error.hint().as_deref())
}

fn refused(error: RequestError) -> PlannerError {
    refusal(&error.to_string(), error.hint().as_deref())
}

fn refusal(problem: &str, hint: Option<&str>) -> PlannerError {
    let kind = PlannerErrorKind::RefusedRequest;
    PlannerError::new(kind, problem, hint)
}

/// The error as the runtime answers it, with the same JSON.
fn diagnostic(error: PlannerError) -> Diagnostic {
    Diagnostic {
        error_type: error.error_type.as_str().to_owned(),
        error_message: error.error_message.unwrap_or_default(),
    }
}
