//! Log lines that are metrics too, in CloudWatch's embedded metric format.

use std::fmt::Display;
use std::io::Write as _;

use chrono::{DateTime, Utc};
use event_recovery_pipeline::RequestId;
use serde_json::{Map, Value, json};

/// The namespace of all metrics.
const NAMESPACE: &str = "EventRecovery";
/// The only dimension: the stack's name.
const DIMENSION: &str = "Stack";

/// One log line: what happened, with ids, counts and durations, some of them metrics
/// ("Specification: Embedded metric format" in the CloudWatch user guide).
#[derive(Debug, Clone)]
pub(crate) struct LogLine {
    fields: Map<String, Value>,
    metrics: Vec<Value>,
    /// The time of the metrics; that of writing if `None`.
    at: Option<DateTime<Utc>>,
}

/// What a metric counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    Count,
    Bytes,
    Milliseconds,
    Seconds,
}

impl LogLine {
    pub(crate) fn new(message: &str) -> Self {
        let mut fields = Map::new();
        fields.insert("message".to_owned(), message.into());
        Self {
            fields,
            metrics: Vec::new(),
            at: None,
        }
    }

    /// The time of the line's metrics. To be compared with a metric of Lambda's own, they must have the time at
    /// which the invocation began.
    pub(crate) fn at(mut self, time: DateTime<Utc>) -> Self {
        self.at = Some(time);
        self
    }

    /// Adds a field that is no metric.
    pub(crate) fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Adds an error: its text and, as far as they are known, what to do about it and which request failed.
    pub(crate) fn error(
        mut self,
        error: &dyn Display,
        hint: Option<String>,
        request_id: Option<&RequestId>,
    ) -> Self {
        self = self.field("error", error.to_string());
        if let Some(hint) = hint {
            self = self.field("hint", hint);
        }
        if let Some(request_id) = request_id {
            self = self.field("failed_request_id", request_id.to_string());
        }
        self
    }

    /// Adds a metric.
    pub(crate) fn metric(mut self, name: &str, unit: Unit, value: u64) -> Self {
        let unit = match unit {
            Unit::Count => "Count",
            Unit::Bytes => "Bytes",
            Unit::Milliseconds => "Milliseconds",
            Unit::Seconds => "Seconds",
        };
        self.metrics.push(json!({"Name": name, "Unit": unit}));
        self.field(name, value)
    }

    fn into_json(mut self, stack: &str) -> Value {
        self.fields.insert(DIMENSION.to_owned(), stack.into());
        let metadata = json!({
            "Timestamp": self.at.unwrap_or_else(Utc::now).timestamp_millis(),
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE, "Dimensions": [[DIMENSION]], "Metrics": self.metrics,
            }],
        });
        self.fields.insert("_aws".to_owned(), metadata);
        Value::Object(self.fields)
    }

    /// Writes the line to stdout, where Lambda takes it to the function's log group.
    pub(crate) fn write(self, stack: &str) {
        let mut line = self.into_json(stack).to_string();
        line.push('\n');
        // A failure to write the log can't be logged.
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_the_time_that_it_is_given() {
        let time = DateTime::from_timestamp_millis(1_700_000_000_123).unwrap();
        let line = LogLine::new("failed").at(time).into_json("stack");
        assert_eq!(line["_aws"]["Timestamp"], 1_700_000_000_123_i64);
    }

    #[test]
    fn a_line_is_embedded_metric_format() {
        let line = LogLine::new("task done")
            .field("execution_id", "run")
            .metric("TasksDone", Unit::Count, 1)
            .metric("BytesRead", Unit::Bytes, 7)
            .into_json("stack");
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "EventRecovery");
        assert_eq!(directive["Dimensions"], json!([["Stack"]]));
        assert_eq!(line["Stack"], "stack");
        for metric in directive["Metrics"].as_array().unwrap() {
            let name = metric["Name"].as_str().unwrap();
            assert!(line[name].is_number(), "{name}");
        }
        assert!(line["_aws"]["Timestamp"].is_number());
        assert_eq!(line["execution_id"], "run");
    }
}
