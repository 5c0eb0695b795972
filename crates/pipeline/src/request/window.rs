//! The window: which part of the backup a run recovers.
//!
//! A `publish` window takes every event of every object under the prefixes of its hours. An `arrival`
//! window takes the events that *arrived* in it, whichever prefix they are under: it also reads the objects
//! around it, and leaves out the events that arrived outside.
//!
//! What makes an `arrival` window complete is one relation. An object's time is the arrival of its oldest
//! event, and an event's arrival is expected in `[object time − lag, object time + lead]`. Conversely, the
//! events of `[start, end)` are in objects with times in `[start − lead, end + lag)`; those are read. An
//! event outside its object's tolerance may be missed by the window it belongs to, so every run that reads
//! such an event reports it.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::backup::hour_prefix::HourPrefix;
use crate::backup::object_time::ObjectTime;

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowKind {
    /// When the event arrived.
    #[default]
    Arrival,
    /// When the platform published the event's object, in whole hours.
    Publish,
}

/// How far an event's arrival may be from the time of its object.
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

/// An invalid window or tolerance.
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
        /// The first of start and end that is not on a whole hour.
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
mod tests;
