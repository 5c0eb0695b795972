//! The worker's settings.

use event_recovery_pipeline::{LinkedOrgs, OrgId};

use super::{DestinationSettings, Settings, SettingsError, SourceSettings};

/// What the worker reaches, and how much it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkerSettings {
    pub(crate) org_id: OrgId,
    pub(crate) linked_orgs: LinkedOrgs,
    pub(crate) source: SourceSettings,
    pub(crate) destination: DestinationSettings,
    pub(crate) task_queue_url: String,
    pub(crate) audit_queue_url: String,
    /// After so many deliveries a task's message becomes a dead letter.
    pub(crate) deliveries_max: u32,
    /// The function's, set by Lambda.
    pub(crate) memory_mb: u32,
    pub(crate) stack: String,
}

impl WorkerSettings {
    pub(crate) fn read(mut from: Settings) -> Result<Self, SettingsError> {
        let org_id = from.org_id();
        let linked_orgs = from.linked_orgs();
        let source = SourceSettings::read(&mut from, org_id.as_ref());
        let destination = DestinationSettings::read(&mut from);
        let task_queue_url = from.required("TASK_QUEUE_URL");
        let audit_queue_url = from.required("AUDIT_QUEUE_URL");
        let deliveries_max = from.number_u32("TASK_DELIVERIES_MAX", 10, (1, 1000));
        let memory_mb = from.number_u32("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 1769, (128, 10_240));
        let (Some(org_id), Some(source), Some(destination)) = (org_id, source, destination) else {
            return Err(from.error());
        };
        let (Some(task_queue_url), Some(audit_queue_url), Some(linked_orgs)) =
            (task_queue_url, audit_queue_url, linked_orgs)
        else {
            return Err(from.error());
        };
        let (Some(deliveries_max), Some(memory_mb)) = (deliveries_max, memory_mb) else {
            return Err(from.error());
        };
        Ok(Self {
            org_id,
            linked_orgs,
            source,
            destination,
            task_queue_url,
            audit_queue_url,
            deliveries_max,
            memory_mb,
            stack: from.stack(),
        })
    }
}
