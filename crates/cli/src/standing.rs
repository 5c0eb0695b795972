//! How a run stands while it is watched, in one line.

use std::time::{Duration, Instant};

use event_recovery_pipeline::Report;

use crate::bytes::grouped;

/// The looks at a run so far: from the first and the last, how fast it is.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    first: Option<(Instant, u64)>,
}

impl Standing {
    /// What the report says, and how long the rest may take if that is known.
    pub(crate) fn line(&mut self, report: &Report, now: Instant) -> String {
        let objects = &report.objects;
        let ended = objects.planned - objects.missing.min(objects.planned);
        let (first_at, first_ended) = *self.first.get_or_insert((now, ended));
        let rate = rate(now - first_at, ended.saturating_sub(first_ended));
        if report.times.planned_at.is_none() {
            return format!(
                "still planning: {} objects found so far, {} done; time left unknown",
                grouped(objects.planned),
                grouped(objects.done)
            );
        }
        let left = match (objects.missing, rate) {
            (0, _) => "waiting for the audit".to_owned(),
            (open, Some(rate)) => format!(
                "{rate:.1} objects/s, about {} left",
                span(Duration::from_secs_f64(open as f64 / rate))
            ),
            (_, None) => "time left unknown".to_owned(),
        };
        let mut parts = vec![format!(
            "{} of {} objects done",
            grouped(objects.done),
            grouped(objects.planned)
        )];
        for (number, what) in [
            (objects.salvaged, "salvaged"),
            (objects.lost, "lost"),
            (objects.failed, "failed"),
            (objects.missing, "waiting or in flight"),
        ] {
            if number > 0 {
                parts.push(format!("{} {what}", grouped(number)));
            }
        }
        parts.push(format!("{} events", grouped(report.events.written)));
        parts.push(left);
        parts.join(", ")
    }
}

/// Objects per second; `None` as long as none has ended.
fn rate(took: Duration, ended: u64) -> Option<f64> {
    let rate = ended as f64 / took.as_secs_f64();
    (ended > 0 && rate.is_finite()).then_some(rate)
}

/// A time in the two largest units that it has.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report(planned_at: Value, planned: u64, done: u64) -> Report {
        let time = "2024-05-01T00:00:00Z";
        serde_json::from_value(json!({
            "version": 3, "software": "x", "execution_id": "run", "verdict": "incomplete", "reasons": [],
            "request": {
                "org_id": "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be", "start": "2024-04-01T00:00:00Z",
                "end": "2024-04-02T00:00:00Z", "window": {"kind": "publish", "lead_secs": 900, "lag_secs": 3600},
                "format": "ndjson", "compression": "none", "domains": [], "event_types": [],
            },
            "objects": {"listed": planned, "pruned": 0, "planned": planned, "done": done, "failed": 1,
                "missing": planned - done - 1},
            "bytes": {"source": 0, "read": 0, "events": 0, "whitespace": 0, "rejected": 0},
            "events": {"found": 0, "written": 1234, "out_of_window": 0, "filtered_out": 0, "duplicates": 0,
                "outside_tolerance": 0},
            "rejected_fragments": 0, "outside_tolerance_max_millis": 0, "foreign_names": 0,
            "output": {"files": 0, "bytes": 0}, "unrecovered": [], "rejected_files": [], "hours": [],
            "times": {"created_at": time, "planned_at": planned_at, "finished_at": null, "audited_at": time,
                "duration_millis": 0},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let (began, time) = (Instant::now(), json!("2024-05-01T00:00:00Z"));
        let mut standing = Standing::default();
        let planning = standing.line(&report(Value::Null, 30, 10), began);
        assert_eq!(
            planning,
            "still planning: 30 objects found so far, 10 done; time left unknown"
        );
        let mut standing = Standing::default();
        let first = standing.line(&report(time.clone(), 3000, 10), began);
        assert_eq!(
            first,
            "10 of 3,000 objects done, 1 failed, 2,989 waiting or in flight, 1,234 events, time left unknown"
        );
        let stuck = standing.line(
            &report(time.clone(), 3000, 10),
            began + Duration::from_secs(60),
        );
        assert!(stuck.ends_with("time left unknown"), "{stuck}");
        let later = standing.line(
            &report(time.clone(), 3000, 110),
            began + Duration::from_secs(100),
        );
        assert!(
            later.ends_with("1.0 objects/s, about 48 min 9 s left"),
            "{later}"
        );
        let last = standing.line(&report(time, 3000, 2999), began + Duration::from_secs(200));
        assert_eq!(
            last,
            "2,999 of 3,000 objects done, 1 failed, 1,234 events, waiting for the audit"
        );
    }
}
