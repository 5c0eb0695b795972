//! The worker as a function: recovers the objects of a batch of tasks.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use chrono::Utc;
use event_recovery_pipeline::{
    ATTEMPT_SECS_MAX, AuditLooks, CallAuditor, Cancellations, Delivery, Receipt,
    SMALL_OBJECT_BYTES_MAX, SourceAccess, State, Task, TransformLimits, Unobserved, WorkError,
    Worker,
};
use lambda_runtime::{Error, LambdaEvent, tracing};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::breaker::Breaker;
use crate::clients::Clients;
use crate::messages::{ChangeVisibility, Postponed, backoff, failures, parse, receive_count};
use crate::metrics::{LogLine, Unit};
use crate::settings::{Settings, SettingsError, WorkerSettings};
use crate::time::{millis, time_left};

/// What one task may take of the function's memory: what `docs/limits.md` states for Parquet. Most take
/// half of it; events of many megabytes on many days take all (`tests/memory.rs`).
const TASK_MEMORY_MB: u32 = 256;
/// The same of a task whose object is small. Many of those are in flight at a time, because each takes little but the
/// latency of its requests. If some that are compressed to a thousandth kill a worker, they are delivered again, and in the
/// end each alone.
const SMALL_TASK_MEMORY_MB: u32 = 32;
/// What the function itself takes of its memory.
const FUNCTION_MEMORY_MB: u32 = 64;
/// The least remaining time to begin a task, or a fifth of the timeout if that is less.
const TASK_TIME_LEAST: Duration = Duration::from_secs(60);
/// A task received more often than this is processed alone, after all others of its batch, since it may be
/// what kills its workers.
const ALONE_AFTER_RECEIVES: u32 = 3;
/// The backoff after a task's first transient error, in seconds; doubled for each further one.
const RETRY_SECS: u32 = 30;
const RETRY_SECS_MAX: u32 = 900;
/// As these, while the source denies everything. Ten deliveries then take 27,900 s, nearly eight hours.
const DENIED_SECS: u32 = 900;
const DENIED_SECS_MAX: u32 = 3600;
/// What is left of the function's time when it stops trying to change visibility timeouts.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// The worker.
pub struct WorkerFunction {
    tasks: Arc<Tasks>,
    messages: Arc<dyn ChangeVisibility>,
    /// For all tasks together.
    memory_mb: u32,
    stack: String,
}

/// A message and the task in it.
struct Received {
    message: SqsMessage,
    message_id: String,
    task: Task,
}

/// What became of a task of the batch.
enum Attempt {
    /// It was begun, and perhaps a pause with it.
    Ended {
        ended: Result<Receipt, WorkError>,
        took: Duration,
        pause: Option<Duration>,
    },
    /// Not begun: the function's time is nearly up.
    OutOfTime,
    /// Not begun: the source denies everything.
    Paused,
}

/// Begins tasks, as long as there is time and the source does not deny everything.
struct Tasks {
    worker: Worker,
    breaker: Breaker,
    deliveries_max: u32,
}

impl Tasks {
    async fn attempt(&self, received: &Received, begin_until: Instant) -> Attempt {
        let began = Instant::now();
        if began >= begin_until {
            return Attempt::OutOfTime;
        }
        let left = begin_until - began + TASK_TIME_LEAST;
        let delivery = self.delivery(&received.message, left);
        // A last delivery must leave a receipt: nobody else will.
        if self.breaker.is_paused(began) && !delivery.is_last() {
            return Attempt::Paused;
        }
        let ended = self.worker.work(&received.task, delivery).await;
        // Before the next task may begin.
        let denials = self.worker.access.denials();
        Attempt::Ended {
            ended,
            took: began.elapsed(),
            pause: self.breaker.judge(denials, Instant::now()),
        }
    }

    fn delivery(&self, message: &SqsMessage, left: Duration) -> Delivery {
        Delivery {
            number: receive_count(message),
            deliveries_max: self.deliveries_max,
            now: Utc::now(),
            attempt_secs_max: u32::try_from(left.as_secs())
                .map_or(ATTEMPT_SECS_MAX, |left| left.min(ATTEMPT_SECS_MAX)),
        }
    }
}

impl WorkerFunction {
    /// Reads the settings and builds the clients.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub async fn new(settings: Settings) -> Result<Self, SettingsError> {
        let settings = WorkerSettings::read(settings)?;
        let clients = Clients::new().await;
        let audits: Arc<dyn CallAuditor> = Arc::new(clients.queue(settings.audit_queue_url));
        let worker = Worker {
            source: Arc::new(clients.source(&settings.source).await),
            destination: Arc::new(clients.destination(&settings.destination)),
            org_id: settings.org_id,
            linked_orgs: settings.linked_orgs,
            auditor: Some(audits),
            limits: TransformLimits::default(),
            observer: Arc::new(Unobserved),
            access: SourceAccess::default(),
            audits: AuditLooks::default(),
            cancellations: Cancellations::default(),
        };
        let messages = Arc::new(clients.queue(settings.task_queue_url));
        Ok(Self::with(
            worker,
            messages,
            settings.deliveries_max,
            settings.memory_mb,
            settings.stack,
        ))
    }

    /// A function around this worker. `memory_mb` and the sizes of their objects decide how many tasks it processes at a
    /// time.
    pub fn with(
        worker: Worker,
        messages: Arc<dyn ChangeVisibility>,
        deliveries_max: u32,
        memory_mb: u32,
        stack: String,
    ) -> Self {
        Self {
            tasks: Arc::new(Tasks {
                worker,
                breaker: Breaker::default(),
                deliveries_max,
            }),
            messages,
            memory_mb: memory_mb.saturating_sub(FUNCTION_MEMORY_MB).max(1),
            stack,
        }
    }

    /// Recovers the objects of the batch. Every message counts as failed until its task has a
    /// receipt that says done or failed.
    ///
    /// # Errors
    ///
    /// None: what fails is named in the answer.
    pub async fn handle(&self, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Error> {
        let (event, context) = event.into_parts();
        let left = time_left(&context);
        let deadline = Instant::now() + left;
        let reserve = TASK_TIME_LEAST.min(left / 5);
        let mut failed: BTreeSet<String> = event
            .records
            .iter()
            .filter_map(|message| message.message_id.clone())
            .collect();
        let (mut alone, together): (Vec<_>, Vec<_>) = read(event.records)
            .into_iter()
            .partition(|received| receive_count(&received.message) > ALONE_AFTER_RECEIVES);
        for received in alone.iter().chain(&together) {
            self.announce_last(received, left).await;
        }
        let messages = Arc::clone(&self.messages);
        let until = deadline.checked_sub(ANSWER_TIME).unwrap_or(deadline);
        let mut postponed = Postponed::new(messages, until);
        let begin_until = deadline - reserve;
        let done = self.work_all(together, begin_until, &mut postponed).await;
        failed.retain(|id| !done.contains(id));
        put_in_turns(&mut alone);
        for received in alone {
            let done = self
                .work_all(vec![received], begin_until, &mut postponed)
                .await;
            failed.retain(|id| !done.contains(id));
        }
        postponed.settle().await;
        Ok(failures(failed))
    }

    /// Announces the last delivery of a task in its receipt, before any other task of the batch can crash the
    /// function.
    async fn announce_last(&self, received: &Received, left: Duration) {
        let delivery = self.tasks.delivery(&received.message, left);
        if !delivery.is_last() {
            return;
        }
        if let Err(error) = self.tasks.worker.announce(&received.task, delivery).await {
            let key = received.task.key.as_str();
            let hint = error.hint();
            let failed_request_id = error.request_id().map(ToString::to_string);
            tracing::warn!(%error, key, hint, failed_request_id, "the last attempt could not be announced");
        }
    }

    /// Processes the tasks, as many at a time as there is memory for, as long as there is time to begin one.
    /// Returns the ids of the messages that may be acknowledged.
    async fn work_all(
        &self,
        tasks: Vec<Received>,
        begin_until: Instant,
        postponed: &mut Postponed,
    ) -> BTreeSet<String> {
        let memory = Arc::new(Semaphore::new(self.memory_mb as usize));
        let mut attempts = JoinSet::new();
        for received in tasks {
            let (tasks, memory) = (Arc::clone(&self.tasks), Arc::clone(&memory));
            let needed_mb = needed_mb(&received.task).min(self.memory_mb);
            attempts.spawn(async move {
                let Ok(_memory) = memory.acquire_many(needed_mb).await else {
                    return (received, Attempt::OutOfTime);
                };
                let attempt = tasks.attempt(&received, begin_until).await;
                (received, attempt)
            });
        }
        let mut acknowledged = BTreeSet::new();
        let (mut paused, mut cancelled) = (0_u32, 0_u32);
        while let Some(attempt) = attempts.join_next().await {
            // The message of one that died stays among the failed.
            let Ok((received, attempt)) =
                attempt.inspect_err(|error| tracing::error!(%error, "a task died"))
            else {
                continue;
            };
            match attempt {
                Attempt::Ended { ended, took, pause } => {
                    if let Some(pause) = pause {
                        self.log_pause(pause, ended.as_ref().err());
                    }
                    match ended {
                        Ok(receipt) => {
                            self.log_receipt(&received, &receipt, took);
                            acknowledged.insert(received.message_id);
                        }
                        // Nothing but resuming the run queues it again.
                        Err(WorkError::Cancelled(_)) => {
                            cancelled += 1;
                            acknowledged.insert(received.message_id);
                        }
                        Err(error) => self.retry_later(received, &error, took, postponed),
                    }
                }
                Attempt::OutOfTime => {
                    let key = received.task.key.as_str();
                    tracing::warn!(key, "not begun, since the function's time is nearly up");
                    postponed.add(received.message, 0);
                }
                Attempt::Paused => {
                    paused += 1;
                    let receives = receive_count(&received.message);
                    let wait_secs = backoff(DENIED_SECS, receives, DENIED_SECS_MAX);
                    postponed.add(received.message, wait_secs);
                }
            }
        }
        if cancelled > 0 {
            tracing::info!(
                tasks = cancelled,
                "not begun, since their run was cancelled"
            );
        }
        if paused > 0 {
            tracing::warn!(
                tasks = paused,
                "not begun, since the source denies everything"
            );
        }
        acknowledged
    }

    /// Logs that the source denies everything, and what to check. There is no error after a last delivery, which leaves a
    /// receipt.
    fn log_pause(&self, pause: Duration, error: Option<&WorkError>) {
        let line = LogLine::new("the source denies everything, the worker pauses")
            .field(
                "check",
                "the trust policy of the platform's role and its external id, the roles on the way there, \
                 the policies of the role and of the bucket, and that of the KMS key",
            )
            .field("pause_secs", pause.as_secs())
            .metric("SourceDenied", Unit::Count, 1);
        let line = match error {
            Some(error) => line.error(error, error.hint(), error.request_id()),
            None => line,
        };
        line.write(&self.stack);
    }

    fn retry_later(
        &self,
        received: Received,
        error: &WorkError,
        took: Duration,
        postponed: &mut Postponed,
    ) {
        let receives = receive_count(&received.message);
        let wait_secs = match error.is_denied() && self.tasks.breaker.is_paused(Instant::now()) {
            true => backoff(DENIED_SECS, receives, DENIED_SECS_MAX),
            false => backoff(RETRY_SECS, receives, RETRY_SECS_MAX),
        };
        LogLine::new("task not done, it is delivered again")
            .field("execution_id", received.task.execution_id.as_str())
            .field("key", received.task.key.as_str())
            .field("receives", receives)
            .error(error, error.hint(), error.request_id())
            .field("wait_secs", wait_secs)
            .metric("TaskRetries", Unit::Count, 1)
            .metric("TaskDurationMillis", Unit::Milliseconds, millis(took))
            .write(&self.stack);
        postponed.add(received.message, wait_secs);
    }

    fn log_receipt(&self, received: &Received, receipt: &Receipt, took: Duration) {
        let line = LogLine::new("task ended")
            .field("execution_id", received.task.execution_id.as_str())
            .field("key", receipt.key.as_str())
            .field("task_id", receipt.task_id().as_str())
            .field("attempts", receipt.attempts)
            .metric("TaskDurationMillis", Unit::Milliseconds, millis(took));
        let line = match &receipt.state {
            State::Done(done) => {
                let written: u64 = done.outputs.iter().map(|output| output.size).sum();
                let counts = &done.counts;
                line.field("state", "done")
                    .field("events_found", counts.events.found)
                    .field("files", done.outputs.len())
                    .metric("TasksDone", Unit::Count, 1)
                    .metric("EventsWritten", Unit::Count, counts.events.written)
                    .metric("RejectedFragments", Unit::Count, counts.rejected_fragments)
                    .metric("BytesRead", Unit::Bytes, counts.bytes.read)
                    .metric("BytesWritten", Unit::Bytes, written)
            }
            State::Failed { reason, hint } => line
                .field("state", "failed")
                .field("reason", reason.as_str())
                .field("hint", hint.as_deref())
                .metric("TasksFailed", Unit::Count, 1),
            State::Salvaged(salvaged) => line
                .field("state", "salvaged")
                .field("reason", salvaged.damage.reason.as_str())
                .field("undecoded_bytes", salvaged.damage.undecoded_bytes)
                .metric("TasksSalvaged", Unit::Count, 1)
                .metric(
                    "EventsWritten",
                    Unit::Count,
                    salvaged.done.counts.events.written,
                ),
            State::Attempting { .. } | State::Queued { .. } => line.field("state", "open"),
        };
        line.write(&self.stack);
    }
}

/// What the task may take of the function's memory.
fn needed_mb(task: &Task) -> u32 {
    match task.size <= SMALL_OBJECT_BYTES_MAX {
        true => SMALL_TASK_MEMORY_MB,
        false => TASK_MEMORY_MB,
    }
}

/// Orders tasks that are tried one after the other, each of which may kill the worker: of two receives
/// of the same batch the second has the order of the first reversed. So if one task kills every worker,
/// each other task comes before it in one of the two. Each pair of receives has an order of its own,
/// for batches with several such tasks.
fn put_in_turns(tasks: &mut [Received]) {
    let receives = tasks
        .iter()
        .map(|received| receive_count(&received.message))
        .max()
        .unwrap_or_default();
    tasks.sort_by_cached_key(|received| {
        let mut hasher = DefaultHasher::new();
        (receives / 2, &received.message_id).hash(&mut hasher);
        hasher.finish()
    });
    if receives % 2 == 1 {
        tasks.reverse();
    }
}

/// The messages that hold a task. The others stay in the queue, and end as dead letters.
fn read(messages: Vec<SqsMessage>) -> Vec<Received> {
    messages
        .into_iter()
        .filter_map(|message| {
            let message_id = message.message_id.clone()?;
            let task = parse::<Task>(&message, "task")?;
            Some(Received {
                message,
                message_id,
                task,
            })
        })
        .collect()
}
