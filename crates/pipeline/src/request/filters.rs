//! Which events of the window are written.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

/// Which events of the window to write. The others are read and counted.
///
/// Each value is a glob pattern: `*` stands for any characters, `?` for one, `[ab]` for one of several, `{a,b}` for one of
/// several texts; a backslash makes the character after it stand for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    /// Only events of these domains; empty for all.
    pub domains: BTreeSet<String>,
    /// Only events of these types; empty for all.
    pub event_types: BTreeSet<String>,
    /// No events of these domains.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude_domains: BTreeSet<String>,
    /// No events of these types.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude_event_types: BTreeSet<String>,
    /// Which repeated events to drop; `None` to keep all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe: Option<Dedupe>,
}

/// Within what repeated events are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dedupe {
    /// One object of the backup.
    Object,
}

impl Dedupe {
    /// All.
    pub const ALL: [Self; 1] = [Self::Object];

    /// As JSON and the command line write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
        }
    }
}

/// [`Filters`], ready to be applied.
#[derive(Debug, Clone, Default)]
pub(crate) struct FilterMatcher {
    domains: Patterns,
    event_types: Patterns,
    exclude_domains: Patterns,
    exclude_event_types: Patterns,
}

/// `None` where there is none.
type Patterns = Option<GlobSet>;

impl Filters {
    /// The filters with their patterns compiled.
    ///
    /// # Errors
    ///
    /// What is wrong with a pattern.
    pub(crate) fn matcher(&self) -> Result<FilterMatcher, globset::Error> {
        Ok(FilterMatcher {
            domains: compile(&self.domains)?,
            event_types: compile(&self.event_types)?,
            exclude_domains: compile(&self.exclude_domains)?,
            exclude_event_types: compile(&self.exclude_event_types)?,
        })
    }

    /// Whether earlier versions of this software, which know neither patterns nor exclusions, would write other events.
    pub(crate) fn need_this_version(&self) -> bool {
        let included = self.domains.iter().chain(&self.event_types);
        let has_pattern = included
            .into_iter()
            .any(|value| value.contains(['*', '?', '[', ']', '{', '}', '\\']));
        has_pattern
            || self.dedupe.is_some()
            || !(self.exclude_domains.is_empty() && self.exclude_event_types.is_empty())
    }
}

fn compile(values: &BTreeSet<String>) -> Result<Patterns, globset::Error> {
    if values.is_empty() {
        return Ok(None);
    }
    let mut patterns = GlobSetBuilder::new();
    for value in values {
        patterns.add(
            GlobBuilder::new(value)
                .literal_separator(false)
                .backslash_escape(true)
                .build()?,
        );
    }
    patterns.build().map(Some)
}

/// What is wrong with the pattern, if anything.
pub(crate) fn pattern_problem(value: &str) -> Option<String> {
    let pattern = GlobBuilder::new(value).backslash_escape(true).build();
    pattern.err().map(|error| error.kind().to_string())
}

impl FilterMatcher {
    /// Whether every event passes.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            domains,
            event_types,
            exclude_domains,
            exclude_event_types,
        } = self;
        [domains, event_types, exclude_domains, exclude_event_types]
            .iter()
            .all(|patterns| patterns.is_none())
    }

    /// Whether an event with these values is written. `None` stands for a field that is absent or not a
    /// string; it passes only a filter that is empty, and no exclusion applies to it. Case matters.
    pub(crate) fn allows(&self, domain: Option<&str>, event_type: Option<&str>) -> bool {
        let passes = |wanted: &Patterns, value: Option<&str>| match (wanted, value) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(value)) => wanted.is_match(value),
        };
        let is_excluded = |unwanted: &Patterns, value: Option<&str>| match (unwanted, value) {
            (Some(unwanted), Some(value)) => unwanted.is_match(value),
            _ => false,
        };
        passes(&self.domains, domain)
            && passes(&self.event_types, event_type)
            && !is_excluded(&self.exclude_domains, domain)
            && !is_excluded(&self.exclude_event_types, event_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<const N: usize>(values: [&str; N]) -> BTreeSet<String> {
        values.map(str::to_owned).into()
    }

    #[test]
    fn filters_let_through_what_was_asked_for() {
        let all = Filters::default().matcher().unwrap();
        let some = Filters {
            domains: values(["account", "cards"]),
            event_types: values(["open-1"]),
            ..Filters::default()
        };
        assert!(!some.need_this_version());
        let some = some.matcher().unwrap();
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
        assert!(all.is_empty() && !some.is_empty());
    }

    #[test]
    fn patterns_and_exclusions_go_together() {
        let filters = Filters {
            domains: values(["card*", "acc?unt", "{loan,limit}/*"]),
            exclude_event_types: values(["*-test", "internal[0-9]", r"a\*b"]),
            ..Filters::default()
        };
        assert!(filters.need_this_version());
        let matcher = filters.matcher().unwrap();
        let rows = [
            (Some("cards"), Some("x"), true),
            (Some("card"), Some("x"), true),
            (Some("discard"), Some("x"), false),
            (Some("account"), Some("x-test"), false),
            (Some("account"), Some("internal7"), false),
            (Some("account"), Some("internal"), true),
            (Some("account"), Some("a*b"), false),
            (Some("account"), Some("axb"), true),
            (Some("loan/a/b"), Some("x"), true),
            (Some("loan"), Some("x"), false),
            // No exclusion applies to what is not there.
            (Some("account"), None, true),
            (None, Some("x"), false),
        ];
        for (domain, event_type, allowed) in rows {
            assert_eq!(
                matcher.allows(domain, event_type),
                allowed,
                "{domain:?} {event_type:?}"
            );
        }
        assert!(pattern_problem("a*").is_none());
        for wrong in ["[a", "{a", "a}"] {
            assert!(pattern_problem(wrong).is_some(), "{wrong}");
        }
    }
}
