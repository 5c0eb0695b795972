//! Several processes that carry out the same run in one bucket at the same time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise is a panic"
)]

mod emulator;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use chrono::Utc;
use emulator::emulated;
use event_recovery_aws::{Bucket, s3_client};
use event_recovery_pipeline::{
    Ended, ExecutionId, LocalFolder, PlanLimits, Receipt, Records, RecoveryRequest, Report,
    RequestLimits, ResolvedRequest, Run, RunTerms, Tolerance, TransformLimits, Unobserved, Verdict,
    list_all,
};
use futures::future::join_all;

const ORG: &str = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";
const OBJECTS: u32 = 12;
const ROUNDS: u32 = 4;

/// Objects with five events each, in two hours.
fn back_up(folder: &Path) {
    for number in 0..OBJECTS {
        let hour = number % 2;
        let event = format!(
            r#"{{"event_id":"{number}","org_id":"{ORG}","timestamp":"2024-04-01T0{hour}:10:00Z"}}"#
        );
        let name = format!(
            "dataplatform-{ORG}-5-2024-04-01-0{hour}-10-00-1142260c-c088-427a-bbaa-{number:012x}"
        );
        let hour = folder.join(format!("main_stream/2024/04/01/0{hour}"));
        std::fs::create_dir_all(&hour).unwrap();
        std::fs::write(hour.join(name), event.repeat(5)).unwrap();
    }
}

fn request() -> ResolvedRequest {
    let request = format!(
        r#"{{"org_id":"{ORG}","window":"publish","format":"ndjson",
            "start":"2024-04-01T00:00:00Z","end":"2024-04-01T02:00:00Z"}}"#
    );
    let request = RecoveryRequest::from_json(request.as_bytes()).unwrap();
    let limits = RequestLimits::default();
    let resolution = request.resolve(&limits, &Tolerance::default(), Utc::now());
    resolution.unwrap().request
}

async fn carry_out(source: &Path, bucket: Bucket) -> Report {
    let run = Run {
        linked_orgs: event_recovery_pipeline::LinkedOrgs::default(),
        source: Arc::new(LocalFolder::new(source, source)),
        destination: Arc::new(bucket),
        request: request(),
        execution_id: ExecutionId::parse("run").unwrap(),
        concurrency: 2,
        small_objects: 1,
        only: None,
        terms: RunTerms::default(),
        plan_limits: PlanLimits::default(),
        transform_limits: TransformLimits::default(),
        observer: Arc::new(Unobserved),
    };
    let (_keep, stop) = tokio::sync::watch::channel(false);
    match run.carry_out(stop).await.unwrap() {
        Ended::Audited(report) => *report,
        Ended::Stopped => panic!("nobody stopped it"),
    }
}

/// Every object of the bucket below the prefix.
async fn content(bucket: &Bucket, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let mut content = BTreeMap::new();
    for object in list_all(bucket, prefix).await.unwrap() {
        let record = bucket.get(&object.key).await.unwrap().unwrap();
        // The mark says when the run was listed.
        let is_mark = object.key.ends_with("/_SUCCESS");
        content.insert(object.key, if is_mark { Vec::new() } else { record.bytes });
    }
    content
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_of_one_run_come_to_what_one_comes_to() {
    let folder = tempfile::tempdir().unwrap();
    back_up(folder.path());
    let client = s3_client(&emulated().await);
    client.create_bucket().bucket("runs").send().await.unwrap();
    let alone = Bucket::new(client.clone(), "runs", "alone");
    let expected = carry_out(folder.path(), alone.clone()).await;
    assert_eq!(
        expected.verdict,
        Verdict::Complete,
        "{:?}",
        expected.reasons
    );
    let expected_output = content(&alone, "execution_id=run/").await;
    assert_eq!(expected_output.len(), OBJECTS as usize + 1);
    for round in 0..ROUNDS {
        let shared = Bucket::new(client.clone(), "runs", &format!("shared-{round}"));
        join_all([(); 3].map(|()| carry_out(folder.path(), shared.clone()))).await;
        let output = content(&shared, "execution_id=run/").await;
        assert!(
            output == expected_output,
            "round {round}: {:?}",
            output.keys()
        );
        let receipts = content(&shared, "_recovery/run/receipts/").await;
        assert_eq!(receipts.len(), OBJECTS as usize);
        for receipt in receipts.values() {
            let receipt: Receipt = serde_json::from_slice(receipt).unwrap();
            assert!(receipt.is_done(), "round {round}: {receipt:?}");
        }
        let report = shared.get("_recovery/run/report.json").await.unwrap();
        let report: Report = serde_json::from_slice(&report.unwrap().bytes).unwrap();
        assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
        assert_eq!(
            (report.objects, report.events, report.bytes),
            (expected.objects, expected.events, expected.bytes)
        );
    }
}
