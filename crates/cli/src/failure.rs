//! What a command prints when it failed.

use std::io;
use std::process::ExitCode;

use chrono::SecondsFormat;
use event_recovery_aws::{DeploymentError, InvocationError};
use event_recovery_pipeline::{
    AuditError, CompareError, DeliverError, ExecutionIdError, LedgerError, LossError, PlanError,
    RequestError, RequestId, RunError, SignatureError, StorageError, TargetError, WorkError,
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
    /// `None` where there is nothing to print.
    message: Option<String>,
    hint: Option<String>,
    /// The request that failed; AWS Support asks for it.
    request_id: Option<String>,
    exit_code: u8,
}

impl Failure {
    pub(crate) fn could_not_run(message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            hint: None,
            request_id: None,
            exit_code: COULD_NOT_RUN,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            hint: None,
            request_id: None,
            exit_code: USAGE,
        }
    }

    /// Data could not be written to stdout. A reader that has stopped knows that there was more.
    pub(crate) fn of_stdout(what: &str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self {
                message: None,
                hint: None,
                request_id: None,
                exit_code: UNREAD,
            };
        }
        Self::could_not_run(format!("could not write {what} to stdout: {error}"))
            .hint("let stdout be a file with room, or a pipe that is read to its end")
    }

    /// The message and the hint, in one line.
    pub(crate) fn told(&self) -> String {
        let parts = self.message.iter().chain(&self.hint);
        parts.cloned().collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn hint_if_any(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// Adds a hint unless there is one, which then is more specific.
    pub(crate) fn or_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Adds a hint to the one that there is.
    pub(crate) fn also_hint(mut self, hint: &str) -> Self {
        self.hint = Some(match self.hint {
            Some(first) => format!("{first}; {hint}"),
            None => hint.to_owned(),
        });
        self
    }

    pub(crate) fn request_id(mut self, request_id: Option<&RequestId>) -> Self {
        self.request_id = request_id.map(ToString::to_string);
        self
    }

    /// The text to print, if any.
    pub(crate) fn text(&self) -> Option<String> {
        let mut text = format!("error: {}", self.message.as_ref()?);
        for (name, value) in [("hint", &self.hint), ("request id", &self.request_id)] {
            if let Some(value) = value {
                text.push_str(&format!("\n  {name}: {value}"));
            }
        }
        Some(text)
    }

    /// Prints the text, if any, and returns the exit code.
    pub(crate) fn end(&self) -> ExitCode {
        if let Some(text) = self.text() {
            say(&text);
        }
        ExitCode::from(self.exit_code)
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self::usage(error.to_string()).hint_if_any(error.hint())
    }
}

impl From<ExecutionIdError> for Failure {
    fn from(error: ExecutionIdError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<LossError> for Failure {
    fn from(error: LossError) -> Self {
        let hint = error.hint();
        match error {
            LossError::Ledger(error) => error.into(),
            LossError::Recovered(_) | LossError::Salvaged(_) => {
                Self::could_not_run(error.to_string()).hint_if_any(hint)
            }
            LossError::NotPlanned { .. } | LossError::Reason => {
                Self::usage(error.to_string()).hint_if_any(hint)
            }
        }
    }
}

/// What to do about a transient error that has no hint of its own.
const TRY_AGAIN: &str = "it may succeed when tried again: repeat the command";

/// Each of these errors says what was tried, what to do about it and which request it was.
macro_rules! could_not_run {
    ($($error:ty: $is_transient:expr),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let is_transient: fn(&$error) -> bool = $is_transient;
                let hint = error
                    .hint()
                    .or_else(|| is_transient(&error).then(|| TRY_AGAIN.to_owned()));
                Self::could_not_run(error.to_string())
                    .hint_if_any(hint)
                    .request_id(error.request_id())
            }
        }
    )*};
}

could_not_run!(
    StorageError: StorageError::is_transient,
    LedgerError: LedgerError::is_transient,
    AuditError: AuditError::is_transient,
    SignatureError: SignatureError::is_transient,
    CompareError: CompareError::is_transient,
    DeliverError: DeliverError::is_transient,
    TargetError: TargetError::is_transient,
    WorkError: WorkError::is_transient,
    DeploymentError: |_| false,
    InvocationError: |_| false
);

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        let hint = match &error {
            PlanError::TooManyObjects { hour, .. } | PlanError::TooManyBytes { hour, .. } => {
                let split = hour.start().to_rfc3339_opts(SecondsFormat::Secs, true);
                Some(format!(
                    "split the range: once with `--end {split}`, once with `--start {split}`, both with instants \
                     and an `--execution-id` of their own"
                ))
            }
            error => error
                .hint()
                .or_else(|| error.is_transient().then(|| TRY_AGAIN.to_owned())),
        };
        Self::could_not_run(error.to_string())
            .hint_if_any(hint)
            .request_id(error.request_id())
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

#[cfg(test)]
mod tests {
    use event_recovery_pipeline::{Circumstances, Problem, StorageOperation};

    use super::*;

    #[test]
    fn hint_and_request_id_stand_on_lines_of_their_own() {
        let request_id = RequestId {
            id: "4FE2".to_owned(),
            extended_id: Some("Zm8=".to_owned()),
        };
        let circumstances = Circumstances::new(Some("ask".to_owned()), Some(request_id));
        let problem = Problem::AccessDenied("AccessDenied".to_owned());
        let error = StorageError::new(StorageOperation::List, "a/", problem).under(circumstances);
        let failure = Failure::from(LedgerError::from(error));
        assert_eq!(
            failure.text().unwrap(),
            "error: could not list `a/`: access denied (AccessDenied)\n  hint: ask\n  request id: 4FE2, extended Zm8="
        );
    }

    #[test]
    fn a_range_with_too_many_objects_is_split_with_options() {
        let hour = event_recovery_pipeline::HourPrefix::parse("2024-04-01T13").unwrap();
        let error = PlanError::TooManyObjects {
            objects_max: 1,
            hour,
        };
        let text = Failure::from(error).text().unwrap();
        assert!(text.contains("`--end 2024-04-01T13:00:00Z`"), "{text}");
    }
}
