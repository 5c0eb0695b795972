//! A task: one backup object to recover, as it travels through the queue.

use event_recovery_format::OutputFormat;
use serde::{Deserialize, Serialize};

use crate::backup::source_key::{SourceKey, TaskId};
use crate::request::error::RequestError;
use crate::request::execution_id::ExecutionId;
use crate::request::filters::Filters;
use crate::request::output::{self, Compression, Format, OutputFields};
use crate::request::resolved::ResolvedRequest;
use crate::request::window::Window;
use crate::storage::ListedObject;

/// The newest version of [`Task`] that this software writes and reads: with patterns, exclusions or `dedupe` among its filters.
pub const TASK_VERSION: u32 = 2;
/// The version of all others, which earlier software reads, too.
const TASK_VERSION_PLAIN: u32 = 1;

/// The message that asks a worker to recover one object. It names neither bucket nor org: those are the
/// worker's own settings, so that a forged message can't redirect it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TaskMessage")]
pub struct Task {
    /// [`TASK_VERSION`], or an earlier one whose readers do the same.
    pub version: u32,
    /// The run it belongs to.
    pub execution_id: ExecutionId,
    /// The backup object's key in the source.
    pub key: SourceKey,
    /// Its size in bytes, as stored, when it was planned.
    pub size: u64,
    /// Its etag when it was planned; it is read only if it still has it.
    pub etag: String,
    /// Which events to write, by time.
    pub window: Window,
    /// Which events to write, by content.
    pub filters: Filters,
    /// How they are written; in JSON the two fields `format` and `compression`.
    #[serde(flatten, with = "output")]
    pub output: OutputFormat,
    /// Whether the task may have a receipt although this message was never delivered before; see
    /// [`again`](Self::again). Left out of the JSON when false, so that earlier workers read the message.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub queued_again: bool,
    /// Whether a person has asked for what can be had of a damaged object; see [`to_salvage`](Self::to_salvage). Left out
    /// of the JSON when false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub salvage: bool,
}

/// A task as it is received. Apart from [`Task`] because serde does not promise to find unknown fields next
/// to flattened ones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskMessage {
    version: u32,
    execution_id: ExecutionId,
    key: SourceKey,
    size: u64,
    etag: String,
    window: Window,
    filters: Filters,
    format: Format,
    compression: Compression,
    #[serde(default)]
    queued_again: bool,
    #[serde(default)]
    salvage: bool,
}

impl TryFrom<TaskMessage> for Task {
    type Error = RequestError;

    fn try_from(message: TaskMessage) -> Result<Self, RequestError> {
        let TaskMessage {
            version,
            execution_id,
            key,
            size,
            etag,
            window,
            filters,
            format,
            compression,
            queued_again,
            salvage,
        } = message;
        let fields = OutputFields {
            format,
            compression,
        };
        Ok(Self {
            version,
            execution_id,
            key,
            size,
            etag,
            window,
            filters,
            output: fields.try_into()?,
            queued_again,
            salvage,
        })
    }
}

impl Task {
    /// The task for an object of the plan.
    pub fn new(
        execution_id: &ExecutionId,
        request: &ResolvedRequest,
        key: SourceKey,
        object: &ListedObject,
    ) -> Self {
        Self {
            version: match request.filters().need_this_version() {
                true => TASK_VERSION,
                false => TASK_VERSION_PLAIN,
            },
            execution_id: execution_id.clone(),
            key,
            size: object.size,
            etag: object.etag.clone(),
            window: request.window(),
            filters: request.filters(),
            output: request.output,
            queued_again: false,
            salvage: false,
        }
    }

    /// The task in a further message, after an earlier one led to a receipt. A worker reads that receipt before it
    /// processes the task; it does not look for one at the first delivery of any other task.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.queued_again = true;
        self
    }

    /// The task as a person asks for it whose object is damaged: the events before the damage are recovered.
    #[must_use]
    pub fn to_salvage(mut self) -> Self {
        self.salvage = true;
        self.again()
    }

    /// The id, which names receipt and output: the same on every attempt.
    pub fn id(&self) -> TaskId {
        TaskId::of(&self.key)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message() -> Value {
        json!({
            "version": 1, "execution_id": "run", "key": "main_stream/2024/04/01/00/a", "size": 1, "etag": "e",
            "window": {"kind": "arrival", "start": "2024-04-01T00:00:00Z", "end": "2024-04-01T01:00:00Z",
                "lead_secs": 900, "lag_secs": 3600},
            "filters": {"domains": [], "event_types": []}, "format": "ndjson", "compression": "none",
        })
    }

    fn task_to_salvage() -> Task {
        let task: Task = serde_json::from_value(message()).unwrap();
        assert!(!task.salvage);
        task.to_salvage()
    }

    #[test]
    fn only_a_task_that_is_queued_again_says_so() {
        let task: Task = serde_json::from_value(message()).unwrap();
        assert!(!task.queued_again);
        assert_eq!(serde_json::to_value(&task).unwrap(), message());
        let again = task.again();
        let json = serde_json::to_value(&again).unwrap();
        assert_eq!(json["queued_again"], true);
        assert_eq!(serde_json::from_value::<Task>(json).unwrap(), again);
        let salvaged = serde_json::to_value(task_to_salvage()).unwrap();
        assert_eq!(
            (&salvaged["queued_again"], &salvaged["salvage"]),
            (&json!(true), &json!(true))
        );
    }
}
