//! The state of an audit that takes more than one invocation, `checkpoint.json`.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::PlanDigests;
use super::step::Step;
use super::sums::Sums;
use crate::audit::error::AuditError;
use crate::audit::report_slot::ReportBefore;
use crate::ledger::seal::Seal;
use crate::ledger::{LEDGER_VERSION, Ledger, LedgerError, SOFTWARE, Versioned, to_json, unseal};
use crate::storage::Records;

/// How often an audit writes a checkpoint: what an invocation that is killed loses at most, apart from the
/// hour that it was reading.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);

/// The state of an audit. It is bound to the call, to the records that say what is to be audited, and to the
/// software: anything else begins anew.
#[derive(Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    version: u32,
    software: String,
    /// See [`AuditCall::number`](crate::AuditCall::number).
    number: u64,
    digests: PlanDigests,
    /// The report that the audit is to replace.
    before: ReportBefore,
    step: Step,
    sums: Sums,
}

/// As [`Checkpoint`], to be written.
#[derive(Serialize)]
struct CheckpointNow<'a> {
    version: u32,
    software: &'a str,
    number: u64,
    digests: &'a PlanDigests,
    before: &'a ReportBefore,
    step: &'a Step,
    sums: &'a Sums,
}

impl Versioned for Checkpoint {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Checkpoint {
    /// The checkpoint of this call, if there is one that this software can use. One that can't be used is
    /// removed.
    pub(crate) async fn find(
        records: &(impl Records + ?Sized),
        ledger: &Ledger,
        number: u64,
    ) -> Result<Option<Self>, AuditError> {
        let key = ledger.checkpoint_key();
        let Some(record) = records.find(&key).await? else {
            return Ok(None);
        };
        match unseal::<Self>(&key, &record) {
            Ok(found)
                if found.seal == Seal::Intact
                    && found.value.software == SOFTWARE
                    && found.value.number == number =>
            {
                Ok(Some(found.value))
            }
            Ok(_) | Err(LedgerError::Invalid { .. } | LedgerError::Newer { .. }) => {
                records.delete(&key).await?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The report that the audit is to replace.
    pub(crate) fn before(&self) -> &ReportBefore {
        &self.before
    }

    /// What the audit has come to, if the records that say what is to be audited are the same.
    pub(super) fn resume(self, digests: &PlanDigests) -> Option<(Step, Sums)> {
        (self.digests == *digests).then_some((self.step, self.sums))
    }
}

/// Keeps the checkpoint of a call.
pub(crate) struct Keeper<'a> {
    ledger: &'a Ledger,
    number: u64,
    before: ReportBefore,
    saved_at: Instant,
    /// Whether there is a checkpoint.
    is_there: bool,
    /// Whether it was written by this keeper.
    pub(crate) has_saved: bool,
}

impl<'a> Keeper<'a> {
    pub(crate) fn new(
        ledger: &'a Ledger,
        number: u64,
        before: ReportBefore,
        is_there: bool,
    ) -> Self {
        Self {
            ledger,
            number,
            before,
            saved_at: Instant::now(),
            is_there,
            has_saved: false,
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.saved_at.elapsed() >= CHECKPOINT_EVERY
    }

    pub(super) async fn save(
        &mut self,
        records: &(impl Records + ?Sized),
        digests: &PlanDigests,
        step: &Step,
        sums: &Sums,
    ) -> Result<(), AuditError> {
        let key = self.ledger.checkpoint_key();
        let checkpoint = CheckpointNow {
            version: LEDGER_VERSION,
            software: SOFTWARE,
            number: self.number,
            digests,
            before: &self.before,
            step,
            sums,
        };
        records.put(&key, to_json(&key, &checkpoint)?).await?;
        (self.is_there, self.has_saved) = (true, true);
        self.saved_at = Instant::now();
        Ok(())
    }

    /// Removes the checkpoint, if there is one.
    pub(crate) async fn remove(
        &mut self,
        records: &(impl Records + ?Sized),
    ) -> Result<(), AuditError> {
        if self.is_there {
            records.delete(&self.ledger.checkpoint_key()).await?;
            self.is_there = false;
        }
        Ok(())
    }
}
