//! The report as a page: what it says, and that nothing in it is anything but text.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use event_recovery_pipeline::{Report, Unrecovered, Verdict, audit, report_page};
use serde_json::json;
use support::doubles::{Effect, FaultyStorage, Operation, permanent};
use support::{NOW, Sandbox, at, event, id, object_key, request};

const PAGE: &str = "_recovery/run/report.html";

fn one_hour() -> event_recovery_pipeline::ResolvedRequest {
    request(json!({"window": "publish", "end": "2024-04-01T01:00:00Z"}))
}

async fn recovered() -> (Sandbox, Report) {
    let sandbox = Sandbox::new();
    let time = "2024-04-01T00:10:00Z";
    for number in 1..=3 {
        sandbox.back_up(&object_key(time, number), event("secret content", time));
    }
    let report = sandbox.recover(one_hour(), &id("run")).await;
    (sandbox, report)
}

fn page(sandbox: &Sandbox) -> String {
    String::from_utf8(sandbox.read(PAGE).unwrap()).unwrap()
}

#[tokio::test]
async fn it_stands_beside_the_report_and_says_the_same() {
    let (sandbox, report) = recovered().await;
    assert_eq!(page(&sandbox), report_page(&report).unwrap());
    assert!(page(&sandbox).contains("Everything was recovered"));
    assert!(page(&sandbox).contains("Final: the backup was listed at"));
    assert!(!page(&sandbox).contains("secret content"));
    assert!(!page(&sandbox).contains("<script"));
    // It is that of the newest report.
    let lost = support::output_key(
        &id("run"),
        "2024-04-01",
        &object_key("2024-04-01T00:10:00Z", 1),
    );
    sandbox.remove(&lost);
    let now = at(NOW);
    let report = audit(&*sandbox.destination(), &id("run"), now)
        .await
        .unwrap();
    assert_eq!(report.verdict, Verdict::Incomplete);
    assert_eq!(page(&sandbox), report_page(&report).unwrap());
    assert!(page(&sandbox).contains("Not everything is recovered"));
}

#[tokio::test]
async fn keys_and_reasons_are_text_whatever_they_hold() {
    let (_, mut report) = recovered().await;
    let hostile = "\"'><script>alert(1)</script><!-- {{ x }} ]]> &amp; \u{202e}😀";
    report.unrecovered = vec![Unrecovered {
        key: hostile.to_owned(),
        reason: hostile.to_owned(),
        hint: Some(hostile.to_owned()),
    }];
    report.reasons = vec![hostile.to_owned()];
    report.rejected_fragments = 1;
    report.rejected_files = vec![hostile.to_owned()];
    report.request.domains.insert(hostile.to_owned());
    report.software = hostile.to_owned();
    let page = report_page(&report).unwrap();
    assert!(!page.contains("<script"), "{page}");
    assert!(!page.contains("<!--"), "{page}");
    assert_eq!(
        page.matches("&lt;script&gt;").count() + page.matches("&#60;script&#62;").count(),
        7
    );
    // Nor does a character turn what follows it around.
    assert!(page.contains("\\u{202e}") && !page.contains('\u{202e}'));
    assert_eq!(page, report_page(&report).unwrap());
}

#[tokio::test]
async fn it_does_not_grow_with_what_the_report_only_counts() {
    let (_, mut report) = recovered().await;
    let least = report_page(&report).unwrap().len();
    report.objects.failed = 10_000;
    report.objects.planned += 10_000;
    let page = report_page(&report).unwrap();
    assert!(page.len() < least + 1000, "{} bytes", page.len());
    // A year of hours is shown by day.
    let hour = report.hours[0].clone();
    report.hours = vec![hour; 365 * 24];
    let page = report_page(&report).unwrap();
    assert!(page.len() < 400_000, "{} bytes", page.len());
}

#[tokio::test]
async fn a_page_that_cannot_be_written_fails_no_audit() {
    let (sandbox, _) = recovered().await;
    let Effect::Fail(problem) = permanent() else {
        panic!("a failure");
    };
    let denied = FaultyStorage::new(sandbox.destination());
    let denied = denied.at_first(Operation::Put, PAGE, u32::MAX, Effect::Fail(problem));
    let report = audit(&denied, &id("run"), at(NOW)).await.unwrap();
    assert_eq!(report.verdict, Verdict::Complete);
    assert!(denied.calls(Operation::Put, PAGE) > 0);
}
