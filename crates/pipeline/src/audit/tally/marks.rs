//! What persons have decided about a run: that it is cancelled, and which losses are accepted.

use futures::{StreamExt, TryStreamExt, stream};

use super::Tally;
use crate::audit::error::AuditError;
use crate::ledger::cancellation::Cancellation;
use crate::ledger::loss::LossRecord;
use crate::ledger::{LedgerError, unseal};
use crate::storage::listing::list_all;
use crate::storage::{ListObjects, Records};

/// Records of losses that are read at the same time.
const LOSSES_READ_AT_ONCE: usize = 16;

impl Tally<'_> {
    /// Reads the marks.
    pub(crate) async fn read_marks<D>(&mut self, destination: &D) -> Result<(), AuditError>
    where
        D: ListObjects + Records + ?Sized,
    {
        let key = self.ledger.cancelled_key();
        if let Some(record) = destination.find(&key).await? {
            let mark = unseal::<Cancellation>(&key, &record)?;
            self.check_seal(&key, mark.seal);
            self.digests.cancelled = Some(mark.digest);
            self.cancelled = Some(mark.value);
        }
        let listed = list_all(destination, &self.ledger.losses_prefix()).await?;
        let mut read = stream::iter(listed)
            .map(|object| async move {
                let record = destination.get(&object.key).await?;
                Ok::<_, AuditError>((object.key, record))
            })
            .buffered(LOSSES_READ_AT_ONCE);
        while let Some((key, record)) = read.try_next().await? {
            let Some(record) = record else { continue };
            match unseal::<LossRecord>(&key, &record) {
                Ok(loss) => {
                    self.check_seal(&key, loss.seal);
                    self.digests.losses.push(loss.digest);
                    self.losses.insert(loss.value.key.clone(), loss.value);
                }
                Err(error @ LedgerError::Invalid { .. }) => {
                    self.disagree(format!("{error}; revoke that loss, and accept it again"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// When the run was cancelled.
    pub(crate) fn cancelled(&self) -> Option<&Cancellation> {
        self.cancelled.as_ref()
    }
}
