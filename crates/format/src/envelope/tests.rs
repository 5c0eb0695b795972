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
