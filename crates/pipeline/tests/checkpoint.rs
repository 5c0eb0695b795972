//! An audit that takes more than one invocation.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use event_recovery_pipeline::{
    AuditError, Audited, ExecutionId, Report, Verdict, audit_when_finished, to_json,
};
use serde_json::{Value, json};
use support::doubles::{Effect, FaultyStorage, Operation};
use support::{NOW, Sandbox, at, audit_call, event, id, object_key, request};

const CHECKPOINT: &str = "_recovery/run/checkpoint.json";
/// What an audit writes.
const WRITTEN: [&str; 5] = [
    "_recovery/run/report.json",
    "_recovery/run/digests.json",
    "_recovery/run/audit.json",
    CHECKPOINT,
    "execution_id=run/_SUCCESS",
];
/// What a sitting may take, and more than that.
const BUDGET: Duration = Duration::from_millis(100);
const TOO_LONG: Duration = Duration::from_millis(130);

type Change = Box<dyn Fn(&mut Value)>;

/// A run that has ended: three hours, with a torn event and an object that could not be read.
struct Case {
    sandbox: Sandbox,
    run: ExecutionId,
}

impl Case {
    async fn new() -> Self {
        let case = Self::complete().await;
        let torn = format!("{{\"torn{}", event("torn", "2024-04-01T01:30:00Z"));
        let key = object_key("2024-04-01T01:30:00Z", 7);
        case.sandbox.back_up(&key, torn);
        let damaged = object_key("2024-04-01T02:30:00Z", 8);
        case.sandbox.back_up(&damaged, b"\x1f\x8b\x08damaged");
        case.again().await
    }

    /// As [`new`](Self::new), with nothing that needs a look.
    async fn complete() -> Self {
        let sandbox = Sandbox::new();
        for number in 0..6 {
            let time = format!("2024-04-01T0{}:{:02}:00Z", number / 2, 10 + number);
            let key = object_key(&time, number);
            sandbox.back_up(&key, event(&number.to_string(), &time));
        }
        let case = Self {
            sandbox,
            run: id("run"),
        };
        case.sandbox.recover(case.request(), &case.run).await;
        case
    }

    /// The run anew, over what the backup holds now.
    async fn again(self) -> Self {
        std::fs::remove_dir_all(self.sandbox.destination_path()).unwrap();
        self.sandbox.recover(self.request(), &self.run).await;
        self
    }

    fn request(&self) -> event_recovery_pipeline::ResolvedRequest {
        request(json!({
            "start": "2024-04-01T00:00:00Z", "end": "2024-04-01T03:00:00Z", "window": "publish",
        }))
    }

    /// Takes back what audits have written.
    fn forget_audits(&self) {
        for key in WRITTEN {
            if self.sandbox.read(key).is_some() {
                self.sandbox.remove(key);
            }
        }
    }

    async fn sit(
        &self,
        storage: &FaultyStorage,
        until: Option<Instant>,
    ) -> Result<Audited, AuditError> {
        let call = audit_call(&self.run, at("2024-05-01T00:00:00Z"));
        audit_when_finished(storage, &call, until, at(NOW)).await
    }

    /// Sits to the end.
    async fn finish(&self) -> Report {
        let storage = FaultyStorage::new(self.sandbox.destination());
        match self.sit(&storage, None).await.unwrap() {
            Audited::Finished { report, .. } => *report,
            other => panic!("{other:?}"),
        }
    }

    /// One sitting, whose time is up at its `call`-th call of the operation. Returns whether it was cut there.
    async fn sit_until(&self, operation: Operation, call: u32) -> bool {
        let slow = Effect::Meanwhile(Arc::new(|| sleep(TOO_LONG)));
        let storage =
            FaultyStorage::new(self.sandbox.destination()).after(operation, "", call, 1, slow);
        let sat = self.sit(&storage, Some(Instant::now() + BUDGET)).await;
        match sat.unwrap() {
            Audited::Continues => true,
            Audited::Finished { .. } => false,
            other => panic!("{other:?}"),
        }
    }

    fn digests(&self) -> Vec<u8> {
        self.sandbox.read("_recovery/run/digests.json").unwrap()
    }

    /// Cuts an audit where it has a checkpoint.
    async fn leave_checkpoint(&self) {
        self.forget_audits();
        for call in 0..50 {
            if self.sit_until(Operation::List, call).await
                && self.sandbox.read(CHECKPOINT).is_some()
            {
                return;
            }
            self.forget_audits();
        }
        panic!("no audit left a checkpoint");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_that_is_cut_anywhere_comes_to_what_it_comes_to_in_one_go() {
    for case in [Case::complete().await, Case::new().await] {
        case.forget_audits();
        let expected = case.finish().await;
        let digests = case.digests();
        let mark = case.sandbox.read("execution_id=run/_SUCCESS");
        let (mut cuts, mut resumed) = (0, 0);
        for operation in [Operation::Get, Operation::List] {
            for call in 0..40 {
                case.forget_audits();
                if case.sit_until(operation, call).await {
                    cuts += 1;
                    resumed += usize::from(case.sandbox.read(CHECKPOINT).is_some());
                }
                let report = case.finish().await;
                assert_eq!(report, expected, "{operation:?} {call}");
                assert_eq!(case.digests(), digests, "{operation:?} {call}");
                assert_eq!(case.sandbox.read("execution_id=run/_SUCCESS"), mark);
                assert_eq!(case.sandbox.read(CHECKPOINT), None, "it is removed");
            }
        }
        assert!(
            cuts > 5 && resumed > 2,
            "{cuts} cuts, {resumed} checkpoints"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_does_not_fit_is_not_used() {
    let case = Case::new().await;
    case.forget_audits();
    let expected = case.finish().await;
    let change = |name: &'static str, value: Value| {
        move |checkpoint: &mut Value| checkpoint[name] = value.clone()
    };
    let rows: [(&str, Change); 5] = [
        ("one that fits", Box::new(|_| ())),
        (
            "of other software",
            Box::new(change("software", json!("event-recovery 0.0.9"))),
        ),
        ("of a newer version", Box::new(change("version", json!(99)))),
        ("of another call", Box::new(change("number", json!(7)))),
        (
            "of another plan",
            Box::new(|checkpoint| {
                let digests = checkpoint["digests"].as_object_mut().unwrap();
                let first = digests
                    .values_mut()
                    .find(|value| value.is_string())
                    .unwrap();
                *first = json!("sha256:00");
            }),
        ),
    ];
    for (name, change) in rows {
        case.leave_checkpoint().await;
        let bytes = case.sandbox.read(CHECKPOINT).unwrap();
        let mut checkpoint: Value = serde_json::from_slice(&bytes).unwrap();
        checkpoint.as_object_mut().unwrap().remove("digest");
        // Sums that would be noticed.
        checkpoint["sums"]["objects"]["done"] = json!(1000);
        change(&mut checkpoint);
        case.sandbox
            .overwrite(CHECKPOINT, to_json(CHECKPOINT, &checkpoint).unwrap());
        let is_used = case.finish().await != expected;
        assert_eq!(is_used, name == "one that fits", "{name}");
    }
    for damaged in ["", "{", "null", "{\"version\": 3}"] {
        case.leave_checkpoint().await;
        case.sandbox.overwrite(CHECKPOINT, damaged);
        assert_eq!(case.finish().await, expected, "{damaged}");
    }
    // One that was changed and not sealed again.
    case.leave_checkpoint().await;
    let text = String::from_utf8(case.sandbox.read(CHECKPOINT).unwrap()).unwrap();
    case.sandbox
        .overwrite(CHECKPOINT, text.replacen("\"done\": ", "\"done\": 1", 1));
    assert_eq!(case.finish().await, expected, "changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_removed_between_two_sittings_is_missed() {
    let case = Case::complete().await;
    case.leave_checkpoint().await;
    let tree = case.sandbox.tree();
    let output = tree.keys().find(|path| path.ends_with(".ndjson")).unwrap();
    case.sandbox.remove(output);
    let report = case.finish().await;
    assert_eq!(report.verdict, Verdict::Incomplete);
    assert!(report.reasons.iter().any(|reason| reason.contains(output)));
    assert_eq!(case.sandbox.read("execution_id=run/_SUCCESS"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_that_never_progresses_ends_with_an_error() {
    let case = Case::complete().await;
    case.forget_audits();
    let storage = FaultyStorage::new(case.sandbox.destination());
    for attempt in 1..=8 {
        let sat = case.sit(&storage, Some(Instant::now())).await;
        assert!(matches!(sat, Ok(Audited::Continues)), "{attempt}: {sat:?}");
    }
    let sat = case.sit(&storage, Some(Instant::now())).await;
    assert!(
        matches!(sat, Err(AuditError::Died { attempts: 8, .. })),
        "{sat:?}"
    );
    assert_eq!(case.sandbox.read("_recovery/run/report.json"), None);
}
