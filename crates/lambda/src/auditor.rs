//! The auditor as a function: waits until a run is finished or overdue, audits it and notifies people.

mod found;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use chrono::{DateTime, Utc};
use event_recovery_aws::{Topic, TopicError};
use event_recovery_pipeline::{
    AUDIT_CALL_VERSION, AuditAnswer, AuditAnswerKind, AuditCall, AuditError, Audited, CLAIM_SECS,
    Claim, Destination, Ledger, LedgerError, Notification, Report, RequestId, RequestRecord, Sign,
    SignatureError, Verdict, audit_record, audit_when_finished, claim_call, end_call, read_record,
    release_call, sign_report,
};
use found::Found;
use lambda_runtime::{Error, LambdaEvent, tracing};

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
/// What is left of the function's time when an audit stops: enough to write its checkpoint or its report, and to
/// notify people.
const NOTIFY_TIME: Duration = Duration::from_secs(60);
/// How soon an audit goes on that has stopped for lack of time, in seconds.
const CONTINUE_SECS: u32 = 1;
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
    signer: Option<Arc<dyn Sign>>,
    settings: AuditorSettings,
}

/// What became of a call.
enum Answered {
    /// The call has ended.
    Yes,
    /// The run must be polled again, after this many seconds, or after the backoff.
    Later(Option<u32>),
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
    #[error(transparent)]
    Signature(#[from] SignatureError),
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
            Self::Signature(error) => error.hint(),
            Self::NotificationTimedOut | Self::Notification(_) => None,
        }
    }

    fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::Audit(error) => error.request_id(),
            Self::Ledger(error) => error.request_id(),
            Self::Topic(error) => error.request_id(),
            Self::Signature(error) => error.request_id(),
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
        let signing_key = queues.signing_key_arn.map(|arn| clients.signing_key(arn));
        Ok(Self {
            destination: Arc::new(clients.destination(&queues.settings.destination)),
            messages: Arc::new(clients.queue(queues.audit_queue_url)),
            people: Arc::new(clients.topic(queues.topic_arn)),
            signer: signing_key.map(|key| Arc::new(key) as Arc<dyn Sign>),
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
            signer: None,
            settings: AuditorSettings::read(&mut settings)?,
        })
    }

    /// Has reports signed, too.
    #[must_use]
    pub fn signing(mut self, signer: Arc<dyn Sign>) -> Self {
        self.signer = Some(signer);
        self
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
                Answered::Later(secs) => secs.unwrap_or(POLL_SECS_MAX),
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
            return Answered::Later(Some(POLL_SECS_MAX));
        };
        if call.version > AUDIT_CALL_VERSION {
            tracing::error!(version = call.version, "the call is of a newer version");
            return Answered::Later(Some(POLL_SECS_MAX));
        }
        match self.answer(&call, until).await {
            Ok(Answered::Later(None)) => Answered::Later(Some(wait_secs)),
            Ok(answered) => answered,
            Err(error) => {
                let execution_id = call.execution_id.as_str();
                let hint = error.hint();
                let failed_request_id = error.request_id().map(ToString::to_string);
                tracing::error!(%error, execution_id, hint, failed_request_id, "the run could not be audited yet");
                Answered::Later(Some(wait_secs))
            }
        }
    }

    /// Answers the call if its run is finished or overdue. A notification is given up at `until`.
    async fn answer(&self, call: &AuditCall, until: Instant) -> Result<Answered, Failure> {
        let destination = &*self.destination;
        let ledger = Ledger::new(call.execution_id.clone());
        let known = audit_record(destination, &ledger).await?;
        let known = known.map(|(record, _)| record);
        if known.as_ref().is_some_and(|known| known.answers(call)) {
            return Ok(Answered::Yes);
        }
        let told_before = known
            .filter(|known| known.number == call.number)
            .and_then(|known| known.answer)
            .filter(|answer| answer.kind == AuditAnswerKind::Audited);
        let found = match told_before {
            // Only people remain to be notified: the run is not read again for that.
            Some(answer) => self.found_before(&ledger, answer).await?,
            None => match self.audit(call, until).await? {
                ControlFlow::Continue(found) => found,
                ControlFlow::Break(answered) => return Ok(answered),
            },
        };
        let answer = found.answer();
        let claim = claim_call(destination, call, answer, Utc::now()).await?;
        if claim == Claim::Taken {
            return Ok(Answered::Later(None));
        }
        // Before people are notified, so that a topic that denies that hides nothing.
        if claim == Claim::First {
            found.count(&call.execution_id, &self.settings.stack);
        }
        if self.is_news(call, &found).await? {
            self.tell(call, &found, until).await?;
        }
        end_call(destination, call, Utc::now()).await?;
        Ok(Answered::Yes)
    }

    /// Audits the run, unless it is not finished yet or time is up.
    async fn audit(
        &self,
        call: &AuditCall,
        until: Instant,
    ) -> Result<ControlFlow<Answered, Found>, Failure> {
        let (id, now) = (call.execution_id.as_str(), Utc::now());
        let left = until.saturating_duration_since(Instant::now());
        let stop = match left > 2 * NOTIFY_TIME {
            true => until - NOTIFY_TIME,
            false => until,
        };
        let audited = audit_when_finished(&*self.destination, call, Some(stop), now).await;
        if let Err(error) = &audited
            && !matches!(error, AuditError::Refused { .. })
        {
            LogLine::new("audit failed")
                .field("execution_id", id)
                .error(error, error.hint(), error.request_id())
                .metric("AuditsFailed", Unit::Count, 1)
                .write(&self.settings.stack);
        }
        if let Ok(Audited::Finished { .. }) = &audited {
            self.sign(call, now).await?;
        }
        Ok(match audited {
            Ok(Audited::Waiting { receipts, planned }) => {
                tracing::info!(
                    execution_id = id,
                    receipts,
                    planned,
                    "the run is not finished yet"
                );
                ControlFlow::Break(Answered::Later(None))
            }
            Ok(Audited::Continues) => {
                tracing::info!(execution_id = id, "the audit continues in the next receive");
                ControlFlow::Break(Answered::Later(Some(CONTINUE_SECS)))
            }
            Ok(Audited::Finished {
                report,
                is_overdue,
                verdict_before,
            }) => ControlFlow::Continue(Found::Audited {
                report,
                is_overdue,
                verdict_before,
            }),
            Err(error) if error.is_transient() && now < call.deadline => return Err(error.into()),
            Err(AuditError::Refused { refusal, .. }) => {
                ControlFlow::Continue(Found::Refused(refusal))
            }
            Err(error) => ControlFlow::Continue(Found::NotAudited(error)),
        })
    }

    /// Signs the report, if there is a key. A key that refuses for good is told by an alarm, and keeps no verdict from people.
    async fn sign(&self, call: &AuditCall, now: DateTime<Utc>) -> Result<(), Failure> {
        let Some(signer) = &self.signer else {
            return Ok(());
        };
        let ledger = Ledger::new(call.execution_id.clone());
        let signed = sign_report(&*self.destination, &ledger, &**signer, now).await;
        let Err(error) = signed else { return Ok(()) };
        LogLine::new("report not signed")
            .field("execution_id", call.execution_id.as_str())
            .error(&error, error.hint(), error.request_id())
            .metric("SignaturesFailed", Unit::Count, 1)
            .write(&self.settings.stack);
        match error.is_transient() && now < call.deadline {
            true => Err(error.into()),
            false => Ok(()),
        }
    }

    /// The report of an earlier receive.
    async fn found_before(&self, ledger: &Ledger, answer: AuditAnswer) -> Result<Found, Failure> {
        let key = ledger.report_key();
        let report = read_record::<Report>(&*self.destination, &key).await?;
        let (report, _) = report.ok_or_else(|| LedgerError::Invalid {
            key,
            detail: "it is gone".to_owned(),
        })?;
        Ok(Found::Audited {
            report: Box::new(report),
            is_overdue: answer.overdue,
            verdict_before: answer.verdict_before,
        })
    }

    /// Whether people are to be notified.
    async fn is_news(&self, call: &AuditCall, found: &Found) -> Result<bool, Failure> {
        let Found::Audited {
            report,
            verdict_before,
            ..
        } = found
        else {
            return Ok(true);
        };
        if call.quiet && *verdict_before == Some(report.verdict) {
            return Ok(false);
        }
        if report.objects.listed > 0
            || report.verdict != Verdict::NeedsLook
            || self.settings.notify_empty_windows
        {
            return Ok(true);
        }
        let key = Ledger::new(call.execution_id.clone()).request_key();
        let request = read_record::<RequestRecord>(&*self.destination, &key).await?;
        Ok(request.is_none_or(|(request, _)| request.scheduled_for.is_none()))
    }

    /// Notifies people. If that fails, the call is released.
    async fn tell(&self, call: &AuditCall, found: &Found, until: Instant) -> Result<(), Failure> {
        let place = |key: &str| self.settings.destination.place(key);
        let notification = found.notification(&call.execution_id, place);
        let left = until.saturating_duration_since(Instant::now());
        let budget = left.min(Duration::from_secs(NOTIFY_SECS_MAX.into()));
        let told = tokio::time::timeout(budget, self.notify(&notification))
            .await
            .unwrap_or(Err(Failure::NotificationTimedOut));
        let Err(failure) = told else { return Ok(()) };
        let id = call.execution_id.as_str();
        LogLine::new("notification failed")
            .field("execution_id", id)
            .error(&failure, failure.hint(), failure.request_id())
            .metric("NotificationsFailed", Unit::Count, 1)
            .write(&self.settings.stack);
        if let Err(error) = release_call(&*self.destination, call, Utc::now()).await {
            let hint = error.hint();
            let failed_request_id = error.request_id().map(ToString::to_string);
            tracing::warn!(%error, hint, execution_id = id, failed_request_id, "the call stays claimed for a while");
        }
        Err(failure)
    }

    async fn notify(&self, notification: &Notification) -> Result<(), Failure> {
        let message = notification.message()?;
        self.people
            .notify(&notification.subject(), &message)
            .await?;
        Ok(())
    }
}
