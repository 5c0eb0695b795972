//! A run that its ledger knows, carried on with on this machine.

use std::process::ExitCode;
use std::sync::Arc;

use event_recovery_pipeline::{
    AuditError, Cancellation, Ended, ExecutionId, Ledger, OnlyObject, PlanLimits, Records, Report,
    RequestRecord, Run, RunTerms, SourceKey, TransformLimits, find_record, planned_object,
};
use tokio::sync::watch;

use crate::failure::{Failure, INTERRUPTED};
use crate::handling_arguments::KnownRunArguments;
use crate::location::Location;
use crate::output::{Output, exit_code};
use crate::progress::Progress;
use crate::run::Concurrency;
use crate::signals::stop_on_signal;
use crate::storage::{Places, Recovered};
use crate::summary;
use crate::terminal::say;

/// What is to be done with the run.
pub(crate) enum Errand {
    /// Recover what is missing or has failed, or this object alone.
    Resume { only: Option<SourceKey> },
    /// Recover this damaged object up to its damage.
    Salvage { key: SourceKey },
    /// List the hours again.
    Recheck,
}

pub(crate) async fn carry_on(
    arguments: &KnownRunArguments,
    destination: &Location,
    execution_id: &ExecutionId,
    errand: Errand,
) -> Result<ExitCode, Failure> {
    let record = match Recovered::open(destination, &arguments.aws).await {
        Recovered::Folder(folder) => request_of(&folder, execution_id).await?,
        Recovered::Bucket(bucket) => request_of(&bucket, execution_id).await?,
    };
    let source = match (&arguments.source, &record.source) {
        (Some(source), _) => source.clone(),
        (None, Some(url)) => url.parse().map_err(Failure::could_not_run)?,
        (None, None) => {
            return Err(Failure::usage(format!(
                "the run `{execution_id}` read a folder, which may be elsewhere by now"
            ))
            .hint("give the folder that holds `main_stream` with `--source`"));
        }
    };
    let places = Places::check(&source, destination, &arguments.aws, &arguments.access).await?;
    let held = places.hold_destination(execution_id)?;
    let ledger = Ledger::new(execution_id.clone());
    let only = match &errand {
        Errand::Resume { only } => only.clone().map(|key| (key, false)),
        Errand::Salvage { key } => Some((key.clone(), true)),
        Errand::Recheck => None,
    };
    let only = only.map(|(key, salvage)| OnlyObject { key, salvage });
    if let Some(OnlyObject { key, salvage }) = &only
        && planned_object(&*held.storage, &ledger, key)
            .await?
            .is_none()
    {
        return Err(Failure::usage(format!(
            "the run `{execution_id}` has not planned the object `{key}`"
        ))
        .hint(match salvage {
            true => "the report names the objects that failed",
            false => "the report names the objects that failed or are missing; without `--key` all of them are recovered",
        }));
    }
    let progress = Arc::new(Progress::new(arguments.output.quiet));
    let concurrency = Concurrency::new(arguments.concurrency, &places);
    let run = Run {
        linked_orgs: arguments.access.linked_orgs()?,
        source: places.source(),
        destination: Arc::clone(&held.storage),
        request: record.request,
        execution_id: execution_id.clone(),
        concurrency: concurrency.objects,
        small_objects: concurrency.small_objects,
        terms: RunTerms::default(),
        plan_limits: PlanLimits::default(),
        transform_limits: TransformLimits::default(),
        only,
        observer: progress.clone(),
    };
    let (stop_sender, stop) = watch::channel(false);
    let told = Arc::clone(&progress);
    tokio::spawn(stop_on_signal(stop_sender, move || {
        told.say("stopping after the objects in flight; once more to quit at once");
    }));
    let (ended, stopped) = match errand {
        Errand::Resume { .. } => {
            Cancellation::lift(&*held.storage, &ledger).await?;
            let stopped = "stopped; the same command resumes the run";
            (run.carry_out(stop).await, stopped)
        }
        Errand::Salvage { .. } => {
            let stopped = "stopped; the same command begins again";
            (run.carry_out(stop).await, stopped)
        }
        Errand::Recheck => {
            let stopped = "stopped; the same command resumes the recheck";
            (run.recheck(stop).await, stopped)
        }
    };
    progress.finish();
    match ended? {
        Ended::Audited(report) => show(arguments.output.output(), &report, destination),
        Ended::Stopped => {
            say(stopped);
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

/// Shows the report. Returns its exit code.
pub(crate) fn show(
    output: Output,
    report: &Report,
    destination: &Location,
) -> Result<ExitCode, Failure> {
    output.show("the report", report, || {
        summary::of_report(report, destination)
    })?;
    Ok(exit_code(report.verdict))
}

/// The request of the run, which must be known.
pub(crate) async fn request_of<R: Records + ?Sized>(
    storage: &R,
    execution_id: &ExecutionId,
) -> Result<RequestRecord, Failure> {
    let key = Ledger::new(execution_id.clone()).request_key();
    let record = find_record::<RequestRecord>(storage, &key).await?;
    let record = record.map(|(record, _)| record);
    record.ok_or_else(|| AuditError::UnknownRun(execution_id.clone()).into())
}
