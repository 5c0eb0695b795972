//! The auditor's settings.

use super::{DestinationSettings, Settings, SettingsError};

/// The longest time between two polls of a run, in seconds.
pub(crate) const POLL_SECS_MAX: u32 = 300;

/// Where runs are, and how often an open one is polled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuditorSettings {
    pub(crate) destination: DestinationSettings,
    /// Seconds before the second poll of a run; doubled before each further one, up to [`POLL_SECS_MAX`].
    pub(crate) poll_secs: u32,
    /// Whether people are notified of scheduled runs without any object.
    pub(crate) notify_empty_windows: bool,
    pub(crate) stack: String,
}

/// The auditor's settings with where its clients are to be built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuditorQueues {
    pub(crate) settings: AuditorSettings,
    pub(crate) audit_queue_url: String,
    pub(crate) topic_arn: String,
    /// The key that signs reports, if they are to be signed.
    pub(crate) signing_key_arn: Option<String>,
}

impl AuditorQueues {
    pub(crate) fn read(mut from: Settings) -> Result<Self, SettingsError> {
        let settings = AuditorSettings::read(&mut from);
        let audit_queue_url = from.required("AUDIT_QUEUE_URL");
        let topic_arn = from.required("NOTIFICATION_TOPIC_ARN");
        let signing_key_arn = from.optional("SIGNING_KEY_ARN");
        match (settings, audit_queue_url, topic_arn) {
            (Ok(settings), Some(audit_queue_url), Some(topic_arn)) => Ok(Self {
                settings,
                audit_queue_url,
                topic_arn,
                signing_key_arn,
            }),
            _ => Err(from.error()),
        }
    }
}

impl AuditorSettings {
    pub(crate) fn read(from: &mut Settings) -> Result<Self, SettingsError> {
        let destination = DestinationSettings::read(from);
        let poll_secs = from.number_u32("AUDIT_MIN_VISIBILITY_SECS", 15, (1, POLL_SECS_MAX));
        let notify_empty = from.choice("NOTIFY_EMPTY_WINDOWS", &[false, true], |is| match is {
            false => "false",
            true => "true",
        });
        match (destination, poll_secs, notify_empty) {
            (Some(destination), Some(poll_secs), Some(notify_empty_windows)) => Ok(Self {
                destination,
                poll_secs,
                notify_empty_windows,
                stack: from.stack(),
            }),
            _ => Err(from.error()),
        }
    }
}
