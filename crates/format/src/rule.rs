//! The rule by which a JSON object next to damage counts as an event.

use std::borrow::Cow;

use crate::envelope::Field;
use crate::json_string::decode_string;
use crate::members::Members;

/// The members that a JSON object next to damage must have to count as an event of this backup.
///
/// The splitter calls it, so that an object nested in a torn event does not become an event. Objects away
/// from damage are events whatever their members.
///
/// ```
/// use event_recovery_format::EnvelopeRule;
///
/// let rule = EnvelopeRule { org_id: Some("tn-1".to_owned()) };
/// assert!(rule.matches(br#"{"event_id":"1","org_id":"TN-1"}"#));
/// assert!(!rule.matches(br#"{"event_id":"1","org_id":"tn-2"}"#));
/// assert!(!rule.matches(br#"{"data":{"event_id":"1","org_id":"tn-1"}}"#));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvelopeRule {
    /// The org id that the object must have, compared ignoring ASCII case. `None` accepts any, and objects without
    /// one.
    pub org_id: Option<String>,
}

impl EnvelopeRule {
    /// Whether `object`, one valid JSON object, has a top-level string `event_id` and the rule's org id. Of repeated
    /// keys, the last value counts.
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
        has_event_id && self.accepts_org(org_id.and_then(decode_string))
    }

    fn accepts_org(&self, found: Option<Cow<'_, str>>) -> bool {
        match (&self.org_id, found) {
            (None, _) => true,
            (Some(expected), Some(found)) => found.eq_ignore_ascii_case(expected),
            (Some(_), None) => false,
        }
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
            org_id: Some("tn-1".to_owned()),
        };
        for (name, object, expected_any, expected_one) in rows {
            assert_eq!(any_org.matches(object.as_bytes()), *expected_any, "{name}");
            assert_eq!(one_org.matches(object.as_bytes()), *expected_one, "{name}");
        }
    }
}
