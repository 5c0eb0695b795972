//! The settings of the functions, read once from the environment.
//!
//! Each function has a struct of its own that reads all it needs and then either stands or names everything that
//! is missing or invalid.

mod auditor;
mod locations;
mod planner;
mod worker;

use std::fmt;
use std::fmt::Display;

use event_recovery_pipeline::{LinkedOrgs, OrgId};

pub(crate) use auditor::{AuditorQueues, AuditorSettings, POLL_SECS_MAX};
pub(crate) use locations::{DestinationSettings, SourceSettings};
pub(crate) use planner::{PlannerPlaces, PlannerSettings};
pub(crate) use worker::WorkerSettings;

/// Gives the value that a name has in the environment.
type Read = Box<dyn Fn(&str) -> Option<String>>;

/// Reads settings and collects what is wrong with them, so that everything is reported together.
pub struct Settings {
    read: Read,
    problems: Vec<String>,
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    problems: Vec<String>,
}

impl Display for SettingsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the function's environment is not usable: {}",
            self.problems.join("; ")
        )
    }
}

impl std::error::Error for SettingsError {}

impl Settings {
    /// Reads the process's environment.
    pub fn from_environment() -> Self {
        Self::from_values(|name| std::env::var(name).ok())
    }

    /// Reads what `read` gives for each name. An empty value counts as none.
    pub fn from_values(read: impl Fn(&str) -> Option<String> + 'static) -> Self {
        Self {
            read: Box::new(read),
            problems: Vec::new(),
        }
    }

    /// Everything that was missing or invalid so far.
    pub(crate) fn error(&self) -> SettingsError {
        SettingsError {
            problems: self.problems.clone(),
        }
    }

    pub(crate) fn optional(&self, name: &str) -> Option<String> {
        (self.read)(name).filter(|value| !value.is_empty())
    }

    pub(crate) fn required(&mut self, name: &str) -> Option<String> {
        let value = self.optional(name);
        if value.is_none() {
            self.problems.push(format!("`{name}` is missing"));
        }
        value
    }

    fn invalid(&mut self, name: &str, found: &str, accepts: impl Display) {
        self.problems.push(format!(
            "`{name}` is invalid; it accepts {accepts}: {found:?}"
        ));
    }

    fn number(&mut self, name: &str, default: u64, range: (u64, u64)) -> Option<u64> {
        let Some(text) = self.optional(name) else {
            return Some(default);
        };
        let (least, most) = range;
        match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                let accepts = format_args!("a number from {least} to {most}");
                self.invalid(name, &text, accepts);
                None
            }
        }
    }

    fn number_u32(&mut self, name: &str, default: u32, range: (u32, u32)) -> Option<u32> {
        let range = (u64::from(range.0), u64::from(range.1));
        let number = self.number(name, u64::from(default), range)?;
        u32::try_from(number).ok()
    }

    /// One of the choices, of which the first is the default.
    fn choice<T: Copy>(
        &mut self,
        name: &str,
        choices: &[T],
        text_of: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        let Some(text) = self.optional(name) else {
            return choices.first().copied();
        };
        let mut known = choices.iter().copied();
        let found = known.find(|choice| text_of(*choice) == text);
        if found.is_none() {
            let names: Vec<String> = choices
                .iter()
                .map(|choice| format!("`{}`", text_of(*choice)))
                .collect();
            self.invalid(name, &text, names.join(" or "));
        }
        found
    }

    fn org_id(&mut self) -> Option<OrgId> {
        let text = self.required("ORG_ID")?;
        let parsed = OrgId::parse(&text);
        if let Err(error) = &parsed {
            self.problems.push(format!("`ORG_ID` is {error}"));
        }
        parsed.ok()
    }

    /// `LINKED_ORG_IDS`, separated by commas; any org if there are none.
    fn linked_orgs(&mut self) -> Option<LinkedOrgs> {
        let text = self.optional("LINKED_ORG_IDS").unwrap_or_default();
        let parsed = LinkedOrgs::parse(&text);
        if let Err(error) = &parsed {
            self.problems
                .push(format!("`LINKED_ORG_IDS` has a value that is {error}"));
        }
        parsed.ok()
    }

    /// The stack's name, the dimension of all metrics.
    fn stack(&self) -> String {
        self.optional("STACK_NAME").unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn settings(values: &'static [(&'static str, &'static str)]) -> Settings {
        Settings::from_values(move |name| {
            let found = values.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let mut settings = settings(&[
            ("ORG_ID", "acme"),
            ("LEAD_SECS", "soon"),
            ("FORMAT", "csv"),
            ("OBJECTS_MAX", "0"),
        ]);
        let error = PlannerSettings::read(&mut settings).unwrap_err();
        let message = error.to_string();
        for name in [
            "ORG_ID",
            "DESTINATION_BUCKET",
            "LEAD_SECS",
            "FORMAT",
            "OBJECTS_MAX",
        ] {
            assert!(message.contains(&format!("`{name}`")), "{name}: {message}");
        }
        assert!(
            message.contains("`parquet` or `ndjson`: \"csv\""),
            "{message}"
        );
        assert!(
            message.contains("a number from 1 to 10000000: \"0\""),
            "{message}"
        );
    }

    #[test]
    fn what_a_function_reaches_is_told_with_its_other_settings() {
        let settings = settings(&[("LAG_SECS", "-1"), ("TASK_DELIVERIES_MAX", "0")]);
        let planner = PlannerPlaces::read(settings).unwrap_err().to_string();
        let settings = tests::settings(&[("TASK_DELIVERIES_MAX", "0"), ("LINKED_ORG_IDS", "acme")]);
        let worker = WorkerSettings::read(settings).unwrap_err().to_string();
        let settings = tests::settings(&[("AUDIT_MIN_VISIBILITY_SECS", "0")]);
        let auditor = AuditorQueues::read(settings).unwrap_err().to_string();
        let rows: [(&str, &[&str]); 3] = [
            (
                &planner,
                &["ORG_ID", "TASK_QUEUE_URL", "AUDIT_QUEUE_URL", "LAG_SECS"],
            ),
            (
                &worker,
                &[
                    "ORG_ID",
                    "DESTINATION_BUCKET",
                    "TASK_QUEUE_URL",
                    "LINKED_ORG_IDS",
                    "TASK_DELIVERIES_MAX",
                ],
            ),
            (
                &auditor,
                &[
                    "DESTINATION_BUCKET",
                    "NOTIFICATION_TOPIC_ARN",
                    "AUDIT_MIN_VISIBILITY_SECS",
                ],
            ),
        ];
        for (message, names) in rows {
            for name in names {
                let told = message.matches(&format!("`{name}`")).count();
                assert_eq!(told, 1, "{name}: {message}");
            }
        }
    }
}
