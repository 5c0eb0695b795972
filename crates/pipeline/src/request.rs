//! The recovery request: what a caller asks for, and what it comes to.
//!
//! [`RecoveryRequest`] is the request as written, every value still text. [`RecoveryRequest::resolve`]
//! turns it into a [`ResolvedRequest`], in which every value is present and valid, or into one
//! [`RequestError`] that names the field and what it accepts.

use std::collections::BTreeSet;

use chrono::{DateTime, Days, NaiveTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::execution_id::{EXECUTION_ID_ACCEPTS, ExecutionId};
use crate::hour_prefix::{HourPrefix, parse_date};
use crate::org_id::{ORG_ID_ACCEPTS, OrgId, excerpt};
use crate::window::{Tolerance, Window, WindowKind, is_whole_hour};

/// The longest request that is read, in bytes.
pub const REQUEST_BYTES_MAX: usize = 256 * 1024;

const TIME_ACCEPTS: &str =
    "a date like `2024-04-01` or an RFC 3339 instant like `2024-04-01T00:00:00Z`";
const RANGE_HINT: &str =
    "two dates are both inclusive; of two instants the second is the first after the range";

/// A recovery request as a caller writes it; the project's documentation shows its JSON.
///
/// Absent, `null` and empty lists mean the default. Unknown fields are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryRequest {
    /// Whose backup: an [`OrgId`].
    pub org_id: String,
    /// The first date, or the first instant.
    pub start: String,
    /// The last date, or the first instant after the range.
    pub end: String,
    /// `arrival` (default) or `publish`.
    #[serde(default)]
    pub window: Option<String>,
    /// `parquet` (default) or `ndjson`.
    #[serde(default)]
    pub format: Option<String>,
    /// One that goes with the format; its first is the default, see [`Format::compressions`].
    #[serde(default)]
    pub compression: Option<String>,
    /// Only events of these domains; empty for all.
    #[serde(default, deserialize_with = "null_as_default")]
    pub domains: Vec<String>,
    /// Only events of these types; empty for all.
    #[serde(default, deserialize_with = "null_as_default")]
    pub event_types: Vec<String>,
    /// Plan only: read and write no events.
    #[serde(default, deserialize_with = "null_as_default")]
    pub dry_run: bool,
    /// The caller's own id of the run: an [`ExecutionId`].
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

/// What a request comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// What is recovered. Two runs with equal ones write the same.
    pub request: ResolvedRequest,
    /// Plan only: read and write no events.
    pub dry_run: bool,
    /// The caller's own id of the run, if it brought one.
    pub execution_id: Option<ExecutionId>,
}

/// A request in which every value is present and valid. The ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedRequest {
    /// Whose backup.
    pub org_id: OrgId,
    /// The first instant.
    pub start: DateTime<Utc>,
    /// The first instant after the range.
    pub end: DateTime<Utc>,
    /// What decides whether an event lies in the range.
    pub window: WindowParameters,
    /// How events are written.
    pub format: Format,
    /// How the output is compressed; goes with the format.
    pub compression: Compression,
    /// Only events of these domains; empty for all.
    pub domains: BTreeSet<String>,
    /// Only events of these types; empty for all.
    pub event_types: BTreeSet<String>,
}

/// What makes a [`Window`] of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowParameters {
    /// What decides whether an event belongs to the window.
    pub kind: WindowKind,
    /// See [`Window::lead_secs`].
    pub lead_secs: u32,
    /// See [`Window::lag_secs`].
    pub lag_secs: u32,
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The platform's columns, and one for everything else.
    Parquet,
    /// The event's own bytes, one event a line.
    Ndjson,
}

/// How the output is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, for NDJSON.
    Gzip,
    /// Zstandard, for both formats.
    Zstd,
    /// Snappy, for Parquet.
    Snappy,
}

/// Which events of the window are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filters {
    /// Only events of these domains; empty for all.
    pub domains: BTreeSet<String>,
    /// Only events of these types; empty for all.
    pub event_types: BTreeSet<String>,
}

/// A refused request: one field, what is wrong with it and what it accepts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{field}` {problem}; it accepts {accepts}{}", value_last(.found.as_deref()))]
pub struct RequestError {
    /// The field's name, or `request` for the request as a whole.
    pub field: String,
    /// What is wrong, as the end of a sentence that begins with the field.
    pub problem: String,
    /// What the field accepts.
    pub accepts: String,
    /// What was found, quoted and cut; `None` when nothing was.
    pub found: Option<String>,
    hint: Option<String>,
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
    /// Reads a request from its JSON, without judging its values.
    ///
    /// # Errors
    ///
    /// No JSON object, more than [`REQUEST_BYTES_MAX`] bytes, and fields that are unknown, missing,
    /// given twice or of another JSON type.
    pub fn from_json(json: &[u8]) -> Result<Self, RequestError> {
        if json.len() > REQUEST_BYTES_MAX {
            return Err(RequestError::new("request", "is too long")
                .accepts(format!("at most {REQUEST_BYTES_MAX} bytes"))
                .found(json.len().to_string()));
        }
        serde_json::from_slice(json).map_err(|error| diagnose(json, &error))
    }

    /// Checks every value and fills in the defaults. `tolerance` is the deployment's setting.
    ///
    /// # Errors
    ///
    /// The first field that is not acceptable, in the order of the struct, but the range as a whole
    /// after each of its ends.
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
        let kind = choose("window", self.window.as_deref(), &WindowKind::ALL)?;
        if kind == WindowKind::Publish {
            range.check_whole_hours()?;
        }
        let format = choose("format", self.format.as_deref(), &Format::ALL)?;
        let compression = choose_compression(format, self.compression.as_deref())?;
        let request = ResolvedRequest {
            org_id,
            start: range.start,
            end: range.end,
            window: WindowParameters {
                kind,
                lead_secs: tolerance.lead_secs,
                lag_secs: tolerance.lag_secs,
            },
            format,
            compression,
            domains: filter_values("domains", self.domains, limits)?,
            event_types: filter_values("event_types", self.event_types, limits)?,
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

impl ResolvedRequest {
    /// The window to recover.
    pub fn window(&self) -> Window {
        Window {
            kind: self.window.kind,
            start: self.start,
            end: self.end,
            lead_secs: self.window.lead_secs,
            lag_secs: self.window.lag_secs,
        }
    }

    /// The events that are wanted.
    pub fn filters(&self) -> Filters {
        Filters {
            domains: self.domains.clone(),
            event_types: self.event_types.clone(),
        }
    }

    /// The first field in which `other` differs; `None` when both are equal.
    pub fn first_difference(&self, other: &Self) -> Option<&'static str> {
        // Taken apart without `..`, so that a field added later cannot be forgotten here.
        let Self {
            org_id,
            start,
            end,
            window:
                WindowParameters {
                    kind,
                    lead_secs,
                    lag_secs,
                },
            format,
            compression,
            domains,
            event_types,
        } = self;
        [
            ("org_id", *org_id != other.org_id),
            ("start", *start != other.start),
            ("end", *end != other.end),
            ("window", *kind != other.window.kind),
            ("lead_secs", *lead_secs != other.window.lead_secs),
            ("lag_secs", *lag_secs != other.window.lag_secs),
            ("format", *format != other.format),
            ("compression", *compression != other.compression),
            ("domains", *domains != other.domains),
            ("event_types", *event_types != other.event_types),
        ]
        .into_iter()
        .find_map(|(field, differs)| differs.then_some(field))
    }
}

impl Format {
    /// Every format, the default first.
    pub const ALL: [Self; 2] = [Self::Parquet, Self::Ndjson];

    /// The format as requests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Ndjson => "ndjson",
        }
    }

    /// The compressions that go with the format, its default first.
    pub fn compressions(self) -> &'static [Compression] {
        match self {
            Self::Parquet => &[Compression::Zstd, Compression::Snappy, Compression::None],
            Self::Ndjson => &[Compression::None, Compression::Gzip, Compression::Zstd],
        }
    }
}

impl Compression {
    /// The compression as requests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
        }
    }
}

impl Filters {
    /// Whether an event with these values is wanted. An event without a value, or with one that is
    /// no string (`None`), is wanted only where nothing is asked of it. Case matters.
    pub fn allows(&self, domain: Option<&str>, event_type: Option<&str>) -> bool {
        let passes = |wanted: &BTreeSet<String>, value: Option<&str>| {
            wanted.is_empty() || value.is_some_and(|value| wanted.contains(value))
        };
        passes(&self.domains, domain) && passes(&self.event_types, event_type)
    }
}

impl RequestError {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
            accepts: String::new(),
            found: None,
            hint: None,
        }
    }

    fn accepts(mut self, accepts: impl Into<String>) -> Self {
        self.accepts = accepts.into();
        self
    }

    fn found(mut self, found: String) -> Self {
        self.found = Some(found);
        self
    }

    fn hinting(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What may help, to be shown on a line of its own.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// A requested range and the text it comes from.
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

/// A value that a request chooses by its name.
trait Choice: Copy {
    fn name(self) -> &'static str;
}

impl Choice for WindowKind {
    fn name(self) -> &'static str {
        self.as_str()
    }
}

impl Choice for Format {
    fn name(self) -> &'static str {
        self.as_str()
    }
}

impl Choice for Compression {
    fn name(self) -> &'static str {
        self.as_str()
    }
}

/// The one of `choices` that `text` names, the first when there is no text.
fn choose<T: Choice>(field: &str, text: Option<&str>, choices: &[T]) -> Result<T, RequestError> {
    let name = text.or_else(|| choices.first().map(|first| first.name()));
    choices
        .iter()
        .copied()
        .find(|choice| Some(choice.name()) == name)
        .ok_or_else(|| {
            RequestError::new(field, "is not one of its values")
                .accepts(any_of(choices.iter().map(|choice| choice.name())))
                .found(quoted(text.unwrap_or_default()))
        })
}

fn choose_compression(format: Format, text: Option<&str>) -> Result<Compression, RequestError> {
    choose("compression", text, format.compressions()).map_err(|error| {
        let other = Format::ALL.into_iter().find(|other| {
            let names = other.compressions().iter().map(|c| c.as_str());
            names.into_iter().any(|name| Some(name) == text)
        });
        let Some(other) = other else { return error };
        RequestError {
            problem: format!("does not go with the format `{}`", format.as_str()),
            hint: Some(format!("it goes with the format `{}`", other.as_str())),
            ..error
        }
    })
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

/// The JSON type that a field of a request has.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Text,
    OptionalText,
    Texts,
    Flag,
}

impl Shape {
    fn fits(self, value: &Value) -> bool {
        match (self, value) {
            (_, Value::Null) => self != Self::Text,
            (Self::Text | Self::OptionalText, value) => value.is_string(),
            (Self::Texts, Value::Array(values)) => values.iter().all(Value::is_string),
            (Self::Texts, _) => false,
            (Self::Flag, value) => value.is_boolean(),
        }
    }
}

/// Every field of a request: its name, its JSON type, what it accepts.
fn fields() -> [(&'static str, Shape, String); 10] {
    let compressions = any_of(["none", "gzip", "zstd", "snappy"]);
    let of_kind = any_of(WindowKind::ALL.map(WindowKind::as_str));
    let formats = any_of(Format::ALL.map(Format::as_str));
    [
        ("org_id", Shape::Text, ORG_ID_ACCEPTS.to_owned()),
        ("start", Shape::Text, TIME_ACCEPTS.to_owned()),
        ("end", Shape::Text, TIME_ACCEPTS.to_owned()),
        ("window", Shape::OptionalText, of_kind),
        ("format", Shape::OptionalText, formats),
        ("compression", Shape::OptionalText, compressions),
        ("domains", Shape::Texts, "a list of strings".to_owned()),
        ("event_types", Shape::Texts, "a list of strings".to_owned()),
        ("dry_run", Shape::Flag, any_of(["true", "false"])),
        (
            "execution_id",
            Shape::OptionalText,
            EXECUTION_ID_ACCEPTS.to_owned(),
        ),
    ]
}

/// Says about a request that did not parse which field is to blame, which `serde_json` does not.
fn diagnose(json: &[u8], error: &serde_json::Error) -> RequestError {
    let whole = |problem| {
        RequestError::new("request", problem)
            .accepts("a JSON object")
            .hinting(error.to_string())
    };
    let Ok(value) = serde_json::from_slice::<Value>(json) else {
        return whole("is not valid JSON");
    };
    let Value::Object(object) = value else {
        return whole("is not a JSON object");
    };
    let fields = fields();
    if let Some(unknown) = object
        .keys()
        .find(|key| !fields.iter().any(|f| f.0 == *key))
    {
        let unknown = excerpt(unknown).escape_debug().to_string();
        return RequestError::new("request", "has a field that it does not know")
            .accepts(any_of(fields.map(|(name, ..)| name)))
            .found(format!("`{unknown}`"));
    }
    for (name, shape, accepts) in fields {
        let refused = match object.get(name) {
            None if shape == Shape::Text => RequestError::new(name, "is missing"),
            Some(value) if !shape.fits(value) => RequestError::new(name, "has the wrong JSON type")
                .found(excerpt(&value.to_string())),
            _ => continue,
        };
        return refused.accepts(accepts);
    }
    whole("names a field twice")
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn day_after(day: DateTime<Utc>) -> DateTime<Utc> {
    day.checked_add_days(Days::new(1))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

fn days_rounded_up(length: TimeDelta) -> i64 {
    let days = length.num_days();
    days + i64::from(length > TimeDelta::days(days))
}

/// `chrono` keeps 23:59:60 as a second of its own, which no other instant in this project has: it
/// is the first second of the next minute.
fn without_leap_second(instant: DateTime<Utc>) -> DateTime<Utc> {
    match instant.timestamp_subsec_nanos().checked_sub(1_000_000_000) {
        Some(nanos) => DateTime::from_timestamp(instant.timestamp() + 1, nanos).unwrap_or(instant),
        None => instant,
    }
}

fn rfc3339(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn value_last(found: Option<&str>) -> String {
    found.map(|found| format!(": {found}")).unwrap_or_default()
}

fn quoted(found: &str) -> String {
    format!("{:?}", excerpt(found))
}

/// `` `a`, `b` or `c` ``.
fn any_of(names: impl IntoIterator<Item = &'static str>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ORG: &str = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";
    const NOW: &str = "2024-06-01T12:00:00Z";

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// The smallest request, with `changes` over it.
    fn request(changes: &Value) -> Value {
        let mut request = json!({"org_id": ORG, "start": "2024-04-01", "end": "2024-04-03"});
        for (field, value) in changes.as_object().unwrap() {
            request[field] = value.clone();
        }
        request
    }

    fn resolve(changes: Value) -> Result<Resolution, RequestError> {
        resolve_json(request(&changes).to_string().as_bytes())
    }

    fn resolve_json(json: &[u8]) -> Result<Resolution, RequestError> {
        RecoveryRequest::from_json(json)?.resolve(
            &RequestLimits::default(),
            &Tolerance::default(),
            at(NOW),
        )
    }

    #[test]
    fn the_smallest_request_gets_the_defaults() {
        let expected = ResolvedRequest {
            org_id: OrgId::parse(ORG).unwrap(),
            start: at("2024-04-01T00:00:00Z"),
            end: at("2024-04-04T00:00:00Z"),
            window: WindowParameters {
                kind: WindowKind::Arrival,
                lead_secs: 900,
                lag_secs: 3600,
            },
            format: Format::Parquet,
            compression: Compression::Zstd,
            domains: BTreeSet::new(),
            event_types: BTreeSet::new(),
        };
        let nulls = json!({
            "window": null, "format": null, "compression": null, "domains": null,
            "event_types": null, "dry_run": null, "execution_id": null,
        });
        for changes in [json!({}), nulls, json!({"domains": [], "dry_run": false})] {
            let resolution = resolve(changes).unwrap();
            assert_eq!(resolution.request, expected);
            assert!(!resolution.dry_run);
            assert_eq!(resolution.execution_id, None);
        }
    }

    #[test]
    fn the_designs_example_is_accepted() {
        let resolution = resolve(json!({
            "org_id": ORG.to_uppercase(), "window": "publish", "format": "ndjson",
            "compression": "gzip", "domains": ["cards", "account", "cards"],
            "event_types": ["status-change-2"], "dry_run": true, "execution_id": "run-1",
        }))
        .unwrap();
        let request = &resolution.request;
        assert_eq!(request.org_id.as_str(), ORG);
        assert_eq!(request.window.kind, WindowKind::Publish);
        assert_eq!(request.format, Format::Ndjson);
        assert_eq!(request.compression, Compression::Gzip);
        assert!(request.domains.iter().eq(["account", "cards"]));
        assert!(resolution.dry_run);
        assert_eq!(resolution.execution_id.unwrap().as_str(), "run-1");
    }

    #[test]
    fn dates_are_inclusive_and_instants_half_open() {
        let rows = [
            (
                "one date",
                ("2024-04-01", "2024-04-01"),
                ("2024-04-01T00:00:00Z", "2024-04-02T00:00:00Z"),
            ),
            (
                "leap day",
                ("2024-02-29", "2024-02-29"),
                ("2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
            ),
            (
                "instants",
                ("2024-04-01T00:00:00Z", "2024-04-01T00:00:00.000000001Z"),
                ("2024-04-01T00:00:00Z", "2024-04-01T00:00:00.000000001Z"),
            ),
            (
                "other offsets",
                ("2024-04-01T00:00:00-03:00", "2024-04-01T12:30:00+05:30"),
                ("2024-04-01T03:00:00Z", "2024-04-01T07:00:00Z"),
            ),
            (
                "leap second",
                ("2016-12-31T23:59:60.5Z", "2017-01-01T00:00:01Z"),
                ("2017-01-01T00:00:00.5Z", "2017-01-01T00:00:01Z"),
            ),
            (
                "today and on",
                ("2024-06-01", "2024-06-30"),
                ("2024-06-01T00:00:00Z", "2024-07-01T00:00:00Z"),
            ),
            (
                "from now on",
                (NOW, "2024-06-01T13:00:00Z"),
                (NOW, "2024-06-01T13:00:00Z"),
            ),
            (
                "the longest range",
                ("2023-01-01", "2024-02-04"),
                ("2023-01-01T00:00:00Z", "2024-02-05T00:00:00Z"),
            ),
        ];
        for (name, (start, end), expected) in rows {
            let request = resolve(json!({"start": start, "end": end}))
                .unwrap()
                .request;
            let expected = (at(expected.0), at(expected.1));
            assert_eq!((request.start, request.end), expected, "{name}");
            let window = request.window();
            assert_eq!((window.start, window.end), expected, "{name}");
        }
    }

    #[test]
    fn each_format_has_its_compressions() {
        let rows = [
            (json!({}), "zstd"),
            (json!({"compression": "snappy"}), "snappy"),
            (json!({"format": "parquet", "compression": "none"}), "none"),
            (json!({"format": "ndjson"}), "none"),
            (json!({"format": "ndjson", "compression": "zstd"}), "zstd"),
            (json!({"format": "ndjson", "compression": "gzip"}), "gzip"),
        ];
        for (changes, expected) in rows {
            let request = resolve(changes.clone()).unwrap().request;
            assert_eq!(request.compression.as_str(), expected, "{changes}");
            assert!(request.format.compressions().contains(&request.compression));
        }
    }

    /// Refused values: a name, the changes, the field that is named, a part of the message, a part
    /// of the hint.
    #[test]
    fn a_refusal_names_the_field_and_what_it_accepts() {
        let many: Vec<_> = (0..101).map(|n| n.to_string()).collect();
        #[rustfmt::skip] // One row a line.
        let rows = [
            ("org id", json!({"org_id": "tn-1"}), "org_id", "`tn-` and a UUID, like", ""),
            ("no date", json!({"start": "yesterday"}), "start", "neither a date nor", "an offset"),
            ("no such date", json!({"end": "2024-04-31"}), "end", "a date like", ""),
            ("single digits", json!({"end": "2024-4-3"}), "end", "a date like", ""),
            ("no offset", json!({"start": "2024-04-01T00:00:00"}), "start", "RFC 3339", "`Z`"),
            ("no seconds", json!({"start": "2024-04-01T00:00Z"}), "start", "RFC 3339", "seconds"),
            ("mixed", json!({"end": "2024-04-03T00:00:00Z"}), "end", "a date, because", "inclusive"),
            ("mixed otherwise", json!({"start": "2024-04-01T00:00:00Z"}), "end", "an RFC 3339 instant, because", ""),
            ("reversed", json!({"end": "2024-03-31"}), "end", "a time after `start`", "inclusive"),
            ("reversed by a day", json!({"start": "2024-04-02", "end": "2024-04-01"}), "end", "a time after `start`", ""),
            ("empty", json!({"start": "2024-04-01T00:00:00Z", "end": "2024-04-01T01:00:00+01:00"}), "end", "makes an empty range", "first after the range"),
            ("long ago", json!({"start": "1969-12-31"}), "start", "1970", ""),
            ("future", json!({"start": "2024-06-02", "end": "2024-06-03"}), "start", "up to now, `2024-06-01T12:00:00Z`", "UTC"),
            ("a day too many", json!({"start": "2023-01-01", "end": "2024-02-05"}), "end", "401 days; it accepts a range of at most 400 days", "split"),
            ("a moment too much", json!({"start": "2023-01-01T00:00:00Z", "end": "2024-02-05T00:00:00.1Z"}), "end", "401 days", ""),
            ("window", json!({"window": "Arrival"}), "window", "`arrival` or `publish`", ""),
            ("format", json!({"format": "csv"}), "format", "`parquet` or `ndjson`", ""),
            ("empty format", json!({"format": ""}), "format", "`parquet` or `ndjson`", ""),
            ("compression of the other format", json!({"compression": "gzip"}), "compression", "`zstd`, `snappy` or `none`", "`ndjson`"),
            ("NDJSON with Snappy", json!({"format": "ndjson", "compression": "snappy"}), "compression", "`none`, `gzip` or `zstd`", "`parquet`"),
            ("no compression", json!({"compression": "lz4"}), "compression", "`zstd`", ""),
            ("empty domain", json!({"domains": ["a", ""]}), "domains", "empty", "leave"),
            ("padded", json!({"event_types": ["a "]}), "event_types", "white space", ""),
            ("control", json!({"domains": ["a\nb"]}), "domains", "control", ""),
            ("long", json!({"domains": ["x".repeat(129)]}), "domains", "1 to 128 bytes", ""),
            ("many", json!({"event_types": many}), "event_types", "at most 100 values: 101", ""),
            ("execution id", json!({"execution_id": "../x"}), "execution_id", "1 to 64 of", ""),
            ("unknown", json!({"strat": "2024"}), "request", "`execution_id`: `strat`", ""),
            ("missing", json!({"start": null}), "start", "a date like", ""),
            ("type of a text", json!({"end": 20240401}), "end", "wrong JSON type", ""),
            ("type of a list", json!({"domains": "a"}), "domains", "a list of strings: \"a\"", ""),
            ("type in a list", json!({"domains": [1]}), "domains", "a list of strings: [1]", ""),
            ("type of a flag", json!({"dry_run": "yes"}), "dry_run", "`true` or `false`", ""),
        ];
        for (name, changes, field, message, hint) in rows {
            let error = resolve(changes).unwrap_err();
            let text = error.to_string();
            assert_eq!(error.field, field, "{name}");
            assert!(text.starts_with(&format!("`{field}` ")), "{name}: {text}");
            assert!(text.contains("; it accepts "), "{name}: {text}");
            assert!(text.contains(message), "{name}: {text}");
            assert!(
                !text.ends_with('.') && !text.contains('\n'),
                "{name}: {text}"
            );
            let found = error.hint().unwrap_or_default();
            assert!(found.contains(hint), "{name}: {found}");
        }
    }

    #[test]
    fn messages_read_as_sentences() {
        let rows = [
            (
                json!({"end": "2024-03-01"}),
                r#"`end` is before `start`; it accepts a time after `start`, "2024-04-01": "2024-03-01""#,
            ),
            (
                json!({"compression": "gzip"}),
                r#"`compression` does not go with the format `parquet`; it accepts `zstd`, `snappy` or `none`: "gzip""#,
            ),
        ];
        for (changes, expected) in rows {
            assert_eq!(resolve(changes).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_publish_window_within_an_hour_is_told_the_nearest_whole_hours() {
        let whole = ("2024-04-01T01:00:00Z", "2024-04-01T03:00:00Z");
        let rows = [
            (
                "start",
                "2024-04-01T00:10:00Z",
                whole.1,
                "T00:00:00Z",
                "T01:00:00Z",
            ),
            (
                "end",
                whole.0,
                "2024-04-01T23:59:59.5Z",
                "T23:00:00Z",
                "2024-04-02T00:00:00Z",
            ),
            (
                "end",
                whole.0,
                "2024-04-01T03:00:00+00:30",
                "T02:00:00Z",
                "T03:00:00Z",
            ),
        ];
        for (field, start, end, before, after) in rows {
            let range = json!({"start": start, "end": end, "window": "publish"});
            let error = resolve(range.clone()).unwrap_err();
            assert_eq!(error.field, field);
            let hint = error.hint().unwrap();
            assert!(hint.contains(before) && hint.contains(after), "{hint}");
            let mut arrival = range;
            arrival["window"] = json!("arrival");
            assert!(resolve(arrival).is_ok());
        }
        let aligned = json!({"start": whole.0, "end": whole.1, "window": "publish"});
        assert!(resolve(aligned).is_ok());
    }

    #[test]
    fn what_is_no_request_is_refused_whole() {
        let twice = format!(r#"{{"org_id":"{ORG}","start":"a","end":"b","end":"c"}}"#);
        let long = " ".repeat(REQUEST_BYTES_MAX + 1);
        let deep = "[".repeat(100_000);
        let rows = [
            ("empty", "", "not valid JSON"),
            ("cut", r#"{"org_id":"#, "not valid JSON"),
            ("two", "{} {}", "not valid JSON"),
            ("list", "[]", "not a JSON object"),
            ("null", "null", "not a JSON object"),
            ("deep", &deep, "not valid JSON"),
            ("too long", &long, "is too long"),
            ("field twice", &twice, "names a field twice"),
        ];
        for (name, json, message) in rows {
            let error = RecoveryRequest::from_json(json.as_bytes()).unwrap_err();
            assert_eq!(error.field, "request", "{name}");
            assert!(error.to_string().contains(message), "{name}: {error}");
        }
        let missing = RecoveryRequest::from_json(b"{}").unwrap_err();
        assert!(
            missing
                .to_string()
                .starts_with("`org_id` is missing; it accepts")
        );
        assert!(resolve_json(b"\xff").is_err());
    }

    #[test]
    fn a_resolved_request_survives_the_ledger() {
        let request = resolve(json!({
            "start": "2024-04-01T00:00:00.123456789Z", "end": "2024-04-02T00:00:00Z",
            "domains": ["b", "a"],
        }))
        .unwrap()
        .request;
        let value = serde_json::to_value(&request).unwrap();
        assert_eq!(
            value,
            json!({
                "org_id": ORG,
                "start": "2024-04-01T00:00:00.123456789Z",
                "end": "2024-04-02T00:00:00Z",
                "window": {"kind": "arrival", "lead_secs": 900, "lag_secs": 3600},
                "format": "parquet",
                "compression": "zstd",
                "domains": ["a", "b"],
                "event_types": [],
            })
        );
        let again: ResolvedRequest = serde_json::from_value(value).unwrap();
        assert_eq!(again, request);
        assert_eq!(again.first_difference(&request), None);
    }

    #[test]
    fn the_first_difference_is_named() {
        let request = resolve(json!({})).unwrap().request;
        let rows = [
            ("org_id", json!("tn-00000000-f4f0-464d-b4c6-a14e2dc6f4be")),
            ("start", json!("2024-04-01T01:00:00Z")),
            ("end", json!("2024-04-05T00:00:00Z")),
            (
                "window",
                json!({"kind": "publish", "lead_secs": 1, "lag_secs": 1}),
            ),
            (
                "lead_secs",
                json!({"kind": "arrival", "lead_secs": 1, "lag_secs": 1}),
            ),
            (
                "lag_secs",
                json!({"kind": "arrival", "lead_secs": 900, "lag_secs": 1}),
            ),
            ("format", json!("ndjson")),
            ("compression", json!("none")),
            ("domains", json!(["a"])),
            ("event_types", json!(["a"])),
        ];
        for (field, changed) in rows {
            let mut value = serde_json::to_value(&request).unwrap();
            let key = if field.ends_with("_secs") {
                "window"
            } else {
                field
            };
            value[key] = changed;
            let other: ResolvedRequest = serde_json::from_value(value).unwrap();
            assert_eq!(request.first_difference(&other), Some(field));
            assert_ne!(request, other, "{field}");
        }
    }

    #[test]
    fn filters_let_through_what_was_asked_for() {
        let all = resolve(json!({})).unwrap().request.filters();
        let some = resolve(json!({"domains": ["account", "cards"], "event_types": ["open-1"]}))
            .unwrap()
            .request
            .filters();
        let rows = [
            ("both", Some("cards"), Some("open-1"), true),
            ("other domain", Some("card"), Some("open-1"), false),
            ("other type", Some("cards"), Some("open-2"), false),
            ("other case", Some("Cards"), Some("open-1"), false),
            ("no domain", None, Some("open-1"), false),
            ("no type", Some("cards"), None, false),
            ("neither", None, None, false),
        ];
        for (name, domain, event_type, allowed) in rows {
            assert_eq!(some.allows(domain, event_type), allowed, "{name}");
            assert!(all.allows(domain, event_type), "{name}");
        }
    }
}
