//! The mark of a run that a person has cancelled, `cancelled.json`.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ledger::{LEDGER_VERSION, Ledger, LedgerError, Versioned, find_record, to_json};
use crate::storage::{LedgerStorage, ListObjects, Precondition, Records, Written};

/// How old a look for the mark may be, so that it is not a request for each object. A task that begins within that time is
/// still begun.
const CANCEL_LOOK: Duration = Duration::from_secs(15);
/// The same where the ledger is on this machine.
const CANCEL_LOOK_LOCAL: Duration = Duration::from_millis(100);

/// How old a look for the mark may be.
pub(crate) fn look_age<L: ListObjects + ?Sized>(ledger: &L) -> Duration {
    match ledger.is_local() {
        true => CANCEL_LOOK_LOCAL,
        false => CANCEL_LOOK,
    }
}

/// When a planner has last looked for the mark of its run.
#[derive(Debug, Default)]
pub(crate) struct CancelLooks(Mutex<Option<Instant>>);

impl CancelLooks {
    /// Whether it is time for another look, which then counts as made.
    pub(crate) fn is_due(&self, every: Duration) -> bool {
        let mut last = self.0.lock().unwrap_or_else(|error| error.into_inner());
        let is_due = last.is_none_or(|last| last.elapsed() >= every);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

/// A run was cancelled: no further task of it is begun until it is resumed, which removes the mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancellation {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub version: u32,
    /// When.
    pub cancelled_at: DateTime<Utc>,
    /// The ARN of whoever did it, where AWS knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<String>,
}

impl Versioned for Cancellation {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Cancellation {
    /// The run's mark, if there is one.
    ///
    /// # Errors
    ///
    /// The ledger's.
    pub async fn read<R: Records + ?Sized>(
        records: &R,
        ledger: &Ledger,
    ) -> Result<Option<Self>, LedgerError> {
        let found = find_record::<Self>(records, &ledger.cancelled_key()).await?;
        Ok(found.map(|(mark, _)| mark))
    }

    /// Whether there is the mark. In a bucket by a listing of its very key: workers may list the ledger, and read next to
    /// nothing of it.
    pub(crate) async fn is_there<L: LedgerStorage + ?Sized>(
        storage: &L,
        ledger: &Ledger,
    ) -> Result<bool, LedgerError> {
        let key = ledger.cancelled_key();
        if storage.is_local() {
            return Ok(storage.get(&key).await?.is_some());
        }
        let page = storage.list_page(&key, None).await?;
        Ok(page.objects.iter().any(|object| object.key == key))
    }

    /// Cancels the run. Returns the mark that counts: an earlier one stays.
    ///
    /// # Errors
    ///
    /// The ledger's.
    pub async fn write<R: Records + ?Sized>(
        records: &R,
        ledger: &Ledger,
        cancelled_by: Option<String>,
        now: DateTime<Utc>,
    ) -> Result<Self, LedgerError> {
        let key = ledger.cancelled_key();
        let mark = Self {
            version: LEDGER_VERSION,
            cancelled_at: now,
            cancelled_by,
        };
        let bytes = to_json(&key, &mark)?;
        let written = records.put_if(&key, bytes, Precondition::Absent).await?;
        match written {
            Written::Yes => Ok(mark),
            Written::PreconditionFailed => {
                let earlier = Self::read(records, ledger).await?;
                Ok(earlier.unwrap_or(mark))
            }
        }
    }

    /// Removes the mark, if there is one.
    ///
    /// # Errors
    ///
    /// The ledger's.
    pub async fn lift<R: Records + ?Sized>(
        records: &R,
        ledger: &Ledger,
    ) -> Result<(), LedgerError> {
        let key = ledger.cancelled_key();
        if records.find(&key).await?.is_some() {
            records.delete(&key).await?;
        }
        Ok(())
    }
}
