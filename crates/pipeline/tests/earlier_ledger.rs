//! A ledger that an earlier version of this software wrote, whose records have no digests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use std::fs::{self, File};
use std::path::Path;

use chrono::{DateTime, Utc};
use event_recovery_pipeline::{Report, Verdict, inspect};
use serde_json::json;
use support::{NOW, Sandbox, at, id, request, write};

const FIXTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/ledger-version-1"
);
/// When the objects were written, which their etags tell.
const MODIFIED: &str = "2026-11-24T00:00:00Z";

/// A copy of the earlier run: two objects, one of them with a rejected fragment.
fn earlier_run() -> Sandbox {
    let sandbox = Sandbox::new();
    copy(&Path::new(FIXTURE).join("backup"), &sandbox.source_path());
    copy(
        &Path::new(FIXTURE).join("recovered"),
        &sandbox.destination_path(),
    );
    let modified: DateTime<Utc> = at(MODIFIED);
    for path in support::tree(&sandbox.source_path()).keys() {
        let file = File::options()
            .append(true)
            .open(sandbox.source_path().join(path))
            .unwrap();
        file.set_modified(modified.into()).unwrap();
    }
    sandbox
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in support::tree(from) {
        write(&to.join(path), &bytes);
    }
}

async fn inspected(sandbox: &Sandbox) -> Report {
    inspect(&*sandbox.destination(), &id("run"), at(NOW))
        .await
        .unwrap()
}

/// The receipt of the object with this number.
fn receipt(sandbox: &Sandbox, number: u32) -> String {
    let part = format!("bbaa-{number:012}");
    let tree = sandbox.tree();
    let found = tree
        .keys()
        .find(|path| path.contains("/receipts/") && path.contains(&part));
    found.unwrap().clone()
}

#[tokio::test]
async fn it_is_readable_and_its_missing_digests_are_told_as_what_they_are() {
    let sandbox = earlier_run();
    let report = inspected(&sandbox).await;
    assert_eq!(report.verdict, Verdict::NeedsLook, "{:?}", report.reasons);
    assert_eq!(report.reasons, ["rejected fragments: 1"]);
    // Request, plan, three task lists, two receipts, and the report.
    assert_eq!(report.unverifiable_records, 8);
    assert_eq!((report.events.written, report.objects.done), (4, 2));
}

#[tokio::test]
async fn its_run_resumes_where_it_stopped() {
    let sandbox = earlier_run();
    let output = sandbox.output();
    sandbox.remove(&receipt(&sandbox, 1));
    sandbox.remove("_recovery/run/plan.json");
    sandbox.remove("_recovery/run/report.json");
    let kept = sandbox.read(&receipt(&sandbox, 2)).unwrap();
    let report = sandbox.recover(request(json!({})), &id("run")).await;
    assert_eq!(report.reasons, ["rejected fragments: 1"]);
    assert_eq!(sandbox.output(), output);
    assert_eq!(sandbox.read(&receipt(&sandbox, 2)).unwrap(), kept);
    assert_eq!(
        report.unverifiable_records, 2,
        "request and the kept receipt"
    );
}

#[tokio::test]
async fn what_its_sums_tell_is_still_seen() {
    let sandbox = earlier_run();
    let key = receipt(&sandbox, 1);
    let text = fs::read_to_string(sandbox.destination_path().join(&key)).unwrap();
    sandbox.overwrite(&key, text.replace("\"source\": 324", "\"source\": 1"));
    assert_eq!(inspected(&sandbox).await.verdict, Verdict::Incomplete);
}
