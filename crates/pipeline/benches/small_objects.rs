//! Recovers many small objects from folder to folder, as a run on one machine does, and prints what each took. `make
//! bench-gate` runs it with two numbers of objects and counts the instructions of the difference.
//!
//! `cargo bench --package event-recovery-pipeline --bench small_objects -- OBJECTS`, 2,000 by default.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::panic,
    missing_docs,
    reason = "a measurement that prints, where a failure is a panic"
)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use event_recovery_pipeline::{
    Ended, ExecutionId, LinkedOrgs, LocalFolder, PlanLimits, RecoveryRequest, RequestLimits, Run,
    RunTerms, Tolerance, TransformLimits, Unobserved, Verdict,
};
use support::{cpu_secs, objects_argument, peak_resident_mib};

const ORG: &str = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";
/// Objects of about 4 KB.
const EVENTS: u64 = 10;

fn back_up(source: &Path, objects: u64) {
    let hour = source.join("main_stream/2024/04/01/00");
    std::fs::create_dir_all(&hour).unwrap();
    for number in 0..objects {
        let name = format!(
            "dataplatform-{ORG}-5-2024-04-01-00-10-00-00000000-0000-4000-8000-{number:012x}"
        );
        let events: String = (0..EVENTS)
            .map(|event| {
                let text = "a text such as events have, of some length ".repeat(6);
                format!(
                    r#"{{"schema_version":1,"event_id":"{number:08x}-{event:04x}","org_id":"{ORG}","event_type":"authorization","domain":"cards","timestamp":"2024-04-01T00:10:00Z","arrival_epoch":1711930200000,"data":{{"text":"{text}"}}}}"#
                )
            })
            .collect();
        std::fs::write(hour.join(name), events).unwrap();
    }
}

fn main() {
    let objects = objects_argument().unwrap_or(2_000);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (source, destination) = (
        folder.path().join("backup"),
        folder.path().join("recovered"),
    );
    back_up(&source, objects);
    let request = format!(
        r#"{{"org_id":"{ORG}","start":"2024-04-01T00:00:00Z","end":"2024-04-01T01:00:00Z","format":"ndjson","window":"publish"}}"#
    );
    let request = RecoveryRequest::from_json(request.as_bytes()).unwrap();
    let resolved = request.resolve(&RequestLimits::default(), &Tolerance::default(), Utc::now());
    let run = Run {
        source: Arc::new(LocalFolder::new(&source, folder.path().join("unused"))),
        destination: Arc::new(LocalFolder::new(
            &destination,
            destination.join("_recovery/.staging"),
        )),
        request: resolved.unwrap().request,
        execution_id: ExecutionId::parse("small").unwrap(),
        concurrency: 1,
        small_objects: 1,
        only: None,
        linked_orgs: LinkedOrgs::default(),
        terms: RunTerms::default(),
        plan_limits: PlanLimits::default(),
        transform_limits: TransformLimits::default(),
        observer: Arc::new(Unobserved),
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let (_keep, stop) = tokio::sync::watch::channel(false);
    let (began, cpu_before) = (Instant::now(), cpu_secs());
    let ended = runtime
        .enable_all()
        .build()
        .unwrap()
        .block_on(run.carry_out(stop));
    let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_secs() - cpu_before);
    let Ok(Ended::Audited(report)) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(report.verdict, Verdict::Complete, "{:?}", report.reasons);
    assert_eq!(report.events.written, objects * EVENTS);
    let micros = |secs: f64| secs * 1e6 / objects as f64;
    println!(
        "{objects} objects: {:.0} µs and {:.0} CPU-µs each; {} MiB resident at the most",
        micros(took),
        micros(cpu),
        peak_resident_mib(),
    );
}
