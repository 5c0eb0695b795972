//! `start` and `status` against a simulated AWS: how often they invoke the planner, and what they print.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../crates/aws/tests/stand_in/mod.rs"]
mod stand_in;
mod support;

use std::collections::HashMap;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stand_in::{Reply, Request, StandIn};
use support::{ORG_ID, event_recovery};

const OUTPUTS: &str = "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>s\
</StackName><CreationTime>2024-01-01T00:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus>\
<Outputs><member><OutputKey>PlannerFunctionName</OutputKey><OutputValue>planner</OutputValue></member>\
</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>";
/// How many polls of the ledger a planner takes to finish after it was invoked asynchronously.
const POLLS: u32 = 2;

/// How an asynchronous invocation of the planner ends.
#[derive(Clone, Copy)]
enum Ending {
    Planned,
    Refused,
    Nothing,
}

/// A stack with a planner that needs `POLLS` polls to finish, and its bucket.
struct Stack {
    server: StandIn,
}

#[derive(Default)]
struct State {
    objects: HashMap<String, String>,
    /// Polls until the planner that was invoked asynchronously is done.
    polls_left: Option<u32>,
}

impl Stack {
    fn new(ending: Ending) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let server = StandIn::new(move |request| {
            let mut state = state.lock().unwrap();
            if request.path == "/" {
                return Reply::Answer(200, OUTPUTS.to_owned());
            }
            if request.path.contains("/functions/planner/") {
                return planner(&mut state, request);
            }
            if request.path.contains("planning.json")
                && let Some(polls_left) = &mut state.polls_left
            {
                *polls_left = polls_left.saturating_sub(1);
                if *polls_left == 0 {
                    state.polls_left = None;
                    end(&mut state, ending);
                }
            }
            if request.path.contains("list-type=2") {
                return list(&state, &request.path);
            }
            let key = request.path.split('?').next().unwrap();
            match state.objects.get(key) {
                Some(body) => Reply::Answer(200, body.clone()),
                None => Reply::Answer(404, "<Error><Code>NoSuchKey</Code></Error>".to_owned()),
            }
        });
        Self { server }
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = event_recovery();
        command
            .args(arguments)
            .args(["--region", "us-east-1", "--endpoint-url", &self.server.url])
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env_remove("AWS_PROFILE");
        command
    }

    fn start(&self, options: &[&str]) -> Output {
        let mut command = self.start_command(options);
        command.output().unwrap()
    }

    fn start_command(&self, options: &[&str]) -> std::process::Command {
        let mut arguments = vec!["start", "--stack", "s", "--org-id", ORG_ID];
        arguments.extend(["--start", "2024-04-01", "--end", "2024-04-01"]);
        arguments.extend(["--execution-id", "mine"]);
        arguments.extend(options);
        self.command(&arguments)
    }

    /// The requests of the asynchronous invocations of the planner.
    fn handed_over(&self) -> Vec<Value> {
        let requests = self.server.requests("/functions/planner/").into_iter();
        let events = requests.filter(|request| request.invocation_type.as_deref() == Some("Event"));
        events
            .map(|request| serde_json::from_str(&request.body).unwrap())
            .collect()
    }
}

fn planner(state: &mut State, request: &Request) -> Reply {
    let asked: Value = serde_json::from_str(&request.body).unwrap();
    if request.invocation_type.as_deref() == Some("Event") {
        state.polls_left = Some(POLLS);
        put(
            state,
            "planning.json",
            json!({"version": 1, "called_at": "2024-06-01T12:00:00Z", "state": "planning"}),
        );
        return Reply::Answer(202, String::new());
    }
    let answer = if asked["format"] == "ndjson" {
        json!({"errorType": "RefusedRequest", "errorMessage": "`format` is not served; hint: ask for another"})
    } else if asked["dry_run"] == true {
        json!({
            "execution_id": "mine", "dry_run": true, "hours": 26, "empty_hours": [], "days": [],
            "objects": {"listed": 9, "pruned": 2, "planned": 7}, "foreign_names": 0, "bytes": 700,
            "tasks_queued": 0, "ledger": null, "output": null,
        })
    } else {
        assert_eq!(asked["check"], true);
        json!({
            "execution_id": "mine", "ledger": "s3://b/p/_recovery/mine/", "output": "s3://b/p/execution_id=mine/",
            "request": {
                "org_id": ORG_ID, "start": "2024-04-01T00:00:00Z", "end": "2024-04-02T00:00:00Z",
                "window": {"kind": "arrival", "lead_secs": 900, "lag_secs": 3600}, "format": "parquet",
                "compression": "zstd", "domains": [], "event_types": [],
            },
        })
    };
    Reply::Answer(200, answer.to_string())
}

/// The objects whose keys begin with the prefix in the query.
fn list(state: &State, path: &str) -> Reply {
    let prefix = path
        .split(&['?', '&'])
        .find_map(|part| part.strip_prefix("prefix="));
    let prefix = format!("/b/{}", prefix.unwrap().replace("%2F", "/"));
    let names = state.objects.keys().filter(|key| key.starts_with(&prefix));
    let contents: String = names
        .map(|key| {
            let key = key.strip_prefix("/b/").unwrap();
            format!(
                "<Contents><Key>{key}</Key><Size>1</Size><ETag>e</ETag>\
                 <LastModified>2024-06-01T12:00:00Z</LastModified></Contents>"
            )
        })
        .collect();
    let body =
        format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>");
    Reply::Answer(200, body)
}

fn put(state: &mut State, name: &str, record: Value) {
    let key = format!("/b/p/_recovery/mine/{name}");
    state.objects.insert(key, record.to_string());
}

fn end(state: &mut State, ending: Ending) {
    let called_at = "2024-06-01T12:00:00Z";
    match ending {
        Ending::Planned => {
            let plan = json!({
                "version": 1, "execution_id": "mine", "planned_at": called_at, "hours": 26, "empty_hours": [],
                "objects": {"listed": 9, "pruned": 2, "planned": 7}, "foreign_names": 0, "bytes": 700, "days": [],
            });
            put(state, "plan.json", plan);
            let planned = json!({"version": 1, "called_at": called_at, "state": "planned", "tasks_queued": 7});
            put(state, "planning.json", planned);
        }
        Ending::Refused => {
            let refused = json!({
                "version": 1, "kind": "refused", "message": "the range holds more than 5 objects",
                "hint": "split the range", "called_at": called_at,
            });
            put(state, "refused.json", refused);
            let request = json!({
                "version": 1, "software": "x", "created_at": called_at, "request": {
                    "org_id": ORG_ID, "start": "2024-04-01T00:00:00Z", "end": "2024-04-02T00:00:00Z",
                    "window": {"kind": "arrival", "lead_secs": 900, "lag_secs": 3600}, "format": "parquet",
                    "compression": "zstd", "domains": [], "event_types": [],
                },
            });
            put(state, "request.json", request);
        }
        Ending::Nothing => {}
    }
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_run_is_handed_over_once_and_followed_until_it_is_planned() {
    let stack = Stack::new(Ending::Planned);
    let output = stack.start(&[]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("started `mine`: 7 tasks queued of 7 objects planned"),
        "{said}"
    );
    assert!(
        said.contains("status --destination s3://b/p --execution-id mine"),
        "{said}"
    );
    let handed_over = stack.handed_over();
    assert_eq!(handed_over.len(), 1);
    assert_eq!(handed_over[0]["execution_id"], "mine");
    assert_eq!(handed_over[0].get("check"), None);
}

#[test]
fn the_answer_as_json_is_the_planners_own() {
    let stack = Stack::new(Ending::Planned);
    let output = stack.start(&["--json", "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(said(&output), "");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        answer,
        json!({
            "execution_id": "mine", "dry_run": false, "hours": 26, "empty_hours": [], "days": null,
            "objects": {"listed": 9, "pruned": 2, "planned": 7}, "foreign_names": 0, "bytes": 700,
            "tasks_queued": 7, "ledger": "s3://b/p/_recovery/mine/", "output": "s3://b/p/execution_id=mine/",
        })
    );
}

#[test]
fn a_dry_run_is_asked_for_once_and_starts_nothing() {
    let stack = Stack::new(Ending::Planned);
    let output = stack.start(&["--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&answer["dry_run"], &answer["bytes"]),
        (&json!(true), &json!(700))
    );
    assert_eq!(stack.server.requests("/functions/planner/").len(), 1);
    assert_eq!(stack.handed_over(), [] as [Value; 0]);
}

#[test]
fn what_the_planner_refuses_is_said_before_anything_is_started() {
    let stack = Stack::new(Ending::Planned);
    let output = stack.start(&["--format", "ndjson"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        said(&output),
        "error: `format` is not served; hint: ask for another\n"
    );
    assert_eq!(stack.handed_over(), [] as [Value; 0]);
}

#[test]
fn what_the_planner_refuses_later_is_said_by_start_and_status() {
    let stack = Stack::new(Ending::Refused);
    let started = stack.start(&[]);
    let status = [
        "status",
        "--destination",
        "s3://b/p",
        "--execution-id",
        "mine",
        "--json",
    ];
    let status = stack.command(&status).output().unwrap();
    for output in [started, status] {
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("the range holds more than 5 objects"),
            "{said}"
        );
        assert!(said.ends_with("\n  hint: split the range\n"), "{said}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(stack.handed_over().len(), 1);
}

#[cfg(unix)]
#[test]
fn an_interrupted_start_leaves_the_run_going_and_says_how_to_look() {
    let stack = Stack::new(Ending::Nothing);
    let mut command = stack.start_command(&[]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Interrupted once the planner was invoked and the ledger polled twice.
    let deadline = Instant::now() + Duration::from_secs(60);
    while stack.handed_over().is_empty() || stack.server.requests("refused.json").len() < 2 {
        assert!(
            Instant::now() < deadline,
            "the planner was not invoked, or the ledger not polled"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = child.id().to_string();
    let kill = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(kill.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("the run continues"), "{said}");
    assert!(said.contains("--execution-id mine"), "{said}");
}
