//! The payload that asks a remote planner to salvage an object, and its answer.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::backup::org_id::excerpt;
use crate::backup::source_key::SourceKey;
use crate::request::error::{RequestError, any_of, quoted};
use crate::request::execution_id::ExecutionId;

const SALVAGE_FIELD: &str = "salvage";
const KEY_FIELD: &str = "key";

/// Recover the events before the damage of one object: `{"salvage": "<execution id>", "key": "main_stream/…"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SalvagePayload {
    /// The run.
    pub execution_id: ExecutionId,
    /// The object.
    pub key: SourceKey,
}

impl SalvagePayload {
    /// Reads the payload; `None` if it asks for something else.
    ///
    /// # Errors
    ///
    /// A field with an invalid value, or one that does not belong there.
    pub fn read(payload: &Value) -> Result<Option<Self>, RequestError> {
        let Some((fields, id)) = payload
            .as_object()
            .and_then(|fields| Some((fields, fields.get(SALVAGE_FIELD)?)))
        else {
            return Ok(None);
        };
        let names = [SALVAGE_FIELD, KEY_FIELD];
        if let Some(name) = fields.keys().find(|name| !names.contains(&name.as_str())) {
            return Err(
                RequestError::new(excerpt(name), "does not belong to a salvage")
                    .accepts(any_of(names)),
            );
        }
        let execution_id =
            ExecutionId::parse(id.as_str().unwrap_or_default()).map_err(|error| {
                RequestError::new(SALVAGE_FIELD, "is not an execution id")
                    .accepts("the id of a run")
                    .found(quoted(&error.found))
            })?;
        let key = fields.get(KEY_FIELD).and_then(Value::as_str);
        let key = SourceKey::parse(key.unwrap_or_default()).map_err(|error| {
            RequestError::new(KEY_FIELD, error.to_string())
                .accepts("the key of an object that the run has planned")
        })?;
        Ok(Some(Self { execution_id, key }))
    }

    /// The payload as JSON.
    pub fn to_json(&self) -> Value {
        json!({ SALVAGE_FIELD: self.execution_id.as_str(), KEY_FIELD: self.key.as_str() })
    }
}

/// The object's task is queued. Its receipt and a new report follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalvageAnswer {
    /// The run.
    pub execution_id: ExecutionId,
    /// The object.
    pub salvaging: SourceKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_reads_as_what_it_asks_for() {
        let payload = json!({"salvage": "mine", "key": "main_stream/2024/04/01/00/a"});
        let read = SalvagePayload::read(&payload).unwrap().unwrap();
        assert_eq!(
            (read.execution_id.as_str(), read.key.as_str()),
            ("mine", "main_stream/2024/04/01/00/a")
        );
        assert_eq!(read.to_json(), payload);
        for other in [
            json!({"org_id": "x"}),
            json!([]),
            json!({"recheck": "mine"}),
        ] {
            assert_eq!(SalvagePayload::read(&other), Ok(None));
        }
    }

    #[test]
    fn an_invalid_payload_names_the_field() {
        let key = "main_stream/2024/04/01/00/a";
        let rows = [
            (json!({"salvage": "../other", "key": key}), "salvage"),
            (json!({"salvage": 1, "key": key}), "salvage"),
            (json!({"salvage": "mine"}), "key"),
            (json!({"salvage": "mine", "key": "elsewhere"}), "key"),
            (
                json!({"salvage": "mine", "key": key, "format": "ndjson"}),
                "format",
            ),
        ];
        for (payload, field) in rows {
            let error = SalvagePayload::read(&payload).unwrap_err();
            assert_eq!(error.field, field, "{payload}");
        }
    }
}
