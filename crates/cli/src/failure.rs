//! What a command says when it could not do its work.

use std::fmt;
use std::process::ExitCode;

use event_recovery_pipeline::{
    AuditError, ExecutionIdError, LedgerError, PlanError, RequestError, RunError, StorageError,
    WorkError,
};

/// The exit codes besides 0, as the help texts state them.
pub(crate) const COULD_NOT_RUN: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const NEEDS_A_LOOK: u8 = 3;
/// What shells report of a command that was interrupted: 128 and the number of the signal.
pub(crate) const INTERRUPTED: u8 = 130;

/// One clear message, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    exit_code: u8,
}

impl Failure {
    pub(crate) fn could_not_run(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            exit_code: COULD_NOT_RUN,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            exit_code: USAGE,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn hint_if_any(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit_code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(formatter, "\n  hint: {hint}"),
            None => Ok(()),
        }
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
            other => Self::could_not_run(other.to_string()),
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
        let hint = match &error {
            AuditError::UnknownRun(_) => {
                Some("the ids are the folders' names in `_recovery` at the destination".to_owned())
            }
            AuditError::Storage(error) | AuditError::Ledger(LedgerError::Storage(error)) => {
                error.hint.clone()
            }
            _ => None,
        };
        Self::could_not_run(error.to_string()).hint_if_any(hint)
    }
}

impl From<WorkError> for Failure {
    fn from(error: WorkError) -> Self {
        let hint = match &error {
            WorkError::Ledger(LedgerError::Storage(error)) => error.hint.clone(),
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
