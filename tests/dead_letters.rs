//! `dead-letters` against a simulated AWS: what it removes, what it leaves, and its exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../crates/aws/tests/stand_in/mod.rs"]
mod stand_in;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use stand_in::{Reply, Request, StandIn};
use support::event_recovery;

const OUTPUTS: &str = "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>s\
</StackName><CreationTime>2024-01-01T00:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus>\
<Outputs><member><OutputKey>TaskDeadLetterQueueUrl</OutputKey><OutputValue>http://q/1/tasks</OutputValue></member>\
<member><OutputKey>AuditDeadLetterQueueUrl</OutputKey><OutputValue>http://q/1/audits</OutputValue></member>\
<member><OutputKey>Destination</OutputKey><OutputValue>s3://b/p/</OutputValue></member>\
</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>";

/// The queues of a stack, and an `audit.json` for each run whose audit has ended.
#[derive(Default)]
struct State {
    /// By queue and message id.
    messages: BTreeMap<(String, String), String>,
    held: BTreeSet<(String, String)>,
    ended: BTreeSet<String>,
}

struct Stack {
    server: StandIn,
    state: Arc<Mutex<State>>,
}

impl Stack {
    fn new(messages: &[(&str, &str, String)], ended: &[&str]) -> Self {
        let state = State {
            messages: messages
                .iter()
                .map(|(queue, id, body)| (((*queue).to_owned(), (*id).to_owned()), body.clone()))
                .collect(),
            held: BTreeSet::new(),
            ended: ended.iter().map(|run| (*run).to_owned()).collect(),
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let server = StandIn::new(move |request| {
            let mut state = shared.lock().unwrap();
            match request.header("x-amz-target") {
                Some(target) => sqs(&mut state, target, request),
                None if request.path == "/" => Reply::Answer(200, OUTPUTS.to_owned()),
                None => s3(&state, &request.path),
            }
        });
        Self { server, state }
    }

    fn dead_letters(&self, options: &[&str]) -> (Output, Value) {
        let output = event_recovery()
            .args(["dead-letters", "--stack", "s", "--json"])
            .args(["--region", "us-east-1", "--endpoint-url", &self.server.url])
            .args(options)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env_remove("AWS_PROFILE")
            .output()
            .unwrap();
        let found = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output, found)
    }

    /// The ids of the messages that are there and visible.
    fn visible(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let visible = state.messages.keys().filter(|id| !state.held.contains(*id));
        visible.map(|(_, id)| id.clone()).collect()
    }
}

fn sqs(state: &mut State, target: &str, request: &Request) -> Reply {
    let asked: Value = serde_json::from_str(&request.body).unwrap();
    let queue = asked["QueueUrl"].as_str().unwrap();
    let queue = queue.rsplit('/').next().unwrap().to_owned();
    let handle = asked["ReceiptHandle"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let id = (queue.clone(), handle);
    let answer = match target {
        "AmazonSQS.ReceiveMessage" => {
            let all = state.messages.iter();
            let free = all.filter(|(id, _)| id.0 == queue && !state.held.contains(*id));
            // Two at a time, so that one receive is not enough.
            let taken: Vec<_> = free
                .take(2)
                .map(|(id, body)| (id.clone(), body.clone()))
                .collect();
            state.held.extend(taken.iter().map(|(id, _)| id.clone()));
            let messages = taken
                .iter()
                .map(|((_, id), body)| json!({"MessageId": id, "ReceiptHandle": id, "Body": body}));
            json!({"Messages": messages.collect::<Vec<_>>()})
        }
        "AmazonSQS.DeleteMessage" => {
            state.messages.remove(&id).unwrap();
            json!({})
        }
        "AmazonSQS.ChangeMessageVisibility" => {
            assert_eq!(asked["VisibilityTimeout"], 0);
            assert!(state.held.remove(&id));
            json!({})
        }
        _ => panic!("{target}"),
    };
    Reply::Answer(200, answer.to_string())
}

fn s3(state: &State, path: &str) -> Reply {
    let path = &path.replace("%2F", "/");
    let run = state
        .ended
        .iter()
        .find(|run| path.contains(&format!("/{run}/audit.json")));
    if run.is_some() {
        let record = json!({"version": 1, "number": 1, "deadline": "2024-01-01T00:00:00Z", "wait_hours": 24,
            "ended": true});
        return Reply::Answer(200, record.to_string());
    }
    if path.contains("list-type=2") {
        let body = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        return Reply::Answer(200, body.to_owned());
    }
    Reply::Answer(404, "<Error><Code>NoSuchKey</Code></Error>".to_owned())
}

fn call(run: &str) -> String {
    json!({"version": 1, "execution_id": run, "number": 1, "deadline": "2024-01-01T00:00:00Z"})
        .to_string()
}

fn task() -> String {
    json!({
        "version": 1, "execution_id": "run", "key": "main_stream/2024/04/01/00/x", "size": 1, "etag": "e",
        "window": {"kind": "publish", "start": "2024-04-01T00:00:00Z", "end": "2024-04-01T01:00:00Z",
            "lead_secs": 900, "lag_secs": 3600},
        "filters": {"domains": [], "event_types": []}, "format": "ndjson", "compression": "none",
    })
    .to_string()
}

#[test]
fn those_that_are_moot_are_removed_and_all_others_stay() {
    let messages = [
        ("tasks", "open", task()),
        ("tasks", "unreadable", "hunter2".to_owned()),
        ("audits", "answered-1", call("done")),
        ("audits", "answered-2", call("done")),
        ("audits", "answered-3", call("done")),
        ("audits", "waiting", call("other")),
    ];
    let stack = Stack::new(&messages, &["done"]);
    let all = [
        "answered-1",
        "answered-2",
        "answered-3",
        "waiting",
        "open",
        "unreadable",
    ];
    let counts = |found: &Value| {
        let queues = found["queues"].as_array().unwrap().iter();
        let counts = queues
            .map(|queue| ["messages", "moot", "purged"].map(|name| queue[name].as_u64().unwrap()));
        counts.collect::<Vec<_>>()
    };
    // Without `--purge`, all are looked at, and all are there and visible afterwards.
    let (output, found) = stack.dead_letters(&[]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(counts(&found), [[2, 0, 0], [4, 3, 0]]);
    assert_eq!(stack.visible(), all);
    assert_eq!(
        found["queues"][0]["left"][0]["key"],
        "main_stream/2024/04/01/00/x"
    );
    assert_eq!(found["queues"][0]["left"][1]["standing"], "unreadable");
    assert_eq!(found["queues"][1]["left"][0]["execution_id"], "other");
    for text in [output.stdout, output.stderr] {
        assert!(!String::from_utf8_lossy(&text).contains("hunter2"));
    }
    let (output, found) = stack.dead_letters(&["--purge"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(counts(&found), [[2, 0, 0], [4, 3, 3]]);
    assert_eq!(stack.visible(), ["waiting", "open", "unreadable"]);
}

#[test]
fn a_stack_whose_dead_letters_are_all_moot_needs_no_look() {
    let stack = Stack::new(&[("audits", "answered", call("done"))], &["done"]);
    let (output, _) = stack.dead_letters(&["--purge"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stack.visible(), [""; 0]);
    let (output, found) = stack.dead_letters(&[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(found["queues"][1]["messages"], 0);
}
