//! The recovery request: what a caller asks for, and how it is resolved.
//!
//! [`RecoveryRequest`] is the request as written. [`RecoveryRequest::resolve`] turns it into a
//! [`ResolvedRequest`], in which every value is present and valid, or into one [`RequestError`] that
//! names the field and what it accepts.

pub(crate) mod diagnose;
pub(crate) mod error;
pub(crate) mod execution_id;
pub(crate) mod filters;
pub(crate) mod late_allowance;
pub(crate) mod output;
pub(crate) mod resolved;
pub(crate) mod schedule;
pub(crate) mod window;

use std::collections::BTreeSet;

use chrono::{DateTime, Days, NaiveTime, SecondsFormat, TimeDelta, Utc};
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer, Serialize};

use crate::backup::hour_prefix::{HourPrefix, parse_date};
use crate::backup::org_id::{ORG_ID_ACCEPTS, OrgId};
use crate::request::error::{RequestError, quoted};
use crate::request::execution_id::{EXECUTION_ID_ACCEPTS, ExecutionId};
use crate::request::filters::{Dedupe, pattern_problem};
use crate::request::output::{Compression, Format};
use crate::request::resolved::{ResolvedRequest, WindowParameters};
use crate::request::window::{Tolerance, WindowKind, is_whole_hour};

/// The longest request in bytes, well above what the limits on its fields allow.
pub const REQUEST_BYTES_MAX: usize = 256 * 1024;

pub(crate) const TIME_ACCEPTS: &str =
    "a date like `2024-04-01` or an RFC 3339 instant like `2024-04-01T00:00:00Z`";
const RANGE_HINT: &str =
    "two dates are both inclusive; of two instants the second is the first after the range";

/// A recovery request as a caller writes it; the project's documentation shows its JSON.
///
/// Absent, `null` and empty lists mean the default. Unknown fields are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryRequest {
    /// Whose backup: an [`OrgId`]. A deployment serves one.
    pub org_id: String,
    /// The first date, or the first instant in RFC 3339.
    pub start: String,
    /// The last date, or the first instant after the range.
    pub end: String,
    /// [`WindowKind::Arrival`] unless it says otherwise.
    #[serde(default, deserialize_with = "by_name")]
    pub window: Option<WindowKind>,
    /// [`Format::Parquet`] unless it says otherwise.
    #[serde(default, deserialize_with = "by_name")]
    pub format: Option<Format>,
    /// One that goes with the format: by default zstd for Parquet, and none for NDJSON.
    #[serde(default, deserialize_with = "by_name")]
    pub compression: Option<Compression>,
    /// Only events of domains that match one of these patterns, as [`Filters`](crate::Filters) has them; empty for all.
    #[serde(default, deserialize_with = "null_as_default")]
    pub domains: Vec<String>,
    /// Only events of types that match one of these patterns; empty for all.
    #[serde(default, deserialize_with = "null_as_default")]
    pub event_types: Vec<String>,
    /// No events of domains that match one of these patterns.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub exclude_domains: Vec<String>,
    /// No events of types that match one of these patterns.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub exclude_event_types: Vec<String>,
    /// Drop events whose id and bytes repeat within an object; all are kept by default.
    #[serde(
        default,
        deserialize_with = "by_name",
        skip_serializing_if = "Option::is_none"
    )]
    pub dedupe: Option<Dedupe>,
    /// Plan only: no object is read and nothing is written.
    #[serde(default, deserialize_with = "null_as_default")]
    pub dry_run: bool,
    /// The caller's own id of the run: an [`ExecutionId`]. Derived when absent.
    #[serde(default)]
    pub execution_id: Option<String>,
}

/// What a deployment allows a request to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// The longest range, in days of 24 hours.
    pub days_max: u32,
    /// The most values of one filter. Filters travel in every task message, so they stay small.
    pub filter_values_max: usize,
    /// The longest value of a filter, in bytes.
    pub filter_value_bytes_max: usize,
}

/// A resolved request and how to run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// What to recover. Two runs with equal ones write the same events.
    pub request: ResolvedRequest,
    /// Plan only: no object is read and nothing is written.
    pub dry_run: bool,
    /// The caller's own id of the run, if it has chosen one.
    pub execution_id: Option<ExecutionId>,
}

impl Resolution {
    /// Refuses a request for another org than the one that is served.
    ///
    /// # Errors
    ///
    /// The field `org_id`, when it names another.
    pub fn check_org(&self, served: &OrgId) -> Result<(), RequestError> {
        if self.request.org_id == *served {
            return Ok(());
        }
        Err(
            RequestError::new("org_id", "is not served by this deployment")
                .accepts(format!("`{served}`"))
                .found(quoted(self.request.org_id.as_str())),
        )
    }
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            days_max: 400,
            filter_values_max: 100,
            filter_value_bytes_max: 128,
        }
    }
}

impl RecoveryRequest {
    /// What resumes a run that has begun with this request.
    pub fn again(request: &ResolvedRequest, execution_id: &ExecutionId) -> Self {
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        Self {
            org_id: request.org_id.to_string(),
            start: time(request.start),
            end: time(request.end),
            window: Some(request.window.kind),
            format: Some(Format::of(request.output)),
            compression: Some(Compression::of(request.output)),
            domains: request.domains.iter().cloned().collect(),
            event_types: request.event_types.iter().cloned().collect(),
            exclude_domains: request.exclude_domains.iter().cloned().collect(),
            exclude_event_types: request.exclude_event_types.iter().cloned().collect(),
            dedupe: request.dedupe,
            dry_run: false,
            execution_id: Some(execution_id.to_string()),
        }
    }

    /// Reads a request from its JSON. What its texts say is left to [`resolve`](Self::resolve).
    ///
    /// # Errors
    ///
    /// No JSON object, more than [`REQUEST_BYTES_MAX`] bytes, fields that are unknown, missing,
    /// given twice or of another JSON type, and names that no window, format or compression has.
    pub fn from_json(json: &[u8]) -> Result<Self, RequestError> {
        if json.len() > REQUEST_BYTES_MAX {
            return Err(RequestError::new("request", "is too long")
                .accepts(format!("at most {REQUEST_BYTES_MAX} bytes"))
                .found(json.len().to_string()));
        }
        serde_json::from_slice(json).map_err(|error| diagnose::diagnose(json, &error))
    }

    /// Checks every value and fills in the defaults. `tolerance` is the deployment's setting; `now` bounds
    /// the start.
    ///
    /// # Errors
    ///
    /// The first invalid field, in the order of the struct; the range as a whole counts after its two
    /// ends.
    pub fn resolve(
        self,
        limits: &RequestLimits,
        tolerance: &Tolerance,
        now: DateTime<Utc>,
    ) -> Result<Resolution, RequestError> {
        let org_id = OrgId::parse(&self.org_id).map_err(|_| {
            RequestError::new("org_id", "is not an org id")
                .accepts(ORG_ID_ACCEPTS)
                .found(quoted(&self.org_id))
        })?;
        let range = Range::parse(&self.start, &self.end)?;
        range.check(limits, now)?;
        let kind = self.window.unwrap_or_default();
        if kind == WindowKind::Publish {
            range.check_whole_hours()?;
        }
        let output = output::choose(self.format.unwrap_or_default(), self.compression)?;
        let request = ResolvedRequest {
            org_id,
            start: range.start,
            end: range.end,
            window: WindowParameters {
                kind,
                lead_secs: tolerance.lead_secs,
                lag_secs: tolerance.lag_secs,
            },
            output,
            domains: filter_values("domains", self.domains, limits)?,
            event_types: filter_values("event_types", self.event_types, limits)?,
            exclude_domains: filter_values("exclude_domains", self.exclude_domains, limits)?,
            exclude_event_types: filter_values(
                "exclude_event_types",
                self.exclude_event_types,
                limits,
            )?,
            dedupe: self.dedupe,
        };
        let execution_id = self.execution_id.map(|id| {
            ExecutionId::parse(&id).map_err(|_| {
                RequestError::new("execution_id", "is not an execution id")
                    .accepts(EXECUTION_ID_ACCEPTS)
                    .found(quoted(&id))
            })
        });
        Ok(Resolution {
            request,
            dry_run: self.dry_run,
            execution_id: execution_id.transpose()?,
        })
    }
}

/// A requested range, and the texts that errors quote.
struct Range<'a> {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    start_text: &'a str,
    end_text: &'a str,
}

/// One end of a range as written.
enum Bound {
    Date(DateTime<Utc>),
    Instant(DateTime<Utc>),
}

impl<'a> Range<'a> {
    fn parse(start_text: &'a str, end_text: &'a str) -> Result<Self, RequestError> {
        let start = Bound::parse("start", start_text)?;
        let end = Bound::parse("end", end_text)?;
        let mixed = |accepts| {
            RequestError::new("end", "is not of the same kind as `start`")
                .accepts(accepts)
                .found(quoted(end_text))
                .hinting(RANGE_HINT)
        };
        let (start, end) = match (start, end) {
            (Bound::Date(start), Bound::Date(last)) => (start, day_after(last)),
            (Bound::Instant(start), Bound::Instant(end)) => (start, end),
            (Bound::Date(_), Bound::Instant(_)) => {
                return Err(mixed("a date, because `start` is one"));
            }
            (Bound::Instant(_), Bound::Date(_)) => {
                return Err(mixed("an RFC 3339 instant, because `start` is one"));
            }
        };
        Ok(Self {
            start,
            end,
            start_text,
            end_text,
        })
    }

    fn check(&self, limits: &RequestLimits, now: DateTime<Utc>) -> Result<(), RequestError> {
        let start_error =
            |problem| RequestError::new("start", problem).found(quoted(self.start_text));
        let end_error =
            |problem: String| RequestError::new("end", problem).found(quoted(self.end_text));
        if self.start >= self.end {
            let problem = if self.start == self.end {
                "makes an empty range"
            } else {
                "is before `start`"
            };
            return Err(end_error(problem.to_owned())
                .accepts(format!("a time after `start`, {}", quoted(self.start_text)))
                .hinting(RANGE_HINT));
        }
        if self.start < DateTime::UNIX_EPOCH {
            return Err(
                start_error("is before 1970").accepts("a time from `1970-01-01T00:00:00Z` on")
            );
        }
        if self.start > now {
            return Err(start_error("is in the future")
                .accepts(format!("a time up to now, `{}`", rfc3339(now)))
                .hinting("times are UTC unless they carry another offset"));
        }
        let days = days_rounded_up(self.end.signed_duration_since(self.start));
        if days > i64::from(limits.days_max) {
            return Err(end_error(format!("makes a range of {days} days"))
                .accepts(format!("a range of at most {} days", limits.days_max))
                .hinting("split the range into several requests that adjoin"));
        }
        Ok(())
    }

    fn check_whole_hours(&self) -> Result<(), RequestError> {
        let ends = [
            ("start", self.start, self.start_text),
            ("end", self.end, self.end_text),
        ];
        for (field, instant, text) in ends {
            if !is_whole_hour(instant) {
                let hour = HourPrefix::from_instant(instant);
                let (before, after) = (rfc3339(hour.start()), rfc3339(hour.end()));
                return Err(RequestError::new(field, "is not on a whole UTC hour")
                    .accepts("a date or a whole hour, because `window` is `publish`")
                    .found(quoted(text))
                    .hinting(format!(
                        "the nearest whole hours are `{before}` and `{after}`; \
                         `window` `arrival` takes any instant"
                    )));
            }
        }
        Ok(())
    }
}

impl Bound {
    fn parse(field: &str, text: &str) -> Result<Self, RequestError> {
        if let Some(date) = parse_date(text) {
            return Ok(Self::Date(date.and_time(NaiveTime::MIN).and_utc()));
        }
        match DateTime::parse_from_rfc3339(text) {
            Ok(instant) => Ok(Self::Instant(without_leap_second(instant.to_utc()))),
            Err(_) => Err(RequestError::new(field, "is neither a date nor an instant")
                .accepts(TIME_ACCEPTS)
                .found(quoted(text))
                .hinting("an instant carries its seconds and an offset, `Z` or one like `-03:00`")),
        }
    }
}

fn filter_values(
    field: &str,
    values: Vec<String>,
    limits: &RequestLimits,
) -> Result<BTreeSet<String>, RequestError> {
    let bytes_max = limits.filter_value_bytes_max;
    for value in &values {
        let problem = if value.is_empty() {
            "holds an empty value"
        } else if value.trim() != value || value.contains(char::is_control) {
            "holds a value with white space around it or a control character"
        } else if value.len() > bytes_max {
            "holds a value that is too long"
        } else if let Some(problem) = pattern_problem(value) {
            return Err(RequestError::new(
                field,
                format!("holds a pattern that can't be read: {problem}"),
            )
            .accepts("texts with `*`, `?`, `[…]` and `{…,…}`")
            .found(quoted(value))
            .hinting("a backslash makes the character after it stand for itself"));
        } else {
            continue;
        };
        return Err(RequestError::new(field, problem)
            .accepts(format!("values of 1 to {bytes_max} bytes"))
            .found(quoted(value))
            .hinting(format!("leave `{field}` out to recover all")));
    }
    let values = BTreeSet::from_iter(values);
    if values.len() > limits.filter_values_max {
        return Err(RequestError::new(field, "holds too many values")
            .accepts(format!("at most {} values", limits.filter_values_max))
            .found(values.len().to_string()));
    }
    Ok(values)
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// One of an enum's names. Without this, serde_json would take `{"ndjson": null}` for a name, too.
fn by_name<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let name = Option::<String>::deserialize(deserializer)?;
    name.map(|name| T::deserialize(name.into_deserializer()))
        .transpose()
}

fn day_after(day: DateTime<Utc>) -> DateTime<Utc> {
    day.checked_add_days(Days::new(1))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

fn days_rounded_up(length: TimeDelta) -> i64 {
    let days = length.num_days();
    days + i64::from(length > TimeDelta::days(days))
}

/// `chrono` keeps 23:59:60 as a second of its own, which nothing else in this project has. It becomes the
/// first second of the next minute.
fn without_leap_second(instant: DateTime<Utc>) -> DateTime<Utc> {
    match instant.timestamp_subsec_nanos().checked_sub(1_000_000_000) {
        Some(nanos) => DateTime::from_timestamp(instant.timestamp() + 1, nanos).unwrap_or(instant),
        None => instant,
    }
}

fn rfc3339(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests;
