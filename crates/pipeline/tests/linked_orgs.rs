//! The backup of an additional subscriber, which holds events of several orgs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use event_recovery_pipeline::{LinkedOrgs, Report, Run, Verdict};
use serde_json::{Value, json};
use support::{MARKER, ORG, Sandbox, carry_out, event, id, object_key, receipt_key, request};

const TIME: &str = "2024-04-01T00:10:00Z";
const LINKED: &str = "tn-00000000-f4f0-464d-b4c6-a14e2dc6f4be";
const OTHER: &str = "TN-11111111-F4F0-464D-B4C6-A14E2DC6F4BE";

fn event_of_org(event_id: &str, org: &str) -> String {
    event(event_id, TIME).replace(ORG, org)
}

/// Of each org an event, and torn events of all of them in between.
fn object() -> (String, Vec<String>) {
    let intact: Vec<String> = [ORG, LINKED, OTHER, LINKED]
        .iter()
        .enumerate()
        .map(|(number, org)| event_of_org(&number.to_string(), org))
        .collect();
    let torn = event_of_org("torn", LINKED);
    let torn = &torn[..torn.len() / 2];
    (intact.join(torn), intact)
}

async fn recover(sandbox: &Sandbox, linked: &str) -> Report {
    let run = sandbox.run(request(json!({})), &id("run"));
    carry_out(Run {
        linked_orgs: LinkedOrgs::parse(linked).unwrap(),
        ..run
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn intact_events_of_linked_orgs_survive_next_to_damage_and_are_counted_by_org() {
    let sandbox = Sandbox::new();
    let (content, intact) = object();
    sandbox.back_up(&object_key(TIME, 1), content);
    sandbox.back_up(&object_key(TIME, 2), event_of_org("4", ORG));
    let report = recover(&sandbox, "").await;
    assert_eq!(report.verdict, Verdict::NeedsLook, "{:?}", report.reasons);
    assert_eq!((report.events.written, report.rejected_fragments), (5, 3));
    let lines = sandbox.lines(&id("run"));
    assert!(intact.iter().all(|event| lines.contains(event)));
    let expected = [(LINKED, 2), (&*OTHER.to_lowercase(), 1), (ORG, 2)];
    let expected = expected.map(|(org, events)| (org.to_owned(), events));
    assert!(report.orgs.into_iter().eq(expected), "by org");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_linked_orgs_are_named_others_are_rejected_next_to_damage_and_only_there() {
    let sandbox = Sandbox::new();
    let (content, intact) = object();
    sandbox.back_up(&object_key(TIME, 1), content);
    sandbox.back_up(&object_key(TIME, 2), event_of_org("4", OTHER));
    let report = recover(&sandbox, LINKED).await;
    let lines = sandbox.lines(&id("run"));
    assert_eq!(report.events.written, 4);
    for (number, event) in intact.iter().enumerate() {
        assert_eq!(lines.contains(event), number != 2, "{number}");
    }
    assert!(
        lines.contains(&event_of_org("4", OTHER)),
        "not next to damage"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_event_has_for_an_org_id_stays_in_the_event() {
    let sandbox = Sandbox::new();
    let events = [event_of_org("1", MARKER), event("2", TIME).replace(ORG, "")];
    sandbox.back_up(&object_key(TIME, 1), events.concat());
    let report = recover(&sandbox, "").await;
    assert_eq!(report.events.written, 2);
    assert_eq!(report.orgs, [("other".to_owned(), 2)].into());
    sandbox.assert_no_content_in_the_ledger();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_whose_orgs_or_kinds_do_not_add_up_makes_the_run_incomplete() {
    let sandbox = Sandbox::new();
    let key = object_key(TIME, 1);
    sandbox.back_up(&key, event("1", TIME));
    assert_eq!(recover(&sandbox, "").await.verdict, Verdict::Complete);
    let receipt_key = receipt_key(&id("run"), &key);
    let whole = sandbox.read(&receipt_key).unwrap();
    for (field, value, what) in [
        ("orgs", json!({ORG: 2}), "by org do not add up"),
        (
            "kinds",
            json!({"account": {"account-close": 2}}),
            "by domain and type do not add up",
        ),
    ] {
        let mut receipt: Value = serde_json::from_slice(&whole).unwrap();
        receipt.as_object_mut().unwrap().remove("digest");
        receipt[field] = value;
        let bytes = event_recovery_pipeline::to_json(&receipt_key, &receipt).unwrap();
        sandbox.overwrite(&receipt_key, bytes);
        let report = recover(&sandbox, "").await;
        assert_eq!(report.verdict, Verdict::Incomplete);
        let reasons = report.reasons.join(" ");
        assert!(reasons.contains(what), "{reasons}");
    }
}
