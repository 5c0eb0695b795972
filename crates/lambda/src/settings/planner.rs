//! The planner's settings.

use event_recovery_pipeline::{
    AUDIT_WAIT_HOURS_MAX, Format, LAG_DEFAULT_SECS, LATE_ALLOWANCE_HOURS_DEFAULT,
    LATE_ALLOWANCE_HOURS_MAX, LEAD_DEFAULT_SECS, LateAllowance, OrgId, PlanLimits, RequestLimits,
    Schedule, Tolerance, WindowKind,
};

use super::{DestinationSettings, Settings, SettingsError, SourceSettings};
use crate::time::Clock;

/// The default of `BYTES_MAX`: the default number of objects, 200,000, at the platform's largest, 10 MB.
const BYTES_MAX_DEFAULT: u64 = 2_000_000_000_000;
/// The largest `BYTES_MAX`: the largest number of objects, 10 million, at 10 MB.
const BYTES_MAX_MOST: u64 = 100_000_000_000_000;
/// How far tests may set the clock forward, in seconds: thirty days.
const CLOCK_AHEAD_SECS_MAX: u32 = 30 * 24 * 3600;

/// What the planner adds to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannerSettings {
    pub(crate) org_id: OrgId,
    pub(crate) destination: DestinationSettings,
    pub(crate) tolerance: Tolerance,
    pub(crate) request_limits: RequestLimits,
    pub(crate) plan_limits: PlanLimits,
    /// For requests that name none.
    pub(crate) format: Format,
    /// For requests that name none.
    pub(crate) window: WindowKind,
    /// `None` where the stack has no schedule.
    pub(crate) schedule: Option<Schedule>,
    pub(crate) audit_wait_hours: u32,
    /// Of new runs.
    pub(crate) late_allowance: LateAllowance,
    /// The URL of the backup, which requests are recorded with.
    pub(crate) source: Option<String>,
    pub(crate) clock: Clock,
    pub(crate) stack: String,
}

/// The planner's settings with where its clients are to be built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannerPlaces {
    pub(crate) settings: PlannerSettings,
    pub(crate) source: SourceSettings,
    pub(crate) task_queue_url: String,
    pub(crate) audit_queue_url: String,
}

impl PlannerPlaces {
    pub(crate) fn read(mut from: Settings) -> Result<Self, SettingsError> {
        let settings = PlannerSettings::read(&mut from);
        let org_id = settings.as_ref().ok().map(|settings| &settings.org_id);
        let source = SourceSettings::read(&mut from, org_id);
        let task_queue_url = from.required("TASK_QUEUE_URL");
        let audit_queue_url = from.required("AUDIT_QUEUE_URL");
        match (settings, source, task_queue_url, audit_queue_url) {
            (Ok(settings), Some(source), Some(task_queue_url), Some(audit_queue_url)) => Ok(Self {
                settings: PlannerSettings {
                    source: Some(format!("s3://{}", source.bucket)),
                    ..settings
                },
                source,
                task_queue_url,
                audit_queue_url,
            }),
            _ => Err(from.error()),
        }
    }
}

impl PlannerSettings {
    pub(crate) fn read(from: &mut Settings) -> Result<Self, SettingsError> {
        let limits = RequestLimits::default();
        let org_id = from.org_id();
        let destination = DestinationSettings::read(from);
        let tolerance = tolerance(from);
        let schedule = tolerance.map(|tolerance| schedule(from, &tolerance));
        let days_max = from.number_u32("DAYS_MAX", limits.days_max, (1, 4000));
        let objects_max = from.number("OBJECTS_MAX", 200_000, (1, 10_000_000));
        let bytes_max = from.number("BYTES_MAX", BYTES_MAX_DEFAULT, (1, BYTES_MAX_MOST));
        let late_hours = (0, LATE_ALLOWANCE_HOURS_MAX);
        let late_hours = from.number_u32(
            "LATE_ALLOWANCE_HOURS",
            LATE_ALLOWANCE_HOURS_DEFAULT,
            late_hours,
        );
        let ahead_secs = from.number_u32("CLOCK_AHEAD_SECS", 0, (0, CLOCK_AHEAD_SECS_MAX));
        let format = from.choice("FORMAT", &Format::ALL, Format::as_str);
        let window = from.choice("WINDOW", &WindowKind::ALL, WindowKind::as_str);
        let wait_hours = (1, AUDIT_WAIT_HOURS_MAX);
        let audit_wait_hours = from.number_u32("AUDIT_DEADLINE_HOURS", 24, wait_hours);
        let (Some(org_id), Some(destination)) = (org_id, destination) else {
            return Err(from.error());
        };
        let (Some(tolerance), Some(Ok(schedule))) = (tolerance, schedule) else {
            return Err(from.error());
        };
        let (Some(days_max), Some(objects_max), Some(bytes_max)) =
            (days_max, objects_max, bytes_max)
        else {
            return Err(from.error());
        };
        let late_allowance = late_hours.and_then(|hours| LateAllowance::from_hours(hours).ok());
        let (Some(late_allowance), Some(ahead_secs)) = (late_allowance, ahead_secs) else {
            return Err(from.error());
        };
        let (Some(format), Some(window), Some(audit_wait_hours)) =
            (format, window, audit_wait_hours)
        else {
            return Err(from.error());
        };
        Ok(Self {
            org_id,
            destination,
            tolerance,
            request_limits: RequestLimits { days_max, ..limits },
            plan_limits: PlanLimits {
                objects_max,
                bytes_max,
                ..PlanLimits::default()
            },
            format,
            window,
            schedule,
            audit_wait_hours,
            late_allowance,
            source: None,
            clock: Clock::new(ahead_secs, from.optional("AWS_ENDPOINT_URL").as_deref()),
            stack: from.stack(),
        })
    }
}

fn tolerance(from: &mut Settings) -> Option<Tolerance> {
    let day_secs = (0, 24 * 3600);
    let lead_secs = from.number_u32("LEAD_SECS", LEAD_DEFAULT_SECS, day_secs);
    let lag_secs = from.number_u32("LAG_SECS", LAG_DEFAULT_SECS, day_secs);
    match Tolerance::new(lead_secs?, lag_secs?) {
        Ok(tolerance) => Some(tolerance),
        Err(error) => {
            from.problems
                .push(format!("`LEAD_SECS` and `LAG_SECS`: {error}"));
            None
        }
    }
}

/// A schedule is invalid; what is wrong with it is among the problems.
#[derive(Debug, Clone, Copy)]
struct InvalidSchedule;

fn schedule(
    from: &mut Settings,
    tolerance: &Tolerance,
) -> Result<Option<Schedule>, InvalidSchedule> {
    if from.optional("SCHEDULE_INTERVAL_HOURS").is_none() {
        return Ok(None);
    }
    let interval_hours = from.number_u32("SCHEDULE_INTERVAL_HOURS", 24, (1, 24));
    let settle_hours = from.number_u32("SCHEDULE_SETTLE_HOURS", 2, (0, 48));
    let (Some(interval_hours), Some(settle_hours)) = (interval_hours, settle_hours) else {
        return Err(InvalidSchedule);
    };
    Schedule::new(interval_hours, settle_hours * 3600, tolerance)
        .map(Some)
        .map_err(|error| {
            from.problems.push(format!(
                "`SCHEDULE_INTERVAL_HOURS` and `SCHEDULE_SETTLE_HOURS`: {error}"
            ));
            InvalidSchedule
        })
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    #[test]
    fn what_is_left_out_has_its_documented_default() {
        let places = PlannerPlaces::read(settings(&[
            ("ORG_ID", "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be"),
            ("DESTINATION_BUCKET", "b"),
            ("TASK_QUEUE_URL", "t"),
            ("AUDIT_QUEUE_URL", "a"),
            ("SOURCE_REGION", ""),
        ]))
        .unwrap();
        assert_eq!(
            places.source.bucket,
            "pismo-dataplatform-tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be"
        );
        assert_eq!(places.source.region, None);
        assert_eq!(places.settings.tolerance, Tolerance::default());
        assert_eq!(places.settings.plan_limits.objects_max, 200_000);
        assert_eq!(places.settings.schedule, None);
    }

    #[test]
    fn a_schedule_that_could_miss_objects_is_told() {
        let mut from = settings(&[
            ("ORG_ID", "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be"),
            ("DESTINATION_BUCKET", "b"),
            ("SCHEDULE_INTERVAL_HOURS", "5"),
        ]);
        let error = PlannerSettings::read(&mut from).unwrap_err().to_string();
        assert!(error.contains("`SCHEDULE_INTERVAL_HOURS`"), "{error}");
    }
}
