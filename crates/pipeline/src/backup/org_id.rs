//! The org id.

use std::fmt;

use event_recovery_format::is_org_id;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What an org id accepts, for messages.
pub(crate) const ORG_ID_ACCEPTS: &str =
    "`tn-` and a UUID, like `tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be`";

/// Characters of a refused value that an error repeats.
const FOUND_CHARS_MAX: usize = 64;

/// The id of one org (the platform also says *tenant*), in lower case.
///
/// The platform documents `tn-` and a UUID, in lower case in bucket and object names and possibly
/// in upper case inside events. Any two letters are accepted in place of `tn`, because nothing
/// promises that there will be no other kind; which org a deployment serves is a setting. What is
/// accepted is always 39 bytes of `a-z`, `0-9` and `-`, so it is safe as a part of a bucket name, of a
/// key and of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OrgId(String);

/// An invalid org id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not an org id; it accepts {ORG_ID_ACCEPTS}: {found:?}")]
pub struct OrgIdError {
    /// The first 64 characters of what was found.
    pub found: String,
}

impl OrgId {
    /// Parses an org id in any case; it is kept in lower case.
    ///
    /// # Errors
    ///
    /// Anything but two letters, `-` and a UUID; surrounding white space is refused too.
    pub fn parse(text: &str) -> Result<Self, OrgIdError> {
        if is_org_id(text) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(OrgIdError {
                found: excerpt(text),
            })
        }
    }

    /// The org id in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the org's backup bucket, as the platform documents it.
    pub fn bucket(&self) -> String {
        format!("pismo-dataplatform-{}", self.0)
    }
}

impl fmt::Display for OrgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for OrgId {
    type Error = OrgIdError;

    fn try_from(text: String) -> Result<Self, OrgIdError> {
        Self::parse(&text)
    }
}

impl From<OrgId> for String {
    fn from(org: OrgId) -> Self {
        org.0
    }
}

/// The beginning of a refused value, short enough for a message.
pub(crate) fn excerpt(found: &str) -> String {
    found.chars().take(FOUND_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOWER: &str = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";

    #[test]
    fn an_org_id_is_accepted_in_any_case_and_kept_in_lower_case() {
        for text in [
            LOWER,
            "TN-34778262-F4F0-464D-B4C6-A14E2DC6F4BE",
            "Tn-34778262-f4F0-464d-b4c6-a14e2dc6f4BE",
        ] {
            assert_eq!(OrgId::parse(text).unwrap().as_str(), LOWER, "{text}");
        }
        let other = OrgId::parse("xy-34778262-f4f0-464d-b4c6-a14e2dc6f4be").unwrap();
        assert_eq!(other.as_str(), "xy-34778262-f4f0-464d-b4c6-a14e2dc6f4be");
    }

    #[test]
    fn the_bucket_is_named_after_the_org_and_fits_s3() {
        let bucket = OrgId::parse(&LOWER.to_uppercase()).unwrap().bucket();
        assert_eq!(
            bucket,
            "pismo-dataplatform-tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be"
        );
        assert!(bucket.len() <= 63);
    }

    #[test]
    fn what_is_no_org_id_is_refused() {
        let rows = [
            ("empty", ""),
            ("no prefix", "34778262-f4f0-464d-b4c6-a14e2dc6f4be"),
            ("empty prefix", "-34778262-f4f0-464d-b4c6-a14e2dc6f4be"),
            ("prefix only", "tn-"),
            ("long prefix", "tnt-34778262-f4f0-464d-b4c6-a14e2dc6f4be"),
            ("digit prefix", "t1-34778262-f4f0-464d-b4c6-a14e2dc6f4be"),
            ("letter beyond f", "tn-34778262-g4f0-464d-b4c6-a14e2dc6f4be"),
            ("short uuid", "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4b"),
            ("sixth group", "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be-"),
            ("slash", "tn-34778262/f4f0-464d-b4c6-a14e2dc6f4be"),
            ("dots", "..-34778262-f4f0-464d-b4c6-a14e2dc6f4be"),
            ("leading space", " tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be"),
            ("line end", "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be\n"),
            ("not ASCII", "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4bé"),
            ("underscores", "tn_34778262_f4f0_464d_b4c6_a14e2dc6f4be"),
        ];
        for (name, text) in rows {
            assert!(OrgId::parse(text).is_err(), "{name}");
        }
    }

    #[test]
    fn the_error_says_what_is_accepted_and_stays_short() {
        let error = OrgId::parse(&"x\n".repeat(10_000)).unwrap_err().to_string();
        assert!(error.contains("`tn-` and a UUID"), "{error}");
        assert!(!error.contains('\n') && error.len() < 300, "{error}");
    }

    #[test]
    fn json_holds_a_plain_string_and_is_parsed_again() {
        let org = OrgId::parse(LOWER).unwrap();
        let json = serde_json::to_string(&org).unwrap();
        assert_eq!(json, format!("\"{LOWER}\""));
        assert_eq!(serde_json::from_str::<OrgId>(&json).unwrap(), org);
        assert!(serde_json::from_str::<OrgId>("\"tn-1\"").is_err());
    }
}
