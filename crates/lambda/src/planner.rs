//! The planner as a function: takes a request or a schedule's event, and plans the run.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use event_recovery_pipeline::{
    AuditCaller, CallAuditor, CheckedRequest, ExecutionId, Ledger, ListObjects, OrgId, PlanError,
    Planned, Planner, PlannerAnswer, PlannerPayload, Records, RecoveryRequest, RequestError,
    Resolution, RunPlaces, SendTasks, Unobserved, check_request, preview, scheduled_execution_id,
};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::Serialize;
use serde_json::Value;

use crate::clients::Clients;
use crate::metrics::{LogLine, Unit};
use crate::settings::{DestinationSettings, PlannerSettings, Settings, SettingsError};

/// Time kept back to answer and for the hour that is being queued, in seconds.
const RESERVE: Duration = Duration::from_secs(60);

/// The planner.
pub struct PlannerFunction {
    reaches: PlannerReach,
    org_id: OrgId,
    destination: DestinationSettings,
    settings: PlannerSettings,
    stack: String,
}

/// What a planner reaches.
pub struct PlannerReach {
    /// The backup.
    pub source: Arc<dyn ListObjects>,
    /// The ledger in the destination.
    pub ledger: Arc<dyn Records>,
    /// Where tasks go.
    pub queue: Arc<dyn SendTasks>,
    /// Whom to call to audit a run.
    pub auditor: Arc<dyn CallAuditor>,
}

/// What the planner answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PlannerReply {
    /// To a check.
    Checked(Box<CheckedRequest>),
    /// To a request, a dry run or a schedule.
    Planned(Box<PlannerAnswer>),
}

/// What one event asks for.
struct Asked {
    resolution: Resolution,
    execution_id: ExecutionId,
    is_scheduled: bool,
}

impl PlannerFunction {
    /// Reads the settings and builds the clients.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub async fn new(mut settings: Settings) -> Result<Self, SettingsError> {
        let org_id = settings.org_id();
        let source = settings.source(org_id.as_ref());
        let destination = settings.destination();
        let tasks = settings.required("TASK_QUEUE_URL");
        let audits = settings.required("AUDIT_QUEUE_URL");
        let planner = settings.planner();
        let stack = settings.optional("STACK_NAME").unwrap_or_default();
        let all = (|| Some((org_id?, source?, destination?, tasks?, audits?, planner?)))();
        let (org_id, source, destination, tasks, audits, settings) = settings.checked(all)?;
        let clients = Clients::new().await;
        Ok(Self {
            reaches: PlannerReach {
                source: Arc::new(clients.source(&source).await),
                ledger: Arc::new(clients.destination(&destination)),
                queue: Arc::new(clients.queue(tasks)),
                auditor: Arc::new(clients.queue(audits)),
            },
            org_id,
            destination,
            settings,
            stack,
        })
    }

    /// A function that reaches this, with the other settings as they are.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn with(reaches: PlannerReach, mut settings: Settings) -> Result<Self, SettingsError> {
        let org_id = settings.org_id();
        let destination = settings.destination();
        let planner = settings.planner();
        let stack = settings.optional("STACK_NAME").unwrap_or_default();
        let all = (|| Some((org_id?, destination?, planner?)))();
        let (org_id, destination, settings) = settings.checked(all)?;
        Ok(Self {
            reaches,
            org_id,
            destination,
            settings,
            stack,
        })
    }

    /// Plans what the event asks for, or only checks whether it would.
    ///
    /// # Errors
    ///
    /// A request that is refused, or a plan that could not be completed; the same invocation again
    /// goes on with it.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<PlannerReply, Diagnostic> {
        let began = Instant::now();
        let (mut payload, context) = event.into_parts();
        let left = context
            .deadline()
            .duration_since(SystemTime::now())
            .unwrap_or_default();
        let until = began + left.saturating_sub(RESERVE);
        let now = Utc::now();
        let is_check = PlannerPayload::take_check(&mut payload).map_err(refused)?;
        let asked = self.read(&payload, &context.request_id, now)?;
        if is_check {
            let checked = self.check(asked).await?;
            return Ok(PlannerReply::Checked(Box::new(checked)));
        }
        let planned = self.plan(&asked, now, until).await;
        self.log(&asked, planned.as_ref().ok(), began.elapsed());
        let planned = planned.map_err(|error| not_planned(&asked.execution_id, &error))?;
        let answer = match asked.resolution.dry_run {
            true => PlannerAnswer::dry_run(planned.plan),
            false => PlannerAnswer::planned(planned, self.places(&asked.execution_id)),
        };
        Ok(PlannerReply::Planned(Box::new(answer)))
    }

    /// The request, whichever kind of event it comes in.
    fn read(
        &self,
        payload: &Value,
        request_id: &str,
        now: DateTime<Utc>,
    ) -> Result<Asked, Diagnostic> {
        let scheduled = scheduled_time(payload)?;
        let request = match scheduled {
            Some(time) => {
                let schedule = self.settings.schedule.ok_or_else(|| {
                    refusal(
                        "this deployment has no schedule",
                        Some("deploy it with the parameter `Schedule`, or send a recovery request"),
                    )
                })?;
                schedule.request(time, &self.org_id, self.settings.format)
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
        resolution.check_org(&self.org_id).map_err(refused)?;
        let execution_id = match &resolution.execution_id {
            Some(execution_id) => execution_id.clone(),
            None => derive(&resolution, scheduled.is_some(), request_id)
                .map_err(|error| refusal(&error.to_string(), None))?,
        };
        Ok(Asked {
            resolution,
            execution_id,
            is_scheduled: scheduled.is_some(),
        })
    }

    /// Looks whether the run could be planned with this request. Lists and writes nothing.
    async fn check(&self, asked: Asked) -> Result<CheckedRequest, Diagnostic> {
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

    async fn plan(
        &self,
        asked: &Asked,
        now: DateTime<Utc>,
        until: Instant,
    ) -> Result<Planned, PlanError> {
        let reaches = &self.reaches;
        let (request, id) = (&asked.resolution.request, &asked.execution_id);
        let limits = self.settings.plan_limits;
        if asked.resolution.dry_run {
            let plan = preview(&*reaches.source, request, id, limits, &Unobserved, now).await?;
            return Ok(Planned {
                plan,
                tasks_queued: 0,
            });
        }
        let auditor = AuditCaller {
            queue: Arc::clone(&reaches.auditor),
            wait_hours: self.settings.audit_wait_hours,
        };
        let planner = Planner {
            source: &*reaches.source,
            ledger: &*reaches.ledger,
            queue: &*reaches.queue,
            auditor: Some(&auditor),
            until: Some(until),
            limits,
            observer: &Unobserved,
        };
        planner.plan(request, id, now).await
    }

    fn places(&self, execution_id: &ExecutionId) -> RunPlaces {
        RunPlaces::of(execution_id, |key| self.destination.place(key))
    }

    fn log(&self, asked: &Asked, planned: Option<&Planned>, took: Duration) {
        let is_dry_run = asked.resolution.dry_run;
        let mut line = LogLine::new(match (planned.is_some(), is_dry_run) {
            (false, _) => "not planned",
            (true, true) => "dry run",
            (true, false) => "planned",
        })
        .field("execution_id", asked.execution_id.as_str())
        .field("scheduled", asked.is_scheduled)
        .metric(
            "PlanDurationMillis",
            Unit::Milliseconds,
            u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        );
        if let Some(planned) = planned.filter(|_| !is_dry_run) {
            let plan = &planned.plan;
            line = line
                .field("hours", plan.hours)
                .field("bytes", plan.bytes)
                .field("tasks_queued", planned.tasks_queued)
                .metric("RunsPlanned", Unit::Count, 1)
                .metric("ObjectsPlanned", Unit::Count, plan.objects.planned);
            if asked.is_scheduled {
                line = line.metric("ScheduledRunsPlanned", Unit::Count, 1);
            }
        }
        line.write(&self.stack);
    }
}

/// The scheduled time of an event of EventBridge Scheduler or of an EventBridge rule.
fn scheduled_time(payload: &Value) -> Result<Option<DateTime<Utc>>, Diagnostic> {
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

/// Without an id of the caller's: the same for every retry of one invocation or of one schedule.
fn derive(
    resolution: &Resolution,
    is_scheduled: bool,
    request_id: &str,
) -> serde_json::Result<ExecutionId> {
    let request = &resolution.request;
    if is_scheduled {
        return scheduled_execution_id(request);
    }
    let mut identity = serde_json::to_vec(request)?;
    identity.extend_from_slice(request_id.as_bytes());
    Ok(ExecutionId::derive(request.start, request.end, &identity))
}

fn not_planned(execution_id: &ExecutionId, error: &PlanError) -> Diagnostic {
    let message = format!("{error} (execution id `{execution_id}`)");
    Diagnostic {
        error_type: match error {
            PlanError::OutOfTime { .. } => "OutOfTime",
            _ => "NotPlanned",
        }
        .to_owned(),
        error_message: with_hint(&message, error.hint().as_deref()),
    }
}

fn refused(error: RequestError) -> Diagnostic {
    refusal(&error.to_string(), error.hint())
}

fn refusal(problem: &str, hint: Option<&str>) -> Diagnostic {
    Diagnostic {
        error_type: "RefusedRequest".to_owned(),
        error_message: with_hint(problem, hint),
    }
}

fn with_hint(problem: &str, hint: Option<&str>) -> String {
    match hint {
        Some(hint) => format!("{problem}; hint: {hint}"),
        None => problem.to_owned(),
    }
}
