//! What every implementation of a task queue promises.

use std::collections::BTreeSet;

use chrono::DateTime;
use event_recovery_pipeline::{
    ExecutionId, Filters, NdjsonCompression, OutputFormat, SourceKey, TASK_VERSION, Task, Window,
    WindowKind,
};

/// More tasks than any one request takes, some of them large.
pub(crate) fn tasks() -> Vec<Task> {
    (0..57)
        .map(|number: u64| {
            let key = format!("main_stream/2024/04/01/00/{number:03}-é \"");
            let values = match number % 10 {
                0 => (0..100).map(|n| format!("{n:0>128}")).collect(),
                _ => BTreeSet::new(),
            };
            Task {
                version: TASK_VERSION,
                execution_id: ExecutionId::parse("run").unwrap(),
                key: SourceKey::parse(&key).unwrap(),
                size: number,
                etag: "\"etag\"".to_owned(),
                window: Window {
                    kind: WindowKind::Arrival,
                    start: DateTime::UNIX_EPOCH,
                    end: DateTime::UNIX_EPOCH + chrono::TimeDelta::hours(1),
                    lead_secs: 900,
                    lag_secs: 3600,
                },
                filters: Filters {
                    domains: values.clone(),
                    event_types: values,
                    ..Filters::default()
                },
                output: OutputFormat::Ndjson(NdjsonCompression::None),
                queued_again: number % 2 == 1,
                salvage: number % 4 == 3,
            }
        })
        .collect()
}

/// Every task sent was received once, in whatever order.
pub(crate) fn assert_same(sent: Vec<Task>, mut received: Vec<Task>) {
    received.sort_by(|one, other| one.key.cmp(&other.key));
    assert_eq!(received.len(), sent.len());
    assert!(received == sent);
}
