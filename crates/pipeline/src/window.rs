//! The window: which part of the backup a run recovers.
//!
//! A `publish` window takes every event of every object under the prefixes of its hours. An
//! `arrival` window takes the events that *arrived* in it, wherever they lie: it reads the objects
//! around it too and leaves out what arrived outside.
//!
//! What makes an `arrival` window complete is one relation. An object's time is the arrival of its
//! oldest event, and an event's arrival is expected in `[object time − lag, object time + lead]`.
//! Turned around, the events of `[start, end)` lie in objects with times in
//! `[start − lead, end + lag)`; those are read. An event beyond its object's tolerance may be missed
//! by the window it belongs to, so whoever meets one reports it.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hour_prefix::HourPrefix;
use crate::object_name::ObjectTime;

/// How long after its object's time an event may have arrived, in seconds, unless set otherwise.
///
/// 15 minutes is the longest buffering interval of Amazon Data Firehose (`BufferingHints`: 900
/// seconds). The platform documents 5 minutes for the backup.
pub const LEAD_DEFAULT_SECS: u32 = 15 * 60;

/// How long before its object's time an event may have arrived, in seconds, unless set otherwise.
///
/// `arrival_epoch` is stamped before the event reaches the backup. No documentation bounds the
/// delay; 60 minutes is this project's choice.
pub const LAG_DEFAULT_SECS: u32 = 60 * 60;

/// The longest lead or lag that can be set, in seconds: a week, this project's choice. Each hour of
/// either is one more prefix to list for every window.
pub const TOLERANCE_SECS_MAX: u32 = 7 * 24 * 60 * 60;

const SECOND_NANOS: i128 = 1_000_000_000;
const MILLISECOND_NANOS: u128 = 1_000_000;

/// What decides whether an event belongs to a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowKind {
    /// When the event arrived.
    Arrival,
    /// When the platform published the event's object, in whole hours.
    Publish,
}

/// How far an event's arrival may lie from the time of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tolerance {
    /// How long after the object's time, in seconds.
    pub lead_secs: u32,
    /// How long before the object's time, in seconds.
    pub lag_secs: u32,
}

/// The half-open range `[start, end)` that a run recovers.
///
/// Every method is total, whatever the fields hold. A window read from JSON is checked: it is not
/// empty, and a `publish` window begins and ends on whole hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "UncheckedWindow")]
pub struct Window {
    /// What decides whether an event belongs to the window.
    pub kind: WindowKind,
    /// The first instant.
    pub start: DateTime<Utc>,
    /// The first instant after it.
    pub end: DateTime<Utc>,
    /// How long before `start` an object may be named and still hold events of an `arrival` window,
    /// in seconds.
    pub lead_secs: u32,
    /// How long after `end` an object may be named and still hold events of an `arrival` window, in
    /// seconds.
    pub lag_secs: u32,
}

/// Why a window is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WindowError {
    /// It ends before or when it starts.
    #[error("a window ends after its start `{start}`: `{end}`")]
    Empty {
        /// Its start.
        start: DateTime<Utc>,
        /// Its end.
        end: DateTime<Utc>,
    },
    /// A `publish` window does not consist of whole hours.
    #[error("a `publish` window starts and ends on whole UTC hours: `{instant}`")]
    NotHourAligned {
        /// The first of start and end that lies within an hour.
        instant: DateTime<Utc>,
    },
    /// A lead or a lag is longer than [`TOLERANCE_SECS_MAX`].
    #[error("`{field}` accepts 0 to {TOLERANCE_SECS_MAX} seconds: {found_secs}")]
    ToleranceTooLong {
        /// `lead_secs` or `lag_secs`.
        field: &'static str,
        /// What was found, in seconds.
        found_secs: u32,
    },
}

impl WindowKind {
    /// Every kind, the default of requests first.
    pub const ALL: [Self; 2] = [Self::Arrival, Self::Publish];

    /// The kind as requests write it: `arrival` or `publish`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arrival => "arrival",
            Self::Publish => "publish",
        }
    }
}

impl Tolerance {
    /// Takes a lead and a lag in seconds.
    ///
    /// # Errors
    ///
    /// [`WindowError::ToleranceTooLong`] for the first that is over [`TOLERANCE_SECS_MAX`].
    pub fn new(lead_secs: u32, lag_secs: u32) -> Result<Self, WindowError> {
        for (field, found_secs) in [("lead_secs", lead_secs), ("lag_secs", lag_secs)] {
            if found_secs > TOLERANCE_SECS_MAX {
                return Err(WindowError::ToleranceTooLong { field, found_secs });
            }
        }
        Ok(Self {
            lead_secs,
            lag_secs,
        })
    }
}

impl Default for Tolerance {
    fn default() -> Self {
        Self {
            lead_secs: LEAD_DEFAULT_SECS,
            lag_secs: LAG_DEFAULT_SECS,
        }
    }
}

impl Window {
    /// The hour prefixes whose objects can hold events of the window, in order.
    pub fn hours(&self) -> impl DoubleEndedIterator<Item = HourPrefix> + Clone + use<> {
        let (from, until) = self.object_times();
        HourPrefix::covering(from, until)
    }

    /// Whether an object under one of the window's hours can hold events of it; if not, it need
    /// not be read. Of a `publish` window's hours every object counts.
    pub fn may_hold(&self, object: &ObjectTime) -> bool {
        match self.kind {
            WindowKind::Publish => true,
            WindowKind::Arrival => {
                let (from, until) = self.object_times();
                object.earliest() < until && object.latest_exclusive() > from
            }
        }
    }

    /// Whether an event that was read belongs to the window, by its arrival in nanoseconds since
    /// 1970 UTC. To a `publish` window belongs every event of its objects.
    pub fn contains(&self, arrival_nanos: i128) -> bool {
        match self.kind {
            WindowKind::Publish => true,
            WindowKind::Arrival => {
                epoch_nanos(self.start) <= arrival_nanos && arrival_nanos < epoch_nanos(self.end)
            }
        }
    }

    /// By how much an event arrived outside the tolerance of its object, in milliseconds, rounded
    /// up; `None` when it did not, and for `publish` windows, which cannot miss it.
    ///
    /// `arrival_nanos` is in nanoseconds since 1970 UTC. The tolerance is
    /// `[object time − lag, object time + lead]`; a foreign name counts with all of its hour,
    /// `[hour − lag, hour's end + lead)`. The upper end is open there because the hour's end is no
    /// time of that hour.
    pub fn distance_outside_tolerance(
        &self,
        object: &ObjectTime,
        arrival_nanos: i128,
    ) -> Option<u64> {
        if self.kind == WindowKind::Publish {
            return None;
        }
        let first = epoch_nanos(object.earliest()) - secs_nanos(self.lag_secs);
        let last = epoch_nanos(object.latest_exclusive()) - 1 + secs_nanos(self.lead_secs);
        let distance_nanos = if arrival_nanos < first {
            arrival_nanos.abs_diff(first)
        } else if arrival_nanos > last {
            arrival_nanos.abs_diff(last)
        } else {
            return None;
        };
        let distance_millis = distance_nanos.div_ceil(MILLISECOND_NANOS);
        Some(u64::try_from(distance_millis).unwrap_or(u64::MAX))
    }

    /// Whether the backup may still gain events of the window: it ends after `now`, or less than
    /// lead and lag together before it.
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        let settled =
            epoch_nanos(self.end) + secs_nanos(self.lead_secs) + secs_nanos(self.lag_secs);
        epoch_nanos(now) < settled
    }

    /// The object times, half-open, that can hold events of the window.
    fn object_times(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        match self.kind {
            WindowKind::Publish => (self.start, self.end),
            WindowKind::Arrival => (
                self.start
                    .checked_sub_signed(TimeDelta::seconds(i64::from(self.lead_secs)))
                    .unwrap_or(DateTime::<Utc>::MIN_UTC),
                self.end
                    .checked_add_signed(TimeDelta::seconds(i64::from(self.lag_secs)))
                    .unwrap_or(DateTime::<Utc>::MAX_UTC),
            ),
        }
    }
}

/// A window as JSON holds it.
#[derive(Deserialize)]
struct UncheckedWindow {
    kind: WindowKind,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    lead_secs: u32,
    lag_secs: u32,
}

impl TryFrom<UncheckedWindow> for Window {
    type Error = WindowError;

    fn try_from(unchecked: UncheckedWindow) -> Result<Self, WindowError> {
        let UncheckedWindow {
            kind,
            start,
            end,
            lead_secs,
            lag_secs,
        } = unchecked;
        if start >= end {
            return Err(WindowError::Empty { start, end });
        }
        let within_hour = [start, end].into_iter().find(|&i| !is_whole_hour(i));
        if let (WindowKind::Publish, Some(instant)) = (kind, within_hour) {
            return Err(WindowError::NotHourAligned { instant });
        }
        Tolerance::new(lead_secs, lag_secs)?;
        Ok(Self {
            kind,
            start,
            end,
            lead_secs,
            lag_secs,
        })
    }
}

/// Nanoseconds since 1970 UTC; wide enough for every `DateTime`.
pub(crate) fn epoch_nanos(instant: DateTime<Utc>) -> i128 {
    i128::from(instant.timestamp()) * SECOND_NANOS + i128::from(instant.timestamp_subsec_nanos())
}

/// Whether an instant is the first of an hour.
pub(crate) fn is_whole_hour(instant: DateTime<Utc>) -> bool {
    HourPrefix::from_instant(instant).start() == instant
}

fn secs_nanos(secs: u32) -> i128 {
    i128::from(secs) * SECOND_NANOS
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_NANOS: i128 = 60 * SECOND_NANOS;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn window(kind: WindowKind, start: &str, end: &str) -> Window {
        Window {
            kind,
            start: at(start),
            end: at(end),
            lead_secs: LEAD_DEFAULT_SECS,
            lag_secs: LAG_DEFAULT_SECS,
        }
    }

    fn arrival(start: &str, end: &str) -> Window {
        window(WindowKind::Arrival, start, end)
    }

    fn named(text: &str) -> ObjectTime {
        ObjectTime::Named(at(text))
    }

    fn foreign(label: &str) -> ObjectTime {
        ObjectTime::Foreign(HourPrefix::parse(label).unwrap())
    }

    fn is_read(window: &Window, object: &ObjectTime) -> bool {
        let hour = HourPrefix::from_instant(object.earliest());
        window.hours().any(|listed| listed == hour) && window.may_hold(object)
    }

    #[test]
    fn an_arrival_window_lists_its_neighbours_too() {
        let rows: [(&str, Window, &[&str]); 3] = [
            (
                "publish: its own hours",
                window(
                    WindowKind::Publish,
                    "2024-04-01T01:00:00Z",
                    "2024-04-01T03:00:00Z",
                ),
                &["2024-04-01T01", "2024-04-01T02"],
            ),
            (
                "arrival: one before, one after",
                arrival("2024-04-01T01:00:00Z", "2024-04-01T02:00:00Z"),
                &["2024-04-01T00", "2024-04-01T01", "2024-04-01T02"],
            ),
            (
                "arrival: no more than it needs",
                arrival("2024-04-01T01:15:00Z", "2024-04-01T02:00:01Z"),
                &["2024-04-01T01", "2024-04-01T02", "2024-04-01T03"],
            ),
        ];
        for (name, window, expected) in rows {
            let labels: Vec<_> = window.hours().map(HourPrefix::label).collect();
            assert_eq!(labels, expected, "{name}");
        }
    }

    #[test]
    fn objects_that_cannot_hold_the_windows_events_are_pruned() {
        let window = arrival("2024-04-01T01:00:00Z", "2024-04-01T01:30:00Z");
        let rows = [
            (
                "just too early",
                named("2024-04-01T00:44:59.999999999Z"),
                false,
            ),
            ("the lead before", named("2024-04-01T00:45:00Z"), true),
            ("within", named("2024-04-01T01:10:00Z"), true),
            (
                "last second of the lag",
                named("2024-04-01T02:29:59Z"),
                true,
            ),
            (
                "the lag after the end",
                named("2024-04-01T02:30:00Z"),
                false,
            ),
            ("foreign, hour before", foreign("2024-04-01T00"), true),
            ("foreign, hour of the lag", foreign("2024-04-01T02"), true),
            ("foreign, two hours before", foreign("2024-03-31T23"), false),
            (
                "foreign, hour after the lag",
                foreign("2024-04-01T03"),
                false,
            ),
        ];
        for (name, object, kept) in rows {
            assert_eq!(window.may_hold(&object), kept, "{name}");
            let publish = Window {
                kind: WindowKind::Publish,
                ..window
            };
            assert!(publish.may_hold(&object), "{name}");
        }
    }

    #[test]
    fn a_window_contains_its_start_and_not_its_end() {
        let window = arrival("2024-04-01T01:00:00Z", "2024-04-01T02:00:00Z");
        let (start, end) = (epoch_nanos(window.start), epoch_nanos(window.end));
        for (name, nanos, inside) in [
            ("before", start - 1, false),
            ("start", start, true),
            ("last nanosecond", end - 1, true),
            ("end", end, false),
            ("least", i128::MIN, false),
            ("greatest", i128::MAX, false),
        ] {
            assert_eq!(window.contains(nanos), inside, "{name}");
        }
        let publish = Window {
            kind: WindowKind::Publish,
            ..window
        };
        assert!(publish.contains(i128::MIN) && publish.contains(end));
    }

    #[test]
    fn an_arrival_far_from_its_object_is_measured() {
        let window = arrival("2024-04-01T00:00:00Z", "2024-04-02T00:00:00Z");
        let object = named("2024-04-01T10:00:00Z");
        let hour = foreign("2024-04-01T10");
        let time = epoch_nanos(object.earliest());
        let rows = [
            ("same time", object, time, None),
            ("lead", object, time + 15 * MINUTE_NANOS, None),
            ("past lead", object, time + 15 * MINUTE_NANOS + 1, Some(1)),
            ("lag", object, time - 60 * MINUTE_NANOS, None),
            ("past lag", object, time - 60 * MINUTE_NANOS - 1, Some(1)),
            (
                "an hour past",
                object,
                time - 120 * MINUTE_NANOS,
                Some(3_600_000),
            ),
            ("foreign, lag", hour, time - 60 * MINUTE_NANOS, None),
            ("foreign, lead", hour, time + 75 * MINUTE_NANOS - 1, None),
            (
                "foreign, past lead",
                hour,
                time + 75 * MINUTE_NANOS,
                Some(1),
            ),
            (
                "foreign, later",
                hour,
                time + 76 * MINUTE_NANOS,
                Some(60_001),
            ),
            ("least", object, i128::MIN, Some(u64::MAX)),
            ("greatest", hour, i128::MAX, Some(u64::MAX)),
            (
                "64-bit milliseconds",
                object,
                i128::from(i64::MAX) * 1_000_000,
                Some(i64::MAX as u64 - (time / 1_000_000) as u64 - 900_000),
            ),
        ];
        for (name, object, arrival_nanos, expected) in rows {
            let distance = window.distance_outside_tolerance(&object, arrival_nanos);
            assert_eq!(distance, expected, "{name}");
            let publish = Window {
                kind: WindowKind::Publish,
                ..window
            };
            let distance = publish.distance_outside_tolerance(&object, arrival_nanos);
            assert_eq!(distance, None, "{name}");
        }
    }

    #[test]
    fn a_window_is_open_until_lead_and_lag_are_over() {
        let window = arrival("2024-04-01T00:00:00Z", "2024-04-01T06:00:00Z");
        for (name, now, open) in [
            ("before its end", "2024-04-01T05:00:00Z", true),
            ("soon after", "2024-04-01T07:14:59.999999999Z", true),
            ("lead and lag after", "2024-04-01T07:15:00Z", false),
        ] {
            for kind in [WindowKind::Arrival, WindowKind::Publish] {
                assert_eq!(Window { kind, ..window }.is_open(at(now)), open, "{name}");
            }
        }
    }

    /// Offsets in nanoseconds at, around and between every edge that the rules have.
    fn edges() -> Vec<i128> {
        let minutes = [
            -1500, -135, -120, -75, -61, -60, -15, 0, 14, 15, 30, 59, 60, 75,
        ];
        let around = |minute: i128| [-1, 0, 1].map(|n| minute * MINUTE_NANOS + n);
        minutes.into_iter().flat_map(around).collect()
    }

    fn instant(nanos: i128) -> DateTime<Utc> {
        let secs = i64::try_from(nanos.div_euclid(SECOND_NANOS)).unwrap();
        DateTime::from_timestamp(secs, nanos.rem_euclid(SECOND_NANOS) as u32).unwrap()
    }

    #[test]
    fn an_event_within_tolerance_is_in_an_object_that_is_read() {
        let base = epoch_nanos(at("2024-04-01T01:00:00Z"));
        let mut met = [0; 2];
        for start in edges() {
            for length in [1, SECOND_NANOS, 30 * MINUTE_NANOS, 60 * MINUTE_NANOS] {
                let window = Window {
                    start: instant(base + start),
                    end: instant(base + start + length),
                    ..arrival("2024-04-01T00:00:00Z", "2024-04-01T00:00:00Z")
                };
                for event in [0, 1, length - 1].map(|n| base + start + n) {
                    if !window.contains(event) {
                        continue;
                    }
                    for offset in edges() {
                        let time = instant(event + offset);
                        let hour = HourPrefix::from_instant(time);
                        let objects = [ObjectTime::Named(time), ObjectTime::Foreign(hour)];
                        for (kind, object) in objects.iter().enumerate() {
                            if window.distance_outside_tolerance(object, event).is_none() {
                                assert!(is_read(&window, object), "{window:?} {object:?}");
                                met[kind] += 1;
                            }
                        }
                    }
                }
            }
        }
        assert!(met.iter().all(|&n| n > 1000), "{met:?}");
    }

    #[test]
    fn no_more_is_read_than_could_hold_an_event() {
        let window = arrival("2024-04-01T01:07:00Z", "2024-04-01T01:30:00Z");
        let (first, last) = (epoch_nanos(window.start), epoch_nanos(window.end) - 1);
        for offset in edges() {
            let object = ObjectTime::Named(instant(first + offset));
            let reachable = [first, last]
                .iter()
                .any(|&event| window.distance_outside_tolerance(&object, event).is_none())
                || window.contains(epoch_nanos(object.earliest()));
            assert_eq!(is_read(&window, &object), reachable, "{object:?}");
        }
    }

    #[test]
    fn adjoining_windows_partition_what_their_union_contains() {
        let whole = arrival("2024-04-01T00:00:00Z", "2024-04-01T03:00:00Z");
        for middle in ["2024-04-01T01:00:00Z", "2024-04-01T01:00:00.000000001Z"] {
            let first = Window {
                end: at(middle),
                ..whole
            };
            let second = Window {
                start: at(middle),
                ..whole
            };
            for edge in edges() {
                let event = epoch_nanos(at(middle)) + edge;
                let parts = u8::from(first.contains(event)) + u8::from(second.contains(event));
                assert_eq!(parts, u8::from(whole.contains(event)), "{edge}");
            }
        }
    }

    #[test]
    fn adjoining_publish_windows_share_no_hour_and_leave_none_out() {
        let of = |start, end| {
            window(WindowKind::Publish, start, end)
                .hours()
                .collect::<Vec<_>>()
        };
        let (start, end) = ("2024-04-01T00:00:00Z", "2024-04-02T00:00:00Z");
        for middle in ["2024-04-01T01:00:00Z", "2024-04-01T23:00:00Z"] {
            let parts = [of(start, middle), of(middle, end)].concat();
            assert_eq!(parts, of(start, end));
        }
    }

    #[test]
    fn the_calendars_ends_do_not_overflow() {
        let window = Window {
            start: DateTime::<Utc>::MIN_UTC,
            end: DateTime::<Utc>::MAX_UTC,
            lead_secs: u32::MAX,
            lag_secs: u32::MAX,
            ..arrival("2024-04-01T00:00:00Z", "2024-04-01T00:00:00Z")
        };
        assert!(window.hours().next().is_some());
        assert!(window.is_open(DateTime::<Utc>::MAX_UTC));
        for time in [window.start, window.end] {
            let object = ObjectTime::Named(time);
            window.distance_outside_tolerance(&object, i128::MAX);
            window.distance_outside_tolerance(&object, i128::MIN);
            window.may_hold(&object);
        }
    }

    #[test]
    fn json_holds_the_window_and_a_broken_one_is_refused() {
        let json = r#"{"kind":"publish","start":"2024-04-01T00:00:00Z","end":"2024-04-01T01:00:00Z","lead_secs":900,"lag_secs":3600}"#;
        let window: Window = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&window).unwrap(), json);
        for (name, from, to) in [
            ("reversed", "01T01:00:00Z", "01T00:00:00Z"),
            ("within an hour", "01T01:00:00Z", "01T01:00:01Z"),
            ("unknown kind", "publish", "arrived"),
            ("endless lead", "900", "604801"),
            ("negative lag", "3600", "-1"),
        ] {
            let broken = json.replace(from, to);
            assert_ne!(broken, json, "{name}");
            assert!(serde_json::from_str::<Window>(&broken).is_err(), "{name}");
        }
    }

    #[test]
    fn the_default_tolerance_is_the_documented_one() {
        assert_eq!(Tolerance::new(900, 3600), Ok(Tolerance::default()));
        assert!(Tolerance::new(TOLERANCE_SECS_MAX, TOLERANCE_SECS_MAX).is_ok());
        assert!(Tolerance::new(0, TOLERANCE_SECS_MAX + 1).is_err());
    }
}
