//! Calls the auditor: sends one message for each run, and another one if something changes after its audit
//! ended.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::ledger::audit_record::{AuditAnswer, AuditRecord, audit_record};
use crate::ledger::{LEDGER_VERSION, Ledger, LedgerError, to_json};
use crate::queue::QueueError;
use crate::request::execution_id::ExecutionId;
use crate::storage::{Precondition, Records, Written};

/// The version of [`AuditCall`] that this software writes, and the newest that it reads.
pub const AUDIT_CALL_VERSION: u32 = 1;

/// The longest wait for a run, in hours.
pub const AUDIT_WAIT_HOURS_MAX: u32 = 48;

/// How long one auditor may claim a call exclusively while it notifies people, in seconds. If the auditor
/// dies, or can't release the call because the network fails, the notification is late by at most this
/// long.
pub const CLAIM_SECS: u32 = 120;

/// Most attempts at the record while others write it too.
const CONFLICTS_MAX: u32 = 16;

/// What an auditor is asked to do: wait until the run is finished or overdue, then audit it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditCall {
    /// [`AUDIT_CALL_VERSION`] of the software that wrote it.
    pub version: u32,
    /// The run.
    pub execution_id: ExecutionId,
    /// Counts the calls of the run; from 1.
    pub number: u64,
    /// When the auditor stops waiting.
    pub deadline: DateTime<Utc>,
    /// Whether people are told only if the verdict is another one than before: the call of a recheck that
    /// found nothing new.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiet: bool,
}

/// Queues calls of the auditor.
#[async_trait]
pub trait CallAuditor: Send + Sync {
    /// Queues the call.
    async fn call(&self, call: &AuditCall) -> Result<(), QueueError>;
}

/// Sends calls and records them in the ledger.
#[derive(Clone)]
pub struct AuditCaller {
    /// The queue of the auditor.
    pub queue: Arc<dyn CallAuditor>,
    /// The longest time that an auditor waits for a run, in hours.
    pub wait_hours: u32,
}

/// Why the auditor was not called.
#[derive(Debug, thiserror::Error)]
pub enum AuditCallError {
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl AuditCaller {
    /// Calls the auditor unless a call is open. The call is sent before it is recorded, so a caller that
    /// dies in between causes a second call, never a lost one.
    ///
    /// # Errors
    ///
    /// See [`AuditCallError`].
    pub async fn call(
        &self,
        records: &(impl Records + ?Sized),
        ledger: &Ledger,
        now: DateTime<Utc>,
    ) -> Result<(), AuditCallError> {
        self.send(records, ledger, false, now).await
    }

    /// As [`call`](Self::call), for an audit that people need not hear of unless it comes to another
    /// verdict. If a call that is not quiet has not been answered yet, the next one is not quiet either.
    ///
    /// # Errors
    ///
    /// See [`AuditCallError`].
    pub async fn call_quietly(
        &self,
        records: &(impl Records + ?Sized),
        ledger: &Ledger,
        now: DateTime<Utc>,
    ) -> Result<(), AuditCallError> {
        self.send(records, ledger, true, now).await
    }

    async fn send(
        &self,
        records: &(impl Records + ?Sized),
        ledger: &Ledger,
        quiet: bool,
        now: DateTime<Utc>,
    ) -> Result<(), AuditCallError> {
        let known = audit_record(records, ledger).await?;
        let earlier = known.as_ref().map(|(record, _)| record);
        if earlier.is_some_and(|record| record.is_open(now) && (quiet || !record.quiet)) {
            return Ok(());
        }
        let is_loud_unanswered = earlier.is_some_and(|record| !record.ended && !record.quiet);
        let quiet = quiet && !is_loud_unanswered;
        let wait_hours = self.wait_hours.clamp(1, AUDIT_WAIT_HOURS_MAX);
        let record = AuditRecord {
            version: LEDGER_VERSION,
            number: known
                .as_ref()
                .map_or(1, |(record, _)| record.number.saturating_add(1)),
            deadline: now + TimeDelta::hours(i64::from(wait_hours)),
            wait_hours,
            quiet,
            reading: false,
            attempts: 0,
            answer: None,
            ended: false,
            claimed_until: None,
        };
        self.queue
            .call(&AuditCall {
                version: AUDIT_CALL_VERSION,
                execution_id: ledger.execution_id().clone(),
                number: record.number,
                deadline: record.deadline,
                quiet,
            })
            .await?;
        let key = ledger.audit_key();
        let precondition = match known {
            None => Precondition::Absent,
            Some((_, etag)) => Precondition::Unchanged(etag),
        };
        // If another caller was faster, its call has the same number and the auditor ends both at once.
        records
            .put_if(&key, to_json(&key, &record)?, precondition)
            .await
            .map_err(LedgerError::from)?;
        Ok(())
    }
}

/// The claim of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Another auditor answers the call, or has answered it.
    Taken,
    /// The call is claimed, and nothing was counted in metrics yet.
    First,
    /// The call is claimed, after an auditor counted the same answer and could not notify people.
    Again,
}

/// Claims the call for one auditor, so that a call that was sent twice is answered once, and records the
/// answer, so that it is counted once. The claim of an auditor that dies expires after [`CLAIM_SECS`].
///
/// # Errors
///
/// The ledger's.
pub async fn claim_call(
    records: &(impl Records + ?Sized),
    call: &AuditCall,
    answer: AuditAnswer,
    now: DateTime<Utc>,
) -> Result<Claim, LedgerError> {
    let ledger = Ledger::new(call.execution_id.clone());
    let key = ledger.audit_key();
    let known = audit_record(records, &ledger).await?;
    let is_taken = known.as_ref().is_some_and(|(known, _)| {
        let is_claimed = known.claimed_until.is_some_and(|until| now < until);
        known.answers(call) || (known.number == call.number && is_claimed)
    });
    if is_taken {
        return Ok(Claim::Taken);
    }
    let open = record_of(call, known.as_ref(), now);
    let counted = open.answer.filter(|counted| counted.kind == answer.kind);
    let record = AuditRecord {
        claimed_until: Some(now + TimeDelta::seconds(i64::from(CLAIM_SECS))),
        answer: Some(counted.unwrap_or(answer)),
        ..open
    };
    let bytes = to_json(&key, &record)?;
    let written = records.put_if(&key, bytes, precondition(known)).await?;
    Ok(match (written, counted) {
        (Written::PreconditionFailed, _) => Claim::Taken,
        (Written::Yes, None) => Claim::First,
        (Written::Yes, Some(_)) => Claim::Again,
    })
}

fn precondition(known: Option<(AuditRecord, String)>) -> Precondition {
    known.map_or(Precondition::Absent, |(_, etag)| {
        Precondition::Unchanged(etag)
    })
}

/// Records that an auditor begins to read the receipts: from now on, what changes needs another call. Returns
/// how often one has begun since the last progress, this time included.
pub(crate) async fn begin_reading(
    records: &(impl Records + ?Sized),
    call: &AuditCall,
    now: DateTime<Utc>,
) -> Result<u32, LedgerError> {
    let mut attempts = 1;
    update(records, call, now, |record| {
        record.attempts = record.attempts.saturating_add(1);
        record.reading = true;
        attempts = record.attempts;
    })
    .await?;
    Ok(attempts)
}

/// Records that an attempt has made progress, and whether receipts may have been read that still change.
pub(crate) async fn end_attempt(
    records: &(impl Records + ?Sized),
    call: &AuditCall,
    is_reading: bool,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    update(records, call, now, |record| {
        record.attempts = 0;
        record.reading = is_reading;
    })
    .await
}

/// Changes the record of the call, unless a newer call has taken its place, or it has been answered.
async fn update(
    records: &(impl Records + ?Sized),
    call: &AuditCall,
    now: DateTime<Utc>,
    mut change: impl FnMut(&mut AuditRecord) + Send,
) -> Result<(), LedgerError> {
    let ledger = Ledger::new(call.execution_id.clone());
    let key = ledger.audit_key();
    for _ in 0..CONFLICTS_MAX {
        let known = audit_record(records, &ledger).await?;
        if known.as_ref().is_some_and(|(known, _)| known.answers(call)) {
            return Ok(());
        }
        let mut record = record_of(call, known.as_ref(), now);
        if let Some((known, _)) = &known {
            record.claimed_until = known.claimed_until.filter(|_| known.number == call.number);
        }
        change(&mut record);
        let bytes = to_json(&key, &record)?;
        let written = records.put_if(&key, bytes, precondition(known)).await?;
        if written == Written::Yes {
            return Ok(());
        }
    }
    Err(LedgerError::Invalid {
        key,
        detail: "it changes with every attempt to write it".to_owned(),
    })
}

/// Releases a claimed call, so that it can be claimed at the next poll.
///
/// # Errors
///
/// The ledger's; the claim then ends by itself.
pub async fn release_call(
    records: &(impl Records + ?Sized),
    call: &AuditCall,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let ledger = Ledger::new(call.execution_id.clone());
    let key = ledger.audit_key();
    let Some((known, etag)) = audit_record(records, &ledger).await? else {
        return Ok(());
    };
    if known.answers(call) {
        return Ok(());
    }
    let known = (known, etag);
    let bytes = to_json(&key, &record_of(call, Some(&known), now))?;
    records
        .put_if(&key, bytes, Precondition::Unchanged(known.1))
        .await?;
    Ok(())
}

/// Whether the call has been ended, by this auditor or by another, or a newer one has taken its place.
///
/// # Errors
///
/// The ledger's.
pub async fn is_ended(
    records: &(impl Records + ?Sized),
    call: &AuditCall,
) -> Result<bool, LedgerError> {
    let ledger = Ledger::new(call.execution_id.clone());
    let record = audit_record(records, &ledger).await?;
    Ok(record.is_some_and(|(record, _)| record.answers(call)))
}

impl AuditRecord {
    /// Whether the call has been ended, by this auditor or by another, or a newer one has taken its place.
    pub fn answers(&self, call: &AuditCall) -> bool {
        self.number > call.number || (self.number == call.number && self.ended)
    }
}

/// Records that the call has been answered.
///
/// # Errors
///
/// The ledger's.
pub async fn end_call(
    records: &(impl Records + ?Sized),
    call: &AuditCall,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let ledger = Ledger::new(call.execution_id.clone());
    let key = ledger.audit_key();
    let known = audit_record(records, &ledger).await?;
    let record = AuditRecord {
        ended: true,
        attempts: 0,
        ..record_of(call, known.as_ref(), now)
    };
    let precondition = match known {
        Some((known, _)) if known.number > call.number => return Ok(()),
        Some((_, etag)) => Precondition::Unchanged(etag),
        None => Precondition::Absent,
    };
    // The concurrent writer has ended the call too, or has called again; either record may stay.
    records
        .put_if(&key, to_json(&key, &record)?, precondition)
        .await?;
    Ok(())
}

/// The call as the ledger holds it while it is open and not claimed.
fn record_of(
    call: &AuditCall,
    known: Option<&(AuditRecord, String)>,
    now: DateTime<Utc>,
) -> AuditRecord {
    let same = known.map(|(record, _)| record);
    let same = same.filter(|record| record.number == call.number);
    AuditRecord {
        version: LEDGER_VERSION,
        number: call.number,
        deadline: call.deadline,
        quiet: call.quiet,
        wait_hours: known.map_or_else(
            || hours_until(now, call.deadline),
            |(record, _)| record.wait_hours,
        ),
        reading: same.is_some_and(|record| record.reading),
        attempts: same.map_or(0, |record| record.attempts),
        answer: same.and_then(|record| record.answer),
        ended: false,
        claimed_until: None,
    }
}

fn hours_until(now: DateTime<Utc>, deadline: DateTime<Utc>) -> u32 {
    u32::try_from((deadline - now).num_hours())
        .unwrap_or(1)
        .clamp(1, AUDIT_WAIT_HOURS_MAX)
}
