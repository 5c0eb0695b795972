//! `event-recovery status`.

use std::process::ExitCode;

use chrono::Utc;
use event_recovery_pipeline::{
    AuditError, ExecutionId, ListObjects, OpenObject, Records, Report, Verdict, inspect, verify,
};

use crate::arguments::StatusArguments;
use crate::failure::{Failure, NEEDS_A_LOOK};
use crate::storage::Recovered;
use crate::streams;
use crate::summary;
use crate::terminal::say;

pub(crate) fn status(arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    let execution_id = ExecutionId::parse(&arguments.execution_id)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::could_not_run(format!("could not start: {error}")))?;
    let report = runtime.block_on(async {
        match Recovered::open(&arguments.destination, &arguments.aws).await {
            Recovered::Folder(folder) => look(&folder, &execution_id, arguments.checksums).await,
            Recovered::Bucket(bucket) => look(&bucket, &execution_id, arguments.checksums).await,
        }
    })?;
    if arguments.json {
        print_json("the report", &report)?;
    } else {
        say(&summary::of_report(&report, &arguments.destination));
    }
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

/// Prints the value on stdout; `what` it is, for the message if it can't be.
pub(crate) fn print_json(what: &str, value: &impl serde::Serialize) -> Result<(), Failure> {
    let mut json = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::could_not_run(format!("could not write {what}: {error}")))?;
    json.push('\n');
    streams::print(what, json.as_bytes())
}

pub(crate) fn exit_code(verdict: Verdict) -> ExitCode {
    match verdict {
        Verdict::Complete => ExitCode::SUCCESS,
        Verdict::NeedsLook | Verdict::Incomplete => ExitCode::from(NEEDS_A_LOOK),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_run_exits_with_zero() {
        assert_eq!(exit_code(Verdict::Complete), ExitCode::SUCCESS);
        assert_eq!(exit_code(Verdict::NeedsLook), ExitCode::from(3));
        assert_eq!(exit_code(Verdict::Incomplete), ExitCode::from(3));
    }
}
