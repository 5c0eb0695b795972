//! `event-recovery recheck`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use event_recovery_aws::{Bucket, BucketUrl, Deployment, InvocationError, s3_client};
use event_recovery_pipeline::{
    CheckedRecheck, ExecutionId, Ledger, LedgerError, RecheckAnswer, RecheckPayload, RecheckRecord,
    Report, audit_record, find_record,
};

use crate::failure::{Failure, INTERRUPTED};
use crate::follow::FAILED_LOOKS_MAX;
use crate::handling_arguments::{KnownRunArguments, RecheckArguments};
use crate::known_run::{Errand, carry_on, show};
use crate::location::Location;
use crate::progress::Progress;
use crate::runtime;
use crate::signals::next_signal;
use crate::start::PLANNER_OUTPUT;
use crate::storage::aws_session;
use crate::terminal::say;

/// The time between two polls of a stack's ledger.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a planner that did not answer may take to record its recheck: Lambda's longest run, and its retries.
const UNANSWERED_MAX: Duration = Duration::from_secs(20 * 60);

pub(crate) fn recheck(arguments: &RecheckArguments) -> Result<ExitCode, Failure> {
    let arguments = &arguments.run;
    let execution_id = ExecutionId::parse(&arguments.execution_id)?;
    runtime::block_on(async {
        match (&arguments.stack, &arguments.destination) {
            (Some(stack), _) => in_stack(arguments, stack, &execution_id).await,
            (None, Some(destination)) => {
                carry_on(arguments, destination, &execution_id, Errand::Recheck).await
            }
            (None, None) => Err(Failure::usage(
                "neither `--destination` nor `--stack` is given",
            )),
        }
    })
}

/// Has a stack recheck the run, and follows it to its report.
async fn in_stack(
    arguments: &KnownRunArguments,
    stack: &str,
    execution_id: &ExecutionId,
) -> Result<ExitCode, Failure> {
    let config = aws_session(&arguments.aws).await;
    let deployment = Deployment::new(&config, stack);
    let [function] = deployment
        .outputs([PLANNER_OUTPUT])
        .await
        .map_err(|error| {
            Failure::from(error)
                .or_hint("`--stack` takes the name of the deployed stack, `--region` its region")
        })?;
    let payload = |check| RecheckPayload::Run {
        execution_id: execution_id.clone(),
        check,
    };
    let checked: CheckedRecheck = deployment.ask(&function, &payload(true).to_json()).await?;
    let Ok(url) = checked.destination.parse::<BucketUrl>() else {
        return Err(Failure::could_not_run(format!(
            "the planner answered with a destination that is not in a bucket: `{}`",
            checked.destination
        )));
    };
    let following = Following {
        bucket: Bucket::new(s3_client(&config), url.bucket(), url.prefix()),
        ledger: Ledger::new(execution_id.clone()),
        progress: Progress::new(arguments.output.quiet),
    };
    let rechecked = async {
        let before = following.newest_recheck().await?;
        let answered: Result<RecheckAnswer, _> = deployment
            .invoke_once(&function, &payload(false).to_json())
            .await;
        let listed_at = match answered {
            Ok(answer) => {
                let found = &answer.rechecked;
                following.say(&format!(
                    "{} late objects; waiting for the audit",
                    found.late_objects
                ));
                found.finality.listed_at
            }
            Err(error @ InvocationError::Unanswered { .. }) => {
                following.say(&format!("{error}; looking whether it goes on"));
                following.await_recheck(before).await?
            }
            Err(error) => return Err(error.into()),
        };
        following.await_report(listed_at).await
    };
    let report = tokio::select! {
        report = rechecked => report,
        _ = next_signal() => {
            following.progress.finish();
            say("no longer watching; the recheck continues");
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    following.progress.finish();
    show(arguments.output.output(), &report?, &Location::Bucket(url))
}

/// The recheck of a run by a stack, as its ledger shows it.
struct Following {
    bucket: Bucket,
    ledger: Ledger,
    progress: Progress,
}

impl Following {
    fn say(&self, line: &str) {
        if !self.progress.is_quiet() {
            self.progress.say(line);
        }
    }

    /// When the newest recheck listed.
    async fn newest_recheck(&self) -> Result<Option<DateTime<Utc>>, Failure> {
        let key = self.ledger.recheck_key();
        let record = find_record::<RecheckRecord>(&self.bucket, &key).await?;
        Ok(record.map(|(record, _)| record.listed_at))
    }

    /// Waits until there is another recheck than the one before.
    async fn await_recheck(&self, before: Option<DateTime<Utc>>) -> Result<DateTime<Utc>, Failure> {
        let began = Instant::now();
        while began.elapsed() < UNANSWERED_MAX {
            tokio::time::sleep(LOOK_EVERY).await;
            let newest = self.newest_recheck().await?;
            if let Some(listed_at) = newest.filter(|_| newest != before) {
                return Ok(listed_at);
            }
        }
        let id = self.ledger.execution_id();
        Err(
            Failure::could_not_run(format!("nothing is heard of the recheck of the run `{id}`"))
                .hint("look for the id in the planner's log, and repeat the command"),
        )
    }

    /// Waits for the report of an audit that has ended, and that knows of this listing.
    async fn await_report(&self, listed_at: DateTime<Utc>) -> Result<Report, Failure> {
        let mut failed_looks = 0;
        loop {
            match self.look(listed_at).await {
                Ok(Some(report)) => return Ok(report),
                Ok(None) => failed_looks = 0,
                // The audit continues even if the connection to the ledger fails.
                Err(error) if error.is_transient() && failed_looks < FAILED_LOOKS_MAX => {
                    failed_looks += 1;
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self, listed_at: DateTime<Utc>) -> Result<Option<Report>, LedgerError> {
        let audit = audit_record(&self.bucket, &self.ledger).await?;
        if !audit.is_some_and(|(record, _)| record.ended) {
            return Ok(None);
        }
        let report = find_record::<Report>(&self.bucket, &self.ledger.report_key()).await?;
        let report = report.map(|(report, _)| report);
        Ok(report.filter(|report| {
            report
                .finality
                .is_some_and(|finality| finality.listed_at >= listed_at)
        }))
    }
}
