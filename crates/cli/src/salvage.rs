//! `event-recovery salvage`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use event_recovery_aws::{Bucket, Deployment, InvocationError, s3_client};
use event_recovery_pipeline::{
    ExecutionId, Ledger, LedgerError, Receipt, Records as _, Report, SalvageAnswer, SalvagePayload,
    SourceKey, State, TaskId, audit_record, find_record,
};

use crate::failure::{Failure, INTERRUPTED};
use crate::follow::FAILED_LOOKS_MAX;
use crate::handling_arguments::{KnownRunArguments, SalvageArguments};
use crate::known_run::{Errand, carry_on, request_of, show};
use crate::ledger_place::location_of;
use crate::location::Location;
use crate::runtime;
use crate::signals::next_signal;
use crate::start::PLANNER_OUTPUT;
use crate::storage::aws_session;
use crate::terminal::say;

/// The time between two polls of a stack's ledger.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long the task may be without a new receipt: ten deliveries of it, each after a wait.
const UNHEARD_MAX: Duration = Duration::from_secs(60 * 60);

pub(crate) fn salvage(arguments: &SalvageArguments) -> Result<ExitCode, Failure> {
    let run = &arguments.run;
    let execution_id = ExecutionId::parse(&run.execution_id)?;
    let key = SourceKey::parse(&arguments.key).map_err(|error| {
        Failure::usage(format!("`--key`: {error}")).hint("the report names the objects that failed")
    })?;
    runtime::block_on(async {
        match (&run.stack, &run.destination) {
            (Some(stack), _) => in_stack(run, stack, &execution_id, key).await,
            (None, Some(destination)) => {
                carry_on(run, destination, &execution_id, Errand::Salvage { key }).await
            }
            (None, None) => Err(Failure::usage(
                "neither `--destination` nor `--stack` is given",
            )),
        }
    })
}

/// Has a stack salvage the object, and waits for its receipt and for the report.
async fn in_stack(
    arguments: &KnownRunArguments,
    stack: &str,
    execution_id: &ExecutionId,
    key: SourceKey,
) -> Result<ExitCode, Failure> {
    let location = location_of(&arguments.stack, &None, &arguments.aws).await?;
    let Location::Bucket(url) = &location else {
        return Err(Failure::could_not_run(
            "the stack's destination is not a bucket",
        ));
    };
    let config = aws_session(&arguments.aws).await;
    let bucket = Bucket::new(s3_client(&config), url.bucket(), url.prefix());
    request_of(&bucket, execution_id).await?;
    let ledger = Ledger::new(execution_id.clone());
    let waiting = Waiting {
        receipt_key: ledger.receipt_key(&TaskId::of(&key)),
        bucket,
        ledger,
    };
    let before = waiting.look().await?;
    if let (Some(receipt), Some((report, _))) = (&before.receipt, &before.report)
        && receipt.0.is_done()
    {
        say("the object is recovered already");
        return show(arguments.output.output(), report, &location);
    }
    let deployment = Deployment::new(&config, stack);
    let [function] = deployment.outputs([PLANNER_OUTPUT]).await?;
    let payload = SalvagePayload {
        execution_id: execution_id.clone(),
        key,
    };
    let answered: Result<SalvageAnswer, _> =
        deployment.invoke_once(&function, &payload.to_json()).await;
    match answered {
        Ok(_) | Err(InvocationError::Unanswered { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    if !arguments.output.quiet {
        say("the object's task is queued; waiting for its receipt and for the audit");
    }
    let report = tokio::select! {
        report = waiting.report_after(&before) => report?,
        _ = next_signal() => {
            say("no longer watching; the task stays in the queue");
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    show(arguments.output.output(), &report, &location)
}

struct Waiting {
    bucket: Bucket,
    ledger: Ledger,
    receipt_key: String,
}

/// What the ledger says, each record with its etag.
struct Look {
    receipt: Option<(Receipt, String)>,
    report: Option<(Report, String)>,
    audit_ended: bool,
}

impl Waiting {
    async fn look(&self) -> Result<Look, LedgerError> {
        let receipt = match self.bucket.find(&self.receipt_key).await? {
            Some(_) => find_record::<Receipt>(&self.bucket, &self.receipt_key).await?,
            None => None,
        };
        let audit = audit_record(&self.bucket, &self.ledger).await?;
        Ok(Look {
            receipt,
            report: find_record::<Report>(&self.bucket, &self.ledger.report_key()).await?,
            audit_ended: audit.is_some_and(|(record, _)| record.ended),
        })
    }

    /// The report of an audit that has seen another receipt than the one before.
    async fn report_after(&self, before: &Look) -> Result<Report, Failure> {
        let etag =
            |record: &Option<(Receipt, String)>| record.as_ref().map(|(_, etag)| etag.clone());
        // What was salvaged stays as it is if the object can't be read this time, and is audited all the same.
        let may_stay = before
            .receipt
            .as_ref()
            .is_some_and(|(receipt, _)| receipt.is_salvaged());
        let began = Instant::now();
        let mut failed_looks = 0;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = match self.look().await {
                Ok(now) => now,
                Err(error) if error.is_transient() && failed_looks < FAILED_LOOKS_MAX => {
                    failed_looks += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            failed_looks = 0;
            let ended = now.receipt.as_ref().is_some_and(|(receipt, _)| {
                !matches!(
                    receipt.state,
                    State::Queued { .. } | State::Attempting { .. }
                )
            });
            let is_heard = ended && (may_stay || etag(&now.receipt) != etag(&before.receipt));
            if began.elapsed() > UNHEARD_MAX && (may_stay || !is_heard) {
                return Err(
                    Failure::could_not_run("nothing is heard of the object's task")
                        .hint("look for its key in the worker's log, and at the dead-letter queue"),
                );
            }
            let before_report = before.report.as_ref().map(|(_, etag)| etag);
            if let Some((report, report_etag)) = now.report
                && is_heard
                && now.audit_ended
                && before_report != Some(&report_etag)
            {
                return Ok(report);
            }
        }
    }
}
