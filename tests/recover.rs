//! A recovery returns exactly what was in the backup, compared with the truth of a generator that shares no code with
//! the recovery.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::fs;
use std::path::Path;

use chrono::DateTime;
use serde_json::Value;
use support::{
    ORG_ID, Sample, arrival_millis, check_balance, files, json_lines, output_files, python,
    recovered_lines, report,
};

const HARD: [&str; 7] = [
    "--hard",
    "--hours",
    "48",
    "--objects-per-hour",
    "12",
    "--object-bytes",
    "48KiB",
];
const FULL_RANGE: [&str; 4] = ["--start", "2024-04-01", "--end", "2024-04-02"];

fn millis(instant: &str) -> i64 {
    DateTime::parse_from_rfc3339(instant)
        .unwrap()
        .timestamp_millis()
}

/// Key, offset and length of the fragment that a line of JSON describes.
fn fragment(line: &Value) -> (String, u64, u64) {
    let number = |name: &str| line[name].as_u64().unwrap();
    (
        line["key"].as_str().unwrap().to_owned(),
        number("offset"),
        number("length"),
    )
}

/// The rejected fragments that the run kept, sorted.
fn rejected(destination: &Path) -> Vec<(String, u64, u64)> {
    let folder = destination.join("_recovery/_rejected/run");
    let mut rejected: Vec<_> = files(&folder)
        .keys()
        .flat_map(|path| json_lines(&folder.join(path)))
        .map(|line| fragment(&line))
        .collect();
    rejected.sort_unstable();
    rejected
}

#[test]
fn a_hard_backup_comes_back_exactly_in_both_formats() {
    let sample = Sample::new(&HARD);
    let expected = sample.expected();
    let torn: Vec<_> = sample.torn().iter().map(fragment).collect();
    for format in ["ndjson", "parquet"] {
        let destination = sample.destination(format);
        let (report, exit_code) = sample.run(
            &destination,
            &[&FULL_RANGE[..], &["--format", format]].concat(),
        );
        assert_eq!(exit_code, Some(3), "{format}");
        assert_eq!(report["verdict"], "needs_look", "{format}");
        check_balance(&report);
        assert_eq!(report["events"]["written"], expected.len(), "{format}");
        assert_eq!(report["events"]["outside_tolerance"], 0, "{format}");
        assert_eq!(report["objects"]["done"], 576, "{format}");
        assert_eq!(report["rejected_fragments"], torn.len(), "{format}");
        assert_eq!(report["foreign_names"], 1, "{format}");
        assert_eq!(rejected(&destination), torn, "{format}");
        assert!(!destination.join("execution_id=run/_SUCCESS").exists());
    }
    assert!(
        recovered_lines(&sample.destination("ndjson")) == expected,
        "other events than expected"
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/check_parquet.py");
    let checked = python()
        .arg(script)
        .arg(sample.backup().join("expected.ndjson"))
        .arg(sample.destination("parquet").join("execution_id=run"))
        .status()
        .unwrap();
    assert!(
        checked.success(),
        "DuckDB and pyarrow read other events than expected"
    );
}

#[test]
fn a_plain_backup_is_complete() {
    let sample = Sample::new(&["--hours", "3", "--object-bytes", "32KiB"]);
    let destination = sample.destination("out");
    let range = [
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T03:00:00Z",
        "--format",
        "ndjson",
    ];
    let (report, exit_code) = sample.run(&destination, &range);
    assert_eq!(
        (exit_code, &report["verdict"]),
        (Some(0), &Value::from("complete"))
    );
    assert_eq!(report["reasons"], Value::Array(Vec::new()));
    check_balance(&report);
    assert!(destination.join("execution_id=run/_SUCCESS").exists());
    assert!(recovered_lines(&destination) == sample.expected());
    let bytes: u64 = output_files(&destination)
        .values()
        .map(|bytes| bytes.len() as u64)
        .sum();
    assert_eq!(report["output"]["bytes"], bytes);
    let on_disk: Value =
        serde_json::from_slice(&fs::read(destination.join("_recovery/run/report.json")).unwrap())
            .unwrap();
    assert_eq!(on_disk, report);
}

#[test]
fn a_window_through_hours_gives_the_events_that_arrived_in_it() {
    let sample = Sample::new(&["--hours", "24", "--object-bytes", "24KiB"]);
    let (start, end) = ("2024-04-01T13:20:00Z", "2024-04-01T15:45:00Z");
    let destination = sample.destination("out");
    let (report, exit_code) = sample.run(
        &destination,
        &["--start", start, "--end", end, "--format", "ndjson"],
    );
    assert_eq!(exit_code, Some(0), "{report}");
    check_balance(&report);
    assert!(report["objects"]["pruned"].as_u64().unwrap() > 0);
    assert!(report["events"]["out_of_window"].as_u64().unwrap() > 0);
    let window = millis(start)..millis(end);
    let mut expected = sample.expected();
    expected.retain(|event| window.contains(&arrival_millis(event)));
    let recovered = recovered_lines(&destination);
    assert!(
        recovered == expected,
        "{} events instead of {}",
        recovered.len(),
        expected.len()
    );
}

#[test]
fn adjoining_windows_give_together_what_their_union_gives() {
    let sample = Sample::new(&["--hard", "--hours", "8", "--object-bytes", "24KiB"]);
    for (window, start, middle, end) in [
        (
            "arrival",
            "2024-04-01T01:10:00Z",
            "2024-04-01T03:59:59.500Z",
            "2024-04-01T06:00:00Z",
        ),
        (
            "publish",
            "2024-04-01T01:00:00Z",
            "2024-04-01T04:00:00Z",
            "2024-04-01T06:00:00Z",
        ),
    ] {
        let recover = |start: &str, end: &str| {
            let destination = sample.destination(&format!("{window}-{start}-{end}"));
            let options = [
                "--window", window, "--start", start, "--end", end, "--format", "ndjson",
            ];
            let (report, _) = sample.run(&destination, &options);
            assert_ne!(report["verdict"], "incomplete");
            check_balance(&report);
            recovered_lines(&destination)
        };
        let mut parts = [recover(start, middle), recover(middle, end)].concat();
        parts.sort_unstable();
        let union = recover(start, end);
        assert!(!union.is_empty());
        assert!(
            parts == union,
            "{window}: {} events, and {} together",
            parts.len(),
            union.len()
        );
    }
}

#[test]
fn a_publish_window_takes_every_event_under_its_hour_prefixes() {
    let sample = Sample::new(&["--hours", "4", "--object-bytes", "24KiB"]);
    let destination = sample.destination("out");
    let options = [
        "--window",
        "publish",
        "--format",
        "ndjson",
        "--start",
        "2024-04-01T01:00:00Z",
        "--end",
        "2024-04-01T02:00:00Z",
    ];
    let (report, exit_code) = sample.run(&destination, &options);
    assert_eq!(exit_code, Some(0));
    assert_eq!(report["events"]["out_of_window"], 0);
    // The generator writes no delimiters, so only the bytes of the events must be the same.
    let source: Vec<u8> = files(&sample.backup().join("main_stream/2024/04/01/01"))
        .into_values()
        .flatten()
        .collect();
    let recovered: Vec<u8> = output_files(&destination)
        .into_iter()
        .filter(|(path, _)| !path.ends_with("_SUCCESS"))
        .flat_map(|(_, bytes)| bytes)
        .filter(|byte| *byte != b'\n')
        .collect();
    assert!(recovered == source);
    let neighbours = recovered_lines(&destination)
        .iter()
        .filter(|event| arrival_millis(event) < millis("2024-04-01T01:00:00Z"))
        .count();
    assert!(neighbours > 0, "the sample has no late events");
}

#[test]
fn objects_with_any_name_are_recovered_and_reported() {
    let sample = Sample::new(&[
        "--hours",
        "1",
        "--objects-per-hour",
        "4",
        "--object-bytes",
        "8KiB",
    ]);
    let hour = sample.backup().join("main_stream/2024/04/01/00");
    let names = [
        "a b.json",
        "ünï\u{1b}[31m\n.json",
        "back\\slash",
        "sub/folder/object",
    ];
    let objects: Vec<_> = files(&hour).into_keys().collect();
    fs::create_dir_all(hour.join("sub/folder")).unwrap();
    for (object, name) in objects.iter().zip(names) {
        fs::rename(hour.join(object), hour.join(name)).unwrap();
    }
    let destination = sample.destination("out");
    let range = [
        "--start",
        "2024-04-01",
        "--end",
        "2024-04-01",
        "--format",
        "ndjson",
    ];
    let (report, exit_code) = sample.run(&destination, &range);
    assert_eq!(
        (exit_code, &report["foreign_names"]),
        (Some(3), &Value::from(4))
    );
    assert_eq!(
        report["reasons"].as_array().unwrap().len(),
        1,
        "{}",
        report["reasons"]
    );
    assert!(recovered_lines(&destination) == sample.expected());
}

#[test]
fn filters_leave_out_other_domains_and_types_and_count_them() {
    let sample = Sample::new(&["--hours", "1", "--object-bytes", "24KiB"]);
    let destination = sample.destination("out");
    let options = [
        "--format",
        "ndjson",
        "--domain",
        "account",
        "--domain",
        "cards",
        "--event-type",
        "status-change-2",
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T01:00:00Z",
    ];
    let (report, exit_code) = sample.run(&destination, &options);
    assert_eq!(exit_code, Some(0));
    check_balance(&report);
    let mut expected = sample.expected();
    let all = expected.len();
    expected.retain(|event| {
        let event: Value = serde_json::from_slice(event).unwrap();
        event["domain"] == "account" && event["event_type"] == "status-change-2"
    });
    assert!(!expected.is_empty());
    assert!(recovered_lines(&destination) == expected);
    assert_eq!(report["events"]["filtered_out"], all - expected.len());
}

#[test]
fn patterns_and_exclusions_leave_out_what_they_say() {
    let sample = Sample::new(&["--hours", "1", "--object-bytes", "24KiB"]);
    let destination = sample.destination("out");
    let range = [
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T01:00:00Z",
        "--format",
        "ndjson",
    ];
    let filters = [
        "--domain",
        "[ac]*",
        "--exclude-domain",
        "{cards,nothing}",
        "--exclude-event-type",
        "*-2",
    ];
    let (report, exit_code) = sample.run(&destination, &[&range[..], &filters].concat());
    assert_eq!(exit_code, Some(0));
    check_balance(&report);
    let mut expected = sample.expected();
    let all = expected.len();
    expected.retain(|event| {
        let event: Value = serde_json::from_slice(event).unwrap();
        let (domain, event_type) = (&event["domain"], &event["event_type"]);
        let domain = domain.as_str().unwrap();
        domain.starts_with(['a', 'c'])
            && domain != "cards"
            && !event_type.as_str().unwrap().ends_with("-2")
    });
    assert!(!expected.is_empty() && expected.len() < all);
    assert!(recovered_lines(&destination) == expected);
    assert_eq!(report["events"]["filtered_out"], all - expected.len());
    // A pattern that can't be read is refused, by its field.
    let refused = sample
        .run_command(&destination, &[&range[..], &["--domain", "[a"]].concat())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("`domains`"), "{said}");
}

#[test]
fn a_forecast_says_what_the_report_says_later() {
    let sample = Sample::new(&["--hours", "12", "--object-bytes", "24KiB"]);
    let destination = sample.destination("out");
    let range = [
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T12:00:00Z",
        "--window",
        "publish",
    ];
    for format in ["parquet", "ndjson"] {
        let options = [&range[..], &["--format", format]].concat();
        let dry_run = [&options[..], &["--dry-run", "--json"]].concat();
        let output = sample.run_command(&destination, &dry_run).output().unwrap();
        let told = report(&output);
        let forecast = &told["forecast"];
        let out = sample.destination(format);
        let (after, _) = sample.run(&out, &options);
        let cost = &after["cost"];
        assert_eq!(cost["requests"], forecast["requests"], "{format}");
        assert_eq!(cost["bytes_read"], forecast["bytes_read"]);
        assert_eq!(cost["micro_usd"], forecast["micro_usd"]);
        assert_eq!(cost["prices"]["region"], "us-east-1");
        let total = cost["micro_usd"]["total"].as_u64().unwrap();
        // 144 objects: some 500 requests, most of them at $5 for a million.
        assert!((1_000..10_000).contains(&total), "{total}");
    }
}

#[test]
fn a_run_that_is_larger_than_allowed_is_refused_before_it_begins() {
    let sample = Sample::new(&["--hours", "1", "--object-bytes", "24KiB"]);
    let destination = sample.destination("out");
    let range = [
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T01:00:00Z",
        "--window",
        "publish",
    ];
    for (limit, least) in [
        (["--max-objects", "3"], "more than 3 objects"),
        (["--max-bytes", "50KB"], "more than 50000 bytes"),
        (["--max-usd", "0.000100"], "would cost more than $0.000100"),
    ] {
        for dry_run in [&[][..], &["--dry-run"]] {
            let options = [&range[..], &limit, dry_run].concat();
            let refused = sample.run_command(&destination, &options).output().unwrap();
            assert_eq!(refused.status.code(), Some(1));
            let said = String::from_utf8(refused.stderr).unwrap();
            assert!(said.contains(least), "{said}");
            assert!(!destination.join("execution_id=run").exists());
        }
    }
    // With a higher limit, the same run goes on.
    let (report, exit_code) = sample.run(&destination, &range);
    assert_eq!(
        (exit_code, &report["verdict"]),
        (Some(0), &"complete".into())
    );
}

#[test]
fn repeated_events_of_an_object_are_dropped_when_that_is_asked_for() {
    let sample = Sample::new(&["--hours", "1", "--objects-per-hour", "1"]);
    let hour = sample.backup().join("main_stream/2024/04/01/00");
    let object = fs::read_dir(&hour).unwrap().next().unwrap().unwrap();
    let event = |id: &str, n: u32| {
        format!(
            "{{\"event_id\":\"{id}\",\"org_id\":\"{ORG_ID}\",\"timestamp\":\"2024-04-01T00:00:01Z\",\"n\":{n}}}"
        )
    };
    let events = [
        event("a", 1),
        event("b", 1),
        event("a", 1),
        event("a", 2),
        event("b", 1),
        event("a", 2),
    ];
    fs::write(object.path(), events.concat()).unwrap();
    let range = [
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T01:00:00Z",
        "--format",
        "ndjson",
        "--window",
        "publish",
    ];
    let kept = sample.destination("kept");
    let (report, _) = sample.run(&kept, &range);
    assert_eq!(recovered_lines(&kept).len(), events.len());
    assert_eq!(report["events"]["duplicates"], 0);
    let dropped = sample.destination("dropped");
    let (report, exit_code) = sample.run(&dropped, &[&range[..], &["--dedupe", "object"]].concat());
    check_balance(&report);
    let mut expected = [event("a", 1), event("a", 2), event("b", 1)].map(String::into_bytes);
    expected.sort_unstable();
    assert_eq!(recovered_lines(&dropped), expected);
    assert_eq!(report["events"]["duplicates"], 3);
    // The same id with other bytes is kept, and a person should know.
    assert_eq!(report["events"]["same_id_other_bytes"], 1);
    assert_eq!(exit_code, Some(3));
    assert_eq!(report["verdict"], "needs_look");
}

#[test]
fn no_content_of_an_event_is_in_the_ledger() {
    let sample = Sample::new(&["--hard", "--hours", "2", "--object-bytes", "16KiB"]);
    let destination = sample.destination("out");
    let output = sample
        .run_command(
            &destination,
            &["--start", "2024-04-01", "--end", "2024-04-01"],
        )
        .output()
        .unwrap();
    let mut places = files(&destination.join("_recovery/run"));
    places.insert("stdout".into(), output.stdout);
    places.insert("stderr".into(), output.stderr);
    assert!(places.len() > 20);
    let marks = ["event_id", "merchant", "TN-3477", "description"];
    for (path, bytes) in places {
        let text = String::from_utf8_lossy(&bytes);
        for mark in marks {
            assert!(!text.contains(mark), "{mark} in {}", path.display());
        }
    }
}

#[test]
fn a_dry_run_counts_and_leaves_nothing_behind() {
    let sample = Sample::new(&["--hours", "2", "--object-bytes", "16KiB"]);
    let destination = sample.destination("out");
    let range = [
        "--start",
        "2024-04-01",
        "--end",
        "2024-04-01",
        "--window",
        "publish",
    ];
    let (plan, exit_code) = sample.run(&destination, &[&range[..], &["--dry-run"]].concat());
    assert_eq!(exit_code, Some(0));
    assert_eq!(plan["objects"]["planned"], 24);
    let source = files(&sample.backup().join("main_stream"));
    let bytes: u64 = source.values().map(|bytes| bytes.len() as u64).sum();
    assert_eq!(plan["bytes"], bytes);
    assert_eq!(plan["days"][0]["date"], "2024-04-01");
    assert_eq!(plan["days"][0]["empty_hours"].as_array().unwrap().len(), 22);
    assert!(!destination.exists());
}

#[test]
fn the_report_counts_the_events_by_domain_and_type() {
    let sample = Sample::new(&["--hours", "2", "--object-bytes", "50KiB"]);
    let destination = sample.destination("recovered");
    let range = [
        "--start",
        "2024-04-01T00:00:00Z",
        "--end",
        "2024-04-01T02:00:00Z",
        "--format",
        "ndjson",
    ];
    let (report, code) = sample.run(&destination, &range);
    assert_eq!(code, Some(0), "{report}");
    let mut expected = serde_json::Map::new();
    for event in recovered_lines(&destination) {
        let event: Value = serde_json::from_slice(&event).unwrap();
        let name = |field: &str| event[field].as_str().unwrap().to_owned();
        let types = expected
            .entry(name("domain"))
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
        let events = types[&name("event_type")].as_u64().unwrap_or(0) + 1;
        types[&name("event_type")] = events.into();
    }
    assert!(expected.len() > 1, "{expected:?}");
    assert_eq!(report["kinds"], Value::Object(expected));
    let page = fs::read_to_string(destination.join("_recovery/run/report.html")).unwrap();
    let domain = report["kinds"].as_object().unwrap().keys().next().unwrap();
    assert!(page.contains(&format!("<th scope=\"row\">{domain}</th>")));
}
