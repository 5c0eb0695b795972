//! A whole run in one process: plan, work and audit with a queue in memory.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::debug;

use crate::audit::audit;
use crate::audit::error::AuditError;
use crate::backup::linked_orgs::LinkedOrgs;
use crate::backup::source_key::SourceKey;
use crate::ledger::observer::Observer;
use crate::ledger::report::Report;
use crate::plan::error::PlanError;
use crate::plan::limits::PlanLimits;
use crate::plan::{Planner, RunTerms};
use crate::queue::ATTEMPT_SECS_MAX;
use crate::queue::in_process::InProcessQueue;
use crate::queue::task::Task;
use crate::request::execution_id::ExecutionId;
use crate::request::resolved::ResolvedRequest;
use crate::storage::blocking::do_work;
use crate::storage::{Destination, Source};
use crate::work::audit_looks::AuditLooks;
use crate::work::cancellations::Cancellations;
use crate::work::delivery::Delivery;
use crate::work::job::TransformLimits;
use crate::work::source_access::SourceAccess;
use crate::work::turn::{Turn, Turns};
use crate::work::{WorkError, Worker};

/// Most tasks that wait in memory. The planner waits when the queue is full.
const QUEUED_TASKS_MAX: usize = 1000;
/// Most tasks that one worker has begun and that have no receipt yet. All but one of them wait for a flush of the
/// storage, which is shared by as many.
const DELIVERIES_AT_ONCE: usize = 512;
/// Attempts at one task: as many as the queue on AWS delivers.
const DELIVERIES_MAX: u32 = 10;
/// Exponential backoff between attempts, in milliseconds: the first wait, and the longest.
const RETRY_MILLIS: u64 = 100;
const RETRY_MILLIS_MAX: u64 = 5_000;
/// How long a source may deny everything until further objects fail at their second attempt: about as long as ten
/// attempts take. Otherwise a run without permission would wait that long for every object.
const DENIED_SECS_MAX: u64 = 20;

/// A run in this process. Nothing happens before [`carry_out`](Self::carry_out).
pub struct Run {
    /// The backup; only read.
    pub source: Arc<dyn Source>,
    /// Receives events and the ledger.
    pub destination: Arc<dyn Destination>,
    /// What to recover. A known execution id must come with the request that it began with.
    pub request: ResolvedRequest,
    /// Names the run's folders. A known id resumes its run.
    pub execution_id: ExecutionId,
    /// Objects that are recovered at the same time; 0 counts as 1. Each may hold two of the runtime's blocking
    /// threads at once, so there must be twice as many.
    pub concurrency: usize,
    /// Small objects, of at most [`SMALL_OBJECT_BYTES_MAX`](crate::SMALL_OBJECT_BYTES_MAX), that are recovered at the same time in the place of one other;
    /// 0 counts as 1. Several of them hide the latency of a bucket. Each may hold two threads, too.
    pub small_objects: usize,
    /// Whose events the backup may hold besides those of the request's org.
    pub linked_orgs: LinkedOrgs,
    /// Recorded with the request of a new run.
    pub terms: RunTerms,
    /// Limits of the plan.
    pub plan_limits: PlanLimits,
    /// Limits of each object.
    pub transform_limits: TransformLimits,
    /// Recovers this object and no other; `None` for all.
    pub only: Option<OnlyObject>,
    /// Receives progress.
    pub observer: Arc<dyn Observer>,
}

/// The one object that a run is to recover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlyObject {
    /// Its key.
    pub key: SourceKey,
    /// Whether its events before the damage are to be recovered if it is damaged.
    pub salvage: bool,
}

/// What the planner is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Errand {
    Plan,
    Recheck,
}

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// It was audited; the report's verdict says whether it is complete.
    Audited(Box<Report>),
    /// It was asked to stop. The objects in flight are done; the same run can be resumed.
    Stopped,
}

/// Why a run ended early. The same run can be resumed.
#[derive(Debug, Error)]
pub enum RunError {
    /// The planner failed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A worker failed with a permanent error.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The auditor failed, so there is no new report.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl Run {
    /// Starts the run, or resumes it. Stops when `stop` becomes true, after the objects in flight.
    ///
    /// # Errors
    ///
    /// See [`RunError`].
    pub async fn carry_out(self, stop: watch::Receiver<bool>) -> Result<Ended, RunError> {
        self.process(Errand::Plan, stop).await
    }

    /// Lists the hours of a run again, recovers what came since, and audits the run. Stops as
    /// [`carry_out`](Self::carry_out) does; the same call resumes.
    ///
    /// # Errors
    ///
    /// See [`RunError`].
    pub async fn recheck(self, stop: watch::Receiver<bool>) -> Result<Ended, RunError> {
        self.process(Errand::Recheck, stop).await
    }

    async fn process(self, errand: Errand, stop: watch::Receiver<bool>) -> Result<Ended, RunError> {
        let queue = Arc::new(InProcessQueue::new(QUEUED_TASKS_MAX));
        let worker = Arc::new(Worker {
            source: Arc::clone(&self.source),
            destination: Arc::clone(&self.destination),
            org_id: self.request.org_id.clone(),
            linked_orgs: self.linked_orgs.clone(),
            auditor: None,
            limits: self.transform_limits,
            observer: Arc::clone(&self.observer),
            access: SourceAccess::default(),
            audits: AuditLooks::default(),
            cancellations: Cancellations::default(),
        });
        let mut workers = JoinSet::new();
        for _ in 0..self.concurrency.max(1) {
            workers.spawn(consume(
                Arc::clone(&queue),
                Arc::clone(&worker),
                self.only.clone(),
                Turns::for_one_or(self.small_objects),
                stop.clone(),
            ));
        }
        let planning = async {
            let planned = self.plan(errand, &queue, stop.clone()).await;
            match &planned {
                Ok(()) => queue.close(),
                Err(_) => queue.abandon(),
            }
            planned
        };
        // Polled together with the planner, which otherwise waits for ever for room in the queue.
        let working = async {
            let mut first_error = None;
            while let Some(ended) = workers.join_next().await {
                // Workers survive a task that panics. One that dies nevertheless has not written its
                // receipts, and the audit reports the objects as missing.
                if let Ok(Err(error)) = ended {
                    queue.abandon();
                    first_error.get_or_insert(error);
                }
            }
            queue.abandon();
            first_error
        };
        let (planned, first_error) = tokio::join!(planning, working);
        if *stop.borrow() {
            return Ok(Ended::Stopped);
        }
        // The report of a run that was cancelled says so.
        match first_error {
            None | Some(WorkError::Cancelled(_)) => {}
            Some(error) => return Err(error.into()),
        }
        match planned {
            Ok(()) | Err(PlanError::Cancelled { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.observer.auditing();
        Ok(Ended::Audited(Box::new(self.audit().await?)))
    }

    async fn audit(&self) -> Result<Report, AuditError> {
        if !self.destination.is_local() {
            return audit(&*self.destination, &self.execution_id, Utc::now()).await;
        }
        // It reads what was written just now: on one thread that is sooner done than by telling others to.
        let (destination, id) = (Arc::clone(&self.destination), self.execution_id.clone());
        let runtime = Handle::current();
        let audited = do_work(false, move || {
            runtime.block_on(audit(&*destination, &id, Utc::now()))
        });
        match audited.await {
            Ok(audited) => audited,
            Err(_) => audit(&*self.destination, &self.execution_id, Utc::now()).await,
        }
    }

    async fn plan(
        &self,
        errand: Errand,
        queue: &InProcessQueue,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), PlanError> {
        let planner = Planner {
            source: &*self.source,
            ledger: &*self.destination,
            queue,
            auditor: None,
            until: None,
            limits: self.plan_limits,
            terms: self.terms.clone(),
            observer: &*self.observer,
        };
        let (id, now) = (&self.execution_id, Utc::now());
        let planning = async {
            match errand {
                Errand::Plan => planner.plan(&self.request, id, now).await.map(drop),
                Errand::Recheck => planner.recheck(id, now).await.map(drop),
            }
        };
        tokio::select! {
            planned = planning => planned,
            // A closed channel is not a request to stop.
            Ok(_) = stop.wait_for(|stop| *stop) => {
                queue.abandon();
                Ok(())
            }
        }
    }
}

/// Consumes tasks until the queue is closed and empty. Recovers one object at a time, or some small ones, while others wait
/// for their receipts.
async fn consume(
    queue: Arc<InProcessQueue>,
    worker: Arc<Worker>,
    only: Option<OnlyObject>,
    turns: Turns,
    stop: watch::Receiver<bool>,
) -> Result<(), WorkError> {
    let mut deliveries = FuturesUnordered::new();
    let mut ended = Ok(());
    // Received, and waiting for its turn. Not in the future below, which is dropped whenever a delivery ends.
    let mut waiting: Option<Task> = None;
    loop {
        let next = async {
            if waiting.is_none() {
                turns.room().await;
            }
            if *stop.borrow() {
                return None;
            }
            if waiting.is_none() {
                waiting = queue.receive().await;
            }
            let turn = turns.next(waiting.as_ref()?.size).await;
            waiting.take().map(|task| (task, turn))
        };
        tokio::select! {
            biased;
            next = next, if deliveries.len() < DELIVERIES_AT_ONCE => match next {
                Some((task, _)) if only.as_ref().is_some_and(|only| only.key != task.key) => {}
                Some((task, turn)) => {
                    let task = match &only {
                        Some(OnlyObject { salvage: true, .. }) => task.to_salvage(),
                        _ => task,
                    };
                    deliveries.push(deliver(&worker, task, &turns, turn, &stop));
                }
                None => break,
            },
            Some(delivered) = deliveries.next() => if delivered.is_err() {
                ended = delivered;
                break;
            },
        }
    }
    while let Some(delivered) = deliveries.next().await {
        ended = ended.and(delivered);
    }
    ended
}

/// Retries the task until it has a receipt, or its deliveries are used up.
async fn deliver(
    worker: &Worker,
    task: Task,
    turns: &Turns,
    mut turn: Turn,
    stop: &watch::Receiver<bool>,
) -> Result<(), WorkError> {
    let mut wait = Duration::from_millis(RETRY_MILLIS);
    for number in 1..=DELIVERIES_MAX {
        let delivery = Delivery {
            number,
            deliveries_max: match number > 1 && is_denied_for_long(worker) {
                true => number,
                false => DELIVERIES_MAX,
            },
            now: Utc::now(),
            attempt_secs_max: ATTEMPT_SECS_MAX,
        };
        match worker.work_in_turn(&task, delivery, &mut turn).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_transient() => {
                debug!(
                    execution_id = %task.execution_id,
                    key = %task.key,
                    attempt = number,
                    wait_millis = wait.as_millis() as u64,
                    %error,
                    "retries the task after a wait",
                );
                worker.observer.task_delayed(&error.to_string());
            }
            Err(error) => return Err(error),
        }
        if *stop.borrow() {
            return Ok(());
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_millis(RETRY_MILLIS_MAX));
        if turn.has_ended() {
            turn = turns.next(task.size).await;
        }
    }
    Ok(())
}

fn is_denied_for_long(worker: &Worker) -> bool {
    let denials = worker.access.denials();
    denials.is_some_and(|denials| denials.since.elapsed() >= Duration::from_secs(DENIED_SECS_MAX))
}
