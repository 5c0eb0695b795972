//! `event-recovery resume`.

use std::process::ExitCode;
use std::sync::Arc;

use event_recovery_aws::{Bucket, Deployment, s3_client};
use event_recovery_pipeline::{
    AskedLimits, Cancellation, ExecutionId, Ledger, RecoveryRequest, SourceKey,
};

use crate::failure::{Failure, INTERRUPTED};
use crate::follow::{DeployedPlanner, Pace, Planning, ReachPlanner as _};
use crate::handling_arguments::{KnownRunArguments, ResumeArguments};
use crate::known_run::{Errand, carry_on, request_of, show};
use crate::ledger_place::location_of;
use crate::location::Location;
use crate::progress::Progress;
use crate::runtime;
use crate::signals::next_signal;
use crate::start::{PLANNER_OUTPUT, watch};
use crate::storage::aws_session;
use crate::terminal::say;

pub(crate) fn resume(arguments: &ResumeArguments) -> Result<ExitCode, Failure> {
    let run = &arguments.run;
    let execution_id = ExecutionId::parse(&run.execution_id)?;
    let only = match &arguments.key {
        Some(key) => Some(
            SourceKey::parse(key).map_err(|error| Failure::usage(format!("`--key`: {error}")))?,
        ),
        None => None,
    };
    runtime::block_on(async {
        match (&run.stack, &run.destination) {
            (Some(stack), _) => in_stack(run, stack, &execution_id).await,
            (None, Some(destination)) => {
                carry_on(run, destination, &execution_id, Errand::Resume { only }).await
            }
            (None, None) => Err(Failure::usage(
                "neither `--destination` nor `--stack` is given",
            )),
        }
    })
}

/// Has a stack resume the run, and follows it to its end.
async fn in_stack(
    arguments: &KnownRunArguments,
    stack: &str,
    execution_id: &ExecutionId,
) -> Result<ExitCode, Failure> {
    let location = location_of(&arguments.stack, &None, &arguments.aws).await?;
    let Location::Bucket(url) = &location else {
        return Err(Failure::could_not_run(
            "the stack's destination is not a bucket",
        ));
    };
    let config = aws_session(&arguments.aws).await;
    let bucket = Bucket::new(s3_client(&config), url.bucket(), url.prefix());
    let record = request_of(&bucket, execution_id).await?;
    let request = RecoveryRequest::again(&record.request, execution_id);
    let deployment = Deployment::new(&config, stack);
    let [function] = deployment.outputs([PLANNER_OUTPUT]).await?;
    let planner = DeployedPlanner {
        deployment: &deployment,
        function: &function,
        limits: AskedLimits::default(),
    };
    let checked = planner.check(&request).await?;
    Cancellation::lift(&bucket, &Ledger::new(execution_id.clone())).await?;
    let progress = Arc::new(Progress::new(arguments.output.quiet));
    let resumed = async {
        let say = |line: &str| {
            if !arguments.output.quiet {
                progress.say(line);
            }
        };
        let planning = Planning {
            planner: &planner,
            records: &bucket,
            request: &request,
            checked: &checked,
            pace: Pace::default(),
            say: &say,
        };
        let answer = planning.follow().await?;
        watch(&bucket, execution_id, answer.objects.planned, &progress).await
    };
    let report = tokio::select! {
        report = resumed => report,
        _ = next_signal() => {
            progress.finish();
            say("no longer watching; the run continues");
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    progress.finish();
    show(arguments.output.output(), &report?, &location)
}
