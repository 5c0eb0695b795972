//! A request in which every value is present and valid.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use event_recovery_format::OutputFormat;
use serde::{Deserialize, Serialize};

use crate::backup::org_id::OrgId;
use crate::request::output::{self, Compression, Format};
use crate::request::window::{Window, WindowKind};

/// A request in which every value is present and valid. The ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedRequest {
    /// Whose backup.
    pub org_id: OrgId,
    /// The first instant of the range.
    pub start: DateTime<Utc>,
    /// The first instant after the range.
    pub end: DateTime<Utc>,
    /// What decides whether an event is in the range.
    pub window: WindowParameters,
    /// How events are written; in JSON the two fields `format` and `compression`.
    #[serde(flatten, with = "output")]
    pub output: OutputFormat,
    /// Only events of these domains; empty for all.
    pub domains: BTreeSet<String>,
    /// Only events of these types; empty for all.
    pub event_types: BTreeSet<String>,
}

/// What a range needs to become a [`Window`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowParameters {
    /// What decides whether an event belongs to the window.
    pub kind: WindowKind,
    /// See [`Window::lead_secs`].
    pub lead_secs: u32,
    /// See [`Window::lag_secs`].
    pub lag_secs: u32,
}

/// Which events of the window to write. The others are read and counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filters {
    /// Only events of these domains; empty for all.
    pub domains: BTreeSet<String>,
    /// Only events of these types; empty for all.
    pub event_types: BTreeSet<String>,
}

impl ResolvedRequest {
    /// The range with its parameters.
    pub fn window(&self) -> Window {
        Window {
            kind: self.window.kind,
            start: self.start,
            end: self.end,
            lead_secs: self.window.lead_secs,
            lag_secs: self.window.lag_secs,
        }
    }

    /// The filters on content.
    pub fn filters(&self) -> Filters {
        Filters {
            domains: self.domains.clone(),
            event_types: self.event_types.clone(),
        }
    }

    /// The first field in which `other` differs; `None` when both are equal.
    pub fn first_difference(&self, other: &Self) -> Option<&'static str> {
        // Destructured without `..`: a field that is added later must be compared, too.
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
            output,
            domains,
            event_types,
        } = self;
        let (format, compression) = (Format::of(*output), Compression::of(*output));
        [
            ("org_id", *org_id != other.org_id),
            ("start", *start != other.start),
            ("end", *end != other.end),
            ("window", *kind != other.window.kind),
            ("lead_secs", *lead_secs != other.window.lead_secs),
            ("lag_secs", *lag_secs != other.window.lag_secs),
            ("format", format != Format::of(other.output)),
            ("compression", compression != Compression::of(other.output)),
            ("domains", *domains != other.domains),
            ("event_types", *event_types != other.event_types),
        ]
        .into_iter()
        .find_map(|(field, differs)| differs.then_some(field))
    }
}

impl Filters {
    /// Whether an event with these values is written. `None` stands for a field that is absent or not a
    /// string; it passes only a filter that is empty. Case matters.
    pub fn allows(&self, domain: Option<&str>, event_type: Option<&str>) -> bool {
        let passes = |wanted: &BTreeSet<String>, value: Option<&str>| {
            wanted.is_empty() || value.is_some_and(|value| wanted.contains(value))
        };
        passes(&self.domains, domain) && passes(&self.event_types, event_type)
    }
}

#[cfg(test)]
mod tests {
    use event_recovery_format::ParquetCompression;
    use serde_json::json;

    use super::*;

    const ORG: &str = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";

    fn request() -> ResolvedRequest {
        ResolvedRequest {
            org_id: OrgId::parse(ORG).unwrap(),
            start: "2024-04-01T00:00:00.123456789Z".parse().unwrap(),
            end: "2024-04-02T00:00:00Z".parse().unwrap(),
            window: WindowParameters {
                kind: WindowKind::Arrival,
                lead_secs: 900,
                lag_secs: 3600,
            },
            output: OutputFormat::Parquet(ParquetCompression::Zstd),
            domains: ["b", "a"].map(str::to_owned).into(),
            event_types: BTreeSet::new(),
        }
    }

    #[test]
    fn a_resolved_request_survives_the_ledger() {
        let request = request();
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
        let request = request();
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
            ("domains", json!(["b"])),
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
        let all = Filters::default();
        let some = Filters {
            domains: ["account", "cards"].map(str::to_owned).into(),
            event_types: ["open-1".to_owned()].into(),
        };
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
