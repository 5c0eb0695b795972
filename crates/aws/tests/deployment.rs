//! How often a function is asked when its answer does not come in time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise is a panic"
)]

mod stand_in;

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use event_recovery_aws::{Deployment, InvocationError, SessionSettings, session};
use event_recovery_pipeline::{PlannerPayload, RecoveryRequest};
use serde_json::{Value, json};
use stand_in::{Reply, StandIn};

/// How long an answer to one attempt may take, where there is such a limit.
const ATTEMPT_MAX: Duration = Duration::from_millis(200);

async fn deployment(server: &StandIn) -> Deployment {
    let settings = SessionSettings {
        profile: None,
        region: Some("us-east-1".to_owned()),
        endpoint_url: Some(server.url.clone()),
    };
    let credentials = Credentials::new("test", "test", None, None, "test");
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_MAX);
    let config = session(&settings).await.into_builder();
    let config = config
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .timeout_config(timeouts.build())
        .build();
    Deployment::new(&config, "stack")
}

fn request(dry_run: bool) -> RecoveryRequest {
    RecoveryRequest {
        execution_id: Some("mine".to_owned()),
        dry_run,
        ..RecoveryRequest::default()
    }
}

#[tokio::test]
async fn a_run_is_handed_over_once_although_no_answer_comes() {
    let server = StandIn::new(|_| Reply::Never);
    let deployment = deployment(&server).await;
    let request = request(false);
    let payload = PlannerPayload {
        limits: event_recovery_pipeline::AskedLimits::default(),
        check: false,
        request: &request,
    };
    let error = deployment.hand_over("planner", &payload).await.unwrap_err();
    assert!(
        matches!(error, InvocationError::Unanswered { .. }),
        "{error:?}"
    );
    let sent = server.requests("/functions/planner/");
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].invocation_type.as_deref(), Some("Event"));
    let body: Value = serde_json::from_str(&sent[0].body).unwrap();
    assert_eq!(body["execution_id"], "mine");
}

#[tokio::test]
async fn a_dry_run_is_sent_once_and_waited_for() {
    let server = StandIn::new(|_| {
        std::thread::sleep(5 * ATTEMPT_MAX);
        Reply::Answer(200, json!({"objects": 7}).to_string())
    });
    let deployment = deployment(&server).await;
    let answer: Value = deployment
        .invoke_once("planner", &request(true))
        .await
        .unwrap();
    assert_eq!(answer["objects"], 7);
    assert_eq!(server.requests("/functions/planner/").len(), 1);
}

#[tokio::test]
async fn a_question_without_consequences_is_asked_again() {
    let server = StandIn::new(|_| Reply::Never);
    let deployment = deployment(&server).await;
    let question = json!({"check": true});
    let asked = deployment.ask::<Value>("planner", &question).await;
    let error = asked.unwrap_err();
    assert!(
        matches!(error, InvocationError::Unanswered { .. }),
        "{error:?}"
    );
    assert_eq!(server.requests("/functions/planner/").len(), 5);
}

#[tokio::test]
async fn what_came_of_an_invocation_is_told_apart() {
    let refused = json!({"errorType": "RefusedRequest", "errorMessage": "`end` is too late"});
    let denied = json!({"Type": "User", "Message": "not authorized"});
    let rows = [
        (
            "an error of the function",
            200,
            refused.to_string(),
            "`end` is too late",
        ),
        (
            "a function that died",
            200,
            r#"{"errorMessage":null}"#.to_owned(),
            "it died",
        ),
        (
            "something else",
            200,
            "[]".to_owned(),
            "not what it should be",
        ),
        (
            "no permission",
            403,
            denied.to_string(),
            "could not invoke `planner`",
        ),
        (
            "a fault of the service",
            500,
            "{}".to_owned(),
            "no answer from `planner`",
        ),
    ];
    for (name, status, body, says) in rows {
        let server = StandIn::new(move |_| Reply::Answer(status, body.clone()));
        let deployment = deployment(&server).await;
        let payload = json!({});
        let invoked = deployment.invoke_once::<CheckedAnswer>("planner", &payload);
        let error = invoked.await.unwrap_err();
        assert!(error.to_string().contains(says), "{name}: {error}");
        assert_eq!(server.requests("").len(), 1, "{name}");
    }
}

/// An answer that has a field.
#[derive(Debug, serde::Deserialize)]
struct CheckedAnswer {
    #[allow(dead_code, reason = "it is only read")]
    execution_id: String,
}
