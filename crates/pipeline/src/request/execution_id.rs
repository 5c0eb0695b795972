//! The execution id, which names a run.

use std::fmt;

use chrono::{DateTime, Datelike, Timelike, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::backup::org_id::excerpt;
use crate::request::resolved::ResolvedRequest;

/// The longest execution id in bytes: it names folders, and object keys end at 1,024.
pub const EXECUTION_ID_BYTES_MAX: usize = 64;

/// What an execution id accepts, for messages.
pub(crate) const EXECUTION_ID_ACCEPTS: &str =
    "1 to 64 of `A-Za-z0-9._-`, beginning with neither `.` nor `_`";

/// Bytes of the SHA-256 that a derived id shows, two hex digits each.
const DERIVED_DIGEST_BYTES: usize = 4;

/// The id of one run: 1 to 64 of `A-Za-z0-9._-`, not beginning with `.` or `_`.
///
/// It names folders in the destination. The first character can therefore make neither `.` nor
/// `..`, nor a folder of the ledger's own such as `_rejected`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExecutionId(String);

/// What asks for a run whose request names no execution id. The same request from the same origin is the same
/// run: invoking twice has the effect of once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOrigin<'a> {
    /// A schedule. Its window alone decides, so a schedule that fires twice makes one run.
    Schedule,
    /// An invocation of the planner, which Lambda retries with the same id.
    Invocation {
        /// Lambda's request id.
        request_id: &'a str,
    },
    /// A process of the command line, each of which makes a run of its own.
    Process {
        /// When it began, in nanoseconds since 1970.
        began_nanos: u128,
        /// The operating system's id of it.
        process_id: u32,
    },
}

/// An invalid execution id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not an execution id; it accepts {EXECUTION_ID_ACCEPTS}: {found:?}")]
pub struct ExecutionIdError {
    /// The first 64 characters of what was found.
    pub found: String,
}

impl ExecutionId {
    /// Parses an id that a caller has chosen; it is kept as it is.
    ///
    /// # Errors
    ///
    /// Texts of another length, and with other characters.
    pub fn parse(text: &str) -> Result<Self, ExecutionIdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=EXECUTION_ID_BYTES_MAX).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with(['.', '_'])
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(ExecutionIdError {
                found: excerpt(text),
            })
        }
    }

    /// The id of the run that `request` makes when it names none, for example
    /// `20240401T000000Z-20240404T000000Z-1f3a9c2e`.
    ///
    /// # Errors
    ///
    /// A request that JSON can't express; no resolved request is one.
    pub fn of_request(
        request: &ResolvedRequest,
        origin: RunOrigin<'_>,
    ) -> serde_json::Result<Self> {
        let mut identity = Vec::new();
        if origin == RunOrigin::Schedule {
            identity.extend_from_slice(b"schedule ");
        }
        serde_json::to_writer(&mut identity, request)?;
        match origin {
            RunOrigin::Schedule => {}
            RunOrigin::Invocation { request_id } => {
                identity.extend_from_slice(request_id.as_bytes());
            }
            RunOrigin::Process {
                began_nanos,
                process_id,
            } => {
                identity.extend_from_slice(&began_nanos.to_le_bytes());
                identity.extend_from_slice(&process_id.to_le_bytes());
            }
        }
        Ok(Self::derive(request.start, request.end, &identity))
    }

    /// The id of a run over `[start, end)`. The hex digits are the first 32 bits of the SHA-256 of `identity`
    /// alone.
    fn derive(start: DateTime<Utc>, end: DateTime<Utc>, identity: &[u8]) -> Self {
        let digest = Sha256::digest(identity);
        let mut id = Self::derived_prefix(start, end);
        for byte in digest.iter().take(DERIVED_DIGEST_BYTES) {
            id.push_str(&format!("{byte:02x}"));
        }
        Self(id)
    }

    /// What the derived ids of all runs over `[start, end)` begin with.
    pub(crate) fn derived_prefix(start: DateTime<Utc>, end: DateTime<Utc>) -> String {
        format!("{}-{}-", basic_form(start), basic_form(end))
    }

    /// The id as it stands in keys and messages.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ExecutionId {
    type Error = ExecutionIdError;

    fn try_from(text: String) -> Result<Self, ExecutionIdError> {
        Self::parse(&text)
    }
}

impl From<ExecutionId> for String {
    fn from(id: ExecutionId) -> Self {
        id.0
    }
}

/// ISO 8601's basic form in whole seconds. The year is held to four digits, so that a derived id
/// keeps its length and its characters for every instant there is.
fn basic_form(instant: DateTime<Utc>) -> String {
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        instant.year().clamp(0, 9999),
        instant.month(),
        instant.day(),
        instant.hour(),
        instant.minute(),
        instant.second(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn only_names_that_are_safe_as_a_folder_are_accepted() {
        let longest = "x".repeat(EXECUTION_ID_BYTES_MAX);
        let too_long = "x".repeat(EXECUTION_ID_BYTES_MAX + 1);
        let rows = [
            ("one character", "a", true),
            ("every kind of character", "Az09._-", true),
            ("a dash first", "-a", true),
            ("dots inside", "a..b", true),
            ("longest", &longest, true),
            ("too long", &too_long, false),
            ("empty", "", false),
            ("dot", ".", false),
            ("two dots", "..", false),
            ("hidden", ".a", false),
            ("the ledger's own folder", "_rejected", false),
            ("slash", "a/b", false),
            ("backslash", "a\\b", false),
            ("space", "a b", false),
            ("line end", "a\n", false),
            ("equals sign", "a=b", false),
            ("not ASCII", "é", false),
        ];
        for (name, text, accepted) in rows {
            let parsed = ExecutionId::parse(text);
            assert_eq!(parsed.is_ok(), accepted, "{name}");
            if let Ok(id) = parsed {
                assert_eq!(id.as_str(), text, "{name}");
            }
        }
    }

    #[test]
    fn a_derived_id_shows_the_range_and_the_digest() {
        let (start, end) = (at("2024-04-01T00:00:00Z"), at("2024-04-04T00:00:00Z"));
        let id = ExecutionId::derive(start, end, b"abc");
        // SHA-256 of `abc` begins with ba7816bf (FIPS 180-2, appendix B.1).
        assert_eq!(id.as_str(), "20240401T000000Z-20240404T000000Z-ba7816bf");
        assert_eq!(id, ExecutionId::derive(start, end, b"abc"));
        assert_ne!(id, ExecutionId::derive(start, end, b"abd"));
    }

    #[test]
    fn the_origin_decides_whether_the_same_request_is_the_same_run() {
        let json = r#"{"org_id":"tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be","start":"2024-04-01T00:00:00Z","end":"2024-04-04T00:00:00Z","window":{"kind":"arrival","lead_secs":900,"lag_secs":3600},"format":"parquet","compression":"zstd","domains":[],"event_types":[]}"#;
        let request: ResolvedRequest = serde_json::from_str(json).unwrap();
        let process = RunOrigin::Process {
            began_nanos: 1,
            process_id: 2,
        };
        let rows: [(RunOrigin<'_>, &[&[u8]]); 3] = [
            (RunOrigin::Schedule, &[b"schedule ", json.as_bytes()]),
            (
                RunOrigin::Invocation { request_id: "id" },
                &[json.as_bytes(), b"id"],
            ),
            (
                process,
                &[json.as_bytes(), &1_u128.to_le_bytes(), &2_u32.to_le_bytes()],
            ),
        ];
        let ids = rows.map(|(origin, identity)| {
            let id = ExecutionId::of_request(&request, origin).unwrap();
            let identity = identity.concat();
            let derived = ExecutionId::derive(request.start, request.end, &identity);
            assert_eq!(id, derived, "{origin:?}");
            id
        });
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    }

    #[test]
    fn a_derived_id_is_valid_for_every_instant() {
        for instant in [
            DateTime::<Utc>::MIN_UTC,
            DateTime::UNIX_EPOCH,
            at("2016-12-31T23:59:60.5Z"),
            DateTime::<Utc>::MAX_UTC,
        ] {
            let id = ExecutionId::derive(instant, instant, b"");
            assert_eq!(ExecutionId::parse(id.as_str()), Ok(id));
        }
    }

    #[test]
    fn json_holds_a_plain_string_and_is_parsed_again() {
        let id: ExecutionId = serde_json::from_str("\"run-1\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"run-1\"");
        assert!(serde_json::from_str::<ExecutionId>("\"../x\"").is_err());
    }
}
