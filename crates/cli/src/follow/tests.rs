use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use async_trait::async_trait;
use event_recovery_pipeline::{
    Circumstances, Format, PlannerErrorKind, Precondition, Problem, Record, RequestLimits,
    StorageError, StorageOperation, Tolerance, Written,
};
use serde_json::{Value, json};

use super::*;

const FOLDER: &str = "_recovery/mine";
const CALLED: &str = "2024-06-01T12:00:00Z";
const CALLED_LATER: &str = "2024-06-01T12:05:00Z";

/// Something is written to the ledger, removed from it, or a poll of it fails.
enum Happens {
    Written(&'static str, Value),
    Removed(&'static str),
    LookFails(Problem),
}

use Happens::{LookFails, Removed, Written as Wrote};

/// What an invocation leads to: after so many further polls of the ledger, something happens.
type Story = Vec<(u32, Happens)>;

/// A planner and its ledger, where time advances with each poll of the ledger.
#[derive(Default)]
struct World {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    looks: u32,
    records: HashMap<String, Value>,
    due: BTreeMap<u32, Vec<Happens>>,
    failing: Option<Problem>,
    /// What each hand-over answers, and leads to.
    hand_overs: Vec<(Result<(), InvocationError>, Story)>,
    /// What checks answer; taken for granted where there is none.
    checks: Vec<InvocationError>,
    ids: Vec<Option<String>>,
    said: Vec<String>,
}

impl World {
    /// A planner that answers the hand-overs like this, the first first.
    fn new(hand_overs: impl IntoIterator<Item = (Result<(), InvocationError>, Story)>) -> Self {
        let mut hand_overs: Vec<_> = hand_overs.into_iter().collect();
        hand_overs.reverse();
        Self {
            state: Mutex::new(State {
                hand_overs,
                ..State::default()
            }),
        }
    }

    /// With what earlier calls left.
    fn after(self, records: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        for (name, record) in records {
            let mut state = self.state.lock().unwrap();
            state.records.insert(format!("{FOLDER}/{name}"), record);
        }
        self
    }

    fn hand_overs(&self) -> usize {
        self.state.lock().unwrap().ids.len()
    }

    fn said(&self, text: &str) -> bool {
        let state = self.state.lock().unwrap();
        state.said.iter().any(|line| line.contains(text))
    }

    async fn follow(&self) -> Result<PlannerAnswer, String> {
        let request = request();
        let resolution =
            request
                .clone()
                .resolve(&RequestLimits::default(), &Tolerance::default(), Utc::now());
        let resolution = resolution.unwrap();
        let checked: CheckedRequest = serde_json::from_value(json!({
            "execution_id": "mine", "request": resolution.request,
            "ledger": "s3://b/_recovery/mine/", "output": "s3://b/execution_id=mine/",
        }))
        .unwrap();
        let say = |line: &str| self.state.lock().unwrap().said.push(line.to_owned());
        let planning = Planning {
            planner: self,
            records: self,
            request: &request,
            checked: &checked,
            // In polls: 100 for a planner at work, 30 for the next try, 5 when it is not sure.
            pace: Pace {
                look: Duration::from_micros(10),
                at_work: Duration::from_micros(1000),
                next_try: Duration::from_micros(300),
                unsure: Duration::from_micros(50),
            },
            say: &say,
        };
        let followed = planning.follow().await;
        followed.map_err(|failure| failure.text().unwrap_or_default())
    }
}

fn request() -> RecoveryRequest {
    RecoveryRequest {
        org_id: "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be".to_owned(),
        start: "2024-04-01".to_owned(),
        end: "2024-04-01".to_owned(),
        execution_id: Some("mine".to_owned()),
        ..RecoveryRequest::default()
    }
}

impl ReachPlanner for World {
    async fn check(&self, _: &RecoveryRequest) -> Result<CheckedRequest, InvocationError> {
        // Only asked again, where the answer's content does not matter.
        let unanswered = InvocationError::Unanswered {
            function: "planner".to_owned(),
            problem: "it took too long".to_owned(),
            circumstances: Circumstances::default(),
        };
        Err(self
            .state
            .lock()
            .unwrap()
            .checks
            .pop()
            .unwrap_or(unanswered))
    }

    async fn hand_over(&self, request: &RecoveryRequest) -> Result<(), InvocationError> {
        let mut state = self.state.lock().unwrap();
        state.ids.push(request.execution_id.clone());
        let (answer, story) = state.hand_overs.pop().expect("handed over too often");
        let looks = state.looks;
        for (after, happens) in story {
            state.due.entry(looks + after).or_default().push(happens);
        }
        answer
    }
}

#[async_trait]
impl Records for World {
    async fn get(&self, key: &str) -> Result<Option<Record>, StorageError> {
        let mut state = self.state.lock().unwrap();
        // Every look begins with this one.
        if key.ends_with("planning.json") {
            state.looks += 1;
            state.failing = None;
            let looks = state.looks;
            for happens in state.due.remove(&looks).unwrap_or_default() {
                match happens {
                    Wrote(name, record) => {
                        state.records.insert(format!("{FOLDER}/{name}"), record);
                    }
                    Removed(name) => {
                        state.records.remove(&format!("{FOLDER}/{name}"));
                    }
                    LookFails(problem) => state.failing = Some(problem),
                }
            }
        }
        if let Some(problem) = state.failing.clone() {
            return Err(StorageError::new(StorageOperation::Read, key, problem));
        }
        Ok(state.records.get(key).map(|record| Record {
            bytes: record.to_string().into_bytes(),
            etag: "etag".to_owned(),
        }))
    }

    async fn put(&self, key: &str, _: Vec<u8>) -> Result<(), StorageError> {
        panic!("`{key}` is written");
    }

    async fn put_if(
        &self,
        key: &str,
        _: Vec<u8>,
        _: Precondition,
    ) -> Result<Written, StorageError> {
        panic!("`{key}` is written");
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        panic!("`{key}` is removed");
    }
}

fn planning(called_at: &str) -> Happens {
    Wrote(
        "planning.json",
        planning_record(called_at, json!({"state": "planning"})),
    )
}

fn out_of_time(called_at: &str, hours_done: u64) -> Happens {
    let state = json!({"state": "out_of_time", "hours_done": hours_done, "hours": 24});
    Wrote("planning.json", planning_record(called_at, state))
}

fn planned(called_at: &str) -> Happens {
    let state = json!({"state": "planned", "tasks_queued": 5});
    Wrote("planning.json", planning_record(called_at, state))
}

fn planning_record(called_at: &str, state: Value) -> Value {
    let mut record = json!({"version": 1, "called_at": called_at});
    record
        .as_object_mut()
        .unwrap()
        .extend(state.as_object().unwrap().clone());
    record
}

fn plan() -> Happens {
    Wrote("plan.json", plan_record())
}

fn plan_record() -> Value {
    json!({
        "version": 1, "execution_id": "mine", "planned_at": CALLED, "hours": 24, "empty_hours": [],
        "objects": {"listed": 9, "pruned": 2, "planned": 7}, "foreign_names": 1, "bytes": 700, "days": [],
    })
}

fn refused(called_at: &str, kind: &str) -> Happens {
    Wrote("refused.json", refusal_record(called_at, kind))
}

fn refusal_record(called_at: &str, kind: &str) -> Value {
    json!({
        "version": 1, "kind": kind, "message": "the range holds too much", "hint": "split the range",
        "called_at": called_at,
    })
}

fn unanswered() -> Result<(), InvocationError> {
    Err(InvocationError::Unanswered {
        function: "planner".to_owned(),
        problem: "it took too long".to_owned(),
        circumstances: Circumstances::new(Some("check the region".to_owned()), None),
    })
}

fn slow() -> Story {
    vec![(2, planning(CALLED)), (99, plan()), (99, planned(CALLED))]
}

#[tokio::test]
async fn a_run_is_handed_over_once_however_long_planning_takes() {
    let world = World::new([(Ok(()), slow())]);
    let answer = world.follow().await.unwrap();
    assert_eq!((answer.tasks_queued, answer.objects.planned), (5, 7));
    assert_eq!(answer.ledger.as_deref(), Some("s3://b/_recovery/mine/"));
    assert_eq!((answer.dry_run, answer.days), (false, None));
    assert_eq!(world.hand_overs(), 1);
}

#[tokio::test]
async fn a_planner_that_was_reached_without_an_answer_is_not_asked_again() {
    let world = World::new([(unanswered(), slow())]);
    world.follow().await.unwrap();
    assert_eq!(world.hand_overs(), 1);
    assert!(world.said("hint: check the region; looking whether it has begun"));
}

#[tokio::test]
async fn a_planner_that_was_not_reached_is_asked_again_with_the_same_id() {
    let world = World::new([(unanswered(), vec![]), (Ok(()), slow())]);
    world.follow().await.unwrap();
    let ids = world.state.lock().unwrap().ids.clone();
    assert_eq!(ids, [Some("mine".to_owned()), Some("mine".to_owned())]);
}

#[tokio::test]
async fn a_run_that_was_planned_before_is_waited_for_again() {
    let before = [
        ("plan.json", plan_record()),
        (
            "planning.json",
            planning_record(CALLED, json!({"state": "planned", "tasks_queued": 9})),
        ),
        ("refused.json", refusal_record(CALLED, "refused")),
    ];
    let again = vec![
        (3, planning(CALLED_LATER)),
        (3, Removed("refused.json")),
        (9, planned(CALLED_LATER)),
    ];
    let world = World::new([(Ok(()), again)]).after(before);
    assert_eq!(world.follow().await.unwrap().tasks_queued, 5);
}

#[tokio::test]
async fn a_refusal_is_the_end_and_says_what_to_do() {
    for called in [vec![(1, planning(CALLED))], vec![]] {
        let story = called.into_iter().chain([(4, refused(CALLED, "refused"))]);
        let world = World::new([(Ok(()), story.collect())]);
        let error = world.follow().await.unwrap_err();
        assert_eq!(
            error,
            "error: the range holds too much (execution id `mine`)\n  hint: split the range"
        );
        assert_eq!(world.hand_overs(), 1);
    }
}

#[tokio::test]
async fn lambdas_next_try_is_waited_for_after_a_transient_failure() {
    let failing = || vec![(1, planning(CALLED)), (4, refused(CALLED, "transient"))];
    let mut mended = failing();
    mended.extend([
        (20, planning(CALLED_LATER)),
        (21, Removed("refused.json")),
        (40, plan()),
        (40, planned(CALLED_LATER)),
    ]);
    let world = World::new([(Ok(()), mended)]);
    world.follow().await.unwrap();
    assert_eq!(world.hand_overs(), 1);
    assert!(
        world.said("waiting for the next retry: the range holds too much; hint: split the range")
    );
    // There is none.
    let world = World::new([(Ok(()), failing())]);
    let error = world.follow().await.unwrap_err();
    assert!(error.contains("the range holds too much"), "{error}");
    assert_eq!(world.hand_overs(), 1);
}

#[tokio::test]
async fn a_planner_out_of_time_is_tried_again_by_lambda_and_then_by_start() {
    let tries = |first: u64| {
        vec![
            (1, planning(CALLED)),
            (2, out_of_time(CALLED, first)),
            (20, planning(CALLED_LATER)),
            (30, out_of_time(CALLED_LATER, first + 1)),
        ]
    };
    let last = vec![
        (1, planning("2024-06-01T13:00:00Z")),
        (40, plan()),
        (40, planned("2024-06-01T13:00:00Z")),
    ];
    let world = World::new([(Ok(()), tries(1)), (Ok(()), tries(3)), (Ok(()), last)]);
    world.follow().await.unwrap();
    assert_eq!(world.hand_overs(), 3);
    assert!(world.said("after 1 of 24 hours") && world.said("after 4 of 24 hours"));
}

#[tokio::test]
async fn a_planner_that_is_not_heard_of_is_given_up() {
    let rows = [
        ("it never begins", vec![], vec![]),
        (
            "it dies each time",
            vec![(1, planning(CALLED))],
            vec![(1, planning(CALLED_LATER))],
        ),
    ];
    for (name, first, second) in rows {
        let world = World::new([(Ok(()), first), (Ok(()), second)]);
        let error = world.follow().await.unwrap_err();
        assert!(error.contains("nothing is heard"), "{name}: {error}");
        assert!(error.contains("`--execution-id mine`"), "{name}: {error}");
        assert_eq!(world.hand_overs(), 2, "{name}");
    }
}

#[tokio::test]
async fn a_planner_that_would_refuse_by_now_says_so() {
    let world = World::new([(Ok(()), vec![])]);
    world.state.lock().unwrap().checks = vec![InvocationError::Function {
        kind: PlannerErrorKind::RefusedRequest,
        message: "`org_id` is not served".to_owned(),
    }];
    let error = world.follow().await.unwrap_err();
    assert_eq!(error, "error: `org_id` is not served");
    assert_eq!(world.hand_overs(), 1);
}

#[tokio::test]
async fn a_ledger_that_cannot_be_read_starts_nothing() {
    let world = World::new([]);
    let denied = LookFails(Problem::AccessDenied("403".to_owned()));
    world.state.lock().unwrap().due.insert(1, vec![denied]);
    let error = world.follow().await.unwrap_err();
    assert!(error.contains("access denied"), "{error}");
    assert_eq!(world.hand_overs(), 0);
}

#[tokio::test]
async fn a_look_that_fails_does_not_end_the_following() {
    let busy = || LookFails(Problem::Transient("busy".to_owned()));
    let mut story = slow();
    story.extend([(3, busy()), (4, busy()), (50, busy())]);
    let world = World::new([(Ok(()), story)]);
    world.follow().await.unwrap();
    assert!(world.said("looking again"));
    let failing = (1..=FAILED_LOOKS_MAX + 1).map(|look| (look, busy()));
    let world = World::new([(Ok(()), failing.collect())]);
    let error = world.follow().await.unwrap_err();
    assert!(error.contains("which may continue"), "{error}");
}

#[tokio::test]
async fn a_run_of_another_request_that_came_first_is_not_taken_for_this_one() {
    let resolution = RecoveryRequest {
        format: Some(Format::Ndjson),
        ..request()
    }
    .resolve(&RequestLimits::default(), &Tolerance::default(), Utc::now());
    let other = json!({
        "version": 1, "software": "x", "created_at": CALLED, "request": resolution.unwrap().request,
    });
    let mut story = slow();
    story.push((1, Wrote("request.json", other)));
    let world = World::new([(Ok(()), story)]);
    let error = world.follow().await.unwrap_err();
    assert!(error.contains("`format` differs"), "{error}");
}
