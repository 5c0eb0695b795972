//! Which records a run has, so that none is asked for that is not there: S3 denies reading what is not
//! there to a caller that may not list the whole bucket.

use std::collections::BTreeSet;

use futures::TryStreamExt;

use crate::ledger::Ledger;
use crate::ledger::task_lists::late_plan_number;
use crate::storage::listing::list_level_pages;
use crate::storage::{ListObjects, StorageError};

/// The records directly in a run's folder, as one listing shows them.
#[derive(Debug, Default)]
pub(crate) struct RecordsFound {
    keys: BTreeSet<String>,
}

impl RecordsFound {
    /// Lists them.
    ///
    /// # Errors
    ///
    /// The storage's.
    pub(crate) async fn list<D: ListObjects + ?Sized>(
        storage: &D,
        ledger: &Ledger,
    ) -> Result<Self, StorageError> {
        let mut found = Self::default();
        let prefix = format!("{}/", ledger.folder());
        let mut pages = list_level_pages(storage, &prefix);
        while let Some(page) = pages.try_next().await? {
            found
                .keys
                .extend(page.objects.into_iter().map(|object| object.key));
        }
        Ok(found)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// The numbers of the late plans.
    pub(crate) fn late_plan_numbers(&self, ledger: &Ledger) -> BTreeSet<u64> {
        let prefix = ledger.late_plans_prefix();
        let numbers = self.keys.iter();
        numbers
            .filter_map(|key| late_plan_number(key, &prefix))
            .collect()
    }
}
