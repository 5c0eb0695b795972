//! What a subscriber receives of a run, in a test program of its own, since the subscriber is set for the
//! whole process.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, where a failure is a panic"
)]

mod support;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::json;
use support::doubles::{Effect, FaultyStorage, Operation, transient};
use support::{MARKER, Sandbox, carry_out, event, first_delivery, id, object_key, request};

/// Keeps what the subscriber writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The lines that hold the text.
    fn lines(&self, text: &str) -> Vec<String> {
        let bytes = self.0.lock().unwrap();
        let lines = std::str::from_utf8(&bytes).unwrap().lines();
        let found = lines.filter(|line| line.contains(text));
        found.map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_and_lost_races_are_told_with_run_key_and_attempt_and_without_content() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let sandbox = Sandbox::new();
    let key = object_key("2024-04-01T00:10:00Z", 1);
    let torn = format!(
        "{}{{\"torn\":\"{MARKER}",
        event("a", "2024-04-01T00:10:00Z")
    );
    sandbox.back_up(&key, torn);

    let mut run = sandbox.run(request(json!({})), &id("retried"));
    let source = FaultyStorage::new(sandbox.source());
    run.source = Arc::new(source.at_first(Operation::Read, "", 1, transient()));
    carry_out(run).await;
    let [retry] = log.lines("retries the task").try_into().unwrap();
    for field in ["execution_id=retried", &key, "attempt=1", "wait_millis=100"] {
        assert!(retry.contains(field), "{field}: {retry}");
    }

    let task = sandbox.task(&request(json!({})), &id("raced"), &key).await;
    let (other, same) = (sandbox.worker(), task.clone());
    let handle = tokio::runtime::Handle::current();
    let other_is_first = Effect::Meanwhile(Arc::new(move || {
        let done = other.work(&same, first_delivery());
        tokio::task::block_in_place(|| handle.block_on(done)).unwrap();
    }));
    let mut worker = sandbox.worker();
    let destination = FaultyStorage::new(sandbox.destination());
    worker.destination =
        Arc::new(destination.at_first(Operation::PutIf, "receipts/", 1, other_is_first));
    worker.work(&task, first_delivery()).await.unwrap();
    let [lost] = log.lines("another worker has done").try_into().unwrap();
    for field in ["work{execution_id=raced", &key, "attempt=1"] {
        assert!(lost.contains(field), "{field}: {lost}");
    }

    assert_eq!(log.lines(MARKER), [""; 0]);
}
