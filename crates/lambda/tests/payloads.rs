//! The payloads of `infra/events` are what the functions take.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::fs;
use std::path::Path;

use aws_lambda_events::sqs::SqsEvent;
use event_recovery_pipeline::{AuditCall, PlannerPayload, RecheckPayload, RecoveryRequest, Task};
use serde_json::Value;

fn payloads(function: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/events");
    let mut found: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(&path).unwrap())
        })
        .filter(|(name, _)| name.starts_with(&format!("{function}-")))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no payloads for the {function}");
    found
}

fn bodies(payload: &[u8]) -> Vec<String> {
    let event: SqsEvent = serde_json::from_slice(payload).unwrap();
    let bodies = event.records.into_iter().map(|record| record.body.unwrap());
    bodies.collect()
}

#[test]
fn the_planners_payloads_are_requests_or_schedules_events() {
    for (name, payload) in payloads("planner") {
        let mut value: Value = serde_json::from_slice(&payload).unwrap();
        if RecheckPayload::read(&value).unwrap().is_some() {
            assert!(name.contains("recheck"), "{name}");
            continue;
        }
        let is_check = PlannerPayload::take_check(&mut value).unwrap();
        assert_eq!(is_check, name.contains("check"), "{name}");
        let is_schedule = value.get("scheduled_time").is_some()
            || value
                .get("detail-type")
                .is_some_and(|kind| kind == "Scheduled Event");
        assert!(
            is_schedule || RecoveryRequest::from_json(value.to_string().as_bytes()).is_ok(),
            "{name}"
        );
    }
}

#[test]
fn the_workers_payloads_hold_tasks_that_come_back_the_same() {
    for (name, payload) in payloads("worker") {
        for body in bodies(&payload) {
            let task: Task = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{name}: {e}"));
            let again: Value = serde_json::to_value(&task).unwrap();
            assert_eq!(
                again,
                serde_json::from_str::<Value>(&body).unwrap(),
                "{name}"
            );
        }
    }
}

#[test]
fn the_auditors_payloads_hold_calls() {
    for (name, payload) in payloads("auditor") {
        for body in bodies(&payload) {
            let call = serde_json::from_str::<AuditCall>(&body);
            assert!(call.is_ok(), "{name}: {call:?}");
        }
    }
}
