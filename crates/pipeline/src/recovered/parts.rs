//! The parts of a run's output: what each of its tasks has written.

use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::backup::source_key::{SourceKey, TaskId};
use crate::ledger::receipt::{Output, Receipt};
use crate::ledger::seal::Seal;
use crate::ledger::{Ledger, LedgerError, unseal};
use crate::storage::listing::Cursor;
use crate::storage::{ListObjects, Records};

/// Receipts that are read at the same time.
const RECEIPTS_READ_AT_ONCE: usize = 32;

/// What one task has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The task.
    pub(crate) task: TaskId,
    /// Its backup object.
    pub(crate) key: SourceKey,
    /// The files with events, in the order in which they are read.
    pub(crate) outputs: Vec<Output>,
}

impl Part {
    /// The events of all files.
    pub(crate) fn events(&self) -> u64 {
        self.outputs.iter().map(|output| output.rows).sum()
    }
}

/// The parts of a run, in the order of the names of their receipts.
///
/// # Errors
///
/// The storage's, and receipts that can't be relied upon.
pub(crate) fn parts<'a, S: ListObjects + Records + ?Sized>(
    storage: &'a S,
    ledger: &'a Ledger,
) -> BoxStream<'a, Result<Part, LedgerError>> {
    let begin = (Cursor::default(), ledger.receipts_prefix());
    stream::try_unfold(begin, move |(mut cursor, prefix)| async move {
        let page = cursor.page(storage, &prefix).await?;
        Ok::<_, LedgerError>(page.map(|page| (page, (cursor, prefix))))
    })
    .map_ok(|page| stream::iter(page.objects.into_iter().map(Ok::<_, LedgerError>)))
    .try_flatten()
    .map_ok(move |object| part(storage, ledger, object.key))
    .try_buffered(RECEIPTS_READ_AT_ONCE)
    .try_filter_map(|part| async move { Ok(part) })
    .boxed()
}

async fn part<S: Records + ?Sized>(
    storage: &S,
    ledger: &Ledger,
    key: String,
) -> Result<Option<Part>, LedgerError> {
    let invalid = |detail: &str| LedgerError::Invalid {
        key: key.clone(),
        detail: detail.to_owned(),
    };
    let record = storage
        .get(&key)
        .await?
        .ok_or_else(|| invalid("it is gone"))?;
    let receipt = unseal::<Receipt>(&key, &record)?;
    if receipt.seal == Seal::Broken {
        return Err(invalid("it was changed since it was written"));
    }
    let receipt = receipt.value;
    let task = receipt.task_id();
    if ledger.receipt_key(&task) != key {
        return Err(invalid("it is the receipt of another object"));
    }
    let source_key = receipt.key.clone();
    Ok(receipt.state.into_written().map(|done| Part {
        task,
        key: source_key,
        outputs: done.outputs,
    }))
}
