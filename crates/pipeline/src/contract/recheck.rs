//! The payloads that ask a remote planner to recheck, and its answers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::contract::places::RunPlaces;
use crate::recheck::Rechecked;
use crate::recheck::due::CheckedRuns;
use crate::recheck::schedule_watch::MissedWindow;
use crate::request::error::{RequestError, any_of, quoted};
use crate::request::execution_id::ExecutionId;

const RECHECK_FIELD: &str = "recheck";
const RECHECK_DUE_FIELD: &str = "recheck_due";
const CHECK_FIELD: &str = "check";

/// What a payload without a recovery request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecheckPayload {
    /// List the hours of one run again: `{"recheck": "<execution id>"}`. With `"check": true` only say whether
    /// that is possible.
    Run {
        /// The run.
        execution_id: ExecutionId,
        /// See above.
        check: bool,
    },
    /// Do so for all runs that are due, and look for scheduled runs that are missing: `{"recheck_due": true}`.
    Due,
}

impl RecheckPayload {
    /// Reads the payload; `None` if it asks for something else.
    ///
    /// # Errors
    ///
    /// A field with an invalid value, or one that does not belong there.
    pub fn read(payload: &Value) -> Result<Option<Self>, RequestError> {
        let Some(fields) = payload.as_object() else {
            return Ok(None);
        };
        if let Some(id) = fields.get(RECHECK_FIELD) {
            only(fields, &[RECHECK_FIELD, CHECK_FIELD])?;
            let id = id.as_str().unwrap_or_default();
            let execution_id = ExecutionId::parse(id).map_err(|error| {
                RequestError::new(RECHECK_FIELD, "is not an execution id")
                    .accepts("the id of a run")
                    .found(quoted(&error.found))
            })?;
            let check = bool_of(fields, CHECK_FIELD)?;
            return Ok(Some(Self::Run {
                execution_id,
                check,
            }));
        }
        if !fields.contains_key(RECHECK_DUE_FIELD) {
            return Ok(None);
        }
        only(fields, &[RECHECK_DUE_FIELD])?;
        match bool_of(fields, RECHECK_DUE_FIELD)? {
            true => Ok(Some(Self::Due)),
            false => {
                Err(RequestError::new(RECHECK_DUE_FIELD, "asks for nothing").accepts("`true`"))
            }
        }
    }

    /// The payload as JSON.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        match self {
            Self::Due => {
                fields.insert(RECHECK_DUE_FIELD.to_owned(), true.into());
            }
            Self::Run {
                execution_id,
                check,
            } => {
                fields.insert(RECHECK_FIELD.to_owned(), execution_id.as_str().into());
                if *check {
                    fields.insert(CHECK_FIELD.to_owned(), true.into());
                }
            }
        }
        Value::Object(fields)
    }
}

fn only(fields: &Map<String, Value>, names: &[&'static str]) -> Result<(), RequestError> {
    let foreign = fields.keys().find(|name| !names.contains(&name.as_str()));
    match foreign {
        None => Ok(()),
        Some(name) => Err(RequestError::new(
            crate::backup::org_id::excerpt(name),
            "does not belong to a recheck",
        )
        .accepts(any_of(names.iter().copied()))),
    }
}

fn bool_of(fields: &Map<String, Value>, name: &'static str) -> Result<bool, RequestError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => {
            Err(RequestError::new(name, "has the wrong JSON type")
                .accepts(any_of(["true", "false"])))
        }
    }
}

/// A run that can be rechecked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedRecheck {
    /// The run.
    pub execution_id: ExecutionId,
    /// The URL of the destination, without a slash at its end.
    pub destination: String,
}

/// A run that was rechecked. Its tasks are queued; the report follows once they are done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecheckAnswer {
    /// What was found.
    #[serde(flatten)]
    pub rechecked: Rechecked,
    /// See [`RunPlaces::ledger`].
    pub ledger: String,
    /// See [`RunPlaces::output`].
    pub output: String,
}

impl RecheckAnswer {
    /// The answer about a run.
    pub fn new(rechecked: Rechecked, places: RunPlaces) -> Self {
        Self {
            rechecked,
            ledger: places.ledger,
            output: places.output,
        }
    }
}

/// What a periodic check did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DueAnswer {
    /// See [`CheckedRuns::provisional`].
    pub provisional: u64,
    /// See [`CheckedRuns::rechecked`].
    pub rechecked: Vec<Rechecked>,
    /// See [`CheckedRuns::not_ended`].
    pub not_ended: Vec<ExecutionId>,
    /// See [`CheckedRuns::left`].
    pub left: u64,
    /// Scheduled windows that no run was planned for.
    pub missed_windows: Vec<MissedWindow>,
}

impl DueAnswer {
    /// The answer about a check in which nothing failed.
    pub fn new(checked: CheckedRuns, missed_windows: Vec<MissedWindow>) -> Self {
        Self {
            provisional: checked.provisional,
            rechecked: checked.rechecked,
            not_ended: checked.not_ended,
            left: checked.left,
            missed_windows,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_payload_reads_as_what_it_asks_for() {
        let run = |check| RecheckPayload::Run {
            execution_id: ExecutionId::parse("mine").unwrap(),
            check,
        };
        let rows = [
            (json!({"recheck": "mine"}), Some(run(false))),
            (json!({"recheck": "mine", "check": true}), Some(run(true))),
            (json!({"recheck_due": true}), Some(RecheckPayload::Due)),
            (json!({"org_id": "x", "start": "y"}), None),
            (json!([]), None),
        ];
        for (payload, expected) in rows {
            assert_eq!(RecheckPayload::read(&payload), Ok(expected.clone()));
            if let Some(expected) = expected {
                assert_eq!(expected.to_json(), payload);
            }
        }
    }

    #[test]
    fn an_invalid_payload_names_the_field() {
        let rows = [
            (json!({"recheck": "../other"}), "recheck"),
            (json!({"recheck": 1}), "recheck"),
            (json!({"recheck": "mine", "check": "yes"}), "check"),
            (json!({"recheck": "mine", "format": "ndjson"}), "format"),
            (json!({"recheck_due": false}), "recheck_due"),
            (json!({"recheck_due": true, "start": "2024-04-01"}), "start"),
        ];
        for (payload, field) in rows {
            let error = RecheckPayload::read(&payload).unwrap_err();
            assert_eq!(error.field, field, "{payload}");
        }
    }
}
