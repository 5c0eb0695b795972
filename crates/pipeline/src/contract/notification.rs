//! The notification that is sent when a run has ended.

use serde::{Deserialize, Serialize};

use crate::audit::error::AuditError;
use crate::ledger::Ledger;
use crate::ledger::planning_record::Refusal;
use crate::ledger::receipt::{ByteCounts, EventCounts};
use crate::ledger::recheck_record::NamedKeys;
use crate::ledger::report::{Finality, LateCounts, ObjectCounts, Report, Unrecovered, Verdict};
use crate::request::execution_id::ExecutionId;

/// How a run ended: one notification for each call of the auditor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Notification {
    /// It was audited.
    Audited(Box<AuditedRun>),
    /// It could not be audited, so nothing proves that it is complete.
    NotAudited(NotAuditedRun),
    /// The planner refused it, so there is no verdict.
    Refused(RefusedRun),
}

/// The report of a run in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditedRun {
    /// See [`Report::verdict`].
    pub verdict: Verdict,
    /// The run.
    pub execution_id: ExecutionId,
    /// See [`Report::reasons`].
    pub reasons: Vec<String>,
    /// Whether the deadline passed before the run was finished.
    pub overdue: bool,
    /// See [`Report::finality`].
    #[serde(flatten)]
    pub finality: Option<Finality>,
    /// See [`Report::objects`].
    pub objects: ObjectCounts,
    /// See [`Report::events`].
    pub events: EventCounts,
    /// See [`Report::bytes`].
    pub bytes: ByteCounts,
    /// See [`Report::rejected_fragments`].
    pub rejected_fragments: u64,
    /// See [`Report::late`]; names at most [`Notification::NAMED_MAX`].
    #[serde(default)]
    pub late: LateCounts,
    /// See [`Report::changed`]; names at most [`Notification::NAMED_MAX`].
    #[serde(default)]
    pub changed: NamedKeys,
    /// See [`Report::vanished`]; names at most [`Notification::NAMED_MAX`].
    #[serde(default)]
    pub vanished: NamedKeys,
    /// The first of [`Report::unrecovered`], at most [`Notification::UNRECOVERED_MAX`].
    pub unrecovered: Vec<Unrecovered>,
    /// URL of [`Ledger::output_prefix`].
    pub output: String,
    /// URL of [`Ledger::report_key`].
    pub report: String,
}

/// A run that could not be audited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotAuditedRun {
    /// Always [`Verdict::Incomplete`].
    pub verdict: Verdict,
    /// The run.
    pub execution_id: ExecutionId,
    /// One reason: the error.
    pub reasons: Vec<String>,
    /// URL of [`Ledger::folder`], with a slash at its end.
    pub ledger: String,
}

/// A run that the planner refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename = "refused")]
pub struct RefusedRun {
    /// The run.
    pub execution_id: ExecutionId,
    /// See [`Refusal::message`].
    pub message: String,
    /// See [`Refusal::hint`].
    pub hint: Option<String>,
    /// URL of [`Ledger::folder`], with a slash at its end.
    pub ledger: String,
}

impl Notification {
    /// Most unrecovered objects that a notification names; the report names more.
    pub const UNRECOVERED_MAX: usize = 20;
    /// Most late, changed and vanished objects that a notification names, of each; the report names more.
    pub const NAMED_MAX: usize = 20;

    /// Of a report. `place` makes a URL of a key of the destination.
    pub fn audited(report: &Report, overdue: bool, place: impl Fn(&str) -> String) -> Self {
        let ledger = Ledger::new(report.execution_id.clone());
        let unrecovered = report.unrecovered.iter().take(Self::UNRECOVERED_MAX);
        let first = |keys: &NamedKeys| NamedKeys {
            objects: keys.objects,
            named: first_of(&keys.named),
        };
        Self::Audited(Box::new(AuditedRun {
            verdict: report.verdict,
            execution_id: report.execution_id.clone(),
            reasons: report.reasons.clone(),
            overdue,
            finality: report.finality,
            objects: report.objects,
            events: report.events,
            bytes: report.bytes,
            rejected_fragments: report.rejected_fragments,
            late: LateCounts {
                named: first_of(&report.late.named),
                ..report.late
            },
            changed: first(&report.changed),
            vanished: first(&report.vanished),
            unrecovered: unrecovered.cloned().collect(),
            output: place(&ledger.output_prefix()),
            report: place(&ledger.report_key()),
        }))
    }

    /// Of an audit that failed. `place` makes a URL of a key of the destination.
    pub fn not_audited(
        execution_id: &ExecutionId,
        error: &AuditError,
        place: impl Fn(&str) -> String,
    ) -> Self {
        Self::NotAudited(NotAuditedRun {
            verdict: Verdict::Incomplete,
            execution_id: execution_id.clone(),
            reasons: vec![format!("it could not be audited: {error}")],
            ledger: ledger_url(execution_id, place),
        })
    }

    /// Of a refused run. `place` makes a URL of a key of the destination.
    pub fn refused(
        execution_id: &ExecutionId,
        refusal: &Refusal,
        place: impl Fn(&str) -> String,
    ) -> Self {
        Self::Refused(RefusedRun {
            execution_id: execution_id.clone(),
            message: refusal.message.clone(),
            hint: refusal.hint.clone(),
            ledger: ledger_url(execution_id, place),
        })
    }

    /// The subject: the verdict, or `refused`, and the run.
    pub fn subject(&self) -> String {
        let (kind, execution_id) = match self {
            Self::Audited(run) => (run.verdict.as_str(), &run.execution_id),
            Self::NotAudited(run) => (run.verdict.as_str(), &run.execution_id),
            Self::Refused(run) => ("refused", &run.execution_id),
        };
        format!("event-recovery {kind}: {execution_id}")
    }

    /// The message: JSON, indented for people who read it in an e-mail, its names sorted.
    ///
    /// # Errors
    ///
    /// None in practice: every notification serialises.
    pub fn message(&self) -> serde_json::Result<String> {
        // A `Value` sorts the names.
        serde_json::to_string_pretty(&serde_json::to_value(self)?)
    }
}

fn first_of(names: &[String]) -> Vec<String> {
    let first = names.iter().take(Notification::NAMED_MAX);
    first.cloned().collect()
}

fn ledger_url(execution_id: &ExecutionId, place: impl Fn(&str) -> String) -> String {
    let ledger = Ledger::new(execution_id.clone());
    place(&format!("{}/", ledger.folder()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn id() -> ExecutionId {
        ExecutionId::parse("mine").unwrap()
    }

    fn place(key: &str) -> String {
        format!("s3://bucket/{key}")
    }

    fn assert_is(notification: &Notification, subject: &str, expected: &Value) {
        assert_eq!(notification.subject(), subject);
        let message = notification.message().unwrap();
        assert_eq!(message, serde_json::to_string_pretty(expected).unwrap());
        let read: Notification = serde_json::from_str(&message).unwrap();
        assert_eq!(read, *notification);
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("c{number}")).collect()
    }

    fn report(unrecovered: usize) -> Report {
        let objects = json!({
            "listed": 31, "pruned": 1, "planned": 30, "done": 5, "failed": 24, "missing": 1,
        });
        let unrecovered: Vec<Value> = (0..unrecovered)
            .map(|number| json!({"key": format!("k{number}"), "reason": "gone", "hint": null}))
            .collect();
        serde_json::from_value(json!({
            "version": 3, "software": "event-recovery 0.1.0", "execution_id": "mine",
            "verdict": "incomplete", "reasons": ["objects missing: 1"],
            "listed_at": "2024-04-02T03:00:00Z", "final": false,
            "final_after": "2024-04-03T02:00:00Z",
            "late": {"objects": 2, "done": 1, "events": 7, "named": ["l"]},
            "changed": {"objects": 30, "named": names(30)},
            "vanished": {"objects": 0, "named": []},
            "request": {
                "org_id": "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be",
                "start": "2024-04-01T00:00:00Z", "end": "2024-04-02T00:00:00Z",
                "window": {"kind": "arrival", "lead_secs": 900, "lag_secs": 3600},
                "format": "parquet", "compression": "zstd", "domains": [], "event_types": [],
            },
            "objects": objects,
            "bytes": {"source": 9, "read": 10, "events": 7, "whitespace": 2, "rejected": 1},
            "events": {
                "found": 4, "written": 1, "out_of_window": 1, "filtered_out": 1, "duplicates": 1,
                "outside_tolerance": 1, "repeated_ids": 1,
            },
            "rejected_fragments": 3, "outside_tolerance_max_millis": 0, "foreign_names": 0,
            "output": {"files": 1, "bytes": 1}, "unrecovered": unrecovered, "rejected_files": [],
            "hours": [],
            "times": {
                "created_at": "2024-04-03T00:00:00Z", "planned_at": null, "finished_at": null,
                "audited_at": "2024-04-03T00:00:00Z", "duration_millis": 0,
            },
        }))
        .unwrap()
    }

    #[test]
    fn an_audited_run_is_told_with_its_counts_and_where_it_lies() {
        let expected = json!({
            "verdict": "incomplete", "execution_id": "mine", "reasons": ["objects missing: 1"],
            "overdue": true,
            "listed_at": "2024-04-02T03:00:00Z", "final": false,
            "final_after": "2024-04-03T02:00:00Z",
            "late": {"objects": 2, "done": 1, "events": 7, "named": ["l"]},
            "changed": {"objects": 30, "named": names(20)},
            "vanished": {"objects": 0, "named": []},
            "objects": {
                "listed": 31, "pruned": 1, "planned": 30, "done": 5, "salvaged": 0, "failed": 24,
                "missing": 1, "lost": 0,
            },
            "events": {
                "found": 4, "written": 1, "out_of_window": 1, "filtered_out": 1, "duplicates": 1,
                "outside_tolerance": 1, "repeated_ids": 1,
            },
            "bytes": {"source": 9, "read": 10, "events": 7, "whitespace": 2, "rejected": 1},
            "rejected_fragments": 3,
            "unrecovered": [{"key": "k0", "reason": "gone", "hint": null}],
            "output": "s3://bucket/execution_id=mine/",
            "report": "s3://bucket/_recovery/mine/report.json",
        });
        let told = Notification::audited(&report(1), true, place);
        assert_is(&told, "event-recovery incomplete: mine", &expected);
    }

    #[test]
    fn a_notification_names_so_many_unrecovered_objects_and_no_more() {
        let told = Notification::audited(&report(30), false, place);
        let Notification::Audited(told) = told else {
            panic!("{told:?}");
        };
        assert_eq!(told.unrecovered.len(), Notification::UNRECOVERED_MAX);
        assert_eq!(told.unrecovered[19].key, "k19");
    }

    #[test]
    fn a_run_that_could_not_be_audited_is_told_as_incomplete() {
        let expected = json!({
            "verdict": "incomplete", "execution_id": "mine",
            "reasons": ["it could not be audited: there is no run `mine`"],
            "ledger": "s3://bucket/_recovery/mine/",
        });
        let told = Notification::not_audited(&id(), &AuditError::UnknownRun(id()), place);
        assert_is(&told, "event-recovery incomplete: mine", &expected);
    }

    #[test]
    fn a_refused_run_is_told_without_a_verdict() {
        let refusal = Refusal {
            version: 2,
            kind: crate::ledger::planning_record::RefusalKind::Transient,
            message: "no".to_owned(),
            hint: Some("later".to_owned()),
            called_at: "2024-04-03T00:00:00Z".parse().unwrap(),
        };
        let expected = json!({
            "kind": "refused", "execution_id": "mine", "message": "no", "hint": "later",
            "ledger": "s3://bucket/_recovery/mine/",
        });
        let told = Notification::refused(&id(), &refusal, place);
        assert_is(&told, "event-recovery refused: mine", &expected);
    }
}
