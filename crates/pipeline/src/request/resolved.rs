//! A request in which every value is present and valid.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use event_recovery_format::OutputFormat;
use serde::{Deserialize, Serialize};

use crate::backup::org_id::OrgId;
use crate::request::filters::{Dedupe, Filters};
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
    /// Only events of domains that match one of these patterns; empty for all.
    pub domains: BTreeSet<String>,
    /// Only events of types that match one of these patterns; empty for all.
    pub event_types: BTreeSet<String>,
    /// No events of domains that match one of these patterns.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude_domains: BTreeSet<String>,
    /// No events of types that match one of these patterns.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude_event_types: BTreeSet<String>,
    /// Which repeated events to drop; `None` to keep all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe: Option<Dedupe>,
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
            exclude_domains: self.exclude_domains.clone(),
            exclude_event_types: self.exclude_event_types.clone(),
            dedupe: self.dedupe,
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
            exclude_domains,
            exclude_event_types,
            dedupe,
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
            ("exclude_domains", *exclude_domains != other.exclude_domains),
            (
                "exclude_event_types",
                *exclude_event_types != other.exclude_event_types,
            ),
            ("dedupe", *dedupe != other.dedupe),
        ]
        .into_iter()
        .find_map(|(field, differs)| differs.then_some(field))
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
            exclude_domains: BTreeSet::new(),
            exclude_event_types: BTreeSet::new(),
            dedupe: None,
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
            ("exclude_domains", json!(["c"])),
            ("exclude_event_types", json!(["c"])),
            ("dedupe", json!("object")),
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
}
