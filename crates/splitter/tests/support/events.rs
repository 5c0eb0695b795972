//! Strategies for events of every shape, for damage, and for chunks.

use proptest::prelude::*;

pub fn whitespace() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,3}"
}

/// The content of a JSON string as written, with many braces, escapes and quotes.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => "[a-z]{1,4}",
        1 => Just("}{".to_owned()),
        1 => "[{}\\[\\],:! ]{1,3}",
        1 => prop::sample::select(vec!["\\\"", "\\\\", "\\n", "\\/", "\\u00e9", "\\ud83d\\ude00", "\\udc00"]).prop_map(str::to_owned),
        1 => Just(r#"{\"event_id\":\"e\"}"#.to_owned()),
        1 => "[é€😀]",
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

/// A key without lone surrogates, which serde_json refuses in keys.
fn key() -> impl Strategy<Value = String> {
    text().prop_map(|text| format!("k{}", text.replace("\\udc00", "")))
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
        text().prop_map(|text| format!("\"{text}\"")),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let member = (key(), whitespace(), inner.clone())
            .prop_map(|(key, space, value)| format!("\"{key}\"{space}:{space}{value}"));
        prop_oneof![
            (prop::collection::vec(inner, 0..4), whitespace())
                .prop_map(|(values, space)| format!("[{space}{}{space}]", values.join(","))),
            (prop::collection::vec(member, 0..4), whitespace())
                .prop_map(|(members, space)| format!("{{{space}{}{space}}}", members.join(","))),
        ]
    })
}

pub fn object() -> impl Strategy<Value = String> {
    prop::collection::vec((key(), value()), 0..4).prop_map(|members| {
        let members: Vec<String> = members
            .iter()
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect();
        format!("{{{}}}", members.join(","))
    })
}

/// An envelope with its id at any position. Other keys begin with `k`, so that none of them is `event_id`.
pub fn envelope() -> impl Strategy<Value = String> {
    (
        prop::collection::vec((key(), value()), 0..4),
        any::<prop::sample::Index>(),
        "[0-9a-f]{8}",
    )
        .prop_map(|(members, place, id)| {
            let mut members: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("\"{key}\":{value}"))
                .collect();
            members.insert(
                place.index(members.len() + 1),
                format!("\"event_id\":\"{id}\""),
            );
            format!("{{{}}}", members.join(","))
        })
}

pub fn cut<'a>(stream: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    let mut rest = stream;
    for &length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at(length.min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}

pub fn chunk_lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1_usize..40, 1..8)
}

#[derive(Debug, Clone)]
pub enum Tear {
    CutTail,
    FlipTo(u8),
    Drop,
}

pub fn tear() -> impl Strategy<Value = Tear> {
    prop_oneof![
        Just(Tear::CutTail),
        Just(Tear::Drop),
        any::<u8>().prop_map(Tear::FlipTo),
        prop::sample::select(b"{}[]\",:\\ 0e".to_vec()).prop_map(Tear::FlipTo),
    ]
}

pub fn torn(event: &str, tear: &Tear, place: usize) -> Vec<u8> {
    let mut bytes = event.as_bytes().to_vec();
    match tear {
        Tear::CutTail => bytes.truncate(place),
        Tear::FlipTo(byte) => bytes[place] = *byte,
        Tear::Drop => {
            bytes.remove(place);
        }
    }
    bytes
}
