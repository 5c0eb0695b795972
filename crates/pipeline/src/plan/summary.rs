//! Adds up the hours of a plan.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::backup::hour_prefix::HourPrefix;
use crate::backup::unexpected::Unexpected;
use crate::ledger::LEDGER_VERSION;
use crate::ledger::hour::HourHead;
use crate::ledger::plan_record::{PlanRecord, PlannedDay, PlannedObjects};
use crate::request::execution_id::ExecutionId;

/// The sums over the hours that were added so far.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) hours: u64,
    empty_hours: Vec<HourPrefix>,
    pub(crate) objects: PlannedObjects,
    pub(crate) foreign_names: u64,
    pub(crate) bytes: u64,
    days: BTreeMap<String, PlannedDay>,
    pub(crate) unexpected: Unexpected,
    pub(crate) request_digest: Option<String>,
    pub(crate) task_lists: BTreeMap<HourPrefix, String>,
}

impl Summary {
    pub(crate) fn add(&mut self, head: &HourHead) {
        let date = head.hour.start().format("%Y-%m-%d").to_string();
        let day = self.days.entry(date.clone()).or_insert_with(|| PlannedDay {
            date,
            objects: PlannedObjects::default(),
            bytes: 0,
            empty_hours: Vec::new(),
        });
        for objects in [&mut self.objects, &mut day.objects] {
            objects.listed += head.listed;
            objects.pruned += head.pruned;
            objects.planned += head.planned;
        }
        if head.listed == 0 {
            self.empty_hours.push(head.hour);
            day.empty_hours.push(head.hour);
        }
        self.hours += 1;
        self.foreign_names += head.foreign_names;
        self.bytes += head.bytes;
        self.unexpected.merge(&head.unexpected);
        day.bytes += head.bytes;
    }

    pub(crate) fn into_plan(
        self,
        execution_id: ExecutionId,
        planned_at: DateTime<Utc>,
    ) -> PlanRecord {
        PlanRecord {
            version: LEDGER_VERSION,
            execution_id,
            planned_at,
            hours: self.hours,
            empty_hours: self.empty_hours,
            objects: self.objects,
            foreign_names: self.foreign_names,
            bytes: self.bytes,
            days: self.days.into_values().collect(),
            unexpected: self.unexpected,
            request_digest: self.request_digest,
            task_lists: self.task_lists,
        }
    }
}
