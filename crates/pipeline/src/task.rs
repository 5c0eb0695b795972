//! A task: one backup object to recover, as it travels through the queue.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::execution_id::ExecutionId;
use crate::hour_prefix::HourPrefix;
use crate::resolved_request::{Compression, Filters, Format, ResolvedRequest};
use crate::storage::ListedObject;
use crate::window::Window;

/// The version of [`Task`] that this software writes, and the newest that it reads.
pub const TASK_VERSION: u32 = 1;

/// Longest key of an object in S3, in bytes ("Naming Amazon S3 objects" in its user guide).
const KEY_BYTES_MAX: usize = 1024;
/// How much of an object's name its task id keeps, in characters.
const NAME_CHARACTERS_MAX: usize = 150;

/// What a worker is asked to do. Which buckets and whose events is not in it: the worker knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// [`TASK_VERSION`] of the software that wrote it.
    pub version: u32,
    /// The run it belongs to.
    pub execution_id: ExecutionId,
    /// The backup object's key in the source.
    pub key: SourceKey,
    /// Its size in bytes when it was planned.
    pub size: u64,
    /// Its etag when it was planned; it is read only if it still has it.
    pub etag: String,
    /// Which events are wanted, by time.
    pub window: Window,
    /// Which events are wanted, by content.
    pub filters: Filters,
    /// How they are written.
    pub format: Format,
    /// How the output is compressed.
    pub compression: Compression,
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
            version: TASK_VERSION,
            execution_id: execution_id.clone(),
            key,
            size: object.size,
            etag: object.etag.clone(),
            window: request.window(),
            filters: request.filters(),
            format: request.format,
            compression: request.compression,
        }
    }

    /// Its id: the same on every attempt.
    pub fn id(&self) -> TaskId {
        TaskId::of(&self.key)
    }
}

/// The key of a backup object, below its hour prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceKey {
    key: String,
    hour: HourPrefix,
}

/// A key that is no backup object's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not the key of a backup object below `main_stream/YYYY/MM/DD/HH/`: {found:?}")]
pub struct SourceKeyError {
    /// The key, cut to 200 characters.
    pub found: String,
}

impl SourceKey {
    /// Takes a key `main_stream/YYYY/MM/DD/HH/<name>`. The name may have any characters but NUL, and
    /// slashes, but no empty, `.` or `..` part between them.
    ///
    /// # Errors
    ///
    /// Any other key, and keys over 1,024 bytes.
    pub fn parse(key: &str) -> Result<Self, SourceKeyError> {
        let error = || SourceKeyError {
            found: key.chars().take(200).collect(),
        };
        let parts: Vec<&str> = key.split('/').collect();
        let is_plain = |part: &&str| !matches!(*part, "" | "." | "..") && !part.contains('\0');
        let [_, year, month, day, hour, _name, ..] = parts[..] else {
            return Err(error());
        };
        if key.len() > KEY_BYTES_MAX || !parts.iter().all(is_plain) {
            return Err(error());
        }
        let hour =
            HourPrefix::parse(&format!("{year}-{month}-{day}T{hour}")).map_err(|_| error())?;
        if !key.starts_with(&hour.key()) {
            return Err(error());
        }
        Ok(Self {
            key: key.to_owned(),
            hour,
        })
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// The hour prefix that it lies under.
    pub fn hour(&self) -> HourPrefix {
        self.hour
    }

    /// What follows the hour prefix.
    pub fn name(&self) -> &str {
        self.key.strip_prefix(&self.hour.key()).unwrap_or(&self.key)
    }
}

impl TryFrom<String> for SourceKey {
    type Error = SourceKeyError;

    fn try_from(key: String) -> Result<Self, Self::Error> {
        Self::parse(&key)
    }
}

impl From<SourceKey> for String {
    fn from(key: SourceKey) -> Self {
        key.key
    }
}

impl fmt::Display for SourceKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.key)
    }
}

/// Names a task's files: readable, safe in a path, and different for different keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TaskId(String);

impl TaskId {
    /// The object's base name with all but `A-Za-z0-9._-` replaced by `_`, cut to 150 characters,
    /// and 16 hexadecimal digits of the SHA-256 of the whole key.
    pub fn of(key: &SourceKey) -> Self {
        let base_name = key.key.rsplit('/').next().unwrap_or(&key.key);
        let safe: String = base_name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "._-".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .take(NAME_CHARACTERS_MAX)
            .collect();
        let digest = Sha256::digest(key.key.as_bytes());
        let hash: String = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self(format!("{safe}-{hash}"))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_below_an_hour_prefix_are_source_keys() {
        for (key, name) in [
            ("main_stream/2024/04/01/00/a", Some("a")),
            (
                "main_stream/2024/04/01/23/sub/a b.json",
                Some("sub/a b.json"),
            ),
            ("main_stream/2024/04/01/24/a", None),
            ("main_stream/2024/02/30/00/a", None),
            ("main_stream/2024/4/1/0/a", None),
            ("main_stream/2024/04/01/00/", None),
            ("main_stream/2024/04/01/00", None),
            ("other_stream/2024/04/01/00/a", None),
            ("main_stream/2024/04/01/00/../../../../../secret", None),
            ("main_stream/2024/04/01/00/./a", None),
            ("/main_stream/2024/04/01/00/a", None),
            ("main_stream/2024/04/01/00/a\nb", Some("a\nb")),
            ("main_stream/2024/04/01/00/a\\b", Some("a\\b")),
            ("main_stream/2024/04/01/00/a\0b", None),
        ] {
            assert_eq!(
                SourceKey::parse(key).ok().as_ref().map(SourceKey::name),
                name,
                "{key:?}"
            );
        }
        assert!(
            SourceKey::parse(&format!("main_stream/2024/04/01/00/{}", "a".repeat(1024))).is_err()
        );
    }

    #[test]
    fn a_task_id_is_safe_and_differs_for_keys_with_the_same_name() {
        let id = |key: &str| TaskId::of(&SourceKey::parse(key).unwrap());
        let first = id("main_stream/2024/04/01/00/a b/ü.json");
        assert!(first.as_str().starts_with("_.json-"));
        assert_eq!(first.as_str().len(), "_.json-".len() + 16);
        assert_ne!(
            id("main_stream/2024/04/01/00/a"),
            id("main_stream/2024/04/01/01/a")
        );
        let long = id(&format!("main_stream/2024/04/01/00/{}", "a".repeat(500)));
        assert_eq!(long.as_str().len(), 150 + 1 + 16);
    }
}
