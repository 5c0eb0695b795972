//! The settings of the functions, read once from the environment.

use std::fmt;

use event_recovery_aws::BucketUrl;
use event_recovery_pipeline::{
    AUDIT_WAIT_HOURS_MAX, Format, LAG_DEFAULT_SECS, LEAD_DEFAULT_SECS, OrgId, PlanLimits,
    RequestLimits, Schedule, Tolerance, WindowKind,
};

/// Gives the value that a name has in the environment.
type Read = Box<dyn Fn(&str) -> Option<String>>;

/// Reads settings and keeps what is wrong with them, so that all of it is told at once.
pub struct Settings {
    read: Read,
    problems: Vec<String>,
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    problems: Vec<String>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the function's environment is not usable: {}",
            self.problems.join("; ")
        )
    }
}

impl std::error::Error for SettingsError {}

/// Where a bucket is and whose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SourceSettings {
    pub(crate) bucket: String,
    pub(crate) region: Option<String>,
    /// The customer's own role, assumed first.
    pub(crate) customer_role_arn: Option<String>,
    /// The platform's role.
    pub(crate) role_arn: Option<String>,
    pub(crate) external_id: Option<String>,
    pub(crate) kms_key_arn: Option<String>,
    pub(crate) owner: Option<String>,
}

/// Where events and the ledger go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DestinationSettings {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) kms_key_arn: Option<String>,
    pub(crate) owner: Option<String>,
}

impl DestinationSettings {
    /// The place of a key of the pipeline, as people and tools write it.
    pub(crate) fn place(&self, key: &str) -> String {
        BucketUrl::new(&*self.bucket, &self.prefix).place(key)
    }
}

/// What the planner adds to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlannerSettings {
    pub(crate) tolerance: Tolerance,
    pub(crate) request_limits: RequestLimits,
    pub(crate) plan_limits: PlanLimits,
    /// For requests that name none.
    pub(crate) format: Format,
    pub(crate) window: WindowKind,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) audit_wait_hours: u32,
}

impl Settings {
    /// Reads the process's environment.
    pub fn from_environment() -> Self {
        Self::from_values(|name| std::env::var(name).ok())
    }

    /// Reads what `read` gives for each name.
    pub fn from_values(read: impl Fn(&str) -> Option<String> + 'static) -> Self {
        Self {
            read: Box::new(read),
            problems: Vec::new(),
        }
    }

    /// `value`, unless something that was read is missing or wrong.
    ///
    /// # Errors
    ///
    /// All of it.
    pub(crate) fn checked<T>(self, value: Option<T>) -> Result<T, SettingsError> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(SettingsError {
                problems: self.problems,
            }),
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

    fn number(&mut self, name: &str, default: u64, range: (u64, u64)) -> Option<u64> {
        let Some(text) = self.optional(name) else {
            return Some(default);
        };
        let (least, most) = range;
        match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                self.problems
                    .push(format!("`{name}` is not a number from {least} to {most}"));
                None
            }
        }
    }

    pub(crate) fn number_u32(
        &mut self,
        name: &str,
        default: u32,
        range: (u32, u32),
    ) -> Option<u32> {
        let range = (u64::from(range.0), u64::from(range.1));
        let number = self.number(name, u64::from(default), range)?;
        u32::try_from(number).ok()
    }

    fn choice<T: Copy>(
        &mut self,
        name: &str,
        choices: &[T],
        text_of: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        let Some(text) = self.optional(name) else {
            return choices.first().copied();
        };
        let found = choices
            .iter()
            .copied()
            .find(|choice| text_of(*choice) == text);
        if found.is_none() {
            self.problems
                .push(format!("`{name}` is none of its values"));
        }
        found
    }

    pub(crate) fn org_id(&mut self) -> Option<OrgId> {
        let text = self.required("ORG_ID")?;
        let parsed = OrgId::parse(&text);
        if parsed.is_err() {
            self.problems.push("`ORG_ID` is not an org id".to_owned());
        }
        parsed.ok()
    }

    pub(crate) fn source(&mut self, org_id: Option<&OrgId>) -> Option<SourceSettings> {
        let bucket = self
            .optional("SOURCE_BUCKET")
            .map(|name| bucket_name(&name).to_owned())
            .or_else(|| Some(org_id?.bucket()))?;
        Some(SourceSettings {
            bucket,
            region: self.optional("SOURCE_REGION"),
            customer_role_arn: self.optional("CUSTOMER_ROLE_ARN"),
            role_arn: self.optional("SOURCE_ROLE_ARN"),
            external_id: self.optional("SOURCE_EXTERNAL_ID"),
            kms_key_arn: self.optional("SOURCE_KMS_KEY_ARN"),
            owner: self.optional("SOURCE_BUCKET_OWNER"),
        })
    }

    pub(crate) fn destination(&mut self) -> Option<DestinationSettings> {
        Some(DestinationSettings {
            bucket: self.required("DESTINATION_BUCKET")?,
            prefix: self.optional("DESTINATION_PREFIX").unwrap_or_default(),
            kms_key_arn: self.optional("DESTINATION_KMS_KEY_ARN"),
            owner: self.optional("DESTINATION_BUCKET_OWNER"),
        })
    }

    pub(crate) fn planner(&mut self) -> Option<PlannerSettings> {
        let limits = RequestLimits::default();
        let day_secs = (0, 24 * 3600);
        let lead_secs = self.number_u32("LEAD_SECS", LEAD_DEFAULT_SECS, day_secs);
        let lag_secs = self.number_u32("LAG_SECS", LAG_DEFAULT_SECS, day_secs);
        let days_max = self.number_u32("DAYS_MAX", limits.days_max, (1, 4000));
        let objects_max = self.number("OBJECTS_MAX", 200_000, (1, 10_000_000));
        let format = self.choice("FORMAT", &Format::ALL, Format::as_str);
        let window = self.choice("WINDOW", &WindowKind::ALL, WindowKind::as_str);
        let wait = (1, AUDIT_WAIT_HOURS_MAX);
        let audit_wait_hours = self.number_u32("AUDIT_DEADLINE_HOURS", 24, wait);
        let tolerance = match Tolerance::new(lead_secs?, lag_secs?) {
            Ok(tolerance) => tolerance,
            Err(error) => {
                self.problems
                    .push(format!("`LEAD_SECS` and `LAG_SECS`: {error}"));
                return None;
            }
        };
        let schedule = self.schedule(&tolerance)?;
        Some(PlannerSettings {
            tolerance,
            request_limits: RequestLimits {
                days_max: days_max?,
                ..limits
            },
            plan_limits: PlanLimits {
                objects_max: objects_max?,
            },
            format: format?,
            window: window?,
            schedule,
            audit_wait_hours: audit_wait_hours?,
        })
    }

    /// The outer `None` says that it is wrong, the inner one that there is none.
    fn schedule(&mut self, tolerance: &Tolerance) -> Option<Option<Schedule>> {
        if self.optional("SCHEDULE_INTERVAL_HOURS").is_none() {
            return Some(None);
        }
        let interval = self.number_u32("SCHEDULE_INTERVAL_HOURS", 24, (1, 24))?;
        let settle = self.number_u32("SCHEDULE_SETTLE_HOURS", 2, (0, 48))?;
        match Schedule::new(interval, settle * 3600, tolerance) {
            Ok(schedule) => Some(Some(schedule)),
            Err(error) => {
                self.problems.push(format!(
                    "`SCHEDULE_INTERVAL_HOURS` and `SCHEDULE_SETTLE_HOURS`: {error}"
                ));
                None
            }
        }
    }
}

/// The bucket's name, also of its ARN.
fn bucket_name(name_or_arn: &str) -> &str {
    match name_or_arn.starts_with("arn:") {
        true => name_or_arn.rsplit(':').next().unwrap_or(name_or_arn),
        false => name_or_arn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(values: &'static [(&'static str, &'static str)]) -> Settings {
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
        let _ = (
            settings.org_id(),
            settings.destination(),
            settings.planner(),
        );
        let message = settings.checked(Some(())).unwrap_err().to_string();
        for name in [
            "ORG_ID",
            "DESTINATION_BUCKET",
            "LEAD_SECS",
            "FORMAT",
            "OBJECTS_MAX",
        ] {
            assert!(message.contains(&format!("`{name}`")), "{name}: {message}");
        }
    }

    #[test]
    fn what_is_left_out_has_its_documented_default() {
        let mut settings = settings(&[
            ("ORG_ID", "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be"),
            ("SOURCE_REGION", ""),
        ]);
        let org_id = settings.org_id();
        let source = settings.source(org_id.as_ref()).unwrap();
        assert_eq!(
            source.bucket,
            "pismo-dataplatform-tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be"
        );
        assert_eq!(source.region, None);
        let planner = settings.planner().unwrap();
        assert_eq!(planner.tolerance, Tolerance::default());
        assert_eq!(planner.plan_limits.objects_max, 200_000);
        assert_eq!(planner.schedule, None);
    }

    #[test]
    fn a_bucket_is_known_by_its_name_or_its_arn() {
        assert_eq!(bucket_name("a-bucket"), "a-bucket");
        assert_eq!(bucket_name("arn:aws:s3:::a-bucket"), "a-bucket");
        assert_eq!(bucket_name("arn:aws-cn:s3:::a-bucket"), "a-bucket");
    }

    #[test]
    fn a_place_is_written_as_a_url_of_the_bucket() {
        let mut destination = DestinationSettings {
            bucket: "b".to_owned(),
            prefix: String::new(),
            kms_key_arn: None,
            owner: None,
        };
        assert_eq!(destination.place("_recovery/x"), "s3://b/_recovery/x");
        destination.prefix = "a/b/".to_owned();
        assert_eq!(destination.place("_recovery/x"), "s3://b/a/b/_recovery/x");
    }
}
