//! How many requests a clean run makes for an object, counted where they arrive.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise is a panic"
)]

mod loopback;
mod stand_in;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use event_recovery_aws::{Bucket, Encryption, s3_client};
use event_recovery_pipeline::{
    AuditCall, AuditLooks, CallAuditor, Cancellations, CreateObject, Delivery, OrgId, QueueError,
    Records, SourceAccess, Task, TransformLimits, Unobserved, Worker,
};
use loopback::session_at;
use serde_json::json;
use stand_in::{Reply, Request, StandIn};

const ORG: &str = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";
const OBJECTS: usize = 20;

struct NoAudit;

#[async_trait]
impl CallAuditor for NoAudit {
    async fn call(&self, _: &AuditCall) -> Result<(), QueueError> {
        panic!("the audit is open");
    }
}

/// Whether it asks for the mark of a cancelled run, by a listing.
fn asks_for_the_mark(request: &Request) -> bool {
    request.path.contains("list-type=2") && request.path.contains("cancelled.json")
}

/// As S3 answers a role that may list only below some prefixes: what is absent is denied.
fn answer(request: &Request) -> Reply {
    let is_get = request.method == "GET";
    if is_get && request.path.starts_with("/source/main_stream/") {
        let event = json!({"event_id": "a", "org_id": ORG, "timestamp": "2024-04-01T00:10:00Z"});
        return Reply::Answer(200, event.to_string());
    }
    if is_get && request.path.contains("/audit.json") {
        let record = json!({"version": 1, "number": 1, "deadline": "2999-01-01T00:00:00Z", "wait_hours": 24,
            "ended": false});
        return Reply::Answer(200, record.to_string());
    }
    if asks_for_the_mark(request) {
        return Reply::Answer(200, "<ListBucketResult></ListBucketResult>".to_owned());
    }
    if request.method == "PUT" && request.path.starts_with("/destination/") {
        return Reply::Answer(200, String::new());
    }
    let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    Reply::Answer(403, denied.to_owned())
}

fn task(number: usize) -> Task {
    let task = json!({
        "version": 1, "execution_id": "run", "key": format!("main_stream/2024/04/01/00/{number}"),
        "size": 100, "etag": "\"64\"", "format": "ndjson", "compression": "none",
        "window": {"kind": "publish", "start": "2024-04-01T00:00:00Z", "end": "2024-04-01T01:00:00Z",
            "lead_secs": 900, "lag_secs": 3600},
        "filters": {"domains": [], "event_types": []},
    });
    serde_json::from_value(task).unwrap()
}

async fn worker(server: &StandIn) -> Worker {
    let host = server.url.strip_prefix("http://").unwrap();
    let config = session_at(host, Duration::from_secs(60)).await;
    Worker {
        linked_orgs: event_recovery_pipeline::LinkedOrgs::default(),
        source: Arc::new(Bucket::new(s3_client(&config), "source", "")),
        destination: Arc::new(Bucket::new(s3_client(&config), "destination", "")),
        org_id: OrgId::parse(ORG).unwrap(),
        auditor: Some(Arc::new(NoAudit)),
        limits: TransformLimits::default(),
        observer: Arc::new(Unobserved),
        access: SourceAccess::default(),
        audits: AuditLooks::default(),
        cancellations: Cancellations::default(),
    }
}

fn delivery(number: u32) -> Delivery {
    Delivery {
        number,
        deliveries_max: 10,
        now: Utc::now(),
        attempt_secs_max: 900,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_delivery_looks_for_a_receipt_without_a_request_that_is_denied() {
    let server = StandIn::new(|request| match request.path.contains("list-type=2") {
        true => Reply::Answer(200, "<ListBucketResult></ListBucketResult>".to_owned()),
        false => answer(request),
    });
    let worker = worker(&server).await;
    let receipt = worker.work(&task(0), delivery(2)).await.unwrap();
    assert!(receipt.is_done(), "{receipt:?}");
    let of_receipts = server.requests("/receipts/");
    let gets = of_receipts
        .iter()
        .filter(|request| request.method == "GET" && !request.path.contains("list-type=2"));
    assert_eq!(gets.count(), 0, "{of_receipts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_object_costs_one_get_one_put_for_each_file_and_one_for_its_receipt() {
    let server = StandIn::new(answer);
    let worker = worker(&server).await;
    for number in 0..OBJECTS {
        let receipt = worker.work(&task(number), delivery(1)).await.unwrap();
        assert!(receipt.is_done(), "{receipt:?}");
    }
    let mut counts: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for request in server.requests("") {
        let kinds = [
            "cancelled.json",
            "/source/main_stream/",
            "/receipts/",
            "/execution_id%3Drun/",
            "/audit.json",
        ];
        let kind = kinds.into_iter().find(|kind| request.path.contains(kind));
        let kind = kind.unwrap_or_else(|| panic!("{request:?}"));
        *counts.entry((request.method, kind)).or_default() += 1;
    }
    // One look for each worker and run in fifteen seconds, whatever the number of objects.
    let expected = [
        ("GET", "cancelled.json", 1),
        ("GET", "/audit.json", 1),
        ("GET", "/source/main_stream/", OBJECTS),
        ("PUT", "/execution_id%3Drun/", OBJECTS),
        ("PUT", "/receipts/", OBJECTS),
    ];
    let expected = expected.map(|(method, kind, count)| ((method.to_owned(), kind), count));
    assert_eq!(counts, BTreeMap::from(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_with_a_key_of_kms_asks_for_a_bucket_key() {
    let server = StandIn::new(|request| {
        let body = match request.path.contains("uploads") {
            true => {
                "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
            }
            false => {
                "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
            }
        };
        Reply::Answer(200, body.to_owned())
    });
    let host = server.url.strip_prefix("http://").unwrap();
    let config = session_at(host, Duration::from_secs(60)).await;
    let name = "x-amz-server-side-encryption-bucket-key-enabled";
    for (encryption, expected) in [
        (Encryption::BucketDefault, None),
        (
            Encryption::Kms {
                key_arn: "k".to_owned(),
            },
            Some("true"),
        ),
    ] {
        let bucket = Bucket::new(s3_client(&config), "destination", "").encryption(encryption);
        let before = server.requests("").len();
        bucket.put("small", b"x".to_vec()).await.unwrap();
        let written = tokio::task::spawn_blocking(move || {
            let mut object = bucket.create("large").unwrap();
            object.write_all(&vec![0; 9 << 20]).unwrap();
            object.commit().unwrap();
        });
        written.await.unwrap();
        let requests = server.requests("").split_off(before);
        let begin = |request: &&stand_in::Request| {
            request.path.contains("/small") || request.path.contains("uploads")
        };
        let begun: Vec<_> = requests.iter().filter(begin).collect();
        assert_eq!(begun.len(), 2);
        for request in begun {
            assert_eq!(request.header(name), expected, "{}", request.path);
        }
    }
}
