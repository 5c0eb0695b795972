//! How a worker processes a task while faults and other workers interfere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use std::sync::Arc;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use event_recovery_pipeline::{
    DATES_MAX, ExecutionId, Ledger, PlanLimits, Planner, Problem, Receipt, ResolvedRequest,
    RunTerms, State, TASK_VERSION, Task, Unobserved, Verdict, WorkError, Worker, audit,
};
use serde_json::{Value, json};
use support::doubles::{Effect, FaultyStorage, KeepingQueue, Operation, permanent, transient};
use support::{
    MARKER, NOW, ORG, Sandbox, at, delivery, done, event, event_of, failure, first_delivery, gzip,
    id, last_delivery, object_key, output_key, receipt_key, request,
};

const TIME: &str = "2024-04-01T00:10:00Z";
const DATE: &str = "2024-04-01";

/// A backup of one object, and the task to recover it.
struct Case {
    sandbox: Sandbox,
    run: ExecutionId,
    key: String,
    task: Task,
}

impl Case {
    async fn new(content: impl AsRef<[u8]>) -> Self {
        Self::with(request(json!({})), content).await
    }

    async fn with(request: ResolvedRequest, content: impl AsRef<[u8]>) -> Self {
        let (sandbox, run, key) = (Sandbox::new(), id("run"), object_key(TIME, 1));
        sandbox.back_up(&key, content);
        let task = sandbox.task(&request, &run, &key).await;
        Self {
            sandbox,
            run,
            key,
            task,
        }
    }

    fn worker(&self, source: FaultyStorage) -> Worker {
        Worker {
            source: Arc::new(source),
            ..self.sandbox.worker()
        }
    }

    fn faulty_source(&self) -> FaultyStorage {
        FaultyStorage::new(self.sandbox.source())
    }

    fn faulty_destination(&self) -> FaultyStorage {
        FaultyStorage::new(self.sandbox.destination())
    }

    async fn work(&self) -> Receipt {
        let worker = self.sandbox.worker();
        worker.work(&self.task, first_delivery()).await.unwrap()
    }

    fn receipt_key(&self) -> String {
        receipt_key(&self.run, &self.key)
    }

    fn output_key(&self) -> String {
        output_key(&self.run, DATE, &self.key)
    }

    fn output(&self) -> Option<String> {
        let bytes = self.sandbox.read(&self.output_key())?;
        Some(String::from_utf8(bytes).unwrap())
    }

    fn receipt(&self) -> Option<Receipt> {
        self.sandbox.receipt(&self.run, &self.key)
    }

    /// Asserts that the task left its receipt and nothing else.
    fn assert_only_the_receipt(&self) {
        let tree = self.sandbox.tree();
        assert!(tree.keys().eq([&self.receipt_key()]), "{:?}", tree.keys());
        self.sandbox.assert_nothing_staged();
        self.sandbox.assert_no_content_in_the_ledger();
    }
}

#[tokio::test]
async fn events_are_written_as_they_are_one_a_line() {
    let (a, b) = (event("a", TIME), event("b", "2024-04-01T00:11:00Z"));
    let case = Case::new(format!("{a}{b}")).await;
    let receipt = case.work().await;
    assert_eq!(case.output().unwrap(), format!("{a}\n{b}\n"));
    let done = done(&receipt);
    assert_eq!(done.outputs.len(), 1);
    let output = &done.outputs[0];
    assert_eq!(
        (&output.key, output.size, output.rows),
        (&case.output_key(), (a.len() + b.len() + 2) as u64, 2)
    );
    assert!(done.counts.balances() && !done.foreign_name && done.rejected.is_none());
    assert_eq!(case.receipt().unwrap(), receipt);
    assert_eq!((receipt.attempts, receipt.started_at), (1, at(NOW)));
    case.sandbox.assert_nothing_staged();
    case.sandbox.assert_no_content_in_the_ledger();
}

#[tokio::test]
async fn the_output_is_named_as_documented() {
    let rows = [
        ("ndjson", "none", "ndjson"),
        ("ndjson", "gzip", "ndjson.gz"),
        ("ndjson", "zstd", "ndjson.zst"),
        ("parquet", "none", "parquet"),
        ("parquet", "snappy", "parquet"),
        ("parquet", "zstd", "parquet"),
    ];
    for (format, compression, extension) in rows {
        let request = request(json!({"format": format, "compression": compression}));
        let case = Case::with(request, event("a", TIME)).await;
        let receipt = case.work().await;
        let key = &done(&receipt).outputs[0].key;
        let expected = format!(
            "execution_id=run/org_id={}/date={DATE}/{}.{extension}",
            support::ORG,
            case.task.id()
        );
        assert_eq!(*key, expected);
        let size = case.sandbox.read(key).unwrap().len() as u64;
        assert_eq!(size, done(&receipt).outputs[0].size, "{expected}");
    }
}

#[tokio::test]
async fn a_task_that_is_done_stays_as_it_is() {
    let case = Case::new(event("a", TIME)).await;
    let first = case.work().await;
    let tree = case.sandbox.tree();
    // Not even a source that is gone by now matters.
    std::fs::remove_file(case.sandbox.source_path().join(&case.key)).unwrap();
    let destination = Arc::new(case.faulty_destination());
    let worker = Worker {
        destination: destination.clone(),
        ..case.sandbox.worker()
    };
    let again = case.task.clone().again();
    for (task, delivery) in [
        (&again, first_delivery()),
        (&case.task, delivery(2)),
        (&case.task, last_delivery()),
    ] {
        assert_eq!(worker.work(task, delivery).await.unwrap(), first);
    }
    assert_eq!(case.sandbox.tree(), tree);
    for operation in [
        Operation::PutIf,
        Operation::Put,
        Operation::Create,
        Operation::Delete,
    ] {
        assert_eq!(destination.calls(operation, ""), 0, "{operation:?}");
    }
}

/// A receipt that another worker has written, and its bytes.
async fn receipt_of_another_worker(case: &Case) -> (Receipt, Vec<u8>) {
    let other = Sandbox::new();
    let content = std::fs::read(case.sandbox.source_path().join(&case.key)).unwrap();
    other.back_up(&case.key, content);
    let task = other.task(&request(json!({})), &case.run, &case.key).await;
    let receipt = other.worker().work(&task, first_delivery()).await.unwrap();
    let bytes = other.read(&case.receipt_key()).unwrap();
    (receipt, bytes)
}

#[tokio::test]
async fn what_another_worker_did_meanwhile_stays() {
    // Whatever this worker comes to, and whenever the other one is done: the calls of this
    // worker's conditional writes are the receipt `attempting` and then the final one.
    let rows = [
        ("before `attempting`", Operation::PutIf, 0, false),
        (
            "before `attempting`, then failing",
            Operation::PutIf,
            0,
            true,
        ),
        ("after `attempting`", Operation::PutIfDone, 0, false),
        (
            "after `attempting`, then failing",
            Operation::PutIfDone,
            0,
            true,
        ),
        ("before `done`", Operation::PutIf, 1, false),
        ("before `failed`", Operation::PutIf, 1, true),
    ];
    for (name, operation, calls_before, fails) in rows {
        let case = Case::new(event("a", TIME)).await;
        let (theirs, bytes) = receipt_of_another_worker(&case).await;
        let path = case.sandbox.destination_path().join(case.receipt_key());
        let written = bytes.clone();
        let meanwhile = Effect::Meanwhile(Arc::new(move || support::write(&path, &written)));
        let source = match fails {
            true => case
                .faulty_source()
                .at_first(Operation::Read, "", 1, permanent()),
            false => case.faulty_source(),
        };
        let destination = case.faulty_destination();
        let worker = Worker {
            destination: Arc::new(destination.after(
                operation,
                "receipts/",
                calls_before,
                1,
                meanwhile,
            )),
            ..case.worker(source)
        };
        let ours = worker.work(&case.task, last_delivery()).await.unwrap();
        assert_eq!(ours, theirs, "{name}");
        assert_eq!(
            case.sandbox.read(&case.receipt_key()).unwrap(),
            bytes,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_last_delivery_does_nothing_once_another_worker_is_done() {
    let case = Case::new(event("a", TIME)).await;
    let (_, bytes) = receipt_of_another_worker(&case).await;
    let path = case.sandbox.destination_path().join(case.receipt_key());
    let meanwhile = Effect::Meanwhile(Arc::new(move || support::write(&path, &bytes)));
    let destination = case.faulty_destination();
    let destination = Arc::new(destination.at_first(Operation::PutIf, "receipts/", 1, meanwhile));
    let worker = Worker {
        destination: destination.clone(),
        ..case.sandbox.worker()
    };
    worker.work(&case.task, last_delivery()).await.unwrap();
    assert_eq!(destination.calls(Operation::Create, ""), 0);
}

#[tokio::test]
async fn a_transient_failure_leaves_the_task_in_the_queue() {
    for operation in [Operation::Open, Operation::Read] {
        let case = Case::new(event("a", TIME)).await;
        let source = case.faulty_source().after(operation, "", 0, 1, transient());
        let worker = case.worker(source);
        let error = worker.work(&case.task, first_delivery()).await.unwrap_err();
        assert!(matches!(error, WorkError::Transient(_)), "{error:?}");
        assert!(!error.to_string().contains(MARKER));
        assert_eq!(case.sandbox.tree(), support::Tree::new(), "{operation:?}");
        case.sandbox.assert_nothing_staged();
        done(&worker.work(&case.task, first_delivery()).await.unwrap());
    }
}

#[tokio::test]
async fn a_transient_failure_of_the_destination_leaves_the_task_in_the_queue() {
    for operation in [Operation::Create, Operation::Write, Operation::Commit] {
        let case = Case::new(event("a", TIME)).await;
        let destination = case.faulty_destination();
        let worker = Worker {
            destination: Arc::new(destination.at_first(operation, "", 1, transient())),
            ..case.sandbox.worker()
        };
        let error = worker.work(&case.task, first_delivery()).await.unwrap_err();
        assert!(
            matches!(error, WorkError::Transient(_)),
            "{operation:?}: {error:?}"
        );
        assert_eq!(case.sandbox.tree(), support::Tree::new(), "{operation:?}");
        case.sandbox.assert_nothing_staged();
        done(&worker.work(&case.task, first_delivery()).await.unwrap());
    }
}

#[tokio::test]
async fn the_last_delivery_says_so_before_it_tries_and_gives_up_after() {
    let case = Case::new(event("a", TIME)).await;
    let path = case.sandbox.destination_path().join(case.receipt_key());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = {
        let seen = Arc::clone(&seen);
        Effect::Meanwhile(Arc::new(move || {
            seen.lock().unwrap().push(std::fs::read(&path).unwrap());
        }))
    };
    let source = case
        .faulty_source()
        .at_first(Operation::Open, "", 1, record)
        .at_first(Operation::Read, "", 1, transient());
    let worker = case.worker(source);
    let receipt = worker.work(&case.task, last_delivery()).await.unwrap();
    let attempting: Receipt = serde_json::from_slice(&seen.lock().unwrap()[0]).unwrap();
    let expires_at = at("2024-06-01T12:15:00Z");
    assert_eq!(attempting.state, State::Attempting { expires_at });
    assert_eq!(attempting.attempts, 10);
    let (reason, hint) = failure(&receipt);
    assert!(
        reason.starts_with("gave up after 10 attempts: "),
        "{reason}"
    );
    assert!(reason.contains("the storage is busy"), "{reason}");
    // The hint of the cause comes first.
    assert!(hint.starts_with("mend the double; then "), "{hint}");
    assert!(hint.contains("the same execution id"), "{hint}");
    case.assert_only_the_receipt();
}

#[tokio::test]
async fn a_permanent_failure_leaves_a_receipt_with_reason_and_hint() {
    let rows = [
        (Problem::Gone, "it is gone"),
        (Problem::Changed, "it has changed"),
        (Problem::Permanent("archived".to_owned()), "archived"),
    ];
    for (problem, reason_part) in rows {
        for operation in [Operation::Open, Operation::Read] {
            let case = Case::new(event("a", TIME)).await;
            let effect = Effect::Fail(problem.clone());
            let worker = case.worker(case.faulty_source().at_first(operation, "", 1, effect));
            let receipt = worker.work(&case.task, first_delivery()).await.unwrap();
            let (reason, hint) = failure(&receipt);
            assert!(reason.contains(reason_part), "{reason}");
            assert!(reason.contains(&case.key), "{reason}");
            assert_eq!(hint, "mend the double");
            case.assert_only_the_receipt();
        }
    }
}

#[tokio::test]
async fn a_failed_task_can_be_done_later() {
    let case = Case::new(event("a", TIME)).await;
    let worker = case.worker(
        case.faulty_source()
            .at_first(Operation::Open, "", 1, permanent()),
    );
    failure(&worker.work(&case.task, first_delivery()).await.unwrap());
    let receipt = worker.work(&case.task, first_delivery()).await.unwrap();
    done(&receipt);
    assert_eq!(receipt.attempts, 2);
    assert_eq!(case.receipt().unwrap(), receipt);
    assert_eq!(case.output().unwrap(), format!("{}\n", event("a", TIME)));
}

#[tokio::test]
async fn a_read_that_panics_costs_the_attempt_and_not_the_worker() {
    let case = Case::new(event("a", TIME)).await;
    let source = case
        .faulty_source()
        .at_first(Operation::Read, "", 2, Effect::Panic);
    let worker = case.worker(source);
    let error = worker.work(&case.task, first_delivery()).await.unwrap_err();
    assert!(
        matches!(&error, WorkError::Died { key, .. } if *key == case.key),
        "{error:?}"
    );
    assert_eq!(case.sandbox.tree(), support::Tree::new());
    let error = worker.work(&case.task, last_delivery()).await.unwrap_err();
    assert!(matches!(error, WorkError::Died { .. }), "{error:?}");
    assert!(matches!(
        case.receipt().unwrap().state,
        State::Attempting { .. }
    ));
    case.assert_only_the_receipt();
    done(&worker.work(&case.task, last_delivery()).await.unwrap());
}

#[tokio::test]
async fn a_source_that_fails_in_the_middle_shows_nothing() {
    let content: String = (0..100).map(|n| event(&n.to_string(), TIME)).collect();
    let case = Case::new(format!("torn}}{content}")).await;
    let source = case
        .faulty_source()
        .after(Operation::Read, "", 20, 1, permanent());
    let receipt = case.worker(source).work(&case.task, first_delivery()).await;
    failure(&receipt.unwrap());
    case.assert_only_the_receipt();
}

#[tokio::test]
async fn a_truncated_object_fails_and_shows_nothing() {
    let whole = gzip(&event("a", TIME));
    let rows = [
        ("cut in the trailer", whole[..whole.len() - 4].to_vec()),
        ("cut in the data", whole[..whole.len() / 2].to_vec()),
        ("second member cut", [&whole[..], &whole[..20]].concat()),
    ];
    for (name, content) in rows {
        let case = Case::new(content).await;
        let receipt = case.work().await;
        let (reason, hint) = failure(&receipt);
        assert!(reason.contains("cut off"), "{name}: {reason}");
        assert!(hint.contains("damaged"), "{name}: {hint}");
        case.assert_only_the_receipt();
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_decoded_fails_with_what_can_be_done() {
    let (mut corrupt, mut limited) = (gzip(&event("a", TIME)), Sandbox::new().worker().limits);
    let crc = corrupt.len() - 8;
    corrupt[crc] ^= 1;
    limited.decode.decoded_bytes_max = 10;
    let rows = [
        ("corrupt", corrupt, Default::default(), "corrupt", "damaged"),
        (
            "zip",
            b"PK\x03\x04rest of a zip archive".to_vec(),
            Default::default(),
            "format",
            "unpack",
        ),
        (
            "too large",
            event("a", TIME).into_bytes(),
            limited,
            "limit of 10",
            "limit",
        ),
    ];
    for (name, content, limits, reason_part, hint_part) in rows {
        let case = Case::new(content).await;
        let worker = Worker {
            limits,
            ..case.sandbox.worker()
        };
        let receipt = worker.work(&case.task, first_delivery()).await.unwrap();
        let (reason, hint) = failure(&receipt);
        assert!(reason.contains(reason_part), "{name}: {reason}");
        assert!(hint.contains(hint_part), "{name}: {hint}");
        case.assert_only_the_receipt();
    }
}

#[tokio::test]
async fn every_gzip_member_is_read() {
    let (a, b) = (event("a", TIME), event("b", TIME));
    let case = Case::new([gzip(&a), gzip(&b)].concat()).await;
    let receipt = case.work().await;
    assert_eq!(case.output().unwrap(), format!("{a}\n{b}\n"));
    let counts = done(&receipt).counts;
    assert_eq!(counts.bytes.source, case.task.size);
    assert_eq!(counts.bytes.read, (a.len() + b.len() + 2) as u64);
}

#[tokio::test]
async fn an_object_that_changed_since_it_was_planned_fails() {
    let case = Case::new(event("a", TIME)).await;
    case.sandbox.back_up(&case.key, event("another", TIME));
    let receipt = case.work().await;
    let (reason, hint) = failure(&receipt);
    assert!(reason.contains("changed since it was planned"), "{reason}");
    assert!(hint.contains("new run"), "{hint}");
    case.assert_only_the_receipt();
}

#[tokio::test]
async fn events_with_a_repeated_event_id_come_out_once_and_are_counted() {
    let twice =
        format!(r#"{{"event_id":"a","org_id":"{ORG}","event_id":"b","\u0065vent_id":"c"}}"#);
    let content = format!("{}{twice}{}", event("x", TIME), event("y", TIME));
    let case = Case::new(content).await;
    let receipt = case.work().await;
    let expected = format!("{}\n{twice}\n{}\n", event("x", TIME), event("y", TIME));
    assert_eq!(case.output().unwrap(), expected);
    let events = done(&receipt).counts.events;
    assert_eq!((events.found, events.repeated_ids), (3, 1));
}

#[tokio::test]
async fn a_receipt_names_its_entry_of_the_task_list() {
    let case = Case::new(event("a", TIME)).await;
    let receipt = case.work().await;
    assert_eq!(receipt.size, Some(case.task.size));
    assert_eq!(receipt.etag.as_ref(), Some(&case.task.etag));
}

#[tokio::test]
async fn rejected_fragments_are_kept_with_offset_and_reason() {
    let (a, b, c) = (event("a", TIME), event("b", TIME), event("c", TIME));
    let (text, bytes) = (format!("{MARKER}é"), b"\xff\xfe");
    let torn = r#"{"event_id":"torn"#;
    let content = [
        a.as_bytes(),
        text.as_bytes(),
        b.as_bytes(),
        bytes,
        c.as_bytes(),
        torn.as_bytes(),
    ]
    .concat();
    let case = Case::new(content).await;
    let receipt = case.work().await;
    assert_eq!(case.output().unwrap(), format!("{a}\n{b}\n{c}\n"));

    let done = done(&receipt);
    let rejected = done.rejected.as_ref().unwrap();
    assert_eq!(
        rejected.key,
        Ledger::new(case.run.clone()).rejected_key(&case.task.id())
    );
    assert_eq!((rejected.rows, done.counts.rejected_fragments), (3, 3));
    let file = String::from_utf8(case.sandbox.read(&rejected.key).unwrap()).unwrap();
    assert_eq!(file.len() as u64, rejected.size);
    let lines: Vec<Value> = file
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let offsets = [
        a.len(),
        a.len() + text.len() + b.len(),
        a.len() + text.len() + b.len() + bytes.len() + c.len(),
    ];
    let line = |offset: usize, length: usize, reason: &str, key: &str, value: &str| {
        json!({
            "key": case.key, "offset": offset, "length": length, "reason": reason, key: value,
        })
    };
    let expected = [
        line(offsets[0], text.len(), "syntax", "text", &text),
        line(
            offsets[1],
            bytes.len(),
            "invalid_utf8",
            "base64",
            &BASE64.encode(bytes),
        ),
        line(offsets[2], torn.len(), "truncated", "text", torn),
    ];
    assert_eq!(lines, expected);
    assert!(done.counts.balances());
    case.sandbox.assert_no_content_in_the_ledger();
}

#[tokio::test]
async fn a_long_fragment_is_kept_in_parts_that_adjoin() {
    let fragment = format!("[{}", "1,".repeat(1024 * 1024));
    let case = Case::new(&fragment).await;
    let receipt = case.work().await;
    let rejected = done(&receipt).rejected.clone().unwrap();
    assert_eq!(done(&receipt).counts.rejected_fragments, 1);
    let file = String::from_utf8(case.sandbox.read(&rejected.key).unwrap()).unwrap();
    assert_eq!(file.lines().count() as u64, rejected.rows);
    let mut together = String::new();
    for line in file.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["offset"], together.len());
        let is_first = together.is_empty();
        assert_eq!(line.get("continues"), (!is_first).then_some(&json!(0)));
        together += line["text"].as_str().unwrap();
    }
    assert!(together == fragment && rejected.rows > 1);
}

#[tokio::test]
async fn an_object_without_events_is_done_without_files() {
    for content in ["", " \n"] {
        let case = Case::new(content).await;
        let receipt = case.work().await;
        assert_eq!(done(&receipt).outputs, []);
        case.assert_only_the_receipt();
    }
}

#[tokio::test]
async fn events_of_two_days_make_two_files() {
    let request = request(json!({"start": "2024-03-31", "end": "2024-04-01"}));
    let (early, late) = (event("a", "2024-03-31T23:59:59.999Z"), event("b", TIME));
    let case = Case::with(request, format!("{late}{early}{late}")).await;
    let receipt = case.work().await;
    assert_eq!(done(&receipt).outputs.len(), 2);
    let before = output_key(&case.run, "2024-03-31", &case.key);
    assert_eq!(
        case.sandbox.read(&before).unwrap(),
        format!("{early}\n").into_bytes()
    );
    assert_eq!(case.output().unwrap(), format!("{late}\n{late}\n"));
}

#[tokio::test]
async fn an_attempt_that_stops_between_two_files_is_made_good_by_the_next() {
    let request = request(json!({"start": "2024-03-31", "end": "2024-04-01"}));
    let events = [event("a", "2024-03-31T23:00:00Z"), event("b", TIME)].concat();
    let case = Case::with(request.clone(), &events).await;
    let destination = case.faulty_destination();
    let worker = Worker {
        destination: Arc::new(destination.after(Operation::Commit, "", 1, 1, transient())),
        ..case.sandbox.worker()
    };
    worker.work(&case.task, first_delivery()).await.unwrap_err();
    assert!(case.receipt().is_none());
    worker.work(&case.task, first_delivery()).await.unwrap();
    let undisturbed = Case::with(request, &events).await;
    undisturbed.work().await;
    assert_eq!(case.sandbox.output(), undisturbed.sandbox.output());
}

#[tokio::test]
async fn more_days_than_one_object_may_have_fail_with_a_hint() {
    let day = |n: usize| {
        let instant = at("2024-01-01T12:00:00Z") + chrono::TimeDelta::days(n as i64);
        event("a", &instant.to_rfc3339())
    };
    let request = request(json!({"start": "2024-01-01", "end": "2024-05-01"}));
    let most: String = (0..DATES_MAX).map(day).collect();
    let case = Case::with(request.clone(), &most).await;
    assert_eq!(done(&case.work().await).outputs.len(), DATES_MAX);

    let case = Case::with(request, most + &day(DATES_MAX)).await;
    let receipt = case.work().await;
    let (reason, hint) = failure(&receipt);
    assert!(reason.contains("more than 64 days"), "{reason}");
    assert!(hint.contains("shorter"), "{hint}");
    case.assert_only_the_receipt();
}

#[tokio::test]
async fn filters_leave_out_and_count() {
    let request = request(json!({"domains": ["account"], "event_types": ["open-1"]}));
    let wanted = event_of("a", TIME, "account", "open-1");
    let content = [
        wanted.clone(),
        event_of("b", TIME, "cards", "open-1"),
        event_of("c", TIME, "account", "close-1"),
        event_of("d", "2024-04-02T00:00:00Z", "cards", "open-1"),
        r#"{"event_id":"no domain"}"#.to_owned(),
    ];
    let case = Case::with(request, content.concat()).await;
    let receipt = case.work().await;
    assert_eq!(case.output().unwrap(), wanted + "\n");
    let events = done(&receipt).counts.events;
    assert_eq!(
        (
            events.found,
            events.written,
            events.filtered_out,
            events.out_of_window
        ),
        (5, 1, 3, 1)
    );
    assert!(done(&receipt).counts.balances());
}

#[tokio::test]
async fn an_arrival_window_keeps_what_arrived_in_it() {
    let by_timestamp = r#"{"event_id":"t","timestamp":"2024-04-01T00:59:59.999999Z"}"#;
    let by_object = r#"{"event_id":"neither"}"#;
    let first = event("first", "2024-04-01T00:00:00Z");
    let content = [
        event("before", "2024-03-31T23:59:59.999Z"),
        first.clone(),
        by_timestamp.to_owned(),
        by_object.to_owned(),
        event("after", "2024-04-01T01:00:00Z"),
    ];
    let case = Case::new(content.concat()).await;
    let receipt = case.work().await;
    let expected = format!("{first}\n{by_timestamp}\n{by_object}\n");
    assert_eq!(case.output().unwrap(), expected);
    let counts = done(&receipt).counts;
    assert_eq!((counts.events.written, counts.events.out_of_window), (3, 2));
    // 00:59:59.999999 and 01:00:00 are more than 15 minutes after the object's time of 00:10:00.
    assert_eq!(counts.events.outside_tolerance, 2);
    assert_eq!(counts.outside_tolerance_max_millis, 35 * 60 * 1000);
}

#[tokio::test]
async fn a_publish_window_takes_every_event_under_the_prefixes_day() {
    let request = request(json!({"window": "publish"}));
    let content = [event("a", TIME), event("b", "1999-01-01T00:00:00Z")];
    let case = Case::with(request, content.concat()).await;
    let receipt = case.work().await;
    assert_eq!(case.output().unwrap(), content.join("\n") + "\n");
    let events = done(&receipt).counts.events;
    assert_eq!((events.outside_tolerance, events.out_of_window), (0, 0));
}

#[tokio::test]
async fn a_task_that_cannot_be_understood_stays_in_the_queue() {
    let case = Case::new(event("a", TIME)).await;
    let mut newer = case.task.clone();
    newer.version = TASK_VERSION + 1;
    let worker = case.sandbox.worker();
    let error = worker.work(&newer, last_delivery()).await.unwrap_err();
    assert!(matches!(error, WorkError::NewerTask { found } if found == TASK_VERSION + 1));

    let mut task = serde_json::to_value(&case.task).unwrap();
    task["compression"] = json!("snappy");
    let error = serde_json::from_value::<Task>(task).unwrap_err();
    assert!(error.to_string().contains("does not go with"), "{error}");
    assert_eq!(case.sandbox.tree(), support::Tree::new());
}

#[tokio::test]
async fn a_receipt_of_a_newer_version_is_left_alone() {
    let case = Case::new(event("a", TIME)).await;
    case.work().await;
    let mut receipt: Value =
        serde_json::from_slice(&case.sandbox.read(&case.receipt_key()).unwrap()).unwrap();
    receipt["version"] = json!(99);
    case.sandbox
        .overwrite(&case.receipt_key(), receipt.to_string());
    let tree = case.sandbox.tree();
    let worker = case.sandbox.worker();
    let error = worker.work(&case.task, first_delivery()).await.unwrap_err();
    assert!(matches!(error, WorkError::Ledger(_)), "{error:?}");
    assert_eq!(case.sandbox.tree(), tree);
}

#[tokio::test]
async fn an_attempt_that_has_expired_counts_as_failed() {
    let case = Case::new(event("a", TIME)).await;
    let (source, destination) = (case.sandbox.source(), case.sandbox.destination());
    let planner = Planner {
        source: &*source,
        ledger: &*destination,
        queue: &KeepingQueue::default(),
        auditor: None,
        until: None,
        limits: PlanLimits::default(),
        terms: RunTerms::default(),
        observer: &Unobserved,
    };
    planner
        .plan(&request(json!({})), &case.run, at(NOW))
        .await
        .unwrap();
    let worker = case.worker(
        case.faulty_source()
            .at_first(Operation::Read, "", 1, Effect::Panic),
    );
    worker.work(&case.task, last_delivery()).await.unwrap_err();
    let rows = [
        ("2024-06-01T12:14:59Z", (0, 1), "not been recovered yet"),
        ("2024-06-01T12:15:00Z", (1, 0), "died on the last attempt"),
    ];
    for (now, counts, reason) in rows {
        let report = audit(&*destination, &case.run, at(now)).await.unwrap();
        assert_eq!(
            (report.objects.failed, report.objects.missing),
            counts,
            "{now}"
        );
        assert_eq!(report.verdict, Verdict::Incomplete);
        assert!(report.unrecovered[0].reason.contains(reason), "{now}");
    }
}
