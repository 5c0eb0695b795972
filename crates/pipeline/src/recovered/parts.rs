//! The parts of a run's output: what each of its tasks has written.

use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};

use crate::backup::source_key::{SourceKey, TaskId};
use crate::ledger::receipt::{Output, Receipt};
use crate::ledger::seal::{Seal, digest};
use crate::ledger::{Ledger, LedgerError, unseal};
use crate::recovered::lines::gone;
use crate::storage::listing::{Cursor, list_all};
use crate::storage::{ListObjects, Records, RunStorage, StorageError};

/// Hexadecimal digits of a fingerprint: 96 bits.
const FINGERPRINT_DIGITS: usize = 24;
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
    /// A digest of what the receipt says of the files. An object that is recovered again after a salvage may have others.
    pub(crate) fn fingerprint(&self) -> String {
        let mut text = String::new();
        for output in &self.outputs {
            let Output {
                key,
                crc64nvme,
                rows,
                ..
            } = output;
            text += &format!("{key}\n{crc64nvme}\n{rows}\n");
        }
        let digest = digest(text.as_bytes());
        let digits = digest.trim_start_matches("sha256:");
        digits.chars().take(FINGERPRINT_DIGITS).collect()
    }

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

/// The etag of a file of a part.
pub(crate) async fn etag_of(storage: &dyn RunStorage, key: &str) -> Result<String, StorageError> {
    let listed = list_all(storage, key).await?;
    let found = listed.into_iter().find(|object| object.key == key);
    found.map(|object| object.etag).ok_or_else(|| gone(key))
}

/// The fingerprint of all parts of a run, which are added in their order.
#[derive(Default)]
pub(crate) struct RunFingerprint(Sha256);

impl RunFingerprint {
    pub(crate) fn add(&mut self, part: &Part) {
        self.0.update(part.task.as_str());
        self.0.update(b"\n");
        self.0.update(part.fingerprint());
        self.0.update(b"\n");
    }

    pub(crate) fn finish(self) -> String {
        let digest = self.0.finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
