//! `event-recovery status`.

use std::io::Write as _;
use std::process::ExitCode;

use chrono::Utc;
use event_recovery_pipeline::{ExecutionId, LocalFolder, Verdict, inspect, verify};

use crate::arguments::StatusArguments;
use crate::failure::{Failure, NEEDS_A_LOOK};
use crate::summary;

pub(crate) fn status(arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    let execution_id = ExecutionId::parse(&arguments.execution_id)?;
    // Nothing is written, so nothing is staged.
    let storage = LocalFolder::new(&arguments.destination, &arguments.destination);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| Failure::could_not_run(format!("could not start: {error}")))?;
    let now = Utc::now();
    let report = if arguments.checksums {
        runtime.block_on(verify(&storage, &execution_id, now))?
    } else {
        runtime.block_on(inspect(&storage, &execution_id, now))?
    };
    if arguments.json {
        print_json(&report)?;
    } else {
        eprintln!("{}", summary::of_report(&report, &arguments.destination));
    }
    Ok(exit_code(report.verdict))
}

pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let failure =
        |detail: String| Failure::could_not_run(format!("could not write to stdout: {detail}"));
    let json = serde_json::to_string_pretty(value).map_err(|error| failure(error.to_string()))?;
    writeln!(std::io::stdout(), "{json}").map_err(|error| failure(error.to_string()))
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
