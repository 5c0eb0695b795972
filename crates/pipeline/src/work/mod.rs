//! The worker: recovers the object of one task and writes its receipt.

pub(crate) mod day_files;
pub(crate) mod job;
pub(crate) mod staged_output;
pub(crate) mod transform;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use event_recovery_format::DecodeError;
use thiserror::Error;
use tokio::runtime::Handle;
use tracing::{Span, debug, instrument};

use crate::audit::call::{AuditCallError, AuditCaller, CallAuditor};
use crate::backup::org_id::OrgId;
use crate::ledger::audit_record::audit_record;
use crate::ledger::observer::Observer;
use crate::ledger::receipt::{Done, KnownReceipt, Receipt, State};
use crate::ledger::{LEDGER_VERSION, Ledger, LedgerError, SOFTWARE, to_json};
use crate::queue::QueueError;
use crate::queue::task::{TASK_VERSION, Task};
use crate::storage::{Destination, Precondition, RequestId, Source, StorageError, Written};
use crate::work::job::{Job, TransformError, TransformLimits};
use crate::work::transform::{Transformed, commit, object_time, transform};

/// Recovers objects of one org from one source to one destination.
pub struct Worker {
    /// The backup; only read.
    pub source: Arc<dyn Source>,
    /// Receives events, rejected fragments and receipts.
    pub destination: Arc<dyn Destination>,
    /// Whose backup it is. Next to rejected fragments, objects of other orgs do not count as events.
    pub org_id: OrgId,
    /// Calls the auditor again when a run changes after its audit; `None` where the caller audits the run
    /// itself.
    pub auditor: Option<Arc<dyn CallAuditor>>,
    /// Limits of each object.
    pub limits: TransformLimits,
    /// Receives progress.
    pub observer: Arc<dyn Observer>,
}

/// One delivery of a task by the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// The task's receive count, this delivery included; from 1.
    pub number: u32,
    /// The queue's limit, after which the task becomes a dead letter.
    pub deliveries_max: u32,
    /// The current time.
    pub now: DateTime<Utc>,
    /// How long the attempt may take, in seconds; at most [`ATTEMPT_SECS_MAX`](crate::ATTEMPT_SECS_MAX).
    pub attempt_secs_max: u32,
}

impl Delivery {
    /// Whether this is the last delivery that the queue's limit allows.
    pub fn is_last(&self) -> bool {
        self.number >= self.deliveries_max
    }

    fn attempting(&self) -> State {
        State::Attempting {
            expires_at: self.now + TimeDelta::seconds(i64::from(self.attempt_secs_max)),
        }
    }
}

/// Why a task has no receipt. It must stay in the queue.
#[derive(Debug, Error)]
pub enum WorkError {
    /// A newer version of this software wrote the task.
    #[error("the task has version {found}, and this software reads up to {TASK_VERSION}")]
    NewerTask {
        /// The task's version.
        found: u32,
    },
    /// The storage failed with a transient error.
    #[error(transparent)]
    Transient(StorageError),
    /// The receipt could not be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The auditor could not be called.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The attempt panicked, or the runtime cancelled it.
    #[error("the attempt at `{key}` died: {detail}")]
    Died {
        /// The object's key.
        key: String,
        /// Which of the two.
        detail: String,
    },
}

impl WorkError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Transient(error) => error.hint(),
            Self::Ledger(error) => error.hint(),
            Self::Queue(error) => error.hint(),
            Self::NewerTask { .. } => {
                Some("use the version of this software that wrote it".to_owned())
            }
            Self::Died { .. } => None,
        }
    }

    /// The id of the request that failed, if it was one to a service that answered.
    pub fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::Transient(error) => error.request_id(),
            Self::Ledger(error) => error.request_id(),
            Self::Queue(error) => error.request_id(),
            Self::NewerTask { .. } | Self::Died { .. } => None,
        }
    }

    /// Whether another delivery of the task may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transient(_) | Self::Queue(_) | Self::Died { .. } => true,
            Self::Ledger(LedgerError::Storage(error)) => error.is_transient(),
            Self::Ledger(_) | Self::NewerTask { .. } => false,
        }
    }
}

impl Worker {
    /// Processes the task. Afterwards it has a receipt with the state done or failed, which is returned, and
    /// the queue may forget the task. Idempotent: a task that is done already stays as it is.
    ///
    /// # Errors
    ///
    /// See [`WorkError`]; the task must be delivered again.
    #[instrument(skip_all, fields(execution_id = %task.execution_id, key = %task.key, attempt = delivery.number))]
    pub async fn work(&self, task: &Task, delivery: Delivery) -> Result<Receipt, WorkError> {
        if task.version > TASK_VERSION {
            return Err(WorkError::NewerTask {
                found: task.version,
            });
        }
        let ledger = Ledger::new(task.execution_id.clone());
        let receipt_key = ledger.receipt_key(&task.id());
        let known = KnownReceipt::read(&*self.destination, &receipt_key, &task.key).await?;
        if let Some(receipt) = known.done() {
            debug!("the task is done already");
            self.observer.task_ended(receipt);
            return Ok(receipt.clone());
        }
        let has_reason = known.has_reason();
        let mut slot = self.slot(task, receipt_key, known, delivery);
        let attempts = slot.template.attempts;
        if delivery.is_last() && !has_reason {
            let receipt = slot.write(delivery.attempting()).await?;
            if receipt.is_done() {
                self.observer.task_ended(&receipt);
                return Ok(receipt);
            }
        }
        let state = match self.attempt(task, &ledger).await {
            Ok(done) => State::Done(Box::new(done)),
            Err(Failure::Final { reason, hint }) => State::Failed { reason, hint },
            Err(Failure::Transient(error)) if delivery.is_last() => State::Failed {
                reason: format!("gave up after {attempts} attempts: {error}"),
                hint: Some(hint_to_repeat(error.hint())),
            },
            Err(Failure::Transient(error)) => {
                debug!(%error, "the attempt has failed and may be repeated");
                return Err(WorkError::Transient(error));
            }
            Err(Failure::Died(detail)) => {
                let key = task.key.to_string();
                return Err(WorkError::Died { key, detail });
            }
        };
        // Read before the receipt is written: an audit that ends after this has seen the receipt.
        let is_audited = self.is_audited(&ledger, delivery.now).await?;
        let receipt = slot.write(state).await?;
        if let Some(wait_hours) = is_audited {
            self.call_auditor(&ledger, wait_hours, delivery.now).await?;
        }
        self.observer.task_ended(&receipt);
        Ok(receipt)
    }

    /// If the run's audit has ended, how long the next one may wait for the run, in hours.
    async fn is_audited(
        &self,
        ledger: &Ledger,
        now: DateTime<Utc>,
    ) -> Result<Option<u32>, LedgerError> {
        if self.auditor.is_none() {
            return Ok(None);
        }
        let record = audit_record(&*self.destination, ledger).await?;
        Ok(record
            .filter(|(record, _)| !record.is_open(now))
            .map(|(record, _)| record.wait_hours))
    }

    async fn call_auditor(
        &self,
        ledger: &Ledger,
        wait_hours: u32,
        now: DateTime<Utc>,
    ) -> Result<(), WorkError> {
        let Some(queue) = &self.auditor else {
            return Ok(());
        };
        let caller = AuditCaller {
            queue: Arc::clone(queue),
            wait_hours,
        };
        let called = caller.call(&*self.destination, ledger, now).await;
        called.map_err(|error| match error {
            AuditCallError::Ledger(error) => WorkError::Ledger(error),
            AuditCallError::Queue(error) => WorkError::Queue(error),
        })
    }

    /// Records that the task's last attempt is about to begin, so that the task counts as failed if the
    /// worker dies. For tasks that must wait for others of their batch. Keeps the receipt of an earlier
    /// attempt that has failed, since its reason says more.
    ///
    /// # Errors
    ///
    /// See [`WorkError`].
    pub async fn announce(&self, task: &Task, delivery: Delivery) -> Result<(), WorkError> {
        let ledger = Ledger::new(task.execution_id.clone());
        let key = ledger.receipt_key(&task.id());
        let known = KnownReceipt::read(&*self.destination, &key, &task.key).await?;
        if known.done().is_some() || known.has_reason() {
            return Ok(());
        }
        self.slot(task, key, known, delivery)
            .write(delivery.attempting())
            .await?;
        Ok(())
    }

    fn slot(
        &self,
        task: &Task,
        key: String,
        known: KnownReceipt,
        delivery: Delivery,
    ) -> ReceiptSlot<'_> {
        let attempts = known
            .receipt
            .as_ref()
            .map_or(0, |receipt| receipt.attempts)
            .max(delivery.number.saturating_sub(1))
            .saturating_add(1);
        ReceiptSlot {
            worker: self,
            key,
            etag: known.etag,
            template: Receipt {
                version: LEDGER_VERSION,
                software: SOFTWARE.to_owned(),
                key: task.key.clone(),
                size: Some(task.size),
                etag: Some(task.etag.clone()),
                attempts,
                started_at: delivery.now,
                state: State::Failed {
                    reason: String::new(),
                    hint: None,
                },
            },
        }
    }

    async fn attempt(&self, task: &Task, ledger: &Ledger) -> Result<Done, Failure> {
        if !task.key.is_plain() {
            return Err(Failure::Final {
                reason: "its key has an empty, `.` or `..` part, a NUL, or more than 1,024 bytes, so \
                         that tools which take keys for paths find another object or none"
                    .to_owned(),
                hint: Some(
                    "copy the object to a plain name under the same hour prefix, and start a new run"
                        .to_owned(),
                ),
            });
        }
        let reader = self
            .source
            .open(task.key.as_str(), &task.etag)
            .await
            .map_err(Failure::from)?;
        let time = object_time(&task.key, &self.org_id);
        let (source, runtime) = (Arc::clone(&self.source), Handle::current());
        let (task, ledger) = (task.clone(), ledger.clone());
        let (org_id, limits) = (self.org_id.clone(), self.limits);
        let (destination, observer) = (Arc::clone(&self.destination), Arc::clone(&self.observer));
        let span = Span::current();
        let blocking = tokio::task::spawn_blocking(move || {
            let _entered = span.enter();
            let job = Job {
                ledger: &ledger,
                org_id: &org_id,
                key: &task.key,
                size: task.size,
                time,
                window: &task.window,
                filters: &task.filters,
                format: task.output,
                limits,
                destination: &*destination,
                observer: &*observer,
            };
            let mut first = Some(reader);
            let open = || match first.take() {
                Some(reader) => Ok(reader),
                // With the planned etag, so that each reading is of the same object.
                None => runtime.block_on(source.open(task.key.as_str(), &task.etag)),
            };
            let Transformed {
                counts,
                outputs,
                rejected,
            } = transform(open, &job)?;
            // The object has been read to its end. Before that, nothing of it may become visible.
            let outputs = commit(outputs)?;
            let rejected = commit(rejected.into_iter().collect())?.pop();
            Ok::<_, TransformError>((counts, outputs, rejected))
        });
        let (counts, outputs, rejected) = blocking.await.map_err(|error| {
            Failure::Died(
                if error.is_panic() {
                    "panic"
                } else {
                    "cancelled"
                }
                .to_owned(),
            )
        })??;
        Ok(Done {
            finished_at: Utc::now(),
            foreign_name: time.is_foreign(),
            counts,
            outputs,
            rejected,
        })
    }
}

/// The hint of an object that was given up: the cause's own hint, then how to retry.
fn hint_to_repeat(hint: Option<String>) -> String {
    let repeat = "run the same request with the same execution id again";
    hint.map_or_else(
        || repeat.to_owned(),
        |hint| format!("{hint}; then {repeat}"),
    )
}

/// Why an attempt has failed.
enum Failure {
    /// A retry may succeed.
    Transient(StorageError),
    /// A retry would fail in the same way.
    Final {
        reason: String,
        hint: Option<String>,
    },
    /// The attempt panicked or was cancelled.
    Died(String),
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        if error.is_transient() {
            return Self::Transient(error);
        }
        Self::Final {
            reason: error.to_string(),
            hint: error.hint(),
        }
    }
}

impl From<TransformError> for Failure {
    fn from(error: TransformError) -> Self {
        let hint = match error {
            TransformError::Storage(error) => return error.into(),
            TransformError::TooManyDates => "recover the range in shorter parts",
            TransformError::Decode(DecodeError::Unsupported { .. }) => {
                "unpack the object, put it back under its hour prefix and start a new run"
            }
            TransformError::Decode(DecodeError::TooLarge { .. }) => {
                "if the object is what it should be, raise the limit on decoded bytes"
            }
            TransformError::Decode(DecodeError::Source(_)) => {
                "check the source and run the same command again"
            }
            TransformError::Decode(_) => {
                "the object itself is damaged: ask the platform for an intact copy"
            }
            TransformError::Write(_) => "check the destination and run the same command again",
        };
        Self::Final {
            reason: error.to_string(),
            hint: Some(hint.to_owned()),
        }
    }
}

/// The key of one task's receipt. A receipt that is done is never replaced.
struct ReceiptSlot<'a> {
    worker: &'a Worker,
    key: String,
    /// The etag of the receipt that was read last; `None` if there was none.
    etag: Option<String>,
    template: Receipt,
}

impl ReceiptSlot<'_> {
    /// Writes the receipt with the state, and returns it; or the one that another worker wrote
    /// meanwhile, if that one is done.
    async fn write(&mut self, state: State) -> Result<Receipt, LedgerError> {
        const CONFLICTS_MAX: u32 = 16;
        let receipt = Receipt {
            state,
            ..self.template.clone()
        };
        let bytes = to_json(&self.key, &receipt)?;
        let destination = &*self.worker.destination;
        for _ in 0..CONFLICTS_MAX {
            let precondition = match &self.etag {
                None => Precondition::Absent,
                Some(etag) => Precondition::Unchanged(etag.clone()),
            };
            let written = destination
                .put_if(&self.key, bytes.clone(), precondition)
                .await?;
            let current = KnownReceipt::read(destination, &self.key, &receipt.key).await?;
            // Also when it was written directly after ours: its etag must not be taken for ours.
            if let Some(done) = current.done() {
                if *done != receipt {
                    debug!(key = self.key, "another worker has done the task meanwhile");
                }
                return Ok(done.clone());
            }
            self.etag = current.etag;
            if written == Written::Yes {
                return Ok(receipt);
            }
            debug!(
                key = self.key,
                "another worker has written the receipt meanwhile"
            );
        }
        Err(LedgerError::Invalid {
            key: self.key.clone(),
            detail: "it changes with every attempt to write it".to_owned(),
        })
    }
}
