//! Writes the pages of reports that a browser is to show: `report_pages FOLDER`, which must exist. `make report-page` opens
//! them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "an example for tests, where a failure is a panic"
)]

use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use event_recovery_pipeline::{HourPrefix, Report, report_page};
use serde_json::{Value, json};

const ORG: &str = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";
const HOSTILE: &str =
    "main_stream/2024/04/01/00/\"><script>alert(1)</script>'{{x}}]]>-->&amp;\u{202e}😀\u{7}";

fn main() {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("a folder"));
    for (name, report) in [
        ("complete", complete(24)),
        ("incomplete", incomplete()),
        ("empty", empty()),
        ("days-31", complete(31 * 24)),
        ("year", complete(365 * 24)),
        ("failures-10000", failures()),
        ("hostile", hostile()),
    ] {
        let report: Report = serde_json::from_value(report).unwrap();
        let page = report_page(&report).unwrap();
        std::fs::write(folder.join(format!("{name}.html")), page).unwrap();
    }
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_711_929_600, 0).unwrap()
}

/// As many hours, with more events by day than by night.
fn hours(number: u32) -> Vec<Value> {
    (0..number)
        .map(|hour| {
            let at = start() + TimeDelta::hours(i64::from(hour));
            let label = HourPrefix::from_instant(at).label();
            let events = 500 + 480 * u64::from((hour % 24).abs_diff(12).abs_diff(12));
            json!({
                "hour": label, "listed_at": "2024-06-01T12:00:00Z", "late_objects": 0,
                "objects": objects(12, 0),
                "bytes": bytes(events * 1900), "events": counts(events),
                "rejected_fragments": 0, "outside_tolerance_max_millis": 0,
            })
        })
        .collect()
}

fn objects(done: u64, failed: u64) -> Value {
    let planned = done + failed;
    json!({"listed": planned, "pruned": 0, "planned": planned, "done": done, "failed": failed, "missing": 0, "lost": 0})
}

fn bytes(read: u64) -> Value {
    json!({"source": read, "read": read, "events": read, "whitespace": 0, "rejected": 0})
}

fn counts(events: u64) -> Value {
    json!({"found": events, "written": events, "out_of_window": 0, "filtered_out": 0, "duplicates": 0,
        "outside_tolerance": 0, "repeated_ids": 0})
}

fn complete(number: u32) -> Value {
    let hours = hours(number);
    let sum = |group: &str, field: &str| -> u64 {
        hours
            .iter()
            .map(|hour| hour[group][field].as_u64().unwrap())
            .sum()
    };
    let end = start() + TimeDelta::hours(i64::from(number));
    json!({
        "version": 3, "software": "event-recovery 0.1.0", "execution_id": "20240401T000000Z-20240402T000000Z-1f3a9c2e",
        "verdict": "complete", "reasons": [],
        "listed_at": "2024-06-01T12:00:00Z", "final": true, "final_after": end + TimeDelta::hours(25),
        "request": {
            "org_id": ORG, "start": start(), "end": end,
            "window": {"kind": "arrival", "lead_secs": 900, "lag_secs": 3600},
            "format": "parquet", "compression": "zstd", "domains": ["account", "cards"], "event_types": [],
        },
        "objects": objects(sum("objects", "done"), 0),
        "bytes": bytes(sum("bytes", "read")), "events": counts(sum("events", "written")),
        "kinds": {
            "account": {"account-creation-1": 300, "account-status-change-2": sum("events", "written").saturating_sub(370)},
            "cards": {"card-block-1": 60, "other": 10},
        },
        "rejected_fragments": 0, "outside_tolerance_max_millis": 0, "foreign_names": 0,
        "output": {"files": 288, "bytes": 81_234_567}, "unrecovered": [], "rejected_files": [],
        "hours": hours,
        "times": {"created_at": "2024-06-01T12:00:00Z", "planned_at": "2024-06-01T12:00:01Z",
            "finished_at": "2024-06-01T12:03:00Z", "audited_at": "2024-06-01T12:03:04Z", "duration_millis": 184_000},
    })
}

fn incomplete() -> Value {
    let mut report = complete(48);
    report["verdict"] = json!("incomplete");
    report["final"] = json!(false);
    report["reasons"] = json!([
        "objects failed: 2",
        "objects missing: 1",
        "rejected fragments: 3",
        "objects whose loss was accepted: 1"
    ]);
    report["objects"]["done"] = json!(48 * 12 - 4);
    report["objects"]["failed"] = json!(2);
    report["objects"]["missing"] = json!(1);
    report["objects"]["lost"] = json!(1);
    report["rejected_fragments"] = json!(3);
    report["rejected_files"] = json!(["_recovery/_rejected/run/task-1.jsonl"]);
    report["late"] =
        json!({"objects": 1, "done": 1, "events": 7, "named": ["main_stream/2024/04/01/20/late"]});
    report["vanished"] = json!({"objects": 120, "named": ["main_stream/2024/04/01/21/gone"]});
    report["losses"] = json!([{"key": "main_stream/2024/04/01/05/lost", "reason": "deleted by the platform, ticket 4711",
        "accepted_at": "2024-06-01T12:10:00Z", "accepted_by": "arn:aws:sts::111122223333:assumed-role/operator/ada"}]);
    report["unrecovered"] = json!([
        {"key": "main_stream/2024/04/01/03/one", "reason": "could not read it: denied or gone",
            "hint": "allow `s3:GetObject` on the source"},
        {"key": "main_stream/2024/04/01/04/two", "reason": "the object has changed since it was planned", "hint": null},
    ]);
    for (hour, field, number) in [(3, "failed", 2), (4, "missing", 1), (5, "lost", 1)] {
        report["hours"][hour]["objects"][field] = json!(number);
        report["hours"][hour]["objects"]["done"] = json!(12 - number);
    }
    report["hours"][20]["late_objects"] = json!(1);
    for hour in 30..34 {
        report["hours"][hour]["objects"] = objects(0, 0);
        report["hours"][hour]["events"] = counts(0);
        report["hours"][hour]["bytes"] = bytes(0);
    }
    report
}

fn empty() -> Value {
    let mut report = complete(0);
    report["verdict"] = json!("needs_look");
    report["reasons"] = json!(["no objects at all in the range"]);
    report["times"]["finished_at"] = Value::Null;
    report
}

fn failures() -> Value {
    let mut report = complete(24);
    report["verdict"] = json!("incomplete");
    report["reasons"] = json!(["objects failed: 10000"]);
    report["objects"] = objects(0, 10_000);
    // As many as a report names.
    let failed = |number: usize| {
        json!({"key": format!("main_stream/2024/04/01/00/object-{number:05}"), "reason": "could not read it: denied or gone",
            "hint": "allow `s3:GetObject` on the source"})
    };
    report["unrecovered"] = (0..Report::UNRECOVERED_MAX).map(failed).collect();
    report
}

fn hostile() -> Value {
    let mut report = incomplete();
    report["reasons"] = json!([format!("the record `{HOSTILE}` was changed")]);
    report["unrecovered"][0] = json!({"key": HOSTILE, "reason": HOSTILE, "hint": HOSTILE});
    report["losses"][0]["key"] = json!(HOSTILE);
    report["losses"][0]["reason"] = json!(HOSTILE);
    report["late"]["named"] = json!([HOSTILE]);
    report["rejected_files"] = json!([HOSTILE]);
    report["request"]["domains"] = json!([HOSTILE]);
    report
}
