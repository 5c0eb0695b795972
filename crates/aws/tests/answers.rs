//! How rare answers of S3, and missing ones, are handled.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise is a panic"
)]

mod loopback;

use std::error::Error as _;
use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use event_recovery_aws::{
    AssumedRole, Bucket, Queue, SdkConfig, Topic, assume, s3_client, sns_client, sqs_client,
};
use event_recovery_pipeline::{
    AUDIT_CALL_VERSION, AuditCall, CallAuditor, ExecutionId, LedgerError, ListObjects, OpenObject,
    PlanError, Problem, QueueError, Records, StorageError,
};
use loopback::{Server, session_at};

/// Nothing here waits this long, except the test of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The answer to a GET, with that checksum if there is one.
fn object(content: &[u8], crc64nvme: Option<&str>) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"e\"\r\nContent-Length: {}\r\n",
        content.len()
    );
    if let Some(crc64nvme) = crc64nvme {
        head += &format!(
            "x-amz-checksum-crc64nvme: {crc64nvme}\r\nx-amz-checksum-type: FULL_OBJECT\r\n"
        );
    }
    [head.as_bytes(), b"\r\n", content].concat()
}

async fn bucket_of(server: &Server) -> Bucket {
    let config = session_at(&server.host(), PATIENCE).await;
    Bucket::new(s3_client(&config), "bucket", "")
}

async fn read(bucket: &Bucket) -> Result<Vec<u8>, StorageError> {
    let mut reader = bucket.open("key", "\"e\"").await?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut content = Vec::new();
        let read = reader.read_to_end(&mut content);
        read.map(|_| content)
    });
    let content = reading.await.unwrap();
    content.map_err(|error| error.downcast().expect("readers fail with their error"))
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_does_not_match_its_checksum_is_damaged_and_not_asked_for_again() {
    // The CRC-64/NVME of `123456789` is in the algorithm's own definition.
    let right = (b"123456789".to_vec(), "rosUhgp5mIg=");
    let wrong = (vec![b'x'; 1_000_000], "AAAAAAAAAAA=");
    for (content, crc64nvme) in [&right, &wrong] {
        let server = Server::answering(object(content, Some(crc64nvme)));
        let bucket = bucket_of(&server).await;
        let got = bucket.get("key").await.map(|record| record.unwrap().bytes);
        let results = [read(&bucket).await, got];
        assert_eq!(server.requests(), 2);
        for result in results {
            if *content == right.0 {
                assert_eq!(result.unwrap(), right.0);
                continue;
            }
            let error = result.unwrap_err();
            assert!(matches!(error.problem, Problem::Damaged(_)), "{error:?}");
            assert!(!error.is_transient());
            let expected = "could not read `key`: its content does not match the checksum that S3 keeps for it";
            assert_eq!(error.to_string(), expected);
            assert!(error.hint().unwrap().contains("intact copy"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_said_in_words_and_is_transient() {
    let mut answer = object(&[b'x'; 1000], None);
    answer.truncate(answer.len() - 500);
    let server = Server::answering(answer);
    let error = bucket_of(&server).await.get("key").await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(!error.to_string().contains("streaming error"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_denied_is_told_by_its_id_beside_the_text() {
    let body = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    let answer = format!(
        "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nx-amz-request-id: 4FE2\r\nx-amz-id-2: Zm8=\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let server = Server::answering(answer.into_bytes());
    let bucket = bucket_of(&server).await;
    let error = bucket.list_page("main_stream/", None).await.unwrap_err();
    let text = error.to_string();
    assert_eq!(
        text,
        "could not list `main_stream/`: access denied (AccessDenied)"
    );
    let request_id = error.request_id().unwrap();
    assert_eq!(request_id.id, "4FE2");
    assert_eq!(request_id.extended_id.as_deref(), Some("Zm8="));
    // The SDK's own error is kept, and passed on by the errors that hold this one.
    let error = PlanError::from(LedgerError::from(error));
    assert_eq!(error.request_id().unwrap().id, "4FE2");
    let chain = std::iter::successors(error.source(), |cause| (**cause).source());
    let chain: Vec<String> = chain.map(ToString::to_string).collect();
    assert!(
        chain.iter().any(|cause| cause.contains("AccessDenied")),
        "{chain:?}"
    );
}

/// An answer of SQS or SNS.
fn refusal(status: &str, code: &str) -> Vec<u8> {
    let json = format!("{{\"__type\":\"com.amazonaws#{code}\",\"message\":\"m\"}}");
    let xml = format!(
        "<ErrorResponse><Error><Code>{code}</Code><Message>m</Message></Error></ErrorResponse>"
    );
    // The SDK for SQS reads JSON and the one for SNS XML; each test asks one of them.
    let body = match code.starts_with("Xml") {
        true => xml.replace("Xml", ""),
        false => json,
    };
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_and_a_topic_say_whether_they_may_be_used_without_a_message() {
    for (status, code, expected) in [
        ("400 Bad Request", "EmptyBatchRequest", true),
        ("403 Forbidden", "AccessDeniedException", false),
        ("400 Bad Request", "QueueDoesNotExist", false),
    ] {
        let server = Server::answering(refusal(status, code));
        let config = session_at(&server.host(), PATIENCE).await;
        let queue = Queue::new(sqs_client(&config), format!("{}/1/q", server.host()));
        let may = queue.may_send().await;
        assert_eq!(may.is_ok(), expected, "{code} {may:?}");
        assert!(
            may.err().is_none_or(|error| !error.is_transient()),
            "{code}"
        );
    }
    for (status, code, expected) in [
        ("400 Bad Request", "XmlInvalidParameter", true),
        ("403 Forbidden", "XmlAuthorizationError", false),
    ] {
        let server = Server::answering(refusal(status, code));
        let config = session_at(&server.host(), PATIENCE).await;
        let topic = Topic::new(sns_client(&config), "arn:aws:sns:us-east-1:1:t");
        let may = topic.may_publish().await;
        assert_eq!(may.is_ok(), expected, "{code} {may:?}");
    }
}

/// A host that nobody listens on.
fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_names_the_host_and_says_what_to_check() {
    let silent = Server::answering(Vec::new());
    let rows = [
        (
            "a name that does not resolve",
            "no-such-host.invalid:8080".to_owned(),
            PATIENCE,
        ),
        ("nobody listens", closed(), PATIENCE),
        ("nobody answers", silent.host(), Duration::from_millis(100)),
    ];
    for (name, host, attempt_timeout) in rows {
        let config = session_at(&host, attempt_timeout).await;
        let bucket = Bucket::new(s3_client(&config), "bucket", "");
        let error = bucket.list_page("main_stream/", None).await.unwrap_err();
        assert!(error.is_transient(), "{name}: {error}");
        let message = error.to_string();
        assert!(
            message.contains(&format!("no answer from `{host}`: ")),
            "{name}: {message}"
        );
        assert_says_what_to_check(name, &error.hint().unwrap(), &host);
        let error = call(&config, &host).await;
        assert!(
            error
                .to_string()
                .contains(&format!("no answer from `{host}`: ")),
            "{name}: {error}"
        );
        assert_says_what_to_check(name, &error.hint().unwrap(), &host);
    }
}

fn assert_says_what_to_check(name: &str, hint: &str, host: &str) {
    for part in ["`eu-nowhere-1`", "endpoint", host, "DNS", "VPC endpoint"] {
        assert!(hint.contains(part), "{name}: {hint}");
    }
}

/// What is said when a message can't be sent.
async fn call(config: &SdkConfig, host: &str) -> QueueError {
    let queue = Queue::new(
        sqs_client(config),
        format!("http://{host}/000000000000/calls"),
    );
    let call = AuditCall {
        version: AUDIT_CALL_VERSION,
        execution_id: ExecutionId::parse("run").unwrap(),
        number: 1,
        quiet: false,
        deadline: "2024-04-01T00:00:00Z".parse().unwrap(),
    };
    queue.call(&call).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_cannot_be_had_say_where_to_look() {
    let base = session_at(&closed(), PATIENCE).await;
    let role = AssumedRole {
        role_arn: "arn:aws:iam::123456789012:role/reader".to_owned(),
        ..AssumedRole::default()
    };
    let config = assume(&base, &[role], None).await;
    let bucket = Bucket::new(s3_client(&config), "bucket", "");
    let error = bucket.list_page("main_stream/", None).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.hint().unwrap().contains("credentials"), "{error:?}");
}
