//! The `extra_fields` column: what the nine columns do not hold of an event, as a JSON object.

use std::str::Utf8Error;

use crate::columns::FieldSet;
use crate::envelope::{Envelope, Field};
use crate::json_string::{compare_keys, decode_key};

/// The key for the earlier values of repeated keys. An event's own key of this name is moved in there as well, so
/// that the two cannot be confused.
const DUPLICATES: &str = "$duplicates";

/// Builds the column's value for one event after the other, in the same memory: up to eight bytes for each member,
/// besides the text itself.
#[derive(Debug, Default)]
pub(crate) struct ExtraFields {
    text: String,
    /// Starts of members, by decoded key and then by position: the last of a run of equal keys counts.
    by_key: Vec<u32>,
    /// Starts of the members that go into `$duplicates`, by position.
    set_aside: Vec<u32>,
}

impl ExtraFields {
    /// The most that stays allocated between events; memory that one extreme event needed is freed.
    const TEXT_BYTES_KEPT_MAX: usize = 1024 * 1024;
    const MEMBERS_KEPT_MAX: usize = 64 * 1024;

    /// The column's value, or `None` if the nine columns hold the whole event.
    ///
    /// The object has, in the order of the event, every other field and those of the nine that are in `unheld`, with
    /// keys and values as written; of a repeated key, the last value. `$duplicates`, if needed, comes last: its keys
    /// are sorted by their decoded bytes, each with an array of the earlier values in the order of the event.
    ///
    /// # Errors
    ///
    /// A key or value for the column is not UTF-8.
    pub(crate) fn build(
        &mut self,
        envelope: &Envelope<'_>,
        unheld: FieldSet,
    ) -> Result<Option<&str>, Utf8Error> {
        if envelope.has_only_fields() && unheld.is_empty() {
            return Ok(None);
        }
        self.clear();
        self.sort_members(envelope);
        self.text.push('{');
        self.push_members(envelope, unheld)?;
        if !self.set_aside.is_empty() {
            self.push_duplicates(envelope)?;
        }
        self.text.push('}');
        Ok((self.text.len() > "{}".len()).then_some(&self.text))
    }

    fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(Self::TEXT_BYTES_KEPT_MAX);
        for members in [&mut self.by_key, &mut self.set_aside] {
            members.clear();
            members.shrink_to(Self::MEMBERS_KEPT_MAX);
        }
    }

    /// Fills `by_key` and `set_aside`. Sorting finds repeated keys among millions of members in O(n log n), with four
    /// bytes for each where a hash map takes forty.
    fn sort_members(&mut self, envelope: &Envelope<'_>) {
        self.by_key.extend_from_slice(envelope.member_starts());
        self.by_key.sort_unstable_by(|&left, &right| {
            compare_keys(envelope.key(left), envelope.key(right)).then(left.cmp(&right))
        });
        for run in runs(envelope, &self.by_key) {
            self.set_aside.extend_from_slice(run_aside(envelope, run));
        }
        self.set_aside.sort_unstable();
    }

    fn push_members(&mut self, envelope: &Envelope<'_>, unheld: FieldSet) -> Result<(), Utf8Error> {
        let mut set_aside = self.set_aside.iter().peekable();
        for &start in envelope.member_starts() {
            if set_aside.next_if_eq(&&start).is_some() {
                continue;
            }
            let Some(member) = envelope.member(start) else {
                continue;
            };
            if Field::from_key(member.key).is_some_and(|field| !unheld.contains(field)) {
                continue;
            }
            push_key(&mut self.text, std::str::from_utf8(member.key)?);
            self.text.push_str(std::str::from_utf8(member.value)?);
        }
        Ok(())
    }

    fn push_duplicates(&mut self, envelope: &Envelope<'_>) -> Result<(), Utf8Error> {
        push_key(&mut self.text, &format!("\"{DUPLICATES}\""));
        self.text.push('{');
        for run in runs(envelope, &self.by_key) {
            let aside = run_aside(envelope, run);
            let (Some(&last), false) = (run.last(), aside.is_empty()) else {
                continue;
            };
            push_key(&mut self.text, std::str::from_utf8(envelope.key(last))?);
            self.text.push('[');
            for (index, &start) in aside.iter().enumerate() {
                if index > 0 {
                    self.text.push(',');
                }
                if let Some(member) = envelope.member(start) {
                    self.text.push_str(std::str::from_utf8(member.value)?);
                }
            }
            self.text.push(']');
        }
        self.text.push('}');
        Ok(())
    }
}

/// Runs of members with equal decoded keys, of members sorted by key.
fn runs<'s>(envelope: &Envelope<'_>, by_key: &'s [u32]) -> impl Iterator<Item = &'s [u32]> {
    by_key.chunk_by(|&left, &right| compare_keys(envelope.key(left), envelope.key(right)).is_eq())
}

/// The members of a run that go into `$duplicates`: all but the last, or all of them if the key is `$duplicates`
/// itself.
fn run_aside<'s>(envelope: &Envelope<'_>, run: &'s [u32]) -> &'s [u32] {
    match run.split_last() {
        Some((&last, earlier)) if decode_key(envelope.key(last)) != DUPLICATES.as_bytes() => {
            earlier
        }
        _ => run,
    }
}

/// Appends a key and its colon, after a comma unless it is the first in its object.
fn push_key(text: &mut String, key: &str) {
    if !text.ends_with('{') {
        text.push(',');
    }
    text.push_str(key);
    text.push(':');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Row;
    use crate::envelope::EnvelopeScratch;

    fn built(event: &str) -> Option<String> {
        let mut scratch = EnvelopeScratch::default();
        let envelope = Envelope::read(event.as_bytes(), &mut scratch);
        let unheld = Row::of(&envelope).unheld;
        let mut extra_fields = ExtraFields::default();
        let text = extra_fields.build(&envelope, unheld).unwrap();
        text.map(str::to_owned)
    }

    #[test]
    fn whatever_the_columns_leave_out_is_kept() {
        let rows: &[(&str, &str, Option<&str>)] = &[
            ("nothing", r#"{"event_id":"e","data":{"a":1}}"#, None),
            ("no members", "{}", None),
            (
                "nulls of the nine",
                r#"{"event_id":null,"schema_version":null}"#,
                None,
            ),
            (
                "an unknown field",
                r#"{"x" : [1, 2] ,"cid":"c"}"#,
                Some(r#"{"x":[1, 2]}"#),
            ),
            ("an unknown null", r#"{"x":null}"#, Some(r#"{"x":null}"#)),
            (
                "order and spelling",
                r#"{"z":1e400,"\u0061":"\u00e9","m":{"k" :1}}"#,
                Some(r#"{"z":1e400,"\u0061":"\u00e9","m":{"k" :1}}"#),
            ),
            (
                "another type",
                r#"{"cid":12,"event_id":"e"}"#,
                Some(r#"{"cid":12}"#),
            ),
            (
                "out of range",
                r#"{"arrival_epoch":9223372036854775808}"#,
                Some(r#"{"arrival_epoch":9223372036854775808}"#),
            ),
            (
                "a lone surrogate",
                r#"{"cid":"\ud800","data":"\udc00"}"#,
                Some(r#"{"cid":"\ud800","data":"\udc00"}"#),
            ),
            (
                "a repeated field",
                r#"{"cid":"a","cid":"b","cid":"c"}"#,
                Some(r#"{"$duplicates":{"cid":["a","b"]}}"#),
            ),
            (
                "a repeated unknown field, in the order of its last value",
                r#"{"x":1,"y":2,"\u0078":3}"#,
                Some(r#"{"y":2,"\u0078":3,"$duplicates":{"\u0078":[1]}}"#),
            ),
            (
                "an unusable value after a usable one",
                r#"{"cid":"a","cid":7}"#,
                Some(r#"{"cid":7,"$duplicates":{"cid":["a"]}}"#),
            ),
            (
                "a null after a value",
                r#"{"cid":"a","cid":null}"#,
                Some(r#"{"$duplicates":{"cid":["a"]}}"#),
            ),
            (
                "its own `$duplicates`",
                r#"{"$duplicates":{"a":[1]},"x":1,"x":2}"#,
                Some(r#"{"x":2,"$duplicates":{"$duplicates":[{"a":[1]}],"x":[1]}}"#),
            ),
            (
                "its own `$duplicates`, repeated and escaped",
                r#"{"$duplicates":1,"\u0024duplicates":2}"#,
                Some(r#"{"$duplicates":{"\u0024duplicates":[1,2]}}"#),
            ),
            (
                "keys that differ in a lone surrogate",
                r#"{"\ud800":1,"\ud801":2,"\uD800":3}"#,
                Some(r#"{"\ud801":2,"\uD800":3,"$duplicates":{"\uD800":[1]}}"#),
            ),
            (
                "the column's own name",
                r#"{"extra_fields":1}"#,
                Some(r#"{"extra_fields":1}"#),
            ),
            ("an empty key", r#"{"":1}"#, Some(r#"{"":1}"#)),
            (
                "line breaks in a value",
                "{\"x\":[1,\n2]}",
                Some("{\"x\":[1,\n2]}"),
            ),
        ];
        for (name, event, expected) in rows {
            assert_eq!(built(event).as_deref(), *expected, "{name}");
        }
    }

    #[test]
    fn a_million_keys_are_compared_in_good_time() {
        let mut event = String::from("{");
        for index in 0..500_000 {
            event.push_str(&format!("\"{}\":0,\"k{index}\":1,", index % 250_000));
        }
        event.push_str("\"last\":2}");
        let text = built(&event).unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["$duplicates"].as_object().unwrap().len(), 250_000);
        assert_eq!(parsed.as_object().unwrap().len(), 750_002);
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_an_error() {
        let mut scratch = EnvelopeScratch::default();
        let envelope = Envelope::read(b"{\"x\":\"\xFF\"}", &mut scratch);
        let mut extra_fields = ExtraFields::default();
        assert!(extra_fields.build(&envelope, FieldSet::default()).is_err());
    }
}
