//! Dead letters, judged by the ledger.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use event_recovery_pipeline::{DeadLetter, Standing, end_call};
use serde_json::json;
use support::{
    Sandbox, at, audit_call, event, failure, first_delivery, id, object_key, receipt_key, request,
};

const TIME: &str = "2024-04-01T00:10:00Z";

async fn standing(sandbox: &Sandbox, body: &str) -> Standing {
    let letter = DeadLetter::judge(&*sandbox.destination(), body).await;
    letter.unwrap().standing
}

#[tokio::test]
async fn a_task_is_moot_once_its_receipt_says_that_it_is_done() {
    let sandbox = Sandbox::new();
    let (key, run) = (object_key(TIME, 1), id("run"));
    sandbox.back_up(&key, event("a", TIME));
    let task = sandbox.task(&request(json!({})), &run, &key).await;
    std::fs::remove_file(sandbox.source_path().join(&key)).unwrap();
    let body = serde_json::to_string(&task).unwrap();
    assert_eq!(standing(&sandbox, &body).await, Standing::Open);
    // There is no such object, so the task fails.
    let receipt = sandbox
        .worker()
        .work(&task, first_delivery())
        .await
        .unwrap();
    assert!(!failure(&receipt).0.is_empty());
    assert_eq!(standing(&sandbox, &body).await, Standing::Open);
    sandbox.back_up(&key, event("a", TIME));
    let task = sandbox.task(&request(json!({})), &run, &key).await.again();
    sandbox
        .worker()
        .work(&task, first_delivery())
        .await
        .unwrap();
    assert_eq!(standing(&sandbox, &body).await, Standing::Moot);
    // A receipt that was changed is none.
    let bytes = sandbox.read(&receipt_key(&run, &key)).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let changed = text.replace("\"attempts\": ", "\"attempts\": 1");
    sandbox.overwrite(&receipt_key(&run, &key), changed);
    assert_eq!(standing(&sandbox, &body).await, Standing::Open);
}

#[tokio::test]
async fn a_call_of_the_auditor_is_moot_once_it_was_answered() {
    let sandbox = Sandbox::new();
    let call = audit_call(&id("run"), at("2999-01-01T00:00:00Z"));
    let body = serde_json::to_string(&call).unwrap();
    assert_eq!(standing(&sandbox, &body).await, Standing::Open);
    end_call(&*sandbox.destination(), &call, at(TIME))
        .await
        .unwrap();
    assert_eq!(standing(&sandbox, &body).await, Standing::Moot);
}

#[tokio::test]
async fn anything_else_is_not_readable_and_its_content_goes_nowhere() {
    let sandbox = Sandbox::new();
    for body in ["", "hunter2", "{}", r#"{"execution_id": "../x"}"#] {
        let letter = DeadLetter::judge(&*sandbox.destination(), body)
            .await
            .unwrap();
        assert_eq!(letter.standing, Standing::Unreadable, "{body}");
        assert_eq!((letter.execution_id, letter.key), (None, None), "{body}");
    }
}
