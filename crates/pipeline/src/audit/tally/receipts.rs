//! Reads task lists and the receipts of their tasks, many at once and in order.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::backup::source_key::{SourceKey, SourceKeyError, TaskId};
use crate::ledger::hour::{FrozenHour, read_hour};
use crate::ledger::receipt::FoundReceipt;
use crate::ledger::task_lists::TaskList;
use crate::ledger::{Ledger, LedgerError};
use crate::storage::{ListedObject, Records};

/// Receipts that are read at the same time, over all hours. At 30 ms each that is 8,500 a second, more than
/// S3 serves below one prefix (5,500, "Optimizing Amazon S3 performance" in its user guide).
const RECEIPTS_READ_AT_ONCE: usize = 256;
/// Task lists that are read at the same time, or wait for their receipts to be read.
const LISTS_READ_AT_ONCE: usize = 3;

/// What is read, in the order of the task lists.
pub(super) enum Read {
    /// A task list; its tasks follow. `None` if it is gone.
    List(TaskList, Result<Option<Arc<FrozenHour>>, LedgerError>),
    /// A task.
    Task(ReadTask),
}

/// A task and its receipt.
pub(super) struct ReadTask {
    list: Arc<FrozenHour>,
    index: usize,
    /// An error where the list names something else than an hour's object, which has no receipt.
    pub(super) key: Result<SourceKey, SourceKeyError>,
    pub(super) found: FoundReceipt,
}

impl ReadTask {
    pub(super) fn object(&self) -> Option<&ListedObject> {
        self.list.tasks.objects.get(self.index)
    }
}

/// What is still to be read.
enum Item {
    List(TaskList, Result<Option<Arc<FrozenHour>>, LedgerError>),
    Task(Arc<FrozenHour>, usize),
}

/// The task lists with their tasks. `wants` says of which tasks the receipts are read; others are left out.
///
/// # Errors
///
/// The storage's, and records of a newer version. A list that is damaged is among the items.
pub(super) fn read_lists<'a, R: Records + ?Sized>(
    records: &'a R,
    ledger: &'a Ledger,
    lists: Vec<TaskList>,
    wants: impl Fn(&TaskId) -> bool + Send + Sync + 'a,
) -> BoxStream<'a, Result<Read, LedgerError>> {
    let wants = Arc::new(wants);
    stream::iter(lists)
        .map(move |list| async move {
            let frozen = read_hour(records, &list.key(ledger)).await;
            (list, frozen.map(|frozen| frozen.map(Arc::new)))
        })
        .buffered(LISTS_READ_AT_ONCE)
        .flat_map(|(list, frozen)| stream::iter(items(list, frozen)))
        .map(move |item| {
            let wants = Arc::clone(&wants);
            async move { read_item(records, ledger, item, &*wants).await.transpose() }
        })
        .buffered(RECEIPTS_READ_AT_ONCE)
        .filter_map(|read| async move { read })
        .boxed()
}

fn items(
    list: TaskList,
    frozen: Result<Option<Arc<FrozenHour>>, LedgerError>,
) -> impl Iterator<Item = Item> {
    let tasks = match &frozen {
        Ok(Some(frozen)) => Some(Arc::clone(frozen)),
        _ => None,
    };
    let tasks = tasks.into_iter().flat_map(|frozen| {
        let indices = 0..frozen.tasks.objects.len();
        indices.map(move |index| Item::Task(Arc::clone(&frozen), index))
    });
    std::iter::once(Item::List(list, frozen)).chain(tasks)
}

async fn read_item<R: Records + ?Sized>(
    records: &R,
    ledger: &Ledger,
    item: Item,
    wants: &(impl Fn(&TaskId) -> bool + ?Sized),
) -> Result<Option<Read>, LedgerError> {
    let (list, index) = match item {
        Item::List(list, Ok(frozen)) => return Ok(Some(Read::List(list, Ok(frozen)))),
        Item::List(list, Err(error @ LedgerError::Invalid { .. })) => {
            return Ok(Some(Read::List(list, Err(error))));
        }
        Item::List(_, Err(error)) => return Err(error),
        Item::Task(list, index) => (list, index),
    };
    let object = list.tasks.objects.get(index);
    let key = SourceKey::parse(object.map_or("", |object| &object.key));
    let found = match &key {
        Ok(key) => {
            let task = TaskId::of(key);
            if !wants(&task) {
                return Ok(None);
            }
            FoundReceipt::read(records, &ledger.receipt_key(&task)).await?
        }
        Err(_) => FoundReceipt::None,
    };
    Ok(Some(Read::Task(ReadTask {
        list,
        index,
        key,
        found,
    })))
}
