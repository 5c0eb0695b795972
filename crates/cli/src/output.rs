//! How a command shows its result, and its exit code.

use std::process::ExitCode;

use event_recovery_pipeline::Verdict;
use serde::Serialize;

use crate::failure::{Failure, NEEDS_A_LOOK};
use crate::streams;
use crate::terminal::say;

/// How a result is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// As JSON on stdout, for programs.
    Json,
    /// As a few lines on stderr, for people.
    Summary,
    /// Not at all.
    Quiet,
}

impl Output {
    /// JSON is data, so it is printed by a command that is quiet, too.
    pub(crate) fn of(json: bool, quiet: bool) -> Self {
        match (json, quiet) {
            (true, _) => Self::Json,
            (false, false) => Self::Summary,
            (false, true) => Self::Quiet,
        }
    }

    /// Shows the value; `what` names it in the message if it can't be printed.
    pub(crate) fn show(
        self,
        what: &str,
        value: &impl Serialize,
        summary: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self {
            Self::Json => print_json(what, value),
            Self::Summary => {
                say(&summary());
                Ok(())
            }
            Self::Quiet => Ok(()),
        }
    }
}

/// Prints the value on stdout; `what` names it in the message if that fails.
pub(crate) fn print_json(what: &str, value: &impl Serialize) -> Result<(), Failure> {
    let mut json = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::could_not_run(format!("could not write {what}: {error}")))?;
    json.push('\n');
    streams::print(what, json.as_bytes())
}

/// The exit code of a run with this verdict.
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
