use event_recovery_format::{NdjsonCompression, OutputFormat, ParquetCompression};
use serde_json::{Value, json};

use super::*;

const ORG: &str = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";
const NOW: &str = "2024-06-01T12:00:00Z";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The smallest request, with `changes` over it.
fn request(changes: &Value) -> Value {
    let mut request = json!({"org_id": ORG, "start": "2024-04-01", "end": "2024-04-03"});
    for (field, value) in changes.as_object().unwrap() {
        request[field] = value.clone();
    }
    request
}

fn resolve(changes: Value) -> Result<Resolution, RequestError> {
    resolve_json(request(&changes).to_string().as_bytes())
}

fn resolve_json(json: &[u8]) -> Result<Resolution, RequestError> {
    RecoveryRequest::from_json(json)?.resolve(
        &RequestLimits::default(),
        &Tolerance::default(),
        at(NOW),
    )
}

#[test]
fn the_smallest_request_gets_the_defaults() {
    let expected = ResolvedRequest {
        org_id: OrgId::parse(ORG).unwrap(),
        start: at("2024-04-01T00:00:00Z"),
        end: at("2024-04-04T00:00:00Z"),
        window: WindowParameters {
            kind: WindowKind::Arrival,
            lead_secs: 900,
            lag_secs: 3600,
        },
        output: OutputFormat::Parquet(ParquetCompression::Zstd),
        domains: BTreeSet::new(),
        event_types: BTreeSet::new(),
        exclude_domains: BTreeSet::new(),
        exclude_event_types: BTreeSet::new(),
        dedupe: None,
    };
    let nulls = json!({
        "window": null, "format": null, "compression": null, "domains": null,
        "event_types": null, "dry_run": null, "execution_id": null,
    });
    for changes in [json!({}), nulls, json!({"domains": [], "dry_run": false})] {
        let resolution = resolve(changes).unwrap();
        assert_eq!(resolution.request, expected);
        assert!(!resolution.dry_run);
        assert_eq!(resolution.execution_id, None);
    }
}

#[test]
fn the_designs_example_is_accepted() {
    let resolution = resolve(json!({
        "org_id": ORG.to_uppercase(), "window": "publish", "format": "ndjson",
        "compression": "gzip", "domains": ["cards", "account", "cards"],
        "event_types": ["status-change-2"], "dry_run": true, "execution_id": "run-1",
    }))
    .unwrap();
    let request = &resolution.request;
    assert_eq!(request.org_id.as_str(), ORG);
    assert_eq!(request.window.kind, WindowKind::Publish);
    assert_eq!(
        request.output,
        OutputFormat::Ndjson(NdjsonCompression::Gzip)
    );
    assert!(request.domains.iter().eq(["account", "cards"]));
    assert!(resolution.dry_run);
    assert_eq!(resolution.execution_id.unwrap().as_str(), "run-1");
}

#[test]
fn dates_are_inclusive_and_instants_half_open() {
    let rows = [
        (
            "one date",
            ("2024-04-01", "2024-04-01"),
            ("2024-04-01T00:00:00Z", "2024-04-02T00:00:00Z"),
        ),
        (
            "leap day",
            ("2024-02-29", "2024-02-29"),
            ("2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
        ),
        (
            "instants",
            ("2024-04-01T00:00:00Z", "2024-04-01T00:00:00.000000001Z"),
            ("2024-04-01T00:00:00Z", "2024-04-01T00:00:00.000000001Z"),
        ),
        (
            "other offsets",
            ("2024-04-01T00:00:00-03:00", "2024-04-01T12:30:00+05:30"),
            ("2024-04-01T03:00:00Z", "2024-04-01T07:00:00Z"),
        ),
        (
            "leap second",
            ("2016-12-31T23:59:60.5Z", "2017-01-01T00:00:01Z"),
            ("2017-01-01T00:00:00.5Z", "2017-01-01T00:00:01Z"),
        ),
        (
            "today and on",
            ("2024-06-01", "2024-06-30"),
            ("2024-06-01T00:00:00Z", "2024-07-01T00:00:00Z"),
        ),
        (
            "from now on",
            (NOW, "2024-06-01T13:00:00Z"),
            (NOW, "2024-06-01T13:00:00Z"),
        ),
        (
            "the longest range",
            ("2023-01-01", "2024-02-04"),
            ("2023-01-01T00:00:00Z", "2024-02-05T00:00:00Z"),
        ),
    ];
    for (name, (start, end), expected) in rows {
        let request = resolve(json!({"start": start, "end": end}))
            .unwrap()
            .request;
        let expected = (at(expected.0), at(expected.1));
        assert_eq!((request.start, request.end), expected, "{name}");
        let window = request.window();
        assert_eq!((window.start, window.end), expected, "{name}");
    }
}

#[test]
fn each_format_has_its_compressions() {
    let rows = [
        (json!({}), "zstd"),
        (json!({"compression": "snappy"}), "snappy"),
        (json!({"format": "parquet", "compression": "none"}), "none"),
        (json!({"format": "ndjson"}), "none"),
        (json!({"format": "ndjson", "compression": "zstd"}), "zstd"),
        (json!({"format": "ndjson", "compression": "gzip"}), "gzip"),
    ];
    for (changes, expected) in rows {
        let request = resolve(changes.clone()).unwrap().request;
        let compression = Compression::of(request.output);
        assert_eq!(compression.as_str(), expected, "{changes}");
    }
}

/// Refused values: a name, the changes, the field that is named, a part of the message, a part
/// of the hint.
#[test]
fn a_refusal_names_the_field_and_what_it_accepts() {
    let many: Vec<_> = (0..101).map(|n| n.to_string()).collect();
    #[rustfmt::skip] // One row a line.
    let rows = [
        ("org id", json!({"org_id": "tn-1"}), "org_id", "`tn-` and a UUID, like", ""),
        ("no date", json!({"start": "yesterday"}), "start", "neither a date nor", "an offset"),
        ("no such date", json!({"end": "2024-04-31"}), "end", "a date like", ""),
        ("single digits", json!({"end": "2024-4-3"}), "end", "a date like", ""),
        ("no offset", json!({"start": "2024-04-01T00:00:00"}), "start", "RFC 3339", "`Z`"),
        ("no seconds", json!({"start": "2024-04-01T00:00Z"}), "start", "RFC 3339", "seconds"),
        ("mixed", json!({"end": "2024-04-03T00:00:00Z"}), "end", "a date, because", "inclusive"),
        ("mixed otherwise", json!({"start": "2024-04-01T00:00:00Z"}), "end", "an RFC 3339 instant, because", ""),
        ("reversed", json!({"end": "2024-03-31"}), "end", "a time after `start`", "inclusive"),
        ("reversed by a day", json!({"start": "2024-04-02", "end": "2024-04-01"}), "end", "a time after `start`", ""),
        ("empty", json!({"start": "2024-04-01T00:00:00Z", "end": "2024-04-01T01:00:00+01:00"}), "end", "makes an empty range", "first after the range"),
        ("long ago", json!({"start": "1969-12-31"}), "start", "1970", ""),
        ("future", json!({"start": "2024-06-02", "end": "2024-06-03"}), "start", "up to now, `2024-06-01T12:00:00Z`", "UTC"),
        ("a day too many", json!({"start": "2023-01-01", "end": "2024-02-05"}), "end", "401 days; it accepts a range of at most 400 days", "split"),
        ("a moment too much", json!({"start": "2023-01-01T00:00:00Z", "end": "2024-02-05T00:00:00.1Z"}), "end", "401 days", ""),
        ("window", json!({"window": "Arrival"}), "window", "`arrival` or `publish`", ""),
        ("format", json!({"format": "csv"}), "format", "`parquet` or `ndjson`", ""),
        ("empty format", json!({"format": ""}), "format", "`parquet` or `ndjson`", ""),
        ("compression of the other format", json!({"compression": "gzip"}), "compression", "`zstd`, `snappy` or `none`", "`ndjson`"),
        ("NDJSON with Snappy", json!({"format": "ndjson", "compression": "snappy"}), "compression", "`none`, `gzip` or `zstd`", "`parquet`"),
        ("no compression", json!({"compression": "lz4"}), "compression", "`zstd`", ""),
        ("no compression of NDJSON", json!({"format": "ndjson", "compression": "lz4"}), "compression", "`none`, `gzip` or `zstd`: \"lz4\"", ""),
        ("a name in an object", json!({"format": {"ndjson": null}}), "format", "wrong JSON type", ""),
        ("empty domain", json!({"domains": ["a", ""]}), "domains", "empty", "leave"),
        ("padded", json!({"event_types": ["a "]}), "event_types", "white space", ""),
        ("control", json!({"domains": ["a\nb"]}), "domains", "control", ""),
        ("long", json!({"domains": ["x".repeat(129)]}), "domains", "1 to 128 bytes", ""),
        ("many", json!({"event_types": many}), "event_types", "at most 100 values: 101", ""),
        ("execution id", json!({"execution_id": "../x"}), "execution_id", "1 to 64 of", ""),
        ("unknown", json!({"strat": "2024"}), "request", "`execution_id`: `strat`", ""),
        ("missing", json!({"start": null}), "start", "a date like", ""),
        ("type of a text", json!({"end": 20240401}), "end", "wrong JSON type", ""),
        ("type of a list", json!({"domains": "a"}), "domains", "a list of strings: \"a\"", ""),
        ("type in a list", json!({"domains": [1]}), "domains", "a list of strings: [1]", ""),
        ("type of a flag", json!({"dry_run": "yes"}), "dry_run", "`true` or `false`", ""),
    ];
    for (name, changes, field, message, hint) in rows {
        let error = resolve(changes).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.field, field, "{name}");
        assert!(text.starts_with(&format!("`{field}` ")), "{name}: {text}");
        assert!(text.contains("; it accepts "), "{name}: {text}");
        assert!(text.contains(message), "{name}: {text}");
        assert!(
            !text.ends_with('.') && !text.contains('\n'),
            "{name}: {text}"
        );
        let found = error.hint().unwrap_or_default();
        assert!(found.contains(hint), "{name}: {found}");
    }
}

#[test]
fn a_publish_window_within_an_hour_is_told_the_nearest_whole_hours() {
    let whole = ("2024-04-01T01:00:00Z", "2024-04-01T03:00:00Z");
    let rows = [
        (
            "start",
            "2024-04-01T00:10:00Z",
            whole.1,
            "T00:00:00Z",
            "T01:00:00Z",
        ),
        (
            "end",
            whole.0,
            "2024-04-01T23:59:59.5Z",
            "T23:00:00Z",
            "2024-04-02T00:00:00Z",
        ),
        (
            "end",
            whole.0,
            "2024-04-01T03:00:00+00:30",
            "T02:00:00Z",
            "T03:00:00Z",
        ),
    ];
    for (field, start, end, before, after) in rows {
        let range = json!({"start": start, "end": end, "window": "publish"});
        let error = resolve(range.clone()).unwrap_err();
        assert_eq!(error.field, field);
        let hint = error.hint().unwrap();
        assert!(hint.contains(before) && hint.contains(after), "{hint}");
        let mut arrival = range;
        arrival["window"] = json!("arrival");
        assert!(resolve(arrival).is_ok());
    }
    let aligned = json!({"start": whole.0, "end": whole.1, "window": "publish"});
    assert!(resolve(aligned).is_ok());
}

#[test]
fn what_is_no_request_is_refused_whole() {
    let twice = format!(r#"{{"org_id":"{ORG}","start":"a","end":"b","end":"c"}}"#);
    let long = " ".repeat(REQUEST_BYTES_MAX + 1);
    let deep = "[".repeat(100_000);
    let rows = [
        ("empty", "", "not valid JSON"),
        ("cut", r#"{"org_id":"#, "not valid JSON"),
        ("two", "{} {}", "not valid JSON"),
        ("list", "[]", "not a JSON object"),
        ("null", "null", "not a JSON object"),
        ("deep", &deep, "not valid JSON"),
        ("too long", &long, "is too long"),
        ("field twice", &twice, "names a field twice"),
    ];
    for (name, json, message) in rows {
        let error = RecoveryRequest::from_json(json.as_bytes()).unwrap_err();
        assert_eq!(error.field, "request", "{name}");
        assert!(error.to_string().contains(message), "{name}: {error}");
    }
    let missing = RecoveryRequest::from_json(b"{}").unwrap_err();
    assert!(
        missing
            .to_string()
            .starts_with("`org_id` is missing; it accepts")
    );
    assert!(resolve_json(b"\xff").is_err());
}

#[test]
fn messages_read_as_sentences() {
    let rows = [
        (
            json!({"end": "2024-03-01"}),
            r#"`end` is before `start`; it accepts a time after `start`, "2024-04-01": "2024-03-01""#,
        ),
        (
            json!({"compression": "gzip"}),
            r#"`compression` does not go with the format `parquet`; it accepts `zstd`, `snappy` or `none`: "gzip""#,
        ),
    ];
    for (changes, expected) in rows {
        assert_eq!(resolve(changes).unwrap_err().to_string(), expected);
    }
}
