//! Lists one hour of a plan.

use chrono::{DateTime, Utc};

use crate::backup::hour_prefix::HourPrefix;
use crate::backup::object_time::ObjectTime;
use crate::backup::source_key::SourceKey;
use crate::backup::unexpected::{Unexpected, is_folder_marker};
use crate::ledger::LEDGER_VERSION;
use crate::ledger::hour::{HourHead, HourTasks};
use crate::plan::error::PlanError;
use crate::request::resolved::ResolvedRequest;
use crate::storage::listing::list_entries;
use crate::storage::{ListObjects, ListPage};

/// Hours that are listed at the same time. Each is held in memory until the ones before it are queued.
pub(crate) const HOURS_LISTED_AT_ONCE: usize = 8;

/// Lists the hour and prunes the objects that can't hold an event of the window.
pub(crate) async fn list_hour(
    source: &dyn ListObjects,
    request: &ResolvedRequest,
    hour: HourPrefix,
    listed_at: DateTime<Utc>,
) -> Result<HourTasks, PlanError> {
    let ListPage {
        objects: listed,
        unreadable,
        ..
    } = list_entries(source, &hour.key()).await?;
    let window = request.window();
    let mut head = HourHead {
        version: LEDGER_VERSION,
        hour,
        listed_at: Some(listed_at),
        listed: listed.len() as u64,
        pruned: 0,
        planned: 0,
        foreign_names: 0,
        bytes: 0,
        unexpected: Unexpected::default(),
    };
    head.unexpected.add_unreadable(&unreadable);
    let mut objects = Vec::with_capacity(listed.len());
    for object in listed {
        if is_folder_marker(&object) {
            head.pruned += 1;
            continue;
        }
        let key = SourceKey::parse(&object.key)?;
        let time = ObjectTime::parse(key.name(), &request.org_id, hour);
        if window.may_hold(&time) {
            head.planned += 1;
            head.bytes += object.size;
            head.foreign_names += u64::from(time.is_foreign());
            objects.push(object);
        } else {
            head.pruned += 1;
        }
    }
    Ok(HourTasks { head, objects })
}

/// Whether the name of an hour's object does not follow the pattern of the backup.
pub(crate) fn is_foreign(request: &ResolvedRequest, hour: HourPrefix, key: &str) -> bool {
    SourceKey::parse(key)
        .is_ok_and(|key| ObjectTime::parse(key.name(), &request.org_id, hour).is_foreign())
}
