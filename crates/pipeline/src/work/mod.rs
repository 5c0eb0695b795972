//! The worker: recovers the object of one task and writes its receipt.

pub(crate) mod audit_looks;
pub(crate) mod cancellations;
pub(crate) mod day_files;
pub(crate) mod delivery;
pub(crate) mod duplicates;
pub(crate) mod job;
pub(crate) mod receipt_slot;
pub(crate) mod source_access;
pub(crate) mod staged_output;
pub(crate) mod transform;
pub(crate) mod turn;

use std::io::Read;
use std::sync::Arc;

use chrono::Utc;
use event_recovery_format::DecodeError;
use thiserror::Error;
use tracing::{Span, debug, instrument};

use crate::audit::call::{AuditCallError, AuditCaller, CallAuditor};
use crate::backup::linked_orgs::LinkedOrgs;
use crate::backup::org_id::OrgId;
use crate::ledger::kinds::Kinds;
use crate::ledger::observer::Observer;
use crate::ledger::orgs::Orgs;
use crate::ledger::receipt::{
    Counts, Damage, Done, KnownReceipt, Output, Receipt, Salvaged, State,
};
use crate::ledger::{Ledger, LedgerError};
use crate::queue::QueueError;
use crate::queue::task::{TASK_VERSION, Task};
use crate::request::execution_id::ExecutionId;
use crate::storage::blocking::{Died, do_work};
use crate::storage::{Destination, Problem, RequestId, Source, StorageError, StorageOperation};
use crate::work::audit_looks::{AuditLooks, Look};
use crate::work::cancellations::Cancellations;
use crate::work::delivery::{Clock, Delivery};
use crate::work::job::{Damaged, Job, TransformError, TransformLimits};
use crate::work::receipt_slot::ReceiptSlot;
use crate::work::source_access::SourceAccess;
use crate::work::staged_output::Replace;
use crate::work::transform::{Transformed, blank_out, commit, object_time, transform};
use crate::work::turn::Turn;

/// The largest object, in bytes as stored, that is recovered where its task is, if it is read from this machine and
/// written to it: that takes no longer than a few waits for another thread.
const SHORT_OBJECT_BYTES_MAX: u64 = 64 * 1024;

/// Recovers objects of one org from one source to one destination.
pub struct Worker {
    /// The backup; only read.
    pub source: Arc<dyn Source>,
    /// Receives events, rejected fragments and receipts.
    pub destination: Arc<dyn Destination>,
    /// Whose backup it is.
    pub org_id: OrgId,
    /// Whose events it may hold besides.
    pub linked_orgs: LinkedOrgs,
    /// Calls the auditor again when a run changes after its audit; `None` where the caller audits the run
    /// itself.
    pub auditor: Option<Arc<dyn CallAuditor>>,
    /// Limits of each object.
    pub limits: TransformLimits,
    /// Receives progress.
    pub observer: Arc<dyn Observer>,
    /// What this worker has seen of the source.
    pub access: SourceAccess,
    /// What this worker has seen of its runs' audits.
    pub audits: AuditLooks,
    /// Whether its runs were cancelled, as of a moment ago.
    pub cancellations: Cancellations,
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
    /// The storage failed with a transient error, or denied the object while it may deny everything.
    #[error(transparent)]
    Transient(StorageError),
    /// The receipt could not be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The auditor could not be called.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The run was cancelled. The queue may forget the task, which gets no receipt: resuming the run queues it again.
    #[error("the run `{0}` was cancelled")]
    Cancelled(ExecutionId),
    /// The attempt panicked, or the system had no thread for it.
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
            Self::Cancelled(_) | Self::Died { .. } => None,
        }
    }

    /// The id of the request that failed, if it was one to a service that answered.
    pub fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::Transient(error) => error.request_id(),
            Self::Ledger(error) => error.request_id(),
            Self::Queue(error) => error.request_id(),
            Self::NewerTask { .. } | Self::Cancelled(_) | Self::Died { .. } => None,
        }
    }

    /// Whether the source denied the object.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Transient(error) if matches!(error.problem, Problem::AccessDenied(_)))
    }

    /// Whether another delivery of the task may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transient(_) | Self::Queue(_) | Self::Died { .. } => true,
            Self::Ledger(LedgerError::Storage(error)) => error.is_transient(),
            Self::Ledger(_) | Self::NewerTask { .. } | Self::Cancelled(_) => false,
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
    pub async fn work(&self, task: &Task, delivery: Delivery) -> Result<Receipt, WorkError> {
        self.work_in_turn(task, delivery, &mut Turn::unlimited())
            .await
    }

    /// As [`work`](Self::work). Ends the turn when the object's output is written, and only its receipt is not.
    #[instrument(name = "work", skip_all, fields(execution_id = %task.execution_id, key = %task.key, attempt = delivery.number))]
    pub(crate) async fn work_in_turn(
        &self,
        task: &Task,
        delivery: Delivery,
        turn: &mut Turn,
    ) -> Result<Receipt, WorkError> {
        if task.version > TASK_VERSION {
            return Err(WorkError::NewerTask {
                found: task.version,
            });
        }
        let clock = Clock::of(&delivery);
        let ledger = Ledger::new(task.execution_id.clone());
        if self.is_cancelled(&ledger, clock).await? {
            return Err(WorkError::Cancelled(task.execution_id.clone()));
        }
        let receipt_key = ledger.receipt_key(&task.id());
        let is_first = delivery.is_first_of(task);
        let known = match is_first {
            true => KnownReceipt::default(),
            false => KnownReceipt::read(&*self.destination, &receipt_key, &task.key).await?,
        };
        if let Some(receipt) = known.done() {
            debug!("the task is done already");
            self.observer.task_ended(receipt);
            // The attempt that wrote it may have died before it called the auditor.
            self.call_if_ended(&ledger, Look::Now, clock).await?;
            return Ok(receipt.clone());
        }
        let has_reason = known.has_reason();
        let mut slot = self.slot(task, receipt_key, known, delivery);
        if delivery.is_last() && !has_reason {
            let receipt = slot.write(delivery.attempting()).await?;
            if receipt.is_done() {
                self.observer.task_ended(&receipt);
                self.call_if_ended(&ledger, Look::Now, clock).await?;
                return Ok(receipt);
            }
        }
        let replace = match is_first {
            true => Replace::No,
            false => Replace::Yes,
        };
        let earlier = slot.salvaged().cloned();
        let earlier = earlier.and_then(|receipt| receipt.state.into_written());
        let ended = self.attempt(task, &ledger, replace, earlier).await;
        // A task that has failed keeps its turn until its retry: if everything fails, it is the same few tasks.
        if ended.is_ok() {
            turn.end();
        }
        let state = self.state(task, delivery, &slot, ended).await?;
        let receipt = self
            .record(&ledger, &mut slot, state, is_first, clock)
            .await?;
        self.observer.task_ended(&receipt);
        Ok(receipt)
    }

    async fn is_cancelled(&self, ledger: &Ledger, clock: Clock) -> Result<bool, LedgerError> {
        let records = &*self.destination;
        self.cancellations
            .is_cancelled(records, ledger, clock.now())
            .await
    }

    /// The state of a task whose attempt has ended so.
    async fn state(
        &self,
        task: &Task,
        delivery: Delivery,
        slot: &ReceiptSlot<'_>,
        ended: Result<State, Failure>,
    ) -> Result<State, WorkError> {
        let failure = match ended {
            Ok(state) => return Ok(state),
            Err(Failure::Denied(error)) => self.judge_denial(task, error).await,
            Err(failure) => failure,
        };
        match failure {
            Failure::Final { reason, hint } => Ok(State::Failed { reason, hint }),
            Failure::Transient(error) | Failure::Denied(error) if delivery.is_last() => {
                Ok(State::Failed {
                    reason: format!("gave up after {} attempts: {error}", slot.attempts()),
                    hint: Some(hint_to_repeat(error.hint())),
                })
            }
            Failure::Transient(error) | Failure::Denied(error) => {
                debug!(%error, "the attempt has failed and may be repeated");
                Err(WorkError::Transient(error))
            }
            Failure::Died(detail) => {
                let key = task.key.to_string();
                Err(WorkError::Died { key, detail })
            }
        }
    }

    /// An object that is denied alone stays denied. If nothing shows that the source allows others, a retry may
    /// succeed.
    async fn judge_denial(&self, task: &Task, error: StorageError) -> Failure {
        let alone = self
            .access
            .is_denied_alone(&*self.source, task.key.as_str());
        match alone.await {
            true => Failure::permanent(&error),
            false => Failure::Denied(error),
        }
    }

    /// Writes the receipt. If the run's audit has ended, calls the auditor again.
    async fn record(
        &self,
        ledger: &Ledger,
        slot: &mut ReceiptSlot<'_>,
        state: State,
        is_first: bool,
        clock: Clock,
    ) -> Result<Receipt, WorkError> {
        let first = match is_first {
            true => slot.write_first(state.clone()).await?,
            false => None,
        };
        let (receipt, look) = match first {
            Some(receipt) => (receipt, Look::Recent),
            None => (slot.write(state).await?, Look::Now),
        };
        self.call_if_ended(ledger, look, clock).await?;
        Ok(receipt)
    }

    /// Calls the auditor again if the run's audit has ended or is reading receipts. Only after the receipt is written:
    /// an audit that begins to read after this look reads the receipt.
    async fn call_if_ended(
        &self,
        ledger: &Ledger,
        look: Look,
        clock: Clock,
    ) -> Result<(), WorkError> {
        let ended = self.audit_ended(ledger, look, clock).await?;
        self.call_auditor(ledger, ended, clock).await
    }

    /// If the run's audit has ended, how long the next one may wait for the run, in hours.
    async fn audit_ended(
        &self,
        ledger: &Ledger,
        look: Look,
        clock: Clock,
    ) -> Result<Option<u32>, LedgerError> {
        if self.auditor.is_none() {
            return Ok(None);
        }
        self.audits
            .ended(&*self.destination, ledger, look, clock.now())
            .await
    }

    async fn call_auditor(
        &self,
        ledger: &Ledger,
        wait_hours: Option<u32>,
        clock: Clock,
    ) -> Result<(), WorkError> {
        let (Some(queue), Some(wait_hours)) = (&self.auditor, wait_hours) else {
            return Ok(());
        };
        let caller = AuditCaller {
            queue: Arc::clone(queue),
            wait_hours,
        };
        let called = caller.call(&*self.destination, ledger, clock.now()).await;
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
        if self.is_cancelled(&ledger, Clock::of(&delivery)).await? {
            return Ok(());
        }
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
        ReceiptSlot::new(&*self.destination, key, task, delivery, known)
    }

    async fn attempt(
        &self,
        task: &Task,
        ledger: &Ledger,
        replace: Replace,
        earlier: Option<Done>,
    ) -> Result<State, Failure> {
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
        let time = object_time(&task.key, &self.org_id);
        let filters = task.filters.matcher().map_err(|error| Failure::Final {
            reason: format!("a pattern of the task's filters can't be read: {error}"),
            hint: Some("start a new run".to_owned()),
        })?;
        let source = Arc::clone(&self.source);
        let access = self.access.clone();
        let (task, ledger) = (task.clone(), ledger.clone());
        let (org_id, limits) = (self.org_id.clone(), self.limits);
        let rule = self.linked_orgs.rule(&org_id);
        let (destination, observer) = (Arc::clone(&self.destination), Arc::clone(&self.observer));
        let span = Span::current();
        let is_short = task.size <= SHORT_OBJECT_BYTES_MAX
            && self.source.is_local()
            && self.destination.is_local();
        let recovered = do_work(is_short, move || {
            let _entered = span.enter();
            let job = Job {
                ledger: &ledger,
                org_id: &org_id,
                rule: &rule,
                key: &task.key,
                size: task.size,
                time,
                window: &task.window,
                filters: &filters,
                dedupe: task.filters.dedupe,
                format: task.output,
                limits,
                damaged: match task.salvage {
                    true => Damaged::IsSalvaged,
                    false => Damaged::Fails,
                },
                destination: &*destination,
                observer: &*observer,
            };
            // With the planned etag, so that each reading is of the same object.
            let open = || {
                let (key, etag) = (task.key.as_str(), &task.etag);
                let reader = source.open_here(key, etag)?;
                access.opened(key, etag);
                Ok(reader)
            };
            recover(open, &job, replace, earlier.as_ref())
        });
        let recovered = recovered.await.map_err(|died| {
            let died = match died {
                Died::Panicked => "panic",
                Died::NoThread => "the system has no thread for it",
            };
            Failure::Died(died.to_owned())
        })?;
        let Recovered {
            counts,
            orgs,
            kinds,
            outputs,
            rejected,
            damage,
        } = recovered?;
        let done = Done {
            finished_at: Utc::now(),
            foreign_name: time.is_foreign(),
            counts,
            orgs,
            kinds,
            outputs,
            rejected,
        };
        Ok(match damage {
            None => State::Done(Box::new(done)),
            Some(damage) => State::Salvaged(Box::new(Salvaged { done, damage })),
        })
    }
}

/// What the receipt of a recovered object says.
struct Recovered {
    counts: Counts,
    orgs: Orgs,
    kinds: Kinds,
    outputs: Vec<Output>,
    rejected: Option<Output>,
    damage: Option<Damage>,
}

/// Recovers the object and makes its outputs visible, also in the place of what was salvaged earlier. Blocks.
fn recover<R: Read>(
    open: impl FnMut() -> Result<R, StorageError>,
    job: &Job<'_>,
    replace: Replace,
    earlier: Option<&Done>,
) -> Result<Recovered, TransformError> {
    let transformed = transform(open, job)?;
    let (empty_outputs, empty_rejected) = match earlier {
        Some(earlier) => blank_out(earlier, &transformed, job)?,
        None => Default::default(),
    };
    let Transformed {
        counts,
        orgs,
        kinds,
        outputs,
        rejected,
        damage,
    } = transformed;
    // The object has been read to its end. Before that, nothing of it may become visible.
    let mut outputs = commit(outputs, replace)?;
    if !empty_outputs.is_empty() {
        outputs.extend(commit(empty_outputs, replace)?);
        outputs.sort_by(|one, other| one.key.cmp(&other.key));
    }
    let rejected = rejected.or(empty_rejected);
    let rejected = commit(rejected.into_iter().collect(), replace)?.pop();
    Ok(Recovered {
        counts,
        orgs,
        kinds,
        outputs,
        rejected,
        damage,
    })
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
    /// The source denies the object. Whether a retry may succeed depends on what else it denies.
    Denied(StorageError),
    /// A retry would fail in the same way.
    Final {
        reason: String,
        hint: Option<String>,
    },
    /// The attempt panicked or was cancelled.
    Died(String),
}

impl Failure {
    fn permanent(error: &StorageError) -> Self {
        Self::Final {
            reason: error.to_string(),
            hint: error.hint(),
        }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error.problem {
            Problem::Transient(_) => Self::Transient(error),
            // An attempt reads nothing but the source.
            Problem::AccessDenied(_) if error.operation == StorageOperation::Read => {
                Self::Denied(error)
            }
            _ => Self::permanent(&error),
        }
    }
}

impl From<TransformError> for Failure {
    fn from(error: TransformError) -> Self {
        let hint = match error {
            TransformError::Storage(error) => return error.into(),
            TransformError::TooManyEvents => "recover the hour with a new run without `dedupe`",
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
                "the object itself is damaged: ask the platform for an intact copy, or recover the events before the \
                 damage with `event-recovery salvage`"
            }
            TransformError::Write(_) => "check the destination and run the same command again",
        };
        Self::Final {
            reason: error.to_string(),
            hint: Some(hint.to_owned()),
        }
    }
}
