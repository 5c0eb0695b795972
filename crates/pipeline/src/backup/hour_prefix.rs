//! The hour prefix: the folder of the backup that holds what was published in one UTC hour.

use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::backup::org_id::excerpt;

/// Seconds of an hour.
const HOUR_SECS: i64 = 3600;

/// One whole UTC hour, and with it one prefix of the backup.
///
/// The platform documents the key `main_stream/<YYYY>/<MM>/<DD>/<HH>/<object name>`, where the hour
/// is when it published the events; that the hours are UTC is Firehose's documented default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HourPrefix {
    /// Whole hours since 1970-01-01T00:00:00Z.
    hours_since_epoch: i64,
}

/// An invalid hour label.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not an hour; it accepts a UTC hour like `2024-04-01T00`: {found:?}")]
pub struct HourPrefixError {
    /// The first 64 characters of what was found.
    pub found: String,
}

impl HourPrefix {
    /// The hour that contains `instant`.
    pub fn from_instant(instant: DateTime<Utc>) -> Self {
        Self {
            hours_since_epoch: instant.timestamp().div_euclid(HOUR_SECS),
        }
    }

    /// Reads a label as [`HourPrefix::label`] writes it.
    ///
    /// # Errors
    ///
    /// Anything but four, two, two and two digits as in `2024-04-01T00`, and hours that do not exist in the
    /// calendar.
    pub fn parse(label: &str) -> Result<Self, HourPrefixError> {
        parse_label(label).ok_or_else(|| HourPrefixError {
            found: excerpt(label),
        })
    }

    /// The hours that share an instant with `[from, until)`, in order; none when that is empty.
    pub fn covering(
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> impl DoubleEndedIterator<Item = Self> + Clone + use<> {
        let first = Self::from_instant(from).hours_since_epoch;
        let floor = Self::from_instant(until);
        let end = if from >= until {
            first
        } else if floor.start() < until {
            floor.hours_since_epoch + 1
        } else {
            floor.hours_since_epoch
        };
        (first..end).map(|hours_since_epoch| Self { hours_since_epoch })
    }

    /// The hour's first instant, clamped to the range of `DateTime`.
    pub fn start(self) -> DateTime<Utc> {
        let secs = self.hours_since_epoch.saturating_mul(HOUR_SECS);
        DateTime::from_timestamp(secs, 0).unwrap_or(if secs < 0 {
            DateTime::<Utc>::MIN_UTC
        } else {
            DateTime::<Utc>::MAX_UTC
        })
    }

    /// The first instant after the hour.
    pub fn end(self) -> DateTime<Utc> {
        self.next().start()
    }

    /// The hour after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            hours_since_epoch: self.hours_since_epoch.saturating_add(1),
        }
    }

    /// The prefix to list, with its final slash: `main_stream/2024/04/01/00/`.
    pub fn key(self) -> String {
        self.start().format("main_stream/%Y/%m/%d/%H/").to_string()
    }

    /// The prefix of all hours of its day, with its final slash: `main_stream/2024/04/01/`.
    pub fn day_key(self) -> String {
        self.start().format("main_stream/%Y/%m/%d/").to_string()
    }

    /// The hour whose prefix the key begins with.
    pub fn of_key(key: &str) -> Option<Self> {
        let (prefix, _) = key.split_at_checked("main_stream/YYYY/MM/DD/HH/".len())?;
        let label = prefix.strip_prefix("main_stream/")?.strip_suffix('/')?;
        let (date, hour) = label.rsplit_once('/')?;
        let hour = Self::parse(&format!("{}T{hour}", date.replace('/', "-"))).ok()?;
        (hour.key() == prefix).then_some(hour)
    }

    /// The hour as the ledger and messages write it: `2024-04-01T00`.
    pub fn label(self) -> String {
        self.start().format("%Y-%m-%dT%H").to_string()
    }
}

impl fmt::Display for HourPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())
    }
}

impl TryFrom<String> for HourPrefix {
    type Error = HourPrefixError;

    fn try_from(label: String) -> Result<Self, HourPrefixError> {
        Self::parse(&label)
    }
}

impl From<HourPrefix> for String {
    fn from(hour: HourPrefix) -> Self {
        hour.label()
    }
}

fn parse_label(label: &str) -> Option<HourPrefix> {
    let (date, hour) = label.split_once('T')?;
    let date = parse_date(date)?;
    let hour = two_digits(hour)?;
    let instant = date.and_hms_opt(hour, 0, 0)?.and_utc();
    Some(HourPrefix::from_instant(instant))
}

/// Reads exactly `YYYY-MM-DD`. Stricter than `chrono`, which takes signs, spaces and single digits.
pub(crate) fn parse_date(text: &str) -> Option<NaiveDate> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (century, rest) = year.split_at_checked(2)?;
    let year = two_digits(century)? * 100 + two_digits(rest)?;
    NaiveDate::from_ymd_opt(
        i32::try_from(year).ok()?,
        two_digits(month)?,
        two_digits(day)?,
    )
}

/// Reads exactly two decimal digits.
pub(crate) fn two_digits(text: &str) -> Option<u32> {
    match text.as_bytes() {
        [tens @ b'0'..=b'9', units @ b'0'..=b'9'] => {
            Some(u32::from(tens - b'0') * 10 + u32::from(units - b'0'))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn labels(from: &str, until: &str) -> Vec<String> {
        HourPrefix::covering(at(from), at(until))
            .map(HourPrefix::label)
            .collect()
    }

    #[test]
    fn an_instant_belongs_to_the_hour_it_lies_in() {
        let rows = [
            ("first instant", "2024-04-01T00:00:00Z", "2024-04-01T00"),
            (
                "last instant",
                "2024-04-01T00:59:59.999999999Z",
                "2024-04-01T00",
            ),
            ("leap day", "2024-02-29T23:30:00Z", "2024-02-29T23"),
            ("before 1970", "1969-12-31T23:59:59Z", "1969-12-31T23"),
            ("other offset", "2024-04-01T00:30:00+01:00", "2024-03-31T23"),
        ];
        for (name, instant, label) in rows {
            let hour = HourPrefix::from_instant(at(instant));
            assert_eq!(hour.label(), label, "{name}");
            assert_eq!(HourPrefix::parse(label), Ok(hour), "{name}");
            assert!(hour.start() <= at(instant) && at(instant) < hour.end());
        }
    }

    #[test]
    fn the_key_is_the_platforms() {
        let hour = HourPrefix::parse("2024-04-01T00").unwrap();
        assert_eq!(hour.key(), "main_stream/2024/04/01/00/");
        assert_eq!(hour.next().key(), "main_stream/2024/04/01/01/");
        let last = HourPrefix::parse("2024-12-31T23").unwrap();
        assert_eq!(last.next().key(), "main_stream/2025/01/01/00/");
        assert!(hour < hour.next() && hour.next() < last);
    }

    #[test]
    fn what_is_no_label_is_refused() {
        for label in [
            "",
            "T",
            "2024-04-01",
            "2024-04-01T24",
            "2024-04-01T0",
            "2024-04-01T000",
            "2024-04-01T00Z",
            "2024-04-01 00",
            "2024-4-01T00",
            "2024-02-30T00",
            "2023-02-29T00",
            "+024-04-01T00",
            "20240-04-01T00",
            "2024-04-01-01T00",
            "2é4-04-01T00",
            "../../04-01T00",
            " 2024-04-01T00",
        ] {
            assert!(HourPrefix::parse(label).is_err(), "{label}");
        }
    }

    #[test]
    fn the_hours_of_a_range_are_those_it_touches() {
        let rows: [(&str, &str, &str, &[&str]); 6] = [
            (
                "whole hours",
                "2024-04-01T22:00:00Z",
                "2024-04-02T00:00:00Z",
                &["2024-04-01T22", "2024-04-01T23"],
            ),
            (
                "parts of hours",
                "2024-04-01T22:59:59Z",
                "2024-04-01T23:00:00.000000001Z",
                &["2024-04-01T22", "2024-04-01T23"],
            ),
            (
                "within one hour",
                "2024-04-01T22:10:00Z",
                "2024-04-01T22:20:00Z",
                &["2024-04-01T22"],
            ),
            (
                "empty on the hour",
                "2024-04-01T22:00:00Z",
                "2024-04-01T22:00:00Z",
                &[],
            ),
            (
                "empty within an hour",
                "2024-04-01T22:10:00Z",
                "2024-04-01T22:10:00Z",
                &[],
            ),
            (
                "reversed",
                "2024-04-02T22:00:00Z",
                "2024-04-01T22:00:00Z",
                &[],
            ),
        ];
        for (name, from, until, expected) in rows {
            assert_eq!(labels(from, until), expected, "{name}");
        }
        let leap_year = labels("2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z");
        assert_eq!(leap_year.len(), 366 * 24);
    }

    #[test]
    fn the_calendars_ends_do_not_overflow() {
        let (min, max) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
        assert!(HourPrefix::from_instant(min).start() >= min);
        assert!(HourPrefix::from_instant(max).end() <= max);
        assert!(HourPrefix::covering(min, max).next_back().is_some());
    }

    #[test]
    fn json_holds_the_label_and_is_parsed_again() {
        let hour: HourPrefix = serde_json::from_str("\"2024-04-01T07\"").unwrap();
        assert_eq!(serde_json::to_string(&hour).unwrap(), "\"2024-04-01T07\"");
        assert!(serde_json::from_str::<HourPrefix>("\"2024-04-01T7\"").is_err());
    }
}
