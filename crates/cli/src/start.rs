//! `event-recovery start`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use event_recovery_aws::{Bucket, Deployment, InvocationError, s3_client};
use event_recovery_pipeline::{
    ExecutionId, Ledger, ListObjects as _, RecoveryRequest, Report, RequestLimits, Tolerance,
    audit_record, read_record,
};
use serde_json::{Value, json};

use crate::arguments::StartArguments;
use crate::failure::{Failure, INTERRUPTED};
use crate::location::Location;
use crate::progress::Progress;
use crate::run::{new_execution_id, next_signal};
use crate::status::{exit_code, print_json};
use crate::storage::aws_session;
use crate::summary;

/// The output of the stack that names the planner.
const PLANNER_OUTPUT: &str = "PlannerFunctionName";
/// What a planner says that stopped because its time was up.
const OUT_OF_TIME: &str = "OutOfTime";
/// How often a planner is invoked that runs out of time.
const INVOCATIONS_MAX: u32 = 100;
/// How long to wait between two looks at a run.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A look takes at most this part of the time.
const LOOK_SHARE: u32 = 10;

pub(crate) fn start(arguments: &StartArguments) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::could_not_run(format!("could not start: {error}")))?;
    runtime.block_on(invoke_and_watch(arguments))
}

async fn invoke_and_watch(arguments: &StartArguments) -> Result<ExitCode, Failure> {
    let request = with_execution_id(arguments)?;
    let config = aws_session(&arguments.aws).await;
    let deployment = Deployment::new(&config, &arguments.stack);
    let [planner] = deployment
        .outputs([PLANNER_OUTPUT])
        .await
        .map_err(|error| {
            Failure::could_not_run(error.to_string())
                .hint("`--stack` takes the name of the deployed stack, `--region` its region")
        })?;
    let progress = Arc::new(Progress::new(arguments.output.quiet));
    let answer = plan(&deployment, &planner, &request, &progress).await?;
    if arguments.request.dry_run {
        print_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (destination, execution_id) = place(&answer)?;
    if !arguments.watch {
        if arguments.output.json {
            print_json(&answer)?;
        } else if !arguments.output.quiet {
            let (queued, planned) = (&answer["tasks_queued"], &answer["objects"]["planned"]);
            progress.say(&format!(
                "started `{execution_id}`: {queued} tasks queued of {planned} objects planned\n\
                 to see how it stands:\n  event-recovery status --destination {destination} \
                 --execution-id {execution_id}"
            ));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let Location::Bucket { name, prefix } = &destination else {
        return Err(Failure::could_not_run("the planner named no bucket"));
    };
    let bucket = Bucket::new(s3_client(&config), name, prefix);
    let planned = answer["objects"]["planned"].as_u64().unwrap_or(0);
    tokio::select! {
        report = watch(&bucket, &execution_id, planned, &progress) => {
            progress.finish();
            let report = report?;
            if arguments.output.json {
                print_json(&report)?;
            } else if !arguments.output.quiet {
                eprintln!("{}", summary::of_report(&report, &destination));
            }
            Ok(exit_code(report.verdict))
        }
        _ = next_signal() => {
            progress.finish();
            eprintln!(
                "no longer watching; the run goes on. To see how it stands:\n  \
                 event-recovery status --destination {destination} --execution-id {execution_id}"
            );
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

/// The request with an id of its own: an invocation may be sent twice, and must then be one run.
fn with_execution_id(arguments: &StartArguments) -> Result<RecoveryRequest, Failure> {
    let request = arguments.request.to_request();
    // Judged here too, so that what is wrong is told before anything is invoked.
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

/// Invokes the planner until its plan is complete.
async fn plan(
    deployment: &Deployment,
    planner: &str,
    request: &RecoveryRequest,
    progress: &Progress,
) -> Result<Value, Failure> {
    let payload = json!(request);
    let mut tasks_queued = 0;
    for _ in 0..INVOCATIONS_MAX {
        match deployment.invoke(planner, &payload).await {
            Ok(mut answer) => {
                tasks_queued += answer["tasks_queued"].as_u64().unwrap_or(0);
                answer["tasks_queued"] = json!(tasks_queued);
                return Ok(answer);
            }
            Err(InvocationError::Function { kind, message }) if kind == OUT_OF_TIME => {
                progress.say(&format!("planning goes on: {message}"));
            }
            Err(error) => return Err(Failure::could_not_run(error.to_string())),
        }
    }
    Err(Failure::could_not_run(format!(
        "the plan is not complete after {INVOCATIONS_MAX} invocations of the planner"
    ))
    .hint("split the range"))
}

/// Where the planner says that the run's ledger lies.
fn place(answer: &Value) -> Result<(Location, ExecutionId), Failure> {
    let unreadable = || Failure::could_not_run("the planner's answer names no run");
    let execution_id = answer["execution_id"].as_str().ok_or_else(unreadable)?;
    let execution_id = ExecutionId::parse(execution_id)?;
    let folder = Ledger::new(execution_id.clone()).folder();
    let ledger = answer["ledger"].as_str().ok_or_else(unreadable)?;
    let destination = ledger
        .strip_suffix(&format!("{folder}/"))
        .ok_or_else(unreadable)?;
    let location = destination.parse().map_err(|_| unreadable())?;
    Ok((location, execution_id))
}

/// Waits for the report of the run.
async fn watch(
    bucket: &Bucket,
    execution_id: &ExecutionId,
    planned: u64,
    progress: &Progress,
) -> Result<Report, Failure> {
    let ledger = Ledger::new(execution_id.clone());
    loop {
        let began = Instant::now();
        let audit = audit_record(bucket, &ledger).await?;
        if audit.is_some_and(|(record, _)| record.ended)
            && let Some((report, _)) = read_record::<Report>(bucket, &ledger.report_key()).await?
        {
            return Ok(report);
        }
        let mut receipts = 0;
        let mut next = None;
        loop {
            let prefix = ledger.receipts_prefix();
            let page = bucket.list_page(&prefix, next.as_deref()).await?;
            receipts += page.objects.len() as u64;
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        progress.set(receipts, planned);
        tokio::time::sleep(LOOK_EVERY.max(began.elapsed() * LOOK_SHARE)).await;
    }
}
