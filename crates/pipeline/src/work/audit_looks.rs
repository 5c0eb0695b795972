//! Whether a run's audit has ended, for workers, without a request for every object.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Mutex;

use crate::ledger::audit_record::AuditRecord;
use crate::ledger::{Ledger, LedgerError, unseal};
use crate::request::execution_id::ExecutionId;
use crate::storage::Records;

/// How long a look at an open audit is enough for the first delivery of a task, in seconds.
const LOOK_SECS: i64 = 15;
/// Most runs whose looks are kept.
const LOOKS_MAX: usize = 64;

/// What a worker has seen of the audits of its runs. Empty at first.
#[derive(Debug, Default)]
pub struct AuditLooks(Mutex<BTreeMap<ExecutionId, OpenAudit>>);

/// An audit that had not ended.
#[derive(Debug, Clone, Copy)]
struct OpenAudit {
    looked_at: DateTime<Utc>,
    deadline: DateTime<Utc>,
}

impl OpenAudit {
    fn is_enough(&self, now: DateTime<Utc>) -> bool {
        // Another task may have looked after this one read its clock.
        let age = (now - self.looked_at).abs();
        age <= TimeDelta::seconds(LOOK_SECS) && now < self.deadline
    }
}

/// How new a look must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Enough for a task without a receipt: it counts as missing, and before its deadline an audit waits for what
    /// is missing. So an audit that was open a moment ago is open still.
    Recent,
    /// For a task that has a receipt, whose audit can end at any moment.
    Now,
}

impl AuditLooks {
    /// If the run's audit has ended, how long the next one may wait for the run, in hours.
    pub(crate) async fn ended(
        &self,
        records: &(impl Records + ?Sized),
        ledger: &Ledger,
        look: Look,
        now: DateTime<Utc>,
    ) -> Result<Option<u32>, LedgerError> {
        if look == Look::Now {
            let record = look_now(records, ledger).await?;
            return Ok(record
                .filter(|record| !record.is_open(now))
                .map(|record| record.wait_hours));
        }
        // Locked until the answer is there, so that tasks that end together share one look.
        let mut open = self.0.lock().await;
        let run = ledger.execution_id();
        if open.get(run).is_some_and(|audit| audit.is_enough(now)) {
            return Ok(None);
        }
        open.remove(run);
        let Some(record) = look_now(records, ledger).await? else {
            return Ok(None);
        };
        if !record.is_open(now) {
            return Ok(Some(record.wait_hours));
        }
        open.retain(|_, audit| audit.is_enough(now));
        if open.len() < LOOKS_MAX {
            let deadline = record.deadline;
            let audit = OpenAudit {
                looked_at: now,
                deadline,
            };
            open.insert(run.clone(), audit);
        }
        Ok(None)
    }
}

/// Read without a listing first: the auditor is called before the first task is queued, so the record is there.
async fn look_now(
    records: &(impl Records + ?Sized),
    ledger: &Ledger,
) -> Result<Option<AuditRecord>, LedgerError> {
    let key = ledger.audit_key();
    let record = records.get(&key).await?;
    let sealed = record.map(|record| unseal::<AuditRecord>(&key, &record));
    Ok(sealed.transpose()?.map(|sealed| sealed.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_enough_for_seconds_and_never_beyond_the_deadline() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(1);
        let after = |secs| now + TimeDelta::seconds(secs);
        let rows = [(-1, true), (0, true), (15, true), (16, false), (-16, false)];
        for (secs, expected) in rows {
            let audit = OpenAudit {
                looked_at: now,
                deadline: after(3600),
            };
            assert_eq!(audit.is_enough(after(secs)), expected, "{secs}");
        }
        let audit = OpenAudit {
            looked_at: now,
            deadline: after(5),
        };
        assert!(audit.is_enough(after(4)) && !audit.is_enough(after(5)));
    }
}
