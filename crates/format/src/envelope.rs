//! The envelope of one event: its nine documented fields, and whatever else it carries.

use std::borrow::Cow;

use event_recovery_splitter::Event;
use memchr::memchr;

use crate::json_string::{decode_key, decode_string, integer};
use crate::members::{Member, Members, key_at, member_at, separated};

/// A field that the platform documents for every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// Unique per event, and the same in its duplicates.
    EventId,
    /// Correlation id.
    Cid,
    /// The tenant; its case may differ from the bucket's.
    OrgId,
    /// For example `customer-creation-1`.
    EventType,
    /// For example `account`.
    Domain,
    /// An integer or a string holding one.
    SchemaVersion,
    /// Milliseconds since 1970 UTC.
    ArrivalEpoch,
    /// RFC 3339.
    Timestamp,
    /// The payload: an object, or a string holding JSON.
    Data,
}

impl Field {
    /// Every field, in the order of the Parquet columns.
    pub const ALL: [Self; 9] = [
        Self::EventId,
        Self::Cid,
        Self::OrgId,
        Self::EventType,
        Self::Domain,
        Self::SchemaVersion,
        Self::ArrivalEpoch,
        Self::Timestamp,
        Self::Data,
    ];

    /// The field's key in the event, and the name of its column.
    pub fn name(self) -> &'static str {
        match self {
            Self::EventId => "event_id",
            Self::Cid => "cid",
            Self::OrgId => "org_id",
            Self::EventType => "event_type",
            Self::Domain => "domain",
            Self::SchemaVersion => "schema_version",
            Self::ArrivalEpoch => "arrival_epoch",
            Self::Timestamp => "timestamp",
            Self::Data => "data",
        }
    }

    /// The field that a raw key (with its quotes) names, whatever its escapes.
    pub fn from_key(raw: &[u8]) -> Option<Self> {
        let inner = raw.get(1..raw.len().saturating_sub(1))?;
        Self::named(inner).or_else(|| {
            let is_escaped = memchr(b'\\', inner).is_some();
            Self::named(is_escaped.then(|| decode_key(raw))?.as_ref())
        })
    }

    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"event_id" => Some(Self::EventId),
            b"cid" => Some(Self::Cid),
            b"org_id" => Some(Self::OrgId),
            b"event_type" => Some(Self::EventType),
            b"domain" => Some(Self::Domain),
            b"schema_version" => Some(Self::SchemaVersion),
            b"arrival_epoch" => Some(Self::ArrivalEpoch),
            b"timestamp" => Some(Self::Timestamp),
            b"data" => Some(Self::Data),
            _ => None,
        }
    }
}

/// Memory that one reader of envelopes uses again for every event.
#[derive(Debug, Default)]
pub struct EnvelopeScratch {
    /// Where each member's key starts in the event. Four bytes a member: an event of 16 MiB can
    /// have three million of them.
    member_starts: Vec<u32>,
}

impl EnvelopeScratch {
    /// Starts that stay allocated between events; what an extreme event needed is given back.
    const STARTS_KEPT_MAX: usize = 64 * 1024;

    fn clear(&mut self) {
        self.member_starts.clear();
        self.member_starts.shrink_to(Self::STARTS_KEPT_MAX);
    }
}

/// The top-level fields of one event; of a repeated field, the last value counts.
///
/// Reading allocates nothing once the scratch has grown to the usual number of members.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    event: &'a [u8],
    fields: [Option<&'a [u8]>; Field::ALL.len()],
    member_starts: &'a [u32],
    /// Every member is one of the nine fields, and each comes once.
    only_fields: bool,
    repeats_event_id: bool,
    /// The splitter has seen that the event is UTF-8.
    is_text: bool,
}

impl<'a> Envelope<'a> {
    /// Reads the envelope of `event`, one valid JSON object of less than 4 GiB.
    ///
    /// Bytes that are not one JSON object give an arbitrary envelope, and an event of 4 GiB or
    /// more an empty one; the writers refuse such an event.
    pub fn read(event: &'a [u8], scratch: &'a mut EnvelopeScratch) -> Self {
        let mut members = Members::new(event);
        if u32::try_from(event.len()).is_err() {
            members = Members::new(b"");
        }
        Self::of_members(
            event,
            std::iter::from_fn(|| members.next_with_start()),
            scratch,
        )
    }

    /// As [`read`](Self::read), of an event that the splitter found. Where the splitter has noted
    /// the separators of the members, the event is not read a second time.
    pub fn of(event: Event<'a>, scratch: &'a mut EnvelopeScratch) -> Self {
        let envelope = match event.separators {
            Some(separators) => {
                Self::of_members(event.bytes, separated(event.bytes, separators), scratch)
            }
            None => Self::read(event.bytes, scratch),
        };
        Self {
            is_text: true,
            ..envelope
        }
    }

    /// `members` come with the start of their keys, which lies below 4 GiB.
    fn of_members(
        event: &'a [u8],
        members: impl Iterator<Item = (usize, Member<'a>)>,
        scratch: &'a mut EnvelopeScratch,
    ) -> Self {
        scratch.clear();
        let mut fields = [None; Field::ALL.len()];
        let mut only_fields = true;
        let mut repeats_event_id = false;
        for (start, member) in members {
            scratch.member_starts.push(start as u32);
            let Some(field) = Field::from_key(member.key) else {
                only_fields = false;
                continue;
            };
            if fields[field as usize].replace(member.value).is_some() {
                only_fields = false;
                repeats_event_id |= field == Field::EventId;
            }
        }
        Self {
            event,
            fields,
            member_starts: &scratch.member_starts,
            only_fields,
            repeats_event_id,
            is_text: false,
        }
    }

    /// The event itself, as given.
    pub fn event(&self) -> &'a [u8] {
        self.event
    }

    /// The field's last value as it is written, without the white space around it.
    pub fn raw(&self, field: Field) -> Option<&'a [u8]> {
        self.fields[field as usize]
    }

    /// The field's text, where it is a JSON string without lone surrogates.
    pub fn text(&self, field: Field) -> Option<Cow<'a, str>> {
        decode_string(self.raw(field)?)
    }

    /// The field's value, where it is an integer as [`integer`] defines it.
    pub fn integer(&self, field: Field) -> Option<i64> {
        integer(self.raw(field)?)
    }

    /// `event_id`, where it is a string.
    pub fn event_id(&self) -> Option<Cow<'a, str>> {
        self.text(Field::EventId)
    }

    /// `cid`, where it is a string.
    pub fn cid(&self) -> Option<Cow<'a, str>> {
        self.text(Field::Cid)
    }

    /// `org_id`, where it is a string.
    pub fn org_id(&self) -> Option<Cow<'a, str>> {
        self.text(Field::OrgId)
    }

    /// `event_type`, where it is a string.
    pub fn event_type(&self) -> Option<Cow<'a, str>> {
        self.text(Field::EventType)
    }

    /// `domain`, where it is a string.
    pub fn domain(&self) -> Option<Cow<'a, str>> {
        self.text(Field::Domain)
    }

    /// `schema_version`, where it is an integer or a string holding one.
    pub fn schema_version(&self) -> Option<i64> {
        self.integer(Field::SchemaVersion)
    }

    /// `arrival_epoch` in milliseconds since 1970, where it is an integer or a string holding one.
    pub fn arrival_epoch(&self) -> Option<i64> {
        self.integer(Field::ArrivalEpoch)
    }

    /// `timestamp`, where it is a string.
    pub fn timestamp(&self) -> Option<Cow<'a, str>> {
        self.text(Field::Timestamp)
    }

    /// `data` as it is written.
    pub fn data(&self) -> Option<&'a [u8]> {
        self.raw(Field::Data)
    }

    /// Whether `event_id` comes more than once: the event may be two, joined by a damaged byte
    /// between them.
    pub fn repeats_event_id(&self) -> bool {
        self.repeats_event_id
    }

    /// Every top-level member in order, repeated ones too.
    pub fn members(&self) -> impl Iterator<Item = Member<'a>> + use<'a> {
        let event = self.event;
        let starts = self.member_starts.iter();
        starts.filter_map(move |&start| member_at(event, start as usize))
    }

    /// Whether the event is UTF-8.
    pub(crate) fn is_text(&self) -> bool {
        self.is_text || simdutf8::basic::from_utf8(self.event).is_ok()
    }

    /// Whether the nine fields, each at most once, are all there is.
    pub(crate) fn has_only_fields(&self) -> bool {
        self.only_fields
    }

    /// Where each member's key starts, in order; for [`Self::member`] and [`Self::key`].
    pub(crate) fn member_starts(&self) -> &'a [u32] {
        self.member_starts
    }

    pub(crate) fn member(&self, start: u32) -> Option<Member<'a>> {
        member_at(self.event, start as usize)
    }

    pub(crate) fn key(&self, start: u32) -> &'a [u8] {
        key_at(self.event, start as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_recovery_splitter::{Item, Limits, Splitter};
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn the_nine_fields_are_found_in_any_order() {
        let event = concat!(
            r#"{"data":{"event_id":"inner"},"timestamp":"2019-07-20T19:03:00.000Z","schema_version":"2","#,
            r#""event_type":"customer-creation-1","domain":"account","org_id":"TN-1","cid":"c","#,
            r#""event_id":"e-\u00311","arrival_epoch":1563649380000}"#,
        );
        let mut scratch = EnvelopeScratch::default();
        let envelope = Envelope::read(event.as_bytes(), &mut scratch);
        assert_eq!(envelope.event_id().as_deref(), Some("e-11"));
        assert_eq!(envelope.cid().as_deref(), Some("c"));
        assert_eq!(envelope.org_id().as_deref(), Some("TN-1"));
        assert_eq!(
            envelope.event_type().as_deref(),
            Some("customer-creation-1")
        );
        assert_eq!(envelope.domain().as_deref(), Some("account"));
        assert_eq!(envelope.schema_version(), Some(2));
        assert_eq!(envelope.arrival_epoch(), Some(1_563_649_380_000));
        assert_eq!(
            envelope.timestamp().as_deref(),
            Some("2019-07-20T19:03:00.000Z")
        );
        assert_eq!(envelope.data(), Some(&br#"{"event_id":"inner"}"#[..]));
        assert!(envelope.has_only_fields());
    }

    #[test]
    fn the_last_of_repeated_fields_counts_however_it_is_spelled() {
        let rows = [
            (r#"{"event_id":"a","event_id":"b"}"#, Some("b")),
            (r#"{"event_id":"a","\u0065vent_id":"b"}"#, Some("b")),
            (r#"{"\u0065vent_i\u0064":"a"}"#, Some("a")),
            (r#"{"event_id":"a","event_id":null}"#, None),
            (r#"{"event_id":"a","event_id":"\ud800"}"#, None),
            (r#"{"Event_id":"a"}"#, None),
            (r#"{"event_id ":"a"}"#, None),
            (r#"{"data":{"event_id":"a"}}"#, None),
        ];
        for (event, expected) in rows {
            let mut scratch = EnvelopeScratch::default();
            let envelope = Envelope::read(event.as_bytes(), &mut scratch);
            assert_eq!(envelope.event_id().as_deref(), expected, "{event}");
        }
    }

    #[test]
    fn a_repeated_event_id_is_noticed_however_it_is_spelled() {
        for (event, is_repeated) in [
            (r#"{"event_id":"a","event_id":"b"}"#, true),
            (r#"{"event_id":"a","event_id":"a"}"#, true),
            (r#"{"event_id":"a","x":1,"\u0065vent_id":null}"#, true),
            (r#"{"event_id":"a","data":{"event_id":"b"}}"#, false),
            (r#"{"event_id":"a","cid":"1","cid":"2"}"#, false),
            (r#"{"event_id":"a","event_ID":"b"}"#, false),
            ("{}", false),
        ] {
            let mut scratch = EnvelopeScratch::default();
            let envelope = Envelope::read(event.as_bytes(), &mut scratch);
            assert_eq!(envelope.repeats_event_id(), is_repeated, "{event}");
        }
    }

    #[test]
    fn every_field_knows_its_own_key() {
        for (index, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, index);
            let key = format!("\"{}\"", field.name());
            assert_eq!(Field::from_key(key.as_bytes()), Some(field));
        }
        assert_eq!(Field::from_key(b"\"extra_fields\""), None);
    }

    #[test]
    fn the_scratch_is_used_again_and_an_extreme_event_is_forgotten() {
        let mut scratch = EnvelopeScratch::default();
        let many = format!("{{{}\"z\":0}}", "\"a\":1,".repeat(200_000));
        assert_eq!(
            Envelope::read(many.as_bytes(), &mut scratch)
                .members()
                .count(),
            200_001
        );
        let envelope = Envelope::read(b"{\"cid\":\"c\"}", &mut scratch);
        assert_eq!(envelope.members().count(), 1);
        assert!(scratch.member_starts.capacity() <= EnvelopeScratch::STARTS_KEPT_MAX);
    }

    #[test]
    fn the_splitter_notes_the_separators_of_plain_events() {
        let stream = r#"{"event_id":"e","data":{"id":-7}}"#.repeat(3);
        let mut noted = 0;
        let mut splitter = Splitter::new(Limits::default(), |_: &[u8]| true);
        let pushed = splitter.push(stream.as_bytes(), |item| {
            if let Item::Event(event) = item {
                noted += usize::from(event.separators.is_some());
            }
            Ok::<_, std::convert::Infallible>(())
        });
        pushed.unwrap();
        assert_eq!(noted, 2, "all that another follows");
    }

    /// Any JSON value, numbers and nesting included.
    pub(crate) fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[{}\\[\\]\",:\\\\ ]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn any_key() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(Field::ALL.to_vec()).prop_map(|field| field.name().to_owned()),
            any::<String>(),
            "[ab]",
        ]
    }

    fn text_of(members: &[(String, Value, String)]) -> String {
        let mut event = String::from("{");
        for (index, (key, value, space)) in members.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let key = serde_json::to_string(key).unwrap();
            event.push_str(&format!("{comma}{space}{key}{space}:{space}{value}{space}"));
        }
        event.push('}');
        event
    }

    proptest! {
        #[test]
        fn the_splitter_s_separators_give_the_same_envelope(
            members in prop::collection::vec((any_key(), any_value(), "[ \t\r\n]{0,2}"), 0..12),
        ) {
            let event = text_of(&members);
            let stream = event.repeat(2);
            let mut splitter = Splitter::new(Limits::default(), |_: &[u8]| true);
            let pushed = splitter.push(stream.as_bytes(), |item| {
                if let Item::Event(event) = item {
                    let (mut scratch, mut other_scratch) = Default::default();
                    let found = Envelope::of(event, &mut scratch);
                    let read = Envelope::read(event.bytes, &mut other_scratch);
                    prop_assert_eq!(found.fields, read.fields);
                    prop_assert_eq!(found.member_starts, read.member_starts);
                    prop_assert_eq!(found.only_fields, read.only_fields);
                }
                Ok(())
            });
            pushed?;
        }

        #[test]
        fn agrees_with_a_full_parser(
            members in prop::collection::vec((any_key(), any_value(), "[ \t\r\n]{0,2}"), 0..12),
        ) {
            let event = text_of(&members);
            let parsed: serde_json::Map<String, Value> = serde_json::from_str(&event).unwrap();
            let mut scratch = EnvelopeScratch::default();
            let envelope = Envelope::read(event.as_bytes(), &mut scratch);

            let found: Vec<(String, Value)> = envelope.members().map(|member| (
                serde_json::from_slice(member.key).unwrap(),
                serde_json::from_slice(member.value).unwrap(),
            )).collect();
            let written: Vec<(String, Value)> = members.into_iter()
                .map(|(key, value, _)| (key, serde_json::from_str(&value.to_string()).unwrap()))
                .collect();
            prop_assert_eq!(found, written);
            for field in Field::ALL {
                let value = envelope.raw(field).map(|raw| serde_json::from_slice(raw).unwrap());
                prop_assert_eq!(value.as_ref(), parsed.get(field.name()));
                let text = envelope.text(field);
                prop_assert_eq!(text.as_deref(), parsed.get(field.name()).and_then(Value::as_str));
            }
        }
    }
}
