//! Scheduled recoveries: which window belongs to a scheduled time.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use thiserror::Error;

use crate::backup::org_id::OrgId;
use crate::request::RecoveryRequest;
use crate::request::output::Format;
use crate::request::window::{Tolerance, WindowKind};

/// The intervals that divide a day, in hours.
pub const SCHEDULE_INTERVALS_HOURS: [u32; 4] = [1, 6, 12, 24];

/// A schedule that recovers what was published, interval by interval.
///
/// The window of a run is one interval long and ends at the scheduled time minus `settle`, floored
/// to the interval: the windows of consecutive runs adjoin whatever the clock says when they begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    interval_hours: u32,
    settle_secs: u32,
}

/// An invalid schedule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// Consecutive windows would not adjoin at midnight.
    #[error("an interval of {found} hours is not one of 1, 6, 12 and 24")]
    Interval {
        /// The hours found.
        found: u32,
    },
    /// Objects of the window could still arrive when it is planned.
    #[error("a settle time of {found} s is below lead and lag, {least} s together")]
    Settle {
        /// The seconds found.
        found: u32,
        /// Lead and lag together, in seconds.
        least: u32,
    },
}

impl Schedule {
    /// A schedule with one of [`SCHEDULE_INTERVALS_HOURS`] and a settle time in seconds.
    ///
    /// # Errors
    ///
    /// See [`ScheduleError`].
    pub fn new(
        interval_hours: u32,
        settle_secs: u32,
        tolerance: &Tolerance,
    ) -> Result<Self, ScheduleError> {
        if !SCHEDULE_INTERVALS_HOURS.contains(&interval_hours) {
            return Err(ScheduleError::Interval {
                found: interval_hours,
            });
        }
        let least = tolerance.lead_secs.saturating_add(tolerance.lag_secs);
        if settle_secs < least {
            return Err(ScheduleError::Settle {
                found: settle_secs,
                least,
            });
        }
        Ok(Self {
            interval_hours,
            settle_secs,
        })
    }

    /// The length of each window, in hours.
    pub fn interval_hours(&self) -> u32 {
        self.interval_hours
    }

    /// How long a window settles before it is recovered, in seconds.
    pub fn settle_secs(&self) -> u32 {
        self.settle_secs
    }

    /// The window of a scheduled time: its first instant, and the first after it.
    pub fn window(&self, scheduled: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
        let interval = i64::from(self.interval_hours) * 3600;
        let latest = scheduled.timestamp() - i64::from(self.settle_secs);
        let floored = latest.div_euclid(interval) * interval;
        let end = DateTime::from_timestamp(floored, 0).unwrap_or(scheduled);
        (end - TimeDelta::seconds(interval), end)
    }

    /// The request of a scheduled time: a `publish` window without filters.
    pub fn request(
        &self,
        scheduled: DateTime<Utc>,
        org_id: &OrgId,
        format: Format,
    ) -> RecoveryRequest {
        let (start, end) = self.window(scheduled);
        let text = |instant: DateTime<Utc>| instant.to_rfc3339_opts(SecondsFormat::Secs, true);
        RecoveryRequest {
            org_id: org_id.to_string(),
            start: text(start),
            end: text(end),
            window: Some(WindowKind::Publish),
            format: Some(format),
            ..RecoveryRequest::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn consecutive_runs_tile_whatever_the_clock_says() {
        for interval_hours in SCHEDULE_INTERVALS_HOURS {
            let schedule = Schedule::new(interval_hours, 7200, &Tolerance::default()).unwrap();
            let interval = TimeDelta::hours(i64::from(interval_hours));
            let first = at("2024-02-28T00:00:00Z");
            let (_, mut end_before) = schedule.window(first);
            for run in 1..50 {
                // Up to ten minutes late.
                let late = TimeDelta::seconds(run * 37 % 600);
                let (start, end) = schedule.window(first + interval * run as i32 + late);
                assert_eq!(start, end_before, "{interval_hours} h, run {run}");
                assert_eq!(end - start, interval);
                end_before = end;
            }
        }
    }

    #[test]
    fn a_window_ends_where_everything_has_settled() {
        let rows = [
            (
                1,
                "2024-04-02T02:00:00Z",
                "2024-04-01T23:00:00Z",
                "2024-04-02T00:00:00Z",
            ),
            (
                1,
                "2024-04-02T02:59:59Z",
                "2024-04-01T23:00:00Z",
                "2024-04-02T00:00:00Z",
            ),
            (
                6,
                "2024-04-02T02:00:00Z",
                "2024-04-01T18:00:00Z",
                "2024-04-02T00:00:00Z",
            ),
            (
                24,
                "2024-04-02T02:00:00Z",
                "2024-04-01T00:00:00Z",
                "2024-04-02T00:00:00Z",
            ),
            (
                24,
                "2024-04-02T01:59:59Z",
                "2024-03-31T00:00:00Z",
                "2024-04-01T00:00:00Z",
            ),
        ];
        for (interval, scheduled, start, end) in rows {
            let schedule = Schedule::new(interval, 7200, &Tolerance::default()).unwrap();
            assert_eq!(schedule.window(at(scheduled)), (at(start), at(end)));
        }
    }

    #[test]
    fn a_schedule_that_could_miss_objects_is_refused() {
        let tolerance = Tolerance::default();
        assert!(Schedule::new(5, 7200, &tolerance).is_err());
        assert!(Schedule::new(1, 4499, &tolerance).is_err());
        assert!(Schedule::new(1, 4500, &tolerance).is_ok());
    }
}
