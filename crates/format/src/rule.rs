//! The rule by which a JSON object next to damage counts as an event.

use crate::envelope::Field;
use crate::json_string::decode_string;
use crate::members::Members;
use crate::org_id::is_org_id;

/// The members that a JSON object next to damage must have to count as an event of this backup.
///
/// The splitter calls it, so that an object nested in a torn event does not become an event. Objects away
/// from damage are events whatever their members.
///
/// ```
/// use event_recovery_format::{EnvelopeRule, OrgRule};
///
/// let rule = EnvelopeRule { orgs: OrgRule::OneOf(vec!["tn-1".to_owned()]) };
/// assert!(rule.matches(br#"{"event_id":"1","org_id":"TN-1"}"#));
/// assert!(!rule.matches(br#"{"event_id":"1","org_id":"tn-2"}"#));
/// assert!(!rule.matches(br#"{"data":{"event_id":"1","org_id":"tn-1"}}"#));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvelopeRule {
    /// Which org ids the object may have.
    pub orgs: OrgRule,
}

/// Which org ids an object next to damage may have to count as an event. The backup of an additional subscriber
/// holds events of all orgs that it is linked to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum OrgRule {
    /// Any value, or none.
    #[default]
    Any,
    /// Any string that [`is_org_id`] accepts.
    OrgIds,
    /// One of these, compared ignoring ASCII case.
    OneOf(Vec<String>),
}

impl OrgRule {
    fn accepts(&self, found: Option<&str>) -> bool {
        match (self, found) {
            (Self::Any, _) => true,
            (Self::OrgIds, Some(found)) => is_org_id(found),
            (Self::OneOf(ids), Some(found)) => {
                let mut ids = ids.iter();
                ids.any(|id| found.eq_ignore_ascii_case(id))
            }
            (_, None) => false,
        }
    }
}

impl EnvelopeRule {
    /// Whether `object`, one valid JSON object, has a top-level string `event_id` and an org id of the rule. Of
    /// repeated keys, the last value counts.
    pub fn matches(&self, object: &[u8]) -> bool {
        let mut event_id = None;
        let mut org_id = None;
        for member in Members::new(object) {
            match Field::from_key(member.key) {
                Some(Field::EventId) => event_id = Some(member.value),
                Some(Field::OrgId) => org_id = Some(member.value),
                _ => {}
            }
        }
        let has_event_id = event_id.is_some_and(|raw| raw.starts_with(b"\""));
        has_event_id && self.orgs.accepts(org_id.and_then(decode_string).as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_a_string_event_id_and_the_org_id() {
        let rows: &[(&str, &str, bool, bool)] = &[
            ("both", r#"{"event_id":"e","org_id":"TN-1"}"#, true, true),
            (
                "org id in another case",
                r#"{"org_id":"tN-1","event_id":"e"}"#,
                true,
                true,
            ),
            (
                "escaped",
                r#"{"event_\u0069d":"e","org_id":"tn\u002d1"}"#,
                true,
                true,
            ),
            (
                "another org",
                r#"{"event_id":"e","org_id":"tn-2"}"#,
                true,
                false,
            ),
            (
                "longer org",
                r#"{"event_id":"e","org_id":"tn-11"}"#,
                true,
                false,
            ),
            ("no org", r#"{"event_id":"e"}"#, true, false),
            (
                "org of another type",
                r#"{"event_id":"e","org_id":1}"#,
                true,
                false,
            ),
            (
                "empty event id",
                r#"{"event_id":"","org_id":"tn-1"}"#,
                true,
                true,
            ),
            (
                "event id of another type",
                r#"{"event_id":7,"org_id":"tn-1"}"#,
                false,
                false,
            ),
            (
                "null event id",
                r#"{"event_id":null,"org_id":"tn-1"}"#,
                false,
                false,
            ),
            ("no event id", r#"{"org_id":"tn-1"}"#, false, false),
            (
                "nested event id",
                r#"{"data":{"event_id":"e"},"org_id":"tn-1"}"#,
                false,
                false,
            ),
            (
                "last wins, good",
                r#"{"event_id":1,"event_id":"e","org_id":"x","org_id":"tn-1"}"#,
                true,
                true,
            ),
            (
                "last wins, bad",
                r#"{"event_id":"e","event_id":1,"org_id":"tn-1"}"#,
                false,
                false,
            ),
            ("empty object", "{}", false, false),
            ("not an object", "[]", false, false),
        ];
        let any_org = EnvelopeRule::default();
        let one_org = EnvelopeRule {
            orgs: OrgRule::OneOf(vec!["tn-0".to_owned(), "tn-1".to_owned()]),
        };
        for (name, object, expected_any, expected_one) in rows {
            assert_eq!(any_org.matches(object.as_bytes()), *expected_any, "{name}");
            assert_eq!(one_org.matches(object.as_bytes()), *expected_one, "{name}");
        }
    }

    #[test]
    fn any_org_that_looks_like_one_may_be_linked() {
        let rule = EnvelopeRule {
            orgs: OrgRule::OrgIds,
        };
        let uuid = "34778262-f4f0-464d-b4c6-a14e2dc6f4be";
        let rows = [
            (format!(r#""tn-{uuid}""#), true),
            (format!(r#""TN-{}""#, uuid.to_uppercase()), true),
            (format!(r#""xy\u002d{uuid}""#), true),
            (format!(r#""{uuid}""#), false),
            (r#""tn-1""#.to_owned(), false),
            (r#""""#.to_owned(), false),
            ("7".to_owned(), false),
            ("null".to_owned(), false),
        ];
        for (org_id, expected) in rows {
            let object = format!(r#"{{"event_id":"e","org_id":{org_id}}}"#);
            assert_eq!(rule.matches(object.as_bytes()), expected, "{org_id}");
        }
        assert!(!rule.matches(br#"{"event_id":"e"}"#));
    }
}
