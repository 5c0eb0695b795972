//! Compares one hour's listing with its task lists.

use std::collections::HashMap;

use crate::backup::unexpected::Unexpected;
use crate::ledger::hour::{HourHead, HourTasks};
use crate::ledger::recheck_record::NamedKeys;
use crate::storage::ListedObject;

/// What has become of an hour since its task lists were frozen.
#[derive(Debug, Default)]
pub(crate) struct HourAgain {
    /// The objects that are in no list, if there are any.
    pub(crate) late: Option<HourTasks>,
    pub(crate) changed: NamedKeys,
    pub(crate) vanished: NamedKeys,
    pub(crate) unexpected: Unexpected,
}

/// Compares a listing with all task lists of its hour.
pub(crate) fn compare(
    known: &[HourTasks],
    now: HourTasks,
    is_foreign: impl Fn(&ListedObject) -> bool,
) -> HourAgain {
    let HourTasks { head, objects } = now;
    let mut again = HourAgain {
        unexpected: head.unexpected.clone(),
        ..HourAgain::default()
    };
    let mut planned: HashMap<&str, &ListedObject> = known
        .iter()
        .flat_map(|list| &list.objects)
        .map(|object| (object.key.as_str(), object))
        .collect();
    let mut late = Vec::new();
    for object in objects {
        match planned.remove(object.key.as_str()) {
            None => late.push(object),
            Some(then) if (then.size, &then.etag) != (object.size, &object.etag) => {
                again.changed.add(&object.key);
            }
            Some(_) => {}
        }
    }
    // In the order of the lists, so that the same findings have the same names.
    for object in known.iter().flat_map(|list| &list.objects) {
        if planned.contains_key(object.key.as_str()) {
            again.vanished.add(&object.key);
        }
    }
    if late.is_empty() {
        return again;
    }
    let known_pruned: u64 = known.iter().map(|list| list.head.pruned).sum();
    let pruned = head.pruned.saturating_sub(known_pruned);
    again.late = Some(HourTasks {
        head: HourHead {
            listed: late.len() as u64 + pruned,
            pruned,
            planned: late.len() as u64,
            foreign_names: late.iter().filter(|object| is_foreign(object)).count() as u64,
            bytes: late.iter().map(|object| object.size).sum(),
            unexpected: Unexpected::default(),
            ..head
        },
        objects: late,
    });
    again
}
