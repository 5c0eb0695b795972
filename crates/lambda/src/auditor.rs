//! The auditor as a function: waits until a run is finished or overdue, audits it and notifies people.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use chrono::Utc;
use event_recovery_aws::{Topic, TopicError};
use event_recovery_pipeline::{
    AUDIT_CALL_VERSION, AuditCall, AuditError, Audited, CLAIM_SECS, Destination, LedgerError,
    Notification, Refusal, Report, RequestId, Verdict, audit_when_finished, claim_call, end_call,
    is_ended, release_call,
};
use lambda_runtime::{Error, LambdaEvent, tracing};
use serde_json::json;

use crate::clients::Clients;
use crate::messages::{ChangeVisibility, backoff, deliver_again, failures, parse, receive_count};
use crate::metrics::{LogLine, Unit};
use crate::settings::{AuditorQueues, AuditorSettings, POLL_SECS_MAX, Settings, SettingsError};
use crate::time::time_left;

/// How long one notification may take, in seconds. Well below [`CLAIM_SECS`], so that no other
/// auditor takes the call while this one may still notify.
const NOTIFY_SECS_MAX: u32 = 60;
/// How long the auditor tries to change the visibility timeout of a call that stays open.
const VISIBILITY_TIME: Duration = Duration::from_secs(5 * 60);
/// What is left of the function's time when a notification is given up: enough to release the call.
const RELEASE_TIME: Duration = Duration::from_secs(10);
const _: () = assert!(NOTIFY_SECS_MAX < CLAIM_SECS);

/// Tells people how a run ended.
#[async_trait]
pub trait Notify: Send + Sync {
    /// Sends one notification.
    async fn notify(&self, subject: &str, message: &str) -> Result<(), TopicError>;
}

#[async_trait]
impl Notify for Topic {
    async fn notify(&self, subject: &str, message: &str) -> Result<(), TopicError> {
        self.publish(subject, message).await
    }
}

/// The auditor.
pub struct AuditorFunction {
    destination: Arc<dyn Destination>,
    messages: Arc<dyn ChangeVisibility>,
    people: Arc<dyn Notify>,
    settings: AuditorSettings,
}

/// What became of a call.
enum Answered {
    /// The call has ended.
    Yes,
    /// The run must be polled again, after this many seconds.
    Later(u32),
}

/// Why a call could not be answered.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error("the notification was not acknowledged in time")]
    NotificationTimedOut,
    #[error(transparent)]
    Notification(#[from] serde_json::Error),
}

impl Failure {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Audit(error) => error.hint(),
            Self::Ledger(error) => error.hint(),
            Self::Topic(error) => error.hint(),
            Self::NotificationTimedOut | Self::Notification(_) => None,
        }
    }

    fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::Audit(error) => error.request_id(),
            Self::Ledger(error) => error.request_id(),
            Self::Topic(error) => error.request_id(),
            Self::NotificationTimedOut | Self::Notification(_) => None,
        }
    }
}

impl AuditorFunction {
    /// Reads the settings and builds the clients.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub async fn new(settings: Settings) -> Result<Self, SettingsError> {
        let queues = AuditorQueues::read(settings)?;
        let clients = Clients::new().await;
        Ok(Self {
            destination: Arc::new(clients.destination(&queues.settings.destination)),
            messages: Arc::new(clients.queue(queues.audit_queue_url)),
            people: Arc::new(clients.topic(queues.topic_arn)),
            settings: queues.settings,
        })
    }

    /// A function that reaches this, with the other settings as they are.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn with(
        destination: Arc<dyn Destination>,
        messages: Arc<dyn ChangeVisibility>,
        people: Arc<dyn Notify>,
        mut settings: Settings,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            destination,
            messages,
            people,
            settings: AuditorSettings::read(&mut settings)?,
        })
    }

    /// Polls the run of each call. A call stays in the queue until its run is audited.
    ///
    /// # Errors
    ///
    /// None: what is not ended is named in the answer.
    pub async fn handle(&self, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Error> {
        let until = Instant::now() + time_left(&event.context).saturating_sub(RELEASE_TIME);
        let mut open = Vec::new();
        for message in &event.payload.records {
            let wait_secs = match self.look(message, until).await {
                Answered::Yes => continue,
                Answered::Later(secs) => secs,
            };
            // Otherwise an outage of seconds would put off the next poll by the queue's timeout of 16 minutes.
            let patience = until.min(Instant::now() + VISIBILITY_TIME);
            deliver_again(&*self.messages, message, wait_secs, patience).await;
            open.extend(message.message_id.clone());
        }
        Ok(failures(open))
    }

    async fn look(&self, message: &SqsMessage, until: Instant) -> Answered {
        let wait_secs = backoff(
            self.settings.poll_secs,
            receive_count(message),
            POLL_SECS_MAX,
        );
        let Some(call) = parse::<AuditCall>(message, "call of the auditor") else {
            return Answered::Later(POLL_SECS_MAX);
        };
        if call.version > AUDIT_CALL_VERSION {
            tracing::error!(version = call.version, "the call is of a newer version");
            return Answered::Later(POLL_SECS_MAX);
        }
        match self.answer(&call, until).await {
            Ok(true) => Answered::Yes,
            Ok(false) => Answered::Later(wait_secs),
            Err(error) => {
                let execution_id = call.execution_id.as_str();
                let hint = error.hint();
                let failed_request_id = error.request_id().map(ToString::to_string);
                tracing::error!(%error, execution_id, hint, failed_request_id, "the run could not be audited yet");
                Answered::Later(wait_secs)
            }
        }
    }

    /// Whether the call has ended. A notification is given up at `until`.
    async fn answer(&self, call: &AuditCall, until: Instant) -> Result<bool, Failure> {
        let destination = &*self.destination;
        if is_ended(destination, call).await? {
            return Ok(true);
        }
        let (id, now) = (&call.execution_id, Utc::now());
        let ended = match audit_when_finished(destination, id, call.deadline, now).await {
            Ok(Audited::Waiting { receipts, planned }) => {
                let execution_id = id.as_str();
                tracing::info!(
                    execution_id,
                    receipts,
                    planned,
                    "the run is not finished yet"
                );
                return Ok(false);
            }
            Ok(Audited::Finished { report, is_overdue }) => Ok((report, is_overdue)),
            Err(error) if error.is_transient() && now < call.deadline => return Err(error.into()),
            Err(error) => Err(error),
        };
        if !claim_call(destination, call, Utc::now()).await? {
            return Ok(false);
        }
        let notification = async {
            match ended {
                Ok((report, is_overdue)) => self.tell(&report, is_overdue).await,
                Err(AuditError::Refused { refusal, .. }) => self.tell_refusal(call, &refusal).await,
                Err(error) => self.tell_failure(call, &error).await,
            }
        };
        let left = until.saturating_duration_since(Instant::now());
        let budget = left.min(Duration::from_secs(NOTIFY_SECS_MAX.into()));
        let told = tokio::time::timeout(budget, notification)
            .await
            .unwrap_or(Err(Failure::NotificationTimedOut));
        if told.is_err()
            && let Err(error) = release_call(destination, call, Utc::now()).await
        {
            let (execution_id, hint) = (id.as_str(), error.hint());
            let failed_request_id = error.request_id().map(ToString::to_string);
            tracing::warn!(%error, hint, execution_id, failed_request_id, "the call stays claimed for a while");
        }
        told?;
        end_call(destination, call, Utc::now()).await?;
        Ok(true)
    }

    async fn tell(&self, report: &Report, is_overdue: bool) -> Result<(), Failure> {
        let told = Notification::audited(report, is_overdue, |key| {
            self.settings.destination.place(key)
        });
        self.notify(&told).await?;
        let duration_secs = report.times.duration_millis / 1000;
        let counted = |is: bool| u64::from(is);
        LogLine::new("run audited")
            .field("execution_id", report.execution_id.as_str())
            .field("verdict", report.verdict.as_str())
            .field("reasons", report.reasons.clone())
            .field("objects", json!(report.objects))
            .field("events", json!(report.events))
            .metric(
                "RunsComplete",
                Unit::Count,
                counted(report.verdict == Verdict::Complete),
            )
            .metric(
                "RunsNeedLook",
                Unit::Count,
                counted(report.verdict == Verdict::NeedsLook),
            )
            .metric(
                "RunsIncomplete",
                Unit::Count,
                counted(report.verdict == Verdict::Incomplete),
            )
            .metric("RunsOverdue", Unit::Count, counted(is_overdue))
            .metric("RunDurationSecs", Unit::Seconds, duration_secs)
            .write(&self.settings.stack);
        Ok(())
    }

    /// A run that the planner refused has no verdict.
    async fn tell_refusal(&self, call: &AuditCall, refusal: &Refusal) -> Result<(), Failure> {
        let place = |key: &str| self.settings.destination.place(key);
        let told = Notification::refused(&call.execution_id, refusal, place);
        self.notify(&told).await?;
        LogLine::new("run refused")
            .field("execution_id", call.execution_id.as_str())
            .error(&refusal.message, refusal.hint.clone(), None)
            .metric("RunsRefused", Unit::Count, 1)
            .write(&self.settings.stack);
        Ok(())
    }

    /// A run that can't be audited is incomplete: nothing proves that it is not.
    async fn tell_failure(&self, call: &AuditCall, error: &AuditError) -> Result<(), Failure> {
        let place = |key: &str| self.settings.destination.place(key);
        let told = Notification::not_audited(&call.execution_id, error, place);
        self.notify(&told).await?;
        LogLine::new("run not audited")
            .field("execution_id", call.execution_id.as_str())
            .error(error, error.hint(), error.request_id())
            .metric("RunsIncomplete", Unit::Count, 1)
            .write(&self.settings.stack);
        Ok(())
    }

    async fn notify(&self, notification: &Notification) -> Result<(), Failure> {
        let message = notification.message()?;
        self.people
            .notify(&notification.subject(), &message)
            .await?;
        Ok(())
    }
}
