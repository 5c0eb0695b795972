//! Events with the platform's envelope and payloads of the shapes that it documents.

use chrono::{DateTime, SecondsFormat, TimeDelta};
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::text::{TRICKY, amount, pick, string, uuid, words};

/// Approximate size of the smallest and the largest event in bytes.
const EVENT_BYTES_MIN: f64 = 400.0;
const EVENT_BYTES_MAX: f64 = 8_000.0;

/// Domain, event type without its version, and schema version.
const KINDS: [(&str, &str, u32); 10] = [
    ("account", "status-change", 2),
    ("account", "account-creation", 1),
    ("authorization", "authorization", 3),
    ("authorization", "cancellation", 1),
    ("cards", "card-status-change", 1),
    ("cards", "embossing-request", 2),
    ("customer", "customer-creation", 1),
    ("customer", "address-change", 1),
    ("transaction", "transaction-creation", 2),
    ("statement", "statement-closing", 1),
];

/// An event's bytes, with the arrival time that duplicates of it must keep.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) bytes: Vec<u8>,
    pub(crate) arrival_millis: i64,
}

/// Generates an event with this arrival time, in milliseconds since 1970. A hard one may lack fields, and has strings
/// and layouts on which tools fail that do not follow the JSON grammar.
pub(crate) fn event(org_id: &str, arrival_millis: i64, hard: bool, rng: &mut ChaCha8Rng) -> Event {
    let (domain, kind, version) = KINDS[rng.random_range(0..KINDS.len())];
    let hard_chance = |share: f64, rng: &mut ChaCha8Rng| hard && rng.random_bool(share);
    let size = EVENT_BYTES_MIN + (EVENT_BYTES_MAX - EVENT_BYTES_MIN) * rng.random::<f64>().powi(4);
    let data = data(domain, size as usize, hard, rng);
    let version = if hard_chance(0.05, rng) {
        format!("\"{version}\"")
    } else {
        version.to_string()
    };
    let id_key = if hard_chance(0.01, rng) {
        r#""\u0065vent_id""#
    } else {
        "\"event_id\""
    };
    let mut members = vec![
        (id_key, string(&uuid(rng).to_string())),
        ("\"cid\"", string(&uuid(rng).to_string())),
        ("\"org_id\"", string(&org_id.to_uppercase())),
        ("\"domain\"", string(domain)),
        (
            "\"event_type\"",
            format!("\"{kind}-{}\"", version.trim_matches('"')),
        ),
        ("\"schema_version\"", version),
    ];
    let has_arrival = !hard_chance(0.01, rng);
    members.push(("\"timestamp\"", timestamp(arrival_millis, has_arrival, rng)));
    if has_arrival {
        members.push(("\"arrival_epoch\"", arrival_millis.to_string()));
    }
    if hard && rng.random_bool(0.05) {
        members.extend(unusual_data(&data, rng).map(|data| ("\"data\"", data)));
    } else {
        members.push(("\"data\"", data));
    }
    if hard_chance(0.02, rng) {
        members.push((
            "\"trace\"",
            format!(r#"{{"id":{},"}}{{":[]}}"#, string(&words(2, rng))),
        ));
        members.push(("\"sequence\"", "123456789012345678901234567890".to_owned()));
        members.push((
            "\"ratio\"",
            "0.10000000000000000555111512312578270211815834045".to_owned(),
        ));
    }
    members.shuffle(rng);
    let spelling = if hard_chance(0.03, rng) {
        if rng.random() {
            Spelling::Pretty("\n")
        } else {
            Spelling::Pretty("\r\n")
        }
    } else {
        Spelling::Compact
    };
    Event {
        bytes: spelling.write(&members).into_bytes(),
        arrival_millis,
    }
}

enum Spelling {
    Compact,
    /// One member a line, with this line break.
    Pretty(&'static str),
}

impl Spelling {
    fn write(&self, members: &[(&str, String)]) -> String {
        let (colon, open, comma, close) = match self {
            Self::Compact => (":", "{".to_owned(), ",".to_owned(), "}".to_owned()),
            Self::Pretty(end) => (
                " : ",
                format!("{{{end}  "),
                format!(",{end}  "),
                format!("{end}}}"),
            ),
        };
        let members: Vec<String> = members
            .iter()
            .map(|(key, value)| format!("{key}{colon}{value}"))
            .collect();
        format!("{open}{}{close}", members.join(&comma))
    }
}

/// A time shortly before the arrival, or the arrival itself if the event has no `arrival_epoch`.
fn timestamp(arrival_millis: i64, has_arrival: bool, rng: &mut ChaCha8Rng) -> String {
    let before = if has_arrival {
        rng.random_range(5..2_000)
    } else {
        0
    };
    let precision = match rng.random_range(0..10) {
        0 => SecondsFormat::Nanos,
        1 => SecondsFormat::Micros,
        _ => SecondsFormat::Millis,
    };
    let instant = DateTime::from_timestamp_millis(arrival_millis - before).unwrap_or_default()
        + TimeDelta::nanoseconds(rng.random_range(0..1_000_000));
    string(&instant.to_rfc3339_opts(precision, true))
}

/// A payload that is not an object: a string that holds JSON, an array, null; `None` leaves `data` out.
fn unusual_data(data: &str, rng: &mut ChaCha8Rng) -> Option<String> {
    match rng.random_range(0..10) {
        0..2 => None,
        2..4 => Some("null".to_owned()),
        4..6 => Some(format!("[{data},[],{{}}]")),
        _ => Some(string(data)),
    }
}

fn data(domain: &str, event_bytes: usize, hard: bool, rng: &mut ChaCha8Rng) -> String {
    let mut members = match domain {
        "account" => account(rng),
        "authorization" => authorization(rng),
        "cards" => card(rng),
        "customer" => customer(rng),
        _ => transaction(rng),
    };
    if hard && rng.random_bool(0.15) {
        members.push(format!("\"note\":{}", pick(&TRICKY, rng)));
    }
    // The envelope around the payload has about 330 bytes.
    let mut missing =
        event_bytes.saturating_sub(330 + members.iter().map(String::len).sum::<usize>());
    let mut details = Vec::new();
    while missing > 60 {
        let detail = detail(hard, rng);
        missing = missing.saturating_sub(detail.len() + 1);
        details.push(detail);
    }
    members.push(format!("\"details\":[{}]", details.join(",")));
    format!("{{{}}}", members.join(","))
}

fn detail(hard: bool, rng: &mut ChaCha8Rng) -> String {
    let text = if hard && rng.random_bool(0.1) {
        pick(&TRICKY, rng).to_owned()
    } else {
        string(&words(rng.random_range(2..8), rng))
    };
    let (key, amount) = (rng.random_range(1..100_000), amount(rng));
    format!(r#"{{"key":{key},"description":{text},"amount":{amount}}}"#)
}

fn account(rng: &mut ChaCha8Rng) -> Vec<String> {
    let status = pick(&["NORMAL", "BLOCKED", "CANCELLED", "DORMANT"], rng);
    vec![
        format!(r#""account_id":{}"#, rng.random_range(1_000_000..9_999_999)),
        format!(r#""status":"{status}","reason":null"#),
        format!(
            r#""limits":{{"total":{},"available":{}}}"#,
            amount(rng),
            amount(rng)
        ),
    ]
}

fn authorization(rng: &mut ChaCha8Rng) -> Vec<String> {
    vec![
        format!(
            r#""authorization_id":{}"#,
            rng.random_range(1_i64 << 40..1 << 50)
        ),
        format!(
            r#""amount":{},"currency":"{}""#,
            amount(rng),
            pick(&["986", "840", "978"], rng)
        ),
        format!(
            r#""merchant":{{"name":{},"mcc":"{}"}}"#,
            string(&words(3, rng)),
            rng.random_range(1000..9999)
        ),
        format!(r#""approved":{}"#, rng.random_bool(0.9)),
    ]
}

fn card(rng: &mut ChaCha8Rng) -> Vec<String> {
    vec![
        format!(
            r#""card_id":{},"last_four":"{:04}""#,
            rng.random_range(1..9_999_999),
            rng.random_range(0..10_000)
        ),
        format!(
            r#""type":"{}","virtual":{}"#,
            pick(&["PLASTIC", "VIRTUAL"], rng),
            rng.random::<bool>()
        ),
        format!(
            r#""expiration":"{:02}/{}""#,
            rng.random_range(1..13),
            rng.random_range(2025..2032)
        ),
    ]
}

fn customer(rng: &mut ChaCha8Rng) -> Vec<String> {
    let name = pick(
        &[
            "María José",
            "João Conceição",
            "Zoë Müller",
            "Li 小龙",
            "Anne-Sophie",
        ],
        rng,
    );
    vec![
        format!(r#""customer_id":{}"#, rng.random_range(1..99_999_999)),
        format!(
            r#""name":{},"document_number":"{:011}""#,
            string(name),
            rng.random_range(0_u64..99_999_999_999)
        ),
        format!(
            r#""addresses":[{{"zip":"{:05}","city":{}}}]"#,
            rng.random_range(0..99_999),
            string(&words(1, rng))
        ),
    ]
}

fn transaction(rng: &mut ChaCha8Rng) -> Vec<String> {
    vec![
        format!(
            r#""transaction_id":{}"#,
            rng.random_range(1_i64 << 33..1 << 45)
        ),
        format!(
            r#""amount":{},"installments":{}"#,
            amount(rng),
            rng.random_range(1..13)
        ),
        format!(
            r#""processing_code":"{:06}","soft_descriptor":{}"#,
            rng.random_range(0..999_999),
            string(&words(2, rng))
        ),
    ]
}
