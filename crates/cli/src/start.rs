//! `event-recovery start`.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use event_recovery_aws::{Bucket, BucketUrl, Deployment, InvocationError, s3_client};
use event_recovery_pipeline::{
    AskedLimits, CheckedRequest, ExecutionId, Ledger, LedgerError, ListObjects, PlannerAnswer,
    PlannerPayload, Records, RecoveryRequest, Report, RequestLimits, Tolerance, audit_record,
    count_objects, read_record,
};

use crate::arguments::StartArguments;
use crate::bytes::{grouped, size};
use crate::failure::{Failure, INTERRUPTED};
use crate::follow::{DeployedPlanner, FAILED_LOOKS_MAX, Pace, Planning, ReachPlanner as _};
use crate::location::Location;
use crate::output::{exit_code, print_json};
use crate::progress::Progress;
use crate::run::new_execution_id;
use crate::runtime;
use crate::signals::next_signal;
use crate::storage::aws_session;
use crate::summary;
use crate::terminal::say;

/// The output of the stack that names the planner.
pub(crate) const PLANNER_OUTPUT: &str = "PlannerFunctionName";
/// The shortest time between two polls of a run.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The most that polling may take of the time: one in this many parts.
const LOOK_SHARE: u32 = 10;

pub(crate) fn start(arguments: &StartArguments) -> Result<ExitCode, Failure> {
    runtime::block_on(invoke(arguments))
}

async fn invoke(arguments: &StartArguments) -> Result<ExitCode, Failure> {
    let request = with_execution_id(arguments)?;
    let config = aws_session(&arguments.aws).await;
    let deployment = Deployment::new(&config, &arguments.stack);
    let [function] = deployment
        .outputs([PLANNER_OUTPUT])
        .await
        .map_err(|error| {
            Failure::from(error)
                .or_hint("`--stack` takes the name of the deployed stack, `--region` its region")
        })?;
    if arguments.request.dry_run {
        print_json(
            "the plan",
            &dry_run(&deployment, &function, arguments.limits(), &request).await?,
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let limits = arguments.limits();
    if asks(arguments) {
        let preview = RecoveryRequest {
            dry_run: true,
            ..request.clone()
        };
        let answer = dry_run(&deployment, &function, limits, &preview).await?;
        if !is_confirmed(arguments, &answer)? {
            say("nothing was started");
            return Ok(ExitCode::from(INTERRUPTED));
        }
    }
    let planner = DeployedPlanner {
        limits,
        deployment: &deployment,
        function: &function,
    };
    let checked = planner.check(&request).await?;
    let place = &checked.places.destination;
    let Ok(destination) = place.parse::<BucketUrl>() else {
        return Err(Failure::could_not_run(format!(
            "the planner answered with a destination that is not in a bucket: `{place}`"
        )));
    };
    let bucket = Bucket::new(
        s3_client(&config),
        destination.bucket(),
        destination.prefix(),
    );
    let destination = &Location::Bucket(destination);
    let started = Started {
        arguments,
        bucket,
        execution_id: &checked.execution_id,
        destination,
        progress: Arc::new(Progress::new(arguments.output.quiet)),
    };
    tokio::select! {
        ended = started.follow(&planner, &request, &checked) => {
            started.progress.finish();
            ended
        }
        _ = next_signal() => {
            started.progress.finish();
            say(&format!(
                "no longer watching; the run continues; {}",
                started.how_to_look()
            ));
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

/// Invokes the planner once, since each invocation lists the whole range, and waits for the answer.
async fn dry_run(
    deployment: &Deployment,
    function: &str,
    limits: AskedLimits,
    request: &RecoveryRequest,
) -> Result<PlannerAnswer, Failure> {
    let check = false;
    let payload = PlannerPayload {
        check,
        limits,
        request,
    };
    let answer = deployment.invoke_once(function, &payload).await;
    answer.map_err(|error| {
        let is_unanswered = matches!(error, InvocationError::Unanswered { .. });
        let failure = Failure::from(error);
        match is_unanswered {
            true => failure.also_hint(
                "if it was cut off after minutes of silence, by a NAT gateway for instance, ask for a shorter range",
            ),
            false => failure,
        }
    })
}

/// Whether there is a person to be asked.
fn asks(arguments: &StartArguments) -> bool {
    !arguments.yes && io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Whether the run is cheap, or a person wants it nevertheless.
fn is_confirmed(arguments: &StartArguments, answer: &PlannerAnswer) -> Result<bool, Failure> {
    let Some(forecast) = &answer.forecast else {
        return Ok(true);
    };
    if forecast.micro_usd.total <= arguments.confirm_above_usd {
        return Ok(true);
    }
    say(&format!(
        "this run would recover {} objects of {}, and cost about {:.2} USD on AWS (prices of {}); start it? [y/N]",
        grouped(answer.objects.planned),
        size(answer.bytes),
        forecast.micro_usd.total as f64 / 1e6,
        forecast.prices.as_of,
    ));
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .map_err(|error| Failure::could_not_run(format!("could not read the answer: {error}")))?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// A run that was started.
struct Started<'a> {
    arguments: &'a StartArguments,
    bucket: Bucket,
    execution_id: &'a ExecutionId,
    destination: &'a Location,
    progress: Arc<Progress>,
}

impl Started<'_> {
    /// Has the run planned, and watches it if that is asked for.
    async fn follow(
        &self,
        planner: &DeployedPlanner<'_>,
        request: &RecoveryRequest,
        checked: &CheckedRequest,
    ) -> Result<ExitCode, Failure> {
        let output = &self.arguments.output;
        let say = |line: &str| {
            if !output.quiet {
                self.progress.say(line);
            }
        };
        let planning = Planning {
            planner,
            records: &self.bucket,
            request,
            checked,
            pace: Pace::default(),
            say: &say,
        };
        let answer = planning.follow().await?;
        let planned = answer.objects.planned;
        if self.arguments.watch {
            let report = watch(&self.bucket, self.execution_id, planned, &self.progress).await?;
            self.progress.finish();
            output.output().show("the report", &report, || {
                summary::of_report(&report, self.destination)
            })?;
            return Ok(exit_code(report.verdict));
        }
        if output.json {
            print_json("the planner's answer", &answer)?;
        } else {
            let (id, queued) = (self.execution_id, answer.tasks_queued);
            say(&format!(
                "started `{id}`: {queued} tasks queued of {planned} objects planned\n{}",
                self.how_to_look()
            ));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn how_to_look(&self) -> String {
        format!(
            "to see how it stands:\n  event-recovery status --destination {} --execution-id {}",
            self.destination, self.execution_id
        )
    }
}

/// The request with an id of its own: an invocation may be sent twice, and must then be one run.
fn with_execution_id(arguments: &StartArguments) -> Result<RecoveryRequest, Failure> {
    let request = arguments.request.to_request();
    // Validated here too, so that an invalid request is reported before anything is invoked.
    let resolution =
        request
            .clone()
            .resolve(&RequestLimits::default(), &Tolerance::default(), Utc::now())?;
    let execution_id = match resolution.execution_id {
        Some(execution_id) => execution_id,
        None => new_execution_id(&resolution.request)?,
    };
    Ok(RecoveryRequest {
        execution_id: Some(execution_id.to_string()),
        ..request
    })
}

/// Waits for the report of the run.
pub(crate) async fn watch(
    bucket: &Bucket,
    execution_id: &ExecutionId,
    planned: u64,
    progress: &Progress,
) -> Result<Report, Failure> {
    let mut failed_looks = 0;
    loop {
        let began = Instant::now();
        match look(bucket, execution_id).await {
            Ok(Look::Ended(report)) => return Ok(*report),
            Ok(Look::GoesOn { receipts }) => {
                failed_looks = 0;
                progress.set(receipts, planned);
            }
            // The run continues even if the connection to its ledger fails.
            Err(error) if error.is_transient() && failed_looks < FAILED_LOOKS_MAX => {
                failed_looks += 1;
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(LOOK_EVERY.max(began.elapsed() * LOOK_SHARE)).await;
    }
}

/// The status of a run.
enum Look {
    Ended(Box<Report>),
    GoesOn { receipts: u64 },
}

async fn look(
    storage: &(impl Records + ListObjects),
    execution_id: &ExecutionId,
) -> Result<Look, LedgerError> {
    let ledger = Ledger::new(execution_id.clone());
    let audit = audit_record(storage, &ledger).await?;
    if audit.is_some_and(|(record, _)| record.ended)
        && let Some((report, _)) = read_record::<Report>(storage, &ledger.report_key()).await?
    {
        return Ok(Look::Ended(Box::new(report)));
    }
    let receipts = count_objects(storage, &ledger.receipts_prefix()).await?;
    Ok(Look::GoesOn { receipts })
}
