//! The time in a backup object's name.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};

use crate::backup::hour_prefix::{HourPrefix, parse_date, two_digits};
use event_recovery_format::is_uuid;

use crate::backup::org_id::OrgId;

/// Bytes of a UUID's text form.
const UUID_BYTES: usize = 36;
/// Bytes of `YYYY-MM-DD-HH-mm-SS`.
const TIME_BYTES: usize = 19;
/// The most digits of a stream version that are taken for one.
const VERSION_DIGITS_MAX: usize = 20;
/// The longest extension, in bytes (Amazon Data Firehose, `FileExtension`).
const EXTENSION_BYTES_MAX: usize = 128;

/// When the oldest event of a backup object arrived, going by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectTime {
    /// The name follows the platform's pattern: its time, in whole seconds.
    Named(DateTime<Utc>),
    /// It does not: any time in the hour of its prefix. The object is recovered nevertheless.
    Foreign(HourPrefix),
}

impl ObjectTime {
    /// Reads the time from an object's base name, which is its key after the hour prefix.
    ///
    /// The platform documents
    /// `dataplatform-<org id>-<n>-<YYYY>-<MM>-<DD>-<HH>-<mm>-<SS>-<uuid>`; an extension follows when
    /// compression is switched on in Firehose. The case of the org id does not matter. A name of
    /// another org, with a time that does not exist, or with a time outside `hour` is foreign: the
    /// platform does not say what its time means.
    pub fn parse(base_name: &str, org: &OrgId, hour: HourPrefix) -> Self {
        match named_time(base_name, org) {
            Some(time) if HourPrefix::from_instant(time) == hour => Self::Named(time),
            _ => Self::Foreign(hour),
        }
    }

    /// Whether the name does not follow the pattern.
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign(_))
    }

    /// The earliest time the object can have.
    pub fn earliest(&self) -> DateTime<Utc> {
        match self {
            Self::Named(time) => *time,
            Self::Foreign(hour) => hour.start(),
        }
    }

    /// The first instant after every time the object can have: for a named time the next
    /// nanosecond, for a foreign name the end of its hour.
    pub fn latest_exclusive(&self) -> DateTime<Utc> {
        match self {
            Self::Named(time) => time
                .checked_add_signed(TimeDelta::nanoseconds(1))
                .unwrap_or(DateTime::<Utc>::MAX_UTC),
            Self::Foreign(hour) => hour.end(),
        }
    }
}

fn named_time(base_name: &str, org: &OrgId) -> Option<DateTime<Utc>> {
    let rest = base_name.strip_prefix("dataplatform-")?;
    let (name_org, rest) = rest.split_at_checked(org.as_str().len())?;
    if !name_org.eq_ignore_ascii_case(org.as_str()) {
        return None;
    }
    let (version, rest) = rest.strip_prefix('-')?.split_once('-')?;
    let (time, rest) = rest.split_at_checked(TIME_BYTES)?;
    let (uuid, extension) = rest.strip_prefix('-')?.split_at_checked(UUID_BYTES)?;
    if is_version(version) && is_uuid(uuid) && is_extension(extension) {
        parse_time(time)
    } else {
        None
    }
}

/// Reads `YYYY-MM-DD-HH-mm-SS`.
fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let (date, clock) = text.split_at_checked("YYYY-MM-DD".len())?;
    let mut parts = clock.strip_prefix('-')?.split('-');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let clock =
        NaiveTime::from_hms_opt(two_digits(hour)?, two_digits(minute)?, two_digits(second)?)?;
    Some(parse_date(date)?.and_time(clock).and_utc())
}

fn is_version(text: &str) -> bool {
    (1..=VERSION_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// Nothing, or a dot and at least one of the characters that Firehose allows in an extension.
/// Firehose's own `.Snappy` has a capital, which its rule for custom extensions does not allow.
fn is_extension(text: &str) -> bool {
    text.is_empty()
        || (2..=EXTENSION_BYTES_MAX).contains(&text.len())
            && text.starts_with('.')
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!-_.*'()".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORG: &str = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";
    const UUID: &str = "1142260c-c088-427a-bbaa-f3ea6f2d01c1";

    fn hour() -> HourPrefix {
        HourPrefix::parse("2024-04-01T00").unwrap()
    }

    fn parse(base_name: &str) -> ObjectTime {
        ObjectTime::parse(base_name, &OrgId::parse(ORG).unwrap(), hour())
    }

    #[test]
    fn a_name_of_the_pattern_tells_its_time() {
        let time: DateTime<Utc> = "2024-04-01T00:04:35Z".parse().unwrap();
        let upper = ORG.to_uppercase();
        let upper_uuid = UUID.to_uppercase();
        let rows = [
            (
                "the platform's example",
                format!("dataplatform-{ORG}-5-2024-04-01-00-04-35-{UUID}"),
            ),
            (
                "gzip",
                format!("dataplatform-{ORG}-5-2024-04-01-00-04-35-{UUID}.gz"),
            ),
            (
                "Firehose's Snappy",
                format!("dataplatform-{ORG}-5-2024-04-01-00-04-35-{UUID}.Snappy"),
            ),
            (
                "two extensions",
                format!("dataplatform-{ORG}-5-2024-04-01-00-04-35-{UUID}.json.gz"),
            ),
            (
                "org in upper case",
                format!("dataplatform-{upper}-5-2024-04-01-00-04-35-{UUID}"),
            ),
            (
                "UUID in upper case",
                format!("dataplatform-{ORG}-5-2024-04-01-00-04-35-{upper_uuid}"),
            ),
            (
                "a later stream version",
                format!("dataplatform-{ORG}-128-2024-04-01-00-04-35-{UUID}"),
            ),
        ];
        for (name, base_name) in rows {
            assert_eq!(parse(&base_name), ObjectTime::Named(time), "{name}");
        }
    }

    #[test]
    fn any_other_name_is_foreign_and_counts_with_its_hour() {
        let other = "tn-00000000-f4f0-464d-b4c6-a14e2dc6f4be";
        let digits = "1".repeat(VERSION_DIGITS_MAX + 1);
        let rows = [
            ("empty", String::new()),
            ("another name", "manifest.json".to_owned()),
            ("prefix only", "dataplatform-".to_owned()),
            ("org only", format!("dataplatform-{ORG}")),
            ("not ASCII", format!("dataplatform-{}é", &ORG[..38])),
            (
                "another org",
                format!("dataplatform-{other}-5-2024-04-01-00-04-35-{UUID}"),
            ),
            (
                "another stream",
                format!("Dataplatform-{ORG}-5-2024-04-01-00-04-35-{UUID}"),
            ),
            (
                "no stream version",
                format!("dataplatform-{ORG}-2024-04-01-00-04-35-{UUID}"),
            ),
            (
                "empty stream version",
                format!("dataplatform-{ORG}--2024-04-01-00-04-35-{UUID}"),
            ),
            (
                "endless stream version",
                format!("dataplatform-{ORG}-{digits}-2024-04-01-00-04-35-{UUID}"),
            ),
            (
                "no minutes",
                format!("dataplatform-{ORG}-5-2024-04-01-00-35-{UUID}"),
            ),
            (
                "no such day",
                format!("dataplatform-{ORG}-5-2024-04-31-00-04-35-{UUID}"),
            ),
            (
                "no such second",
                format!("dataplatform-{ORG}-5-2024-04-01-00-04-60-{UUID}"),
            ),
            (
                "signs in place of digits",
                format!("dataplatform-{ORG}-5-2024-04-01-+0-04-35-{UUID}"),
            ),
            (
                "the next hour",
                format!("dataplatform-{ORG}-5-2024-04-01-01-04-35-{UUID}"),
            ),
            (
                "the hour before",
                format!("dataplatform-{ORG}-5-2024-03-31-23-59-59-{UUID}"),
            ),
            (
                "another day",
                format!("dataplatform-{ORG}-5-2024-04-02-00-04-35-{UUID}"),
            ),
            (
                "no UUID",
                format!("dataplatform-{ORG}-5-2024-04-01-00-04-35"),
            ),
            (
                "broken UUID",
                format!("dataplatform-{ORG}-5-2024-04-01-00-04-35-{}x", &UUID[1..]),
            ),
            (
                "text after the UUID",
                format!("dataplatform-{ORG}-5-2024-04-01-00-04-35-{UUID}-copy"),
            ),
            (
                "a lone dot",
                format!("dataplatform-{ORG}-5-2024-04-01-00-04-35-{UUID}."),
            ),
            (
                "a folder below",
                format!("dataplatform-{ORG}-5-2024-04-01-00-04-35-{UUID}.d/x"),
            ),
        ];
        for (name, base_name) in rows {
            let time = parse(&base_name);
            assert_eq!(time, ObjectTime::Foreign(hour()), "{name}");
            assert!(time.is_foreign(), "{name}");
        }
    }

    #[test]
    fn the_times_an_object_can_have_are_one_instant_or_one_hour() {
        let time: DateTime<Utc> = "2024-04-01T00:04:35Z".parse().unwrap();
        let named = ObjectTime::Named(time);
        assert_eq!(named.earliest(), time);
        assert_eq!(
            named.latest_exclusive() - named.earliest(),
            TimeDelta::nanoseconds(1)
        );
        let foreign = ObjectTime::Foreign(hour());
        assert_eq!(foreign.earliest(), hour().start());
        assert_eq!(foreign.latest_exclusive(), hour().next().start());
    }
}
