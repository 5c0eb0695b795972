//! Which task lists a run has.

use std::collections::BTreeSet;

use futures::TryStreamExt;

use crate::backup::hour_prefix::HourPrefix;
use crate::ledger::Ledger;
use crate::storage::listing::list_pages;
use crate::storage::{ListObjects, StorageError};

/// A task list: of its hour's first listing, or of a recheck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TaskList {
    pub(crate) hour: HourPrefix,
    /// 0 for the first listing, else the number of the late plan.
    pub(crate) number: u64,
}

impl TaskList {
    /// Its key in the ledger.
    pub(crate) fn key(self, ledger: &Ledger) -> String {
        match self.number {
            0 => ledger.tasks_key(self.hour),
            number => ledger.late_tasks_key(self.hour, number),
        }
    }

    /// Its name in records and messages: `2024-04-01T00`, or `2024-04-01T00.late-1`.
    pub(crate) fn label(self) -> String {
        match self.number {
            0 => self.hour.label(),
            number => format!("{}.late-{number}", self.hour.label()),
        }
    }

    /// The key of the mark that its tasks have been queued.
    pub(crate) fn queued_key(self, ledger: &Ledger) -> String {
        match self.number {
            0 => ledger.queued_key(self.hour),
            number => ledger.late_queued_key(self.hour, number),
        }
    }
}

/// The task lists of a run, as one listing of the ledger shows them.
#[derive(Debug, Default)]
pub(crate) struct TaskLists {
    lists: BTreeSet<TaskList>,
    queued: BTreeSet<TaskList>,
}

impl TaskLists {
    /// Lists them.
    ///
    /// # Errors
    ///
    /// The storage's.
    pub(crate) async fn find<D: ListObjects + ?Sized>(
        storage: &D,
        ledger: &Ledger,
    ) -> Result<Self, StorageError> {
        let mut found = Self::default();
        let prefix = ledger.tasks_prefix();
        let mut pages = list_pages(storage, &prefix);
        while let Some(page) = pages.try_next().await? {
            for object in page.objects {
                let Some((list, kind)) = parse(&object.key, &prefix) else {
                    continue;
                };
                match kind {
                    Kind::Tasks => {
                        found.lists.insert(list);
                    }
                    Kind::Queued => {
                        found.queued.insert(list);
                    }
                }
            }
        }
        Ok(found)
    }

    /// The lists of one hour, in order.
    pub(crate) fn of_hour(&self, hour: HourPrefix) -> impl Iterator<Item = TaskList> + '_ {
        self.lists
            .iter()
            .copied()
            .filter(move |list| list.hour == hour)
    }

    /// Whether the list is there.
    pub(crate) fn has(&self, list: TaskList) -> bool {
        self.lists.contains(&list)
    }

    /// Whether the list's tasks have been queued.
    pub(crate) fn is_queued(&self, list: TaskList) -> bool {
        self.queued.contains(&list)
    }
}

enum Kind {
    Tasks,
    Queued,
}

fn parse(key: &str, prefix: &str) -> Option<(TaskList, Kind)> {
    let name = key.strip_prefix(prefix)?;
    let (name, kind) = match name.strip_suffix(".jsonl") {
        Some(name) => (name, Kind::Tasks),
        None => (name.strip_suffix(".queued")?, Kind::Queued),
    };
    let (label, number) = match name.split_once(".late-") {
        Some((label, number)) => (label, positive(number)?),
        None => (name, 0),
    };
    let hour = HourPrefix::parse(label).ok()?;
    Some((TaskList { hour, number }, kind))
}

/// The number in the key of a late plan.
pub(crate) fn late_plan_number(key: &str, prefix: &str) -> Option<u64> {
    positive(key.strip_prefix(prefix)?.strip_suffix(".json")?)
}

/// A number from 1, as keys write it: without leading zeros.
fn positive(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok().filter(|number| *number > 0)?;
    (number.to_string() == text).then_some(number)
}
