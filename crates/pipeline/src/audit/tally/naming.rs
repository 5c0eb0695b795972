//! Finds the names by which two sets differ, once their sums do: reads what is expected of the groups that
//! differ, and lists what is there once more.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::TryStreamExt;

use super::Tally;
use super::groups::{Groups, group_of};
use super::hours::files_of;
use super::receipts::{Read, read_lists};
use super::sums::DISAGREEMENTS_MAX;
use crate::audit::error::AuditError;
use crate::backup::source_key::{SourceKey, TaskId};
use crate::ledger::receipt::FoundReceipt;
use crate::storage::{ListPage, Records};

/// Most names of the groups that differ that are held in memory. With more, some of the groups are only
/// counted.
const NAMES_HELD_MAX: u64 = 50_000;
/// See [`Groups`].
const GROUPS: u64 = 4096;

/// The receipts that may be there, of the groups that are looked at.
pub(super) struct KnownReceipts {
    groups: BTreeSet<u16>,
    keys: HashSet<String>,
}

impl Tally<'_> {
    /// The groups that are looked at, of those that differ.
    pub(super) fn named_groups(&self, of: &Groups) -> BTreeSet<u16> {
        let names = self.sums.objects.planned.max(self.sums.output.files);
        let most = NAMES_HELD_MAX / (names / GROUPS + 1);
        let most = usize::try_from(most.max(1)).unwrap_or(usize::MAX);
        of.differing().into_iter().take(most).collect()
    }

    fn all_lists(&self) -> Vec<crate::ledger::task_lists::TaskList> {
        let hours = self.hours().into_iter();
        hours.flat_map(|hour| self.lists_of(hour)).collect()
    }

    pub(super) async fn known_receipts<D: Records + ?Sized>(
        &self,
        destination: &D,
    ) -> Result<KnownReceipts, AuditError> {
        let groups = self.named_groups(&self.sums.receipts);
        let mut keys = HashSet::new();
        let mut read = read_lists(destination, self.ledger, self.all_lists(), |_| false);
        while let Some(item) = read.try_next().await? {
            let Read::List(_, Ok(Some(frozen))) = item else {
                continue;
            };
            for object in &frozen.tasks.objects {
                let Ok(key) = SourceKey::parse(&object.key) else {
                    continue;
                };
                let task = TaskId::of(&key);
                if group_of(task.as_str()).is_some_and(|group| groups.contains(&group)) {
                    keys.insert(self.ledger.receipt_key(&task));
                }
            }
        }
        Ok(KnownReceipts { groups, keys })
    }

    pub(super) fn name_receipts(&mut self, known: &KnownReceipts, page: ListPage) {
        for object in page.objects {
            let key = object.key;
            let is_looked_at = receipt_group(self.ledger.receipts_prefix().as_str(), &key)
                .is_some_and(|group| known.groups.contains(&group));
            if is_looked_at && !known.keys.contains(&key) {
                self.disagree(format!("the receipt `{key}` belongs to no task of the run"));
            }
        }
    }

    pub(super) fn tell_unnamed_receipts(&mut self, known: &KnownReceipts) {
        let groups = self.sums.receipts.differing().len();
        self.tell_unnamed("receipts and tasks", groups, known.groups.len());
    }

    /// Groups that were not looked at. While tasks are open, they may differ without anything being wrong.
    fn tell_unnamed(&mut self, what: &str, groups: usize, named: usize) {
        let is_open = self.sums.objects.missing > 0 || self.sums.objects.failed > 0;
        if groups > named && !is_open && self.sums.disagreements.len() < DISAGREEMENTS_MAX {
            let more = groups - named;
            self.disagree(format!(
                "{what} also differ in {more} of {GROUPS} groups that were not looked at"
            ));
        }
    }

    /// The files that receipts name, of the groups that are looked at.
    pub(super) async fn expected_files<D: Records + ?Sized>(
        &self,
        destination: &D,
    ) -> Result<BTreeMap<String, u64>, AuditError> {
        let groups = self.named_groups(&self.sums.files);
        let is_looked_at =
            |task: &TaskId| group_of(task.as_str()).is_some_and(|group| groups.contains(&group));
        let mut expected = BTreeMap::new();
        let mut read = read_lists(destination, self.ledger, self.all_lists(), is_looked_at);
        while let Some(item) = read.try_next().await? {
            let Read::Task(task) = item else { continue };
            let (Ok(key), FoundReceipt::Receipt(receipt)) = (task.key, task.found) else {
                continue;
            };
            let group = group_of(TaskId::of(&key).as_str());
            if let (true, Some(done)) =
                (receipt.value.key == key, receipt.value.state.into_written())
            {
                let files = files_of(done).map(|(file, _)| file);
                let files = files.filter(|file| group_of(&file.key) == group);
                expected.extend(files.map(|file| (file.key, file.size)));
            }
        }
        Ok(expected)
    }

    pub(super) fn name_files(
        &mut self,
        groups: &BTreeSet<u16>,
        expected: &mut BTreeMap<String, u64>,
        page: ListPage,
    ) {
        let success_key = self.ledger.success_key();
        for file in page.objects {
            let (key, size) = (file.key, file.size);
            let is_looked_at = group_of(&key).is_some_and(|group| groups.contains(&group));
            if !is_looked_at || key == success_key {
                continue;
            }
            match expected.remove(&key) {
                Some(expected) if expected != size => {
                    self.disagree(format!("`{key}` has {size} bytes instead of {expected}"));
                }
                Some(_) => {}
                // While tasks are open, a file can be there before its receipt.
                None if self.sums.objects.missing > 0 || self.sums.objects.failed > 0 => {}
                None => self.disagree(format!("`{key}` belongs to no task of the run")),
            }
        }
    }

    pub(super) fn tell_absent_files(
        &mut self,
        groups: &BTreeSet<u16>,
        expected: BTreeMap<String, u64>,
    ) {
        for key in expected.into_keys().take(DISAGREEMENTS_MAX) {
            self.disagree(format!("`{key}` is gone: remove its receipt and run again"));
        }
        let differing = self.sums.files.differing().len();
        self.tell_unnamed("files and receipts", differing, groups.len());
    }
}

/// The group of a receipt, by its key; `None` for names that no task gives.
pub(super) fn receipt_group(prefix: &str, key: &str) -> Option<u16> {
    let task = key.strip_prefix(prefix)?.strip_suffix(".json")?;
    let group = group_of(task)?;
    // The hash is at the end, and the name is not in a folder.
    let is_task = !task.contains('/') && super::groups::task_of(task) == Some(task);
    is_task.then_some(group)
}
