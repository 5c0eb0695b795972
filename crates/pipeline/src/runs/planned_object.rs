//! An object of a run's plan.

use crate::backup::source_key::SourceKey;
use crate::ledger::hour::read_hour;
use crate::ledger::task_lists::TaskLists;
use crate::ledger::{Ledger, LedgerError};
use crate::storage::{ListObjects, ListedObject, Records};

/// The object as the run's newest task list has it; `None` if the run has not planned it.
///
/// # Errors
///
/// The storage's, and a task list that is damaged.
pub async fn planned_object<D>(
    storage: &D,
    ledger: &Ledger,
    key: &SourceKey,
) -> Result<Option<ListedObject>, LedgerError>
where
    D: ListObjects + Records + ?Sized,
{
    let lists = TaskLists::find(storage, ledger).await?;
    let mut found = None;
    for list in lists.of_hour(key.hour()) {
        if let Some(frozen) = read_hour(storage, &list.key(ledger)).await? {
            let mut objects = frozen.tasks.objects.into_iter();
            let named = objects.find(|object| object.key == key.as_str());
            found = named.or(found);
        }
    }
    Ok(found)
}
