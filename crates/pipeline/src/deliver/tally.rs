//! Adds up what a delivery has done.

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;

use crate::deliver::error::DeliverError;
use crate::deliver::part::part_key;
use crate::deliver::record::{
    DeliveredEvents, DeliveryRecord, DeliveryReport, PartRecord, PartState,
};
use crate::deliver::target::BATCH_EVENTS_MAX;
use crate::ledger::report::{Report, Verdict};
use crate::ledger::{LEDGER_VERSION, Ledger, SOFTWARE, find_record};
use crate::recovered::parts::parts;
use crate::storage::RunStorage;

/// The report of the delivery as it stands.
pub(crate) async fn tally(
    storage: &dyn RunStorage,
    ledger: &Ledger,
    delivery: &DeliveryRecord,
    run: &Report,
    stopped: Option<String>,
    now: DateTime<Utc>,
) -> Result<DeliveryReport, DeliverError> {
    let mut events = DeliveredEvents::default();
    let (mut all, mut done, mut interruptions, mut resent) = (0, 0, 0, 0);
    let mut refused = Vec::new();
    let mut found = parts(storage, ledger);
    while let Some(part) = found.try_next().await? {
        all += 1;
        events.written += part.events();
        let key = part_key(ledger, &delivery.delivery_id, &part.task);
        let record = find_record::<PartRecord>(storage, &key).await?;
        let Some((record, _)) = record else {
            done += u64::from(part.events() == 0);
            continue;
        };
        interruptions += record.interruptions + u64::from(record.state == PartState::Sending);
        resent += record.resent;
        // The object was recovered again since: its events are still to be sent.
        if record.outputs != part.fingerprint() {
            resent += record.sent();
            continue;
        }
        done += u64::from(record.state == PartState::Done);
        events.fates.add(&record.counts);
        let room = DeliveryReport::REFUSED_MAX - refused.len();
        refused.extend(record.refused.into_iter().take(room));
    }
    events.pending = events.written.saturating_sub(events.fates.total());
    let (verdict, reasons) = judge(&events, run, stopped.as_deref());
    Ok(DeliveryReport {
        version: LEDGER_VERSION,
        software: SOFTWARE.to_owned(),
        execution_id: ledger.execution_id().clone(),
        delivery_id: delivery.delivery_id.clone(),
        verdict,
        reasons,
        terms: delivery.terms.clone(),
        events,
        parts: all,
        parts_done: done,
        sent_twice_max: interruptions * BATCH_EVENTS_MAX as u64 + resent,
        refused,
        stopped,
        created_at: delivery.created_at,
        reported_at: now,
    })
}

fn judge(events: &DeliveredEvents, run: &Report, stopped: Option<&str>) -> (Verdict, Vec<String>) {
    let mut reasons = Vec::new();
    if let Some(stopped) = stopped {
        reasons.push(stopped.to_owned());
    }
    if events.pending > 0 {
        reasons.push(format!("{} events are still to be sent", events.pending));
    }
    if events.fates.total() > events.written {
        reasons.push("the records of the parts count more events than the run has".to_owned());
    }
    if events.written != run.events.written {
        let (found, written) = (events.written, run.events.written);
        reasons.push(format!(
            "the receipts count {found} events, and the run's report {written}"
        ));
    }
    let is_incomplete = !reasons.is_empty();
    if run.verdict != Verdict::Complete {
        reasons.push(format!("the run is `{}`", run.verdict.as_str()));
    }
    if !run
        .finality
        .as_ref()
        .is_some_and(|finality| finality.is_final)
    {
        reasons.push("the run is not final: objects may still come late".to_owned());
    }
    if events.fates.refused > 0 {
        reasons.push(format!(
            "the target will never take {} events",
            events.fates.refused
        ));
    }
    let verdict = match (is_incomplete, reasons.is_empty()) {
        (true, _) => Verdict::Incomplete,
        (false, false) => Verdict::NeedsLook,
        (false, true) => Verdict::Complete,
    };
    (verdict, reasons)
}
