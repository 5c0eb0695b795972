//! The arrival time of an event: `arrival_epoch`, else `timestamp` as RFC 3339.

use crate::envelope::{Envelope, Field};

/// The arrival time of an event in nanoseconds since 1970-01-01 UTC: `arrival_epoch` (milliseconds) if it is an
/// integer, else `timestamp` if it is RFC 3339, else `None`.
///
/// It has 128 bits because `arrival_epoch` may be any 64-bit number of milliseconds. A leap second counts as the
/// second after it, and digits below a nanosecond are dropped.
///
/// ```
/// use event_recovery_format::{Envelope, EnvelopeScratch, arrival};
///
/// let arrival_of = |event: &str| arrival(&Envelope::read(event.as_bytes(), &mut EnvelopeScratch::default()));
/// assert_eq!(arrival_of(r#"{"arrival_epoch":1500,"timestamp":"2024-04-01T00:00:00Z"}"#), Some(1_500_000_000));
/// assert_eq!(arrival_of(r#"{"timestamp":"1970-01-01T01:00:01.5+01:00"}"#), Some(1_500_000_000));
/// assert_eq!(arrival_of(r#"{"timestamp":"yesterday"}"#), None);
/// ```
pub fn arrival(envelope: &Envelope<'_>) -> Option<i128> {
    if let Some(arrival_millis) = envelope.arrival_epoch() {
        return Some(i128::from(arrival_millis) * NANOS_PER_MILLI);
    }
    rfc3339_nanos(envelope.text(Field::Timestamp)?.as_bytes())
}

const NANOS_PER_MILLI: i128 = 1_000_000;
const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Reads an RFC 3339 date and time as nanoseconds since 1970 UTC; digits beyond nanoseconds are cut.
///
/// Between date and time `T`, `t` and a space are accepted, as RFC 3339 section 5.6 allows. A leap
/// second counts as the first second of the next minute, since Unix time has no place for it.
fn rfc3339_nanos(text: &[u8]) -> Option<i128> {
    let mut rest = Rest(text);
    let year = rest.digits(4)?;
    rest.one_of(b"-")?;
    let month = rest.digits(2)?;
    rest.one_of(b"-")?;
    let day = rest.digits(2)?;
    rest.one_of(b"Tt ")?;
    let hour = rest.digits(2)?;
    rest.one_of(b":")?;
    let minute = rest.digits(2)?;
    rest.one_of(b":")?;
    let second = rest.digits(2)?;
    let fraction_nanos = rest.fraction_nanos()?;
    let offset_minutes = rest.offset_minutes()?;

    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    if !in_range || !rest.0.is_empty() {
        return None;
    }
    let minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute - offset_minutes;
    let seconds = minutes * 60 + second;
    Some(i128::from(seconds) * NANOS_PER_SECOND + i128::from(fraction_nanos))
}

/// The text that has not been parsed. Every method consumes what it returns.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn one_of(&mut self, accepted: &[u8]) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        if !accepted.contains(&first) {
            return None;
        }
        self.0 = rest;
        Some(first)
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let mut number = 0;
        for _ in 0..count {
            number = number * 10 + i64::from(self.one_of(b"0123456789")? - b'0');
        }
        Some(number)
    }

    /// Zero without a fraction; `None` if no digit follows the point.
    fn fraction_nanos(&mut self) -> Option<i64> {
        if self.one_of(b".").is_none() {
            return Some(0);
        }
        let mut nanos = self.digits(1)? * 100_000_000;
        let mut unit = 10_000_000;
        while let Some(digit) = self.digits(1) {
            nanos += digit * unit;
            unit /= 10;
        }
        Some(nanos)
    }

    /// Minutes east of UTC; 0 for `Z`.
    fn offset_minutes(&mut self) -> Option<i64> {
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.digits(2)?;
        self.one_of(b":")?;
        let minutes = self.digits(2)?;
        (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar, for years from 0.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    const DAYS_BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    const DAYS_FROM_YEAR_0_TO_1970: i64 = 719_528;
    let leap_years_before = (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    let leap_day = i64::from(month > 2 && is_leap(year));
    let month_start = DAYS_BEFORE_MONTH
        .get((month - 1) as usize)
        .copied()
        .unwrap_or(0);
    year * 365 + leap_years_before + month_start + leap_day + day - 1 - DAYS_FROM_YEAR_0_TO_1970
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::EnvelopeScratch;

    #[test]
    fn instants_are_read_as_rfc_3339_says() {
        const SECOND: i128 = NANOS_PER_SECOND;
        let rows: &[(&str, Option<i128>)] = &[
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01t00:00:00z", Some(0)),
            ("1970-01-01 00:00:00Z", Some(0)),
            ("2019-07-20T19:03:00.000Z", Some(1_563_649_380 * SECOND)),
            ("2000-02-29T12:00:00Z", Some(951_825_600 * SECOND)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800 * SECOND)),
            ("2024-12-31T23:59:59Z", Some(1_735_689_599 * SECOND)),
            ("1969-12-31T23:59:59.5Z", Some(-SECOND / 2)),
            ("1970-01-01T00:00:00.1Z", Some(100_000_000)),
            ("1970-01-01T00:00:00.123456789Z", Some(123_456_789)),
            (
                "1970-01-01T00:00:00.1234567899999999999999999Z",
                Some(123_456_789),
            ),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("1969-12-31T18:29:00-05:31", Some(0)),
            ("1970-01-01T00:00:00-00:00", Some(0)),
            ("0000-01-01T00:00:00Z", Some(-62_167_219_200 * SECOND)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800 * SECOND)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799 * SECOND)),
            ("2016-12-31T23:59:60Z", Some(1_483_228_800 * SECOND)),
            (
                "2016-12-31T23:59:60.5Z",
                Some(1_483_228_800 * SECOND + SECOND / 2),
            ),
            ("2024-02-30T00:00:00Z", None),
            ("2023-02-29T00:00:00Z", None),
            ("1900-02-29T00:00:00Z", None),
            ("2024-04-31T00:00:00Z", None),
            ("2024-13-01T00:00:00Z", None),
            ("2024-00-01T00:00:00Z", None),
            ("2024-01-00T00:00:00Z", None),
            ("2024-01-32T00:00:00Z", None),
            ("2024-01-01T24:00:00Z", None),
            ("2024-01-01T00:60:00Z", None),
            ("2024-01-01T00:00:61Z", None),
            ("2024-01-01T00:00:00.Z", None),
            ("2024-01-01T00:00:00", None),
            ("2024-01-01T00:00Z", None),
            ("2024-01-01", None),
            ("2024-01-01T00:00:00+24:00", None),
            ("2024-01-01T00:00:00+01:60", None),
            ("2024-01-01T00:00:00+0100", None),
            ("2024-01-01T00:00:00Zx", None),
            (" 2024-01-01T00:00:00Z", None),
            ("+2024-01-01T00:00:00Z", None),
            ("24-01-01T00:00:00Z", None),
            ("10000-01-01T00:00:00Z", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(rfc3339_nanos(text.as_bytes()), *expected, "{text}");
        }
    }

    #[test]
    fn every_day_of_the_calendar_follows_the_one_before() {
        let mut expected = days_since_1970(0, 1, 1);
        for year in 0..=9999 {
            for month in 1..=12 {
                for day in 1..=days_in_month(year, month) {
                    assert_eq!(
                        days_since_1970(year, month, day),
                        expected,
                        "{year}-{month}-{day}"
                    );
                    expected += 1;
                }
            }
        }
    }

    #[test]
    fn the_arrival_epoch_comes_before_the_timestamp() {
        let rows = [
            (
                r#"{"arrival_epoch":1500,"timestamp":"1970-01-01T00:00:09Z"}"#,
                Some(1_500_000_000),
            ),
            (r#"{"arrival_epoch":"1500"}"#, Some(1_500_000_000)),
            (r#"{"arrival_epoch":-1}"#, Some(-1_000_000)),
            (
                r#"{"arrival_epoch":9223372036854775807}"#,
                Some(9_223_372_036_854_775_807_000_000),
            ),
            (
                r#"{"arrival_epoch":1.5,"timestamp":"1970-01-01T00:00:09Z"}"#,
                Some(9_000_000_000),
            ),
            (
                r#"{"arrival_epoch":null,"timestamp":"1970-01-01T00:00:09Z"}"#,
                Some(9_000_000_000),
            ),
            (r#"{"timestamp":"yesterday"}"#, None),
            (r#"{"timestamp":1500}"#, None),
            ("{}", None),
        ];
        for (event, expected) in rows {
            let mut scratch = EnvelopeScratch::default();
            let envelope = Envelope::read(event.as_bytes(), &mut scratch);
            assert_eq!(arrival(&envelope), expected, "{event}");
        }
    }
}
