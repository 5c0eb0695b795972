//! The errors of a remote planner.

use serde::{Deserialize, Serialize};

use crate::plan::error::PlanError;

/// The kind of an error, `errorType` in what Lambda answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlannerErrorKind {
    /// The request is invalid. The same request is refused again.
    RefusedRequest,
    /// The request is valid, and refused for what the backup or the ledger holds. It is refused again until
    /// that, or a limit, has changed.
    Refused,
    /// The request is valid, but planning failed.
    NotPlanned,
    /// The planner reached its deadline. The same request with the same execution id resumes the plan.
    OutOfTime,
    /// Not of this software: Lambda's own errors, such as `Runtime.ExitError` and `Sandbox.Timedout`.
    #[serde(other)]
    Unknown,
}

impl PlannerErrorKind {
    /// Whether the error says that the planner works as it should: nobody needs to be alarmed.
    pub fn is_expected(self) -> bool {
        match self {
            Self::RefusedRequest | Self::Refused | Self::OutOfTime => true,
            Self::NotPlanned | Self::Unknown => false,
        }
    }

    /// The kind as `errorType` holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RefusedRequest => "RefusedRequest",
            Self::Refused => "Refused",
            Self::NotPlanned => "NotPlanned",
            Self::OutOfTime => "OutOfTime",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<&PlanError> for PlannerErrorKind {
    fn from(error: &PlanError) -> Self {
        match error {
            PlanError::OutOfTime { .. } => Self::OutOfTime,
            PlanError::OtherRequest { .. }
            | PlanError::TooManyObjects { .. }
            | PlanError::TooManyBytes { .. }
            | PlanError::TooExpensive { .. }
            | PlanError::Cancelled { .. }
            | PlanError::UnknownRun(_)
            | PlanError::NotInPlan { .. }
            | PlanError::NotPlanned(_) => Self::Refused,
            PlanError::Key(_)
            | PlanError::Storage(_)
            | PlanError::Ledger(_)
            | PlanError::Queue(_)
            | PlanError::ListGone { .. }
            | PlanError::RecheckConflict(_) => Self::NotPlanned,
        }
    }
}

/// What Lambda answers in place of a function that ended with an error ("Lambda function errors" in the Lambda
/// developer guide).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannerError {
    /// Which kind; [`PlannerErrorKind::Unknown`] also where Lambda names none.
    #[serde(default = "unknown")]
    pub error_type: PlannerErrorKind,
    /// The function's message, which ends with the hint; `None` if the function died without a message.
    #[serde(default)]
    pub error_message: Option<String>,
}

fn unknown() -> PlannerErrorKind {
    PlannerErrorKind::Unknown
}

impl PlannerError {
    /// An error that says what is wrong and, if that is known, what to do about it.
    pub fn new(kind: PlannerErrorKind, problem: &str, hint: Option<&str>) -> Self {
        let message = match hint {
            Some(hint) => format!("{problem}; hint: {hint}"),
            None => problem.to_owned(),
        };
        Self {
            error_type: kind,
            error_message: Some(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_has_the_names_that_lambda_gives_it() {
        let rows = [
            (PlannerErrorKind::RefusedRequest, "RefusedRequest"),
            (PlannerErrorKind::Refused, "Refused"),
            (PlannerErrorKind::NotPlanned, "NotPlanned"),
            (PlannerErrorKind::OutOfTime, "OutOfTime"),
        ];
        for (kind, name) in rows {
            let error = PlannerError::new(kind, "`end` is too late", Some("choose another"));
            let expected = json!({
                "errorType": name, "errorMessage": "`end` is too late; hint: choose another",
            });
            assert_eq!(serde_json::to_value(&error).unwrap(), expected);
            assert_eq!(kind.as_str(), name);
            let read: PlannerError = serde_json::from_value(expected).unwrap();
            assert_eq!(read, error);
        }
        let without_hint = PlannerError::new(PlannerErrorKind::NotPlanned, "no", None);
        assert_eq!(without_hint.error_message.as_deref(), Some("no"));
    }

    #[test]
    fn an_error_of_lambda_itself_can_be_read() {
        let rows = [
            json!({"errorType": "Runtime.ExitError", "errorMessage": "exit status 1"}),
            json!({"errorMessage": "2024-04-01 task timed out", "requestId": "x"}),
            json!({"errorType": "Sandbox.Timedout"}),
        ];
        for row in rows {
            let message = row["errorMessage"].as_str().map(str::to_owned);
            let error: PlannerError = serde_json::from_value(row).unwrap();
            assert_eq!(error.error_type, PlannerErrorKind::Unknown);
            assert_eq!(error.error_message, message);
        }
    }
}
