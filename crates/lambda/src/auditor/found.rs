//! What an auditor has found out about a run, as metrics and notifications say it.

use event_recovery_pipeline::{
    AuditAnswer, AuditAnswerKind, AuditError, ExecutionId, Notification, Refusal, Report, Verdict,
};
use serde_json::json;

use crate::metrics::{LogLine, Unit};

/// How a run ended.
#[derive(Debug)]
pub(super) enum Found {
    /// It has a report.
    Audited {
        report: Box<Report>,
        /// Whether the deadline passed with tasks still missing.
        is_overdue: bool,
        /// The verdict of the report that was replaced.
        verdict_before: Option<Verdict>,
    },
    /// The planner refused it, so it has no verdict.
    Refused(Refusal),
    /// It can't be audited, so it is incomplete: nothing proves that it is not.
    NotAudited(AuditError),
}

impl Found {
    /// As the record of the call has it.
    pub(super) fn answer(&self) -> AuditAnswer {
        let (kind, overdue, verdict_before) = match self {
            Self::Audited {
                is_overdue,
                verdict_before,
                ..
            } => (AuditAnswerKind::Audited, *is_overdue, *verdict_before),
            Self::Refused(_) => (AuditAnswerKind::Refused, false, None),
            Self::NotAudited(_) => (AuditAnswerKind::NotAudited, false, None),
        };
        AuditAnswer {
            kind,
            overdue,
            verdict_before,
        }
    }

    pub(super) fn notification(
        &self,
        execution_id: &ExecutionId,
        place: impl Fn(&str) -> String,
    ) -> Notification {
        match self {
            Self::Audited {
                report, is_overdue, ..
            } => Notification::audited(report, *is_overdue, place),
            Self::Refused(refusal) => Notification::refused(execution_id, refusal, place),
            Self::NotAudited(error) => Notification::not_audited(execution_id, error, place),
        }
    }

    /// Writes the metrics of a run that has ended.
    pub(super) fn count(&self, execution_id: &ExecutionId, stack: &str) {
        let line = match self {
            Self::Audited {
                report, is_overdue, ..
            } => of_report(report, *is_overdue),
            Self::Refused(refusal) => LogLine::new("run refused")
                .error(&refusal.message, refusal.hint.clone(), None)
                .metric("RunsRefused", Unit::Count, 1),
            Self::NotAudited(error) => LogLine::new("run not audited")
                .error(error, error.hint(), error.request_id())
                .metric("RunsIncomplete", Unit::Count, 1),
        };
        line.field("execution_id", execution_id.as_str())
            .write(stack);
    }
}

fn of_report(report: &Report, is_overdue: bool) -> LogLine {
    let counted = |is: bool| u64::from(is);
    let verdict = |verdict: Verdict| counted(report.verdict == verdict);
    LogLine::new("run audited")
        .field("verdict", report.verdict.as_str())
        .field(
            "final",
            report.finality.is_some_and(|finality| finality.is_final),
        )
        .field("reasons", report.reasons.clone())
        .field("objects", json!(report.objects))
        .field("late", report.late.objects)
        .field("events", json!(report.events))
        .metric("RunsComplete", Unit::Count, verdict(Verdict::Complete))
        .metric("RunsNeedLook", Unit::Count, verdict(Verdict::NeedsLook))
        .metric("RunsIncomplete", Unit::Count, verdict(Verdict::Incomplete))
        .metric("RunsOverdue", Unit::Count, counted(is_overdue))
        .metric(
            "RunDurationSecs",
            Unit::Seconds,
            report.times.duration_millis / 1000,
        )
}
