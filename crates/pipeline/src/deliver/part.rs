//! Sends the events of one part.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::backup::source_key::TaskId;
use crate::deliver::classify::{Decision, Found, Known, Rules, read_part};
use crate::deliver::error::DeliverError;
use crate::deliver::pace::Gate;
use crate::deliver::record::{FateCounts, PartRecord, PartState, RefusedEvent, SentEvent};
use crate::deliver::target::{Fate, Outgoing, SendEvents, TargetError, WatchConsumer};
use crate::ledger::{LEDGER_VERSION, Ledger, LedgerError, SOFTWARE, find_record, to_json};
use crate::recovered::parts::Part;
use crate::request::execution_id::ExecutionId;
use crate::storage::{Precondition, Records, RunStorage, StorageError, Written};

/// Events that are read ahead of those that are sent.
const EVENTS_AHEAD: usize = 64;
/// Sent events in the record of a part before they are moved to a file of their own.
const RECENT_MAX: usize = 250;
/// Events that are left out between two records of how far the part has come.
const LEFT_OUT_MAX: u64 = 100_000;
/// Requests that may fail one after the other.
const FAILED_MAX: u32 = 10;
const BACKOFF_LEAST: Duration = Duration::from_millis(100);
const BACKOFF_MOST: Duration = Duration::from_secs(5);

pub(crate) struct PartSender<'a> {
    pub(crate) destination: Arc<dyn RunStorage>,
    pub(crate) ledger: &'a Ledger,
    pub(crate) delivery_id: &'a ExecutionId,
    pub(crate) rules: Arc<Rules>,
    pub(crate) target: &'a dyn SendEvents,
    pub(crate) watch: &'a dyn WatchConsumer,
    pub(crate) backlog_max: Option<u64>,
    pub(crate) gate: &'a Gate,
    /// Other deliveries to the same target.
    pub(crate) earlier: &'a [ExecutionId],
    pub(crate) progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// The record of a part, as this process wrote it last.
struct Kept {
    key: String,
    etag: String,
    record: PartRecord,
}

impl PartSender<'_> {
    /// Sends what is left of the part, or until the delivery stops.
    pub(crate) async fn send(&self, part: Part) -> Result<(), DeliverError> {
        let earlier =
            earlier_positions(&*self.destination, self.ledger, self.earlier, &part).await?;
        let Some(mut kept) = self.claim(&part, &earlier).await? else {
            return Ok(());
        };
        let sent = kept.record.recent.iter().map(|sent| sent.position);
        let known = Known {
            sent: sent
                .filter(|position| *position >= kept.record.position)
                .collect(),
            earlier: earlier.positions,
            position: kept.record.position,
        };
        let task = part.task.clone();
        let (into, events) = mpsc::channel(EVENTS_AHEAD);
        let (storage, rules) = (Arc::clone(&self.destination), Arc::clone(&self.rules));
        let reading = tokio::spawn(read_part(storage, part, rules, known, into));
        let sent = self.send_events(&task, &mut kept, events).await;
        let read = reading.await;
        let is_done = kept.record.position == kept.record.events;
        kept.record.state = match is_done {
            true => PartState::Done,
            false => PartState::Paused,
        };
        let is_taken_over = matches!(sent, Err(DeliverError::TakenOver { .. }));
        if !is_taken_over {
            self.keep(&task, &mut kept).await?;
        }
        read.map_err(|_| DeliverError::Died)?;
        sent
    }

    /// Takes the part for this process; `None` if nothing is left of it.
    async fn claim(&self, part: &Part, earlier: &Earlier) -> Result<Option<Kept>, DeliverError> {
        let key = part_key(self.ledger, self.delivery_id, &part.task);
        let outputs = part.fingerprint();
        let known = find_record::<PartRecord>(&*self.destination, &key).await?;
        let new = PartRecord {
            version: LEDGER_VERSION,
            software: SOFTWARE.to_owned(),
            key: part.key.clone(),
            outputs: outputs.clone(),
            state: PartState::Sending,
            events: part.events(),
            position: 0,
            counts: FateCounts::default(),
            interruptions: earlier.interruptions,
            resent: earlier.resent,
            sent_files: 0,
            recent: Vec::new(),
            refused: Vec::new(),
        };
        let (record, precondition) = match known {
            Some((known, _)) if known.state == PartState::Done && known.outputs == outputs => {
                return Ok(None);
            }
            Some((known, etag)) => {
                let died = u64::from(known.state == PartState::Sending);
                let interruptions = known.interruptions + died;
                let record = match known.outputs == outputs {
                    true => PartRecord {
                        software: new.software,
                        state: new.state,
                        interruptions,
                        ..known
                    },
                    // The object was recovered again: nothing says which of its events those were that were sent.
                    false => PartRecord {
                        interruptions,
                        resent: known.resent + known.sent(),
                        ..new
                    },
                };
                (record, Precondition::Unchanged(etag))
            }
            None => (new, Precondition::Absent),
        };
        let etag = self.write(&key, &record, precondition).await?;
        Ok(Some(Kept { key, etag, record }))
    }

    /// Writes the record, if nobody else has. Returns its etag.
    async fn write(
        &self,
        key: &str,
        record: &PartRecord,
        precondition: Precondition,
    ) -> Result<String, DeliverError> {
        let bytes = to_json(key, record)?;
        let taken_over = || DeliverError::TakenOver {
            key: key.to_owned(),
        };
        let written = self
            .destination
            .put_if(key, bytes.clone(), precondition)
            .await?;
        if written == Written::PreconditionFailed {
            return Err(taken_over());
        }
        let now = self.destination.get(key).await?;
        match now {
            Some(now) if now.bytes == bytes => Ok(now.etag),
            _ => Err(taken_over()),
        }
    }

    /// Records how far the part has come.
    async fn keep(&self, task: &TaskId, kept: &mut Kept) -> Result<(), DeliverError> {
        // Those that were sent ahead of others stay: they are looked for there.
        let position = kept.record.position;
        let is_over = kept.record.state == PartState::Done;
        let passed = kept
            .record
            .recent
            .iter()
            .filter(|sent| sent.position < position);
        if passed.count() >= RECENT_MAX || (is_over && !kept.record.recent.is_empty()) {
            let (passed, ahead): (Vec<_>, Vec<_>) = kept
                .record
                .recent
                .drain(..)
                .partition(|sent| sent.position < position);
            kept.record.recent = ahead;
            kept.record.sent_files += 1;
            let record = &kept.record;
            let (outputs, number) = (&record.outputs, record.sent_files);
            let key = sent_key(self.ledger, self.delivery_id, task, outputs, number);
            let mut lines = Vec::new();
            for sent in &passed {
                serde_json::to_writer(&mut lines, sent).map_err(|error| LedgerError::Invalid {
                    key: key.clone(),
                    detail: error.to_string(),
                })?;
                lines.push(b'\n');
            }
            self.destination.put(&key, lines).await?;
        }
        let precondition = Precondition::Unchanged(kept.etag.clone());
        kept.etag = self.write(&kept.key, &kept.record, precondition).await?;
        Ok(())
    }

    async fn send_events(
        &self,
        task: &TaskId,
        kept: &mut Kept,
        mut events: mpsc::Receiver<Result<Found, StorageError>>,
    ) -> Result<(), DeliverError> {
        let mut held = None;
        let mut left_out = 0;
        loop {
            let batch = self.next_batch(&mut events, &mut held).await?;
            if batch.found.is_empty() {
                if batch.ends_canary {
                    self.gate.end_canary();
                }
                return Ok(());
            }
            let is_sent = !batch.to_send().is_empty();
            let outcome = match is_sent {
                true => self.send_batch(batch.to_send(), task, kept).await?,
                false => Sent::default(),
            };
            let before = kept.record.position;
            let sent_before = kept.record.counts.sent;
            batch.settle(&outcome.fates, &mut kept.record);
            left_out += kept.record.position - before;
            (self.progress)(
                kept.record.counts.sent - sent_before,
                kept.record.position - before - (kept.record.counts.sent - sent_before),
            );
            if is_sent || left_out >= LEFT_OUT_MAX {
                left_out = 0;
                self.keep(task, kept).await?;
            }
            if let Some(error) = outcome.error {
                return Err(error.into());
            }
            if batch.ends_canary {
                self.gate.end_canary();
            }
            if outcome.is_stopped || self.gate.stop.reason().is_some() {
                return Ok(());
            }
        }
    }

    /// The next events, of which as many are to be sent as fit into one request.
    async fn next_batch(
        &self,
        events: &mut mpsc::Receiver<Result<Found, StorageError>>,
        held: &mut Option<Found>,
    ) -> Result<Batch, DeliverError> {
        let limits = self.target.limits();
        let most = limits.batch_events.min(self.gate.batch());
        let mut batch = Batch::default();
        let (mut sent, mut bytes) = (0, 0);
        let mut groups = HashSet::new();
        loop {
            let next = match held.take() {
                Some(found) => Some(Ok(found)),
                None => events.recv().await,
            };
            let Some(found) = next else {
                return Ok(batch);
            };
            let found = found?;
            if found.decision != Decision::Send {
                batch.push(found, None);
                if batch.found.len() as u64 >= LEFT_OUT_MAX {
                    return Ok(batch);
                }
                continue;
            }
            if let Some(reason) = self.target.refusal(&found.outgoing) {
                batch.push(found, Some(reason));
                continue;
            }
            let size = found.outgoing.event.len() + limits.event_overhead;
            let is_follower = limits.one_of_group && !groups.insert(found.outgoing.group.clone());
            if sent > 0 && (sent >= most || bytes + size > limits.batch_bytes || is_follower) {
                *held = Some(found);
                return Ok(batch);
            }
            if !self.gate.take() {
                batch.ends_canary = true;
                return Ok(batch);
            }
            sent += 1;
            bytes += size;
            batch.push(found, None);
        }
    }

    /// Sends the events until each has a fate, the target fails, or the delivery stops.
    ///
    /// A request without an answer is recorded before the next one: what it held may be sent twice.
    async fn send_batch(
        &self,
        events: Vec<&Outgoing>,
        task: &TaskId,
        kept: &mut Kept,
    ) -> Result<Sent, DeliverError> {
        let mut sent = Sent {
            fates: vec![None; events.len()],
            ..Sent::default()
        };
        let (mut failed, mut backoff) = (0, BACKOFF_LEAST);
        loop {
            let open: Vec<usize> = (0..events.len())
                .filter(|index| sent.fates[*index].is_none())
                .collect();
            if open.is_empty() {
                return Ok(sent);
            }
            let may_send = self
                .gate
                .wait_for_backlog(self.watch, self.backlog_max)
                .await
                && self.gate.pass(open.len()).await;
            if !may_send {
                sent.is_stopped = true;
                return Ok(sent);
            }
            let batch: Vec<Outgoing> = open.iter().map(|index| events[*index].clone()).collect();
            match self.target.send(&batch).await {
                Ok(fates) => {
                    failed = 0;
                    for (index, fate) in open.iter().zip(fates) {
                        if !matches!(fate, Fate::Delayed { .. }) {
                            sent.fates[*index] = Some(fate);
                        }
                    }
                    if sent.fates.iter().all(Option::is_some) {
                        return Ok(sent);
                    }
                }
                Err(error) => {
                    if error.is_transient() {
                        kept.record.interruptions += 1;
                        self.keep(task, kept).await?;
                    }
                    failed += 1;
                    if !error.is_transient() || failed >= FAILED_MAX {
                        sent.error = Some(error);
                        return Ok(sent);
                    }
                }
            }
            if !self.gate.pause(backoff).await {
                sent.is_stopped = true;
                return Ok(sent);
            }
            backoff = (backoff * 2).min(BACKOFF_MOST);
        }
    }
}

/// What came of one batch.
#[derive(Default)]
struct Sent {
    fates: Vec<Option<Fate>>,
    error: Option<TargetError>,
    is_stopped: bool,
}

/// Consecutive events of a part.
#[derive(Default)]
struct Batch {
    found: Vec<(Found, Option<String>)>,
    ends_canary: bool,
}

impl Batch {
    fn push(&mut self, found: Found, refusal: Option<String>) {
        self.found.push((found, refusal));
    }

    fn to_send(&self) -> Vec<&Outgoing> {
        let sent = self
            .found
            .iter()
            .filter(|(found, refusal)| is_sent(found, refusal));
        sent.map(|(found, _)| &found.outgoing).collect()
    }

    /// Counts every event up to the first whose fate is not known, and keeps what was sent after it.
    fn settle(&self, fates: &[Option<Fate>], record: &mut PartRecord) {
        let mut fates = fates.iter();
        let mut has_gap = false;
        for (found, refusal) in &self.found {
            let fate = match is_sent(found, refusal) {
                true => fates.next().cloned().flatten(),
                false => None,
            };
            if let Some(Fate::Sent { message_id }) = &fate {
                record.recent.push(SentEvent {
                    position: found.position,
                    event_id: found.outgoing.event_id.clone(),
                    message_id: message_id.clone(),
                });
            }
            if is_sent(found, refusal) && fate.is_none() {
                has_gap = true;
            }
            if has_gap {
                continue;
            }
            let counts = &mut record.counts;
            let refused = match fate {
                Some(Fate::Refused { reason }) => Some(reason),
                _ => refusal.clone(),
            };
            match (found.decision, refused) {
                (Decision::Send, Some(reason)) => {
                    counts.refused += 1;
                    record.refused.push(RefusedEvent {
                        key: found.file.to_string(),
                        offset: found.offset,
                        bytes: found.bytes,
                        reason,
                    });
                }
                (Decision::Send | Decision::Sent, _) => counts.sent += 1,
                (Decision::Earlier, _) => counts.earlier += 1,
                (Decision::Received, _) => counts.received += 1,
                (Decision::Filtered, _) => counts.filtered += 1,
            }
            record.position = found.position + 1;
        }
    }
}

fn is_sent(found: &Found, refusal: &Option<String>) -> bool {
    found.decision == Decision::Send && refusal.is_none()
}

pub(crate) fn part_key(ledger: &Ledger, delivery_id: &ExecutionId, task: &TaskId) -> String {
    ledger.delivery_key(delivery_id, &format!("parts/{}.json", task.as_str()))
}

fn sent_key(
    ledger: &Ledger,
    delivery_id: &ExecutionId,
    task: &TaskId,
    outputs: &str,
    number: u64,
) -> String {
    let name = format!("sent/{}.{outputs}.{number}.jsonl", task.as_str());
    ledger.delivery_key(delivery_id, &name)
}

/// What other deliveries have sent of a part.
#[derive(Default)]
pub(crate) struct Earlier {
    /// Which of its events.
    pub(crate) positions: HashSet<u64>,
    /// Processes of them that died: what they had in flight may be sent twice.
    interruptions: u64,
    /// Events that were sent before the part's files were written anew.
    resent: u64,
}

/// What these deliveries have sent of the part.
pub(crate) async fn earlier_positions<R: Records + ?Sized>(
    records: &R,
    ledger: &Ledger,
    deliveries: &[ExecutionId],
    part: &Part,
) -> Result<Earlier, DeliverError> {
    let (task, outputs) = (&part.task, part.fingerprint());
    let mut earlier = Earlier::default();
    for delivery in deliveries {
        let key = part_key(ledger, delivery, task);
        let Some((record, _)) = find_record::<PartRecord>(records, &key).await? else {
            continue;
        };
        earlier.interruptions += u64::from(record.state == PartState::Sending);
        if record.outputs != outputs {
            earlier.resent += record.sent();
            continue;
        }
        let recent = record.recent.iter().map(|sent| sent.position);
        earlier.positions.extend(recent);
        for number in 1..=record.sent_files {
            let key = sent_key(ledger, delivery, task, &outputs, number);
            let invalid = || LedgerError::Invalid {
                key: key.clone(),
                detail: "it does not say what was sent".to_owned(),
            };
            let file = records.get(&key).await?.ok_or_else(invalid)?;
            for line in file.bytes.split(|byte| *byte == b'\n') {
                if line.is_empty() {
                    continue;
                }
                let sent: SentEvent = serde_json::from_slice(line).map_err(|_| invalid())?;
                earlier.positions.insert(sent.position);
            }
        }
    }
    Ok(earlier)
}
