//! The receipt of one task while it is processed.

use tracing::debug;

use crate::ledger::receipt::{KnownReceipt, Receipt, State};
use crate::ledger::{LEDGER_VERSION, LedgerError, SOFTWARE, to_json};
use crate::queue::task::Task;
use crate::storage::{Destination, Precondition, Written};
use crate::work::delivery::Delivery;

/// Most times that the writing of a receipt is tried again because others write it at the same time.
const CONFLICTS_MAX: u32 = 16;

/// The key of one task's receipt. A receipt that is done is never replaced.
pub(crate) struct ReceiptSlot<'a> {
    destination: &'a dyn Destination,
    key: String,
    /// The etag of the receipt that was read last; `None` if there was none, or none was looked for.
    etag: Option<String>,
    /// The receipt of what was salvaged, if that is what is there.
    salvaged: Option<Receipt>,
    template: Receipt,
}

impl<'a> ReceiptSlot<'a> {
    /// The slot at `key`, where `known` is all that is known to be there.
    pub(crate) fn new(
        destination: &'a dyn Destination,
        key: String,
        task: &Task,
        delivery: Delivery,
        known: KnownReceipt,
    ) -> Self {
        let mut slot = Self {
            destination,
            key,
            etag: None,
            salvaged: None,
            template: Receipt {
                version: LEDGER_VERSION,
                software: SOFTWARE.to_owned(),
                key: task.key.clone(),
                size: Some(task.size),
                etag: Some(task.etag.clone()),
                attempts: delivery.number.max(1),
                started_at: delivery.now,
                state: State::Failed {
                    reason: String::new(),
                    hint: None,
                },
            },
        };
        slot.find(known);
        slot
    }

    /// Attempts at the task, this one included.
    pub(crate) fn attempts(&self) -> u32 {
        self.template.attempts
    }

    fn find(&mut self, known: KnownReceipt) {
        if let Some(receipt) = &known.receipt {
            let attempts = receipt.attempts.saturating_add(1);
            self.template.attempts = self.template.attempts.max(attempts);
        }
        self.salvaged = known.salvaged().cloned();
        self.etag = known.etag;
    }

    /// What was salvaged of the object.
    pub(crate) fn salvaged(&self) -> Option<&Receipt> {
        self.salvaged.as_ref()
    }

    fn receipt(&self, state: State) -> Receipt {
        Receipt {
            state,
            ..self.template.clone()
        }
    }

    /// Writes the receipt if there is none. Returns it, or the one that is done already; `None` if there is
    /// another one, which [`write`](Self::write) may replace.
    pub(crate) async fn write_first(
        &mut self,
        state: State,
    ) -> Result<Option<Receipt>, LedgerError> {
        let receipt = self.receipt(state);
        let bytes = to_json(&self.key, &receipt)?;
        let written = self
            .destination
            .put_together(&self.key, bytes, Precondition::Absent);
        if written.await? == Written::Yes {
            return Ok(Some(receipt));
        }
        let known = KnownReceipt::read(self.destination, &self.key, &receipt.key).await?;
        if let Some(done) = known.done() {
            debug!(key = self.key, "another worker has done the task meanwhile");
            return Ok(Some(done.clone()));
        }
        self.find(known);
        Ok(None)
    }

    /// Writes the receipt with the state, and returns it; or the one that another worker wrote
    /// meanwhile, if that one is done. What was salvaged stays unless the state says more.
    pub(crate) async fn write(&mut self, state: State) -> Result<Receipt, LedgerError> {
        let receipt = self.receipt(state);
        let bytes = to_json(&self.key, &receipt)?;
        let is_written = receipt.is_done() || receipt.is_salvaged();
        for _ in 0..CONFLICTS_MAX {
            if let Some(salvaged) = self.salvaged.as_ref().filter(|_| !is_written) {
                return Ok(salvaged.clone());
            }
            let precondition = match &self.etag {
                None => Precondition::Absent,
                Some(etag) => Precondition::Unchanged(etag.clone()),
            };
            let written = self
                .destination
                .put_together(&self.key, bytes.clone(), precondition)
                .await?;
            if written == Written::Yes && receipt.is_done() {
                // Nothing may overwrite it.
                return Ok(receipt);
            }
            let current = KnownReceipt::read(self.destination, &self.key, &receipt.key).await?;
            // Also when it was written directly after ours: its etag must not be taken for ours.
            if let Some(done) = current.done() {
                debug!(key = self.key, "another worker has done the task meanwhile");
                return Ok(done.clone());
            }
            self.salvaged = current.salvaged().cloned();
            self.etag = current.etag;
            if written == Written::Yes {
                return Ok(receipt);
            }
            debug!(
                key = self.key,
                "another worker has written the receipt meanwhile"
            );
        }
        Err(LedgerError::Invalid {
            key: self.key.clone(),
            detail: "it changes with every attempt to write it".to_owned(),
        })
    }
}
