//! What a command says when it could not do its work.

use std::io;
use std::process::ExitCode;

use event_recovery_pipeline::{
    AuditError, ExecutionIdError, LedgerError, PlanError, RequestError, RunError, StorageError,
    WorkError,
};

use crate::terminal::say;

/// The exit codes besides 0, as the help texts state them.
pub(crate) const COULD_NOT_RUN: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const NEEDS_A_LOOK: u8 = 3;
/// What shells report of a command that was interrupted: 128 and the number of SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;
/// What shells report of a command whose pipe to the next one broke: 128 and the number of SIGPIPE.
pub(crate) const UNREAD: u8 = 141;

/// One clear message, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// `None` where there is nothing that a person should be told.
    message: Option<String>,
    hint: Option<String>,
    exit_code: u8,
}

impl Failure {
    pub(crate) fn could_not_run(message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            hint: None,
            exit_code: COULD_NOT_RUN,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            hint: None,
            exit_code: USAGE,
        }
    }

    /// Data could not be written to stdout. Whoever has stopped reading knows that there was more.
    pub(crate) fn of_stdout(what: &str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self {
                message: None,
                hint: None,
                exit_code: UNREAD,
            };
        }
        Self::could_not_run(format!("could not write {what} to stdout: {error}"))
            .hint("let stdout be a file with room, or a pipe that is read to its end")
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn hint_if_any(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// What a person is told, if anything.
    pub(crate) fn text(&self) -> Option<String> {
        let message = self.message.as_ref()?;
        let hint = self.hint.iter().map(|hint| format!("\n  hint: {hint}"));
        Some(format!("error: {message}{}", hint.collect::<String>()))
    }

    /// Says what there is to say, and gives the exit code.
    pub(crate) fn end(&self) -> ExitCode {
        if let Some(text) = self.text() {
            say(&text);
        }
        ExitCode::from(self.exit_code)
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self::usage(error.to_string()).hint_if_any(error.hint().map(str::to_owned))
    }
}

impl From<ExecutionIdError> for Failure {
    fn from(error: ExecutionIdError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::could_not_run(error.to_string()).hint_if_any(error.hint)
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Storage(error) => error.into(),
            other => {
                let hint = other.hint();
                Self::could_not_run(other.to_string()).hint_if_any(hint)
            }
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::could_not_run(error.to_string()).hint_if_any(error.hint())
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        Self::could_not_run(error.to_string()).hint_if_any(error.hint())
    }
}

impl From<WorkError> for Failure {
    fn from(error: WorkError) -> Self {
        let hint = match &error {
            WorkError::Ledger(error) => error.hint(),
            _ => None,
        };
        Self::could_not_run(error.to_string()).hint_if_any(hint)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Plan(error) => error.into(),
            RunError::Audit(error) => error.into(),
            RunError::Work(error) => error.into(),
        }
    }
}
