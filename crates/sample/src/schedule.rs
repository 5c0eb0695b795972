//! The times of objects and the arrival times of their events.

use std::ops::RangeInclusive;

use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use crate::options::SampleOptions;

/// Longest time for which an object buffers events, in milliseconds: a little less than the 5 minutes of the platform.
const GATHERING_MILLIS_MAX: i64 = 4 * 60 * 1000;
/// Longest delay between arrival and publication, in milliseconds. The platform documents no bound.
const LATE_MILLIS_MAX: i64 = 20 * 60 * 1000;
const HOUR_MILLIS: i64 = 60 * 60 * 1000;

/// The place in time of one object.
#[derive(Debug, Clone)]
pub(crate) struct ObjectPlan {
    /// The time in its name, in whole seconds.
    pub(crate) time: DateTime<Utc>,
    /// Its hour prefix.
    pub(crate) hour: DateTime<Utc>,
    /// Index of its hour in the sample, from 0.
    pub(crate) hour_number: u32,
    /// Index in its hour, from 0.
    pub(crate) index: u32,
    pub(crate) is_last_of_hour: bool,
    /// Whether it certainly has events that arrived in the hour before.
    takes_late_events: bool,
    /// The earliest arrival of an event that was published late, in milliseconds since 1970.
    earliest: i64,
    /// Its own time, in milliseconds since 1970.
    first: i64,
    /// The latest arrival, in milliseconds since 1970.
    last: i64,
    /// Allowed arrivals of its events, duplicates included.
    holds: RangeInclusive<i64>,
}

impl ObjectPlan {
    /// Plans one object of an hour. The first object of an hour begins directly after the hour does, and
    /// the last one buffers events beyond its end, so that events are under the prefixes of neighbouring
    /// hours.
    pub(crate) fn new(
        options: &SampleOptions,
        hour_number: u32,
        index: u32,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let hour = options.start + TimeDelta::hours(i64::from(hour_number));
        let is_last_of_hour = index + 1 == options.objects_per_hour;
        let interval_secs = 3600 / i64::from(options.objects_per_hour);
        let jitter_secs = rng.random_range(0..=(interval_secs / 4).min(50));
        let secs = if is_last_of_hour {
            3600 - 1 - (interval_secs / 3).min(30) - jitter_secs
        } else {
            (i64::from(index) * interval_secs + jitter_secs).max(1)
        };
        let time = hour + TimeDelta::seconds(secs);
        let first = time.timestamp_millis();
        let start = options.start.timestamp_millis();
        let end = options.end().timestamp_millis();
        Self {
            time,
            hour,
            hour_number,
            index,
            is_last_of_hour,
            takes_late_events: index == 0 && !is_last_of_hour,
            earliest: (first - LATE_MILLIS_MAX).max(start),
            first,
            last: (first + GATHERING_MILLIS_MAX).min(end - 1),
            holds: first - HOUR_MILLIS..=first + GATHERING_MILLIS_MAX,
        }
    }

    /// The same object without events of other hours.
    pub(crate) fn within_its_hour(self) -> Self {
        let begin = self.hour.timestamp_millis();
        let end = begin + HOUR_MILLIS - 1;
        Self {
            earliest: self.earliest.max(begin),
            last: self.last.min(end),
            holds: *self.holds.start().max(&begin)..=*self.holds.end().min(&end),
            ..self
        }
    }

    /// An arrival for the event at `progress` (0 to 1) through the object, sometimes a late one.
    pub(crate) fn arrival(&self, progress: f64, rng: &mut ChaCha8Rng) -> i64 {
        let late_share = if self.takes_late_events { 0.05 } else { 0.01 };
        if progress > 0.0 && rng.random_bool(late_share) {
            return rng.random_range(self.earliest..=self.first);
        }
        let span = (self.last - self.first) as f64;
        let exact = self.first + (span * progress.clamp(0.0, 1.0)) as i64;
        (exact + rng.random_range(0..500)).min(self.last)
    }

    /// An arrival in the hour before, if this object is the one of its hour that certainly has one.
    pub(crate) fn arrival_in_hour_before(&self, rng: &mut ChaCha8Rng) -> Option<i64> {
        let hour = self.hour.timestamp_millis();
        (self.takes_late_events && self.earliest < hour)
            .then(|| rng.random_range(self.earliest..hour))
    }

    /// An arrival in the hour after, if this object is the one of its hour that certainly has one.
    pub(crate) fn arrival_in_hour_after(&self, rng: &mut ChaCha8Rng) -> Option<i64> {
        let next_hour = self.hour.timestamp_millis() + HOUR_MILLIS;
        (self.is_last_of_hour && self.last >= next_hour)
            .then(|| rng.random_range(next_hour..=self.last))
    }

    /// Whether an event with this arrival is allowed in this object, for duplicates.
    pub(crate) fn may_hold(&self, arrival_millis: i64) -> bool {
        self.holds.contains(&arrival_millis)
    }
}
