//! `event-recovery status`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use event_recovery_pipeline::{
    AuditError, ExecutionId, Ledger, LedgerError, ListObjects, OpenObject, Records, Report,
    audit_record, find_record, inspect, verify,
};

use crate::arguments::StatusArguments;
use crate::failure::{Failure, INTERRUPTED};
use crate::follow::FAILED_LOOKS_MAX;
use crate::ledger_place::location_of;
use crate::location::Location;
use crate::output::{Output, exit_code};
use crate::runtime;
use crate::signals::next_signal;
use crate::standing::Standing;
use crate::storage::Recovered;
use crate::summary;
use crate::terminal::say;

/// The shortest time between two looks of `--watch`.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The most that looks may take of the time: one in this many parts.
const LOOK_SHARE: u32 = 10;

pub(crate) fn status(arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    let execution_id = ExecutionId::parse(&arguments.execution_id)?;
    runtime::block_on(async {
        let location =
            location_of(&arguments.stack, &arguments.destination, &arguments.aws).await?;
        match Recovered::open(&location, &arguments.aws).await {
            Recovered::Folder(folder) => of(arguments, &folder, &execution_id, &location).await,
            Recovered::Bucket(bucket) => of(arguments, &bucket, &execution_id, &location).await,
        }
    })
}

async fn of(
    arguments: &StatusArguments,
    storage: &(impl ListObjects + Records + OpenObject),
    execution_id: &ExecutionId,
    location: &Location,
) -> Result<ExitCode, Failure> {
    let report = match arguments.watch {
        false => look(storage, execution_id, arguments.checksums).await?,
        true => tokio::select! {
            report = watch(storage, execution_id) => report?,
            _ = next_signal() => {
                say("no longer watching; that does not touch the run");
                return Ok(ExitCode::from(INTERRUPTED));
            }
        },
    };
    Output::of(arguments.json, false).show("the report", &report, || {
        summary::of_report(&report, location)
    })?;
    Ok(exit_code(report.verdict))
}

async fn look(
    storage: &(impl ListObjects + Records + OpenObject),
    execution_id: &ExecutionId,
    checksums: bool,
) -> Result<Report, AuditError> {
    match checksums {
        true => verify(storage, execution_id, Utc::now()).await,
        false => inspect(storage, execution_id, Utc::now()).await,
    }
}

/// Says how the run stands, again and again, until it has ended.
async fn watch(
    storage: &(impl ListObjects + Records + OpenObject),
    execution_id: &ExecutionId,
) -> Result<Report, Failure> {
    let began_at = Utc::now();
    let mut standing = Standing::default();
    let mut failed_looks = 0;
    loop {
        let began = Instant::now();
        match inspect(storage, execution_id, Utc::now()).await {
            Ok(report) => {
                failed_looks = 0;
                if has_ended(storage, &report, began_at).await? {
                    return Ok(report);
                }
                say(&standing.line(&report, Instant::now()));
            }
            // The run goes on even if the connection to its ledger fails.
            Err(AuditError::Ledger(error))
                if error.is_transient() && failed_looks < FAILED_LOOKS_MAX =>
            {
                failed_looks += 1;
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(LOOK_EVERY.max(began.elapsed() * LOOK_SHARE)).await;
    }
}

/// Whether nothing works on the run any more: its audit has ended or, where nobody waits for one, there is a report that is
/// newer than the watch or to which there is nothing to add.
async fn has_ended(
    storage: &(impl ListObjects + Records),
    report: &Report,
    began_at: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    let ledger = Ledger::new(report.execution_id.clone());
    if let Some((audit, _)) = audit_record(storage, &ledger).await? {
        return Ok(audit.ended);
    }
    let written = find_record::<Report>(storage, &ledger.report_key()).await?;
    Ok(written.is_some_and(|(written, _)| {
        report.objects.missing == 0 || written.times.audited_at >= began_at
    }))
}
