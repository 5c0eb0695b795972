//! The key of a backup object, and the id that its task and files are named by.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::backup::hour_prefix::HourPrefix;

/// Longest key of an object in S3, in bytes ("Naming Amazon S3 objects" in its user guide).
const KEY_BYTES_MAX: usize = 1024;
/// How much of an object's name its task id keeps, in characters.
const NAME_CHARACTERS_MAX: usize = 150;

/// The key of a backup object, below its hour prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceKey {
    key: String,
    hour: HourPrefix,
}

/// A key that does not begin with an hour prefix.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not the key of a backup object below `main_stream/YYYY/MM/DD/HH/`: {found:?}")]
pub struct SourceKeyError {
    /// The key, cut to 200 characters.
    pub found: String,
}

impl SourceKey {
    /// Parses every key that begins with an hour prefix, `main_stream/YYYY/MM/DD/HH/`. Only those that are
    /// also [plain](Self::is_plain) can be recovered.
    ///
    /// # Errors
    ///
    /// Any other key.
    pub fn parse(key: &str) -> Result<Self, SourceKeyError> {
        let hour = HourPrefix::of_key(key).ok_or_else(|| SourceKeyError {
            found: key.chars().take(200).collect(),
        })?;
        Ok(Self {
            key: key.to_owned(),
            hour,
        })
    }

    /// Whether every tool finds the same object by it, those included that take keys for paths: it has
    /// no empty, `.` or `..` part, no NUL, and is not longer than S3 allows.
    pub fn is_plain(&self) -> bool {
        let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        self.key.len() <= KEY_BYTES_MAX && self.key.split('/').all(is_plain)
    }

    /// The whole key.
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// The hour prefix of the key.
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
    fn only_keys_below_an_hour_prefix_are_source_keys_and_only_plain_ones_can_be_recovered() {
        for (key, name, is_plain) in [
            ("main_stream/2024/04/01/00/a", Some("a"), true),
            (
                "main_stream/2024/04/01/23/sub/a b.json",
                Some("sub/a b.json"),
                true,
            ),
            ("main_stream/2024/04/01/00/a\nb", Some("a\nb"), true),
            ("main_stream/2024/04/01/00/a\\b", Some("a\\b"), true),
            ("main_stream/2024/04/01/00/", Some(""), false),
            ("main_stream/2024/04/01/00/dir/", Some("dir/"), false),
            ("main_stream/2024/04/01/00/a//b", Some("a//b"), false),
            (
                "main_stream/2024/04/01/00/../../secret",
                Some("../../secret"),
                false,
            ),
            ("main_stream/2024/04/01/00/./a", Some("./a"), false),
            ("main_stream/2024/04/01/00/a\0b", Some("a\0b"), false),
            ("main_stream/2024/04/01/24/a", None, false),
            ("main_stream/2024/02/30/00/a", None, false),
            ("main_stream/2024/4/1/0/a", None, false),
            ("main_stream/2024/04/01/00", None, false),
            ("other_stream/2024/04/01/00/a", None, false),
            ("/main_stream/2024/04/01/00/a", None, false),
            ("main_stream/2024/04/é1/00/a", None, false),
        ] {
            let parsed = SourceKey::parse(key).ok();
            assert_eq!(parsed.as_ref().map(SourceKey::name), name, "{key:?}");
            assert_eq!(
                parsed.is_some_and(|key| key.is_plain()),
                is_plain,
                "{key:?}"
            );
        }
        let long = format!("main_stream/2024/04/01/00/{}", "a".repeat(1024));
        assert!(!SourceKey::parse(&long).unwrap().is_plain());
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
