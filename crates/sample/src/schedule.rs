//! When objects begin and when their events arrived.

use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use crate::options::SampleOptions;

/// Longest time that an object gathers events, in milliseconds: the platform's 5 minutes, less some.
const GATHERING_MILLIS_MAX: i64 = 4 * 60 * 1000;
/// How long an event may take to be published, in milliseconds; the platform's bound is not known.
const LATE_MILLIS_MAX: i64 = 20 * 60 * 1000;
const HOUR_MILLIS: i64 = 60 * 60 * 1000;

/// One object of the sample.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObjectPlan {
    /// Its number in the whole sample, from 0.
    pub(crate) number: u64,
    /// The time in its name, in whole seconds.
    pub(crate) time: DateTime<Utc>,
    /// Its hour prefix.
    pub(crate) hour: DateTime<Utc>,
    /// Whether events that were published late are to be among its own.
    pub(crate) is_first_of_hour: bool,
    /// Arrivals lie within, in milliseconds since 1970.
    pub(crate) arrivals: (i64, i64),
    start_millis: i64,
}

impl ObjectPlan {
    /// The plan of an hour's object. The first object of an hour begins right after the hour does,
    /// and the last one gathers events beyond its end, so that events lie in neighbouring prefixes.
    pub(crate) fn new(
        options: &SampleOptions,
        hour_number: u32,
        object_number: u32,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let hour = options.start + TimeDelta::hours(i64::from(hour_number));
        let count = i64::from(options.objects_per_hour);
        let interval_secs = 3600 / count;
        let index = i64::from(object_number);
        let is_first_of_hour = index == 0 && count > 1;
        let jitter_secs = rng.random_range(0..=(interval_secs / 4).min(50));
        let secs = if index == count - 1 {
            3600 - 1 - (interval_secs / 3).min(30) - jitter_secs.min(interval_secs / 4)
        } else {
            (index * interval_secs + jitter_secs).max(1)
        };
        let time = hour + TimeDelta::seconds(secs);
        let first = time.timestamp_millis();
        let end = options.end().timestamp_millis();
        let last = (first + GATHERING_MILLIS_MAX).min(end - 1);
        Self {
            number: u64::from(hour_number) * u64::from(options.objects_per_hour)
                + u64::from(object_number),
            time,
            hour,
            is_first_of_hour,
            arrivals: (first, last),
            start_millis: options.start.timestamp_millis(),
        }
    }

    /// When the event arrived that comes after `progress` (0 to 1) of the object.
    pub(crate) fn arrival(&self, progress: f64, rng: &mut ChaCha8Rng) -> i64 {
        let (first, last) = self.arrivals;
        let late_share = if self.is_first_of_hour { 0.05 } else { 0.01 };
        if progress > 0.0 && rng.random_bool(late_share) {
            let earliest = (first - LATE_MILLIS_MAX).max(self.start_millis);
            return rng.random_range(earliest..=first);
        }
        let span = (last - first) as f64;
        let exact = first + (span * progress.clamp(0.0, 1.0)) as i64;
        (exact + rng.random_range(0..500)).min(last)
    }

    /// An arrival in the hour before, where the range has one: right after the hour's beginning.
    pub(crate) fn late_arrival(&self) -> Option<i64> {
        let before = self.hour.timestamp_millis() - 90 * 1000;
        (self.is_first_of_hour && before >= self.start_millis).then_some(before)
    }

    /// Whether an event that arrived then may lie in this object.
    pub(crate) fn may_hold(&self, arrival_millis: i64) -> bool {
        let first = self.arrivals.0;
        arrival_millis >= first - HOUR_MILLIS && arrival_millis <= first + GATHERING_MILLIS_MAX
    }
}
