//! Sends the events of a run to a target: each at least once, and as good as never twice.

pub(crate) mod classify;
pub(crate) mod error;
pub(crate) mod missing;
pub(crate) mod pace;
pub(crate) mod part;
pub(crate) mod record;
pub(crate) mod tally;
pub(crate) mod target;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use event_recovery_format::OutputFormat;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::backup::object_time::ObjectTime;
use crate::compare::record::ComparisonId;
use crate::deliver::classify::{Decision, Known, Rules, read_part};
use crate::deliver::error::DeliverError;
use crate::deliver::missing::Missing;
use crate::deliver::pace::{Gate, Pace, Stop, look_after};
use crate::deliver::part::PartSender;
use crate::deliver::record::{DeliveryRecord, DeliveryReport, DeliveryTerms};
use crate::deliver::tally::tally;
use crate::deliver::target::{SendEvents, WatchConsumer};
use crate::ledger::report::{Report, Verdict};
use crate::ledger::{
    LEDGER_VERSION, Ledger, LedgerError, RequestRecord, SOFTWARE, find_record, read_record, to_json,
};
use crate::recovered::parts::{Part, RunFingerprint, parts};
use crate::request::execution_id::ExecutionId;
use crate::storage::{Precondition, RunStorage, Written};

/// Events of one part that are read ahead.
const EVENTS_AHEAD: usize = 64;

/// A delivery, to be begun or carried on with.
pub struct Delivering<'a> {
    /// The run's destination.
    pub destination: Arc<dyn RunStorage>,
    /// The run.
    pub ledger: &'a Ledger,
    /// The delivery.
    pub delivery_id: &'a ExecutionId,
    /// What it does.
    pub terms: DeliveryTerms,
    /// The target.
    pub target: Arc<dyn SendEvents>,
    /// Whoever receives.
    pub watch: Arc<dyn WatchConsumer>,
    /// How fast.
    pub pace: Pace,
    /// How many parts at a time. Where order matters there is one.
    pub senders: usize,
    /// Also events of a run that is incomplete.
    pub incomplete: bool,
    /// Stops it.
    pub stop: Stop,
    /// Hears how many events were sent, and how many are to be left out.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// What a delivery would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct DeliveryForecast {
    /// Events of the run.
    pub written: u64,
    /// Those to be sent.
    pub to_send: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests that they take at least.
    pub requests: u64,
    /// Those that an earlier delivery has sent to the same target.
    pub earlier: u64,
    /// Those that the consumer has.
    pub received: u64,
    /// Those that the filters leave out.
    pub filtered: u64,
    /// Those that the target will never take.
    pub refused: u64,
    /// How long it takes at the given rate, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

impl Delivering<'_> {
    /// Sends what is left to be sent, and writes the report: also of a delivery that stops before its end.
    ///
    /// # Errors
    ///
    /// See [`DeliverError`]. What was confirmed is recorded, and the same delivery resumes.
    pub async fn deliver(&self, now: DateTime<Utc>) -> Result<DeliveryReport, DeliverError> {
        let report = self.report_of_run().await?;
        let rules = Arc::new(self.rules().await?);
        let record = self.freeze(now).await?;
        let before = tally(&*self.destination, self.ledger, &record, &report, None, now).await?;
        let gate = Arc::new(Gate::new(
            &self.pace,
            before.events.fates.sent,
            self.stop.clone(),
        ));
        let earlier = Arc::new(self.earlier().await?);
        let sending = async {
            let senders = match self.terms.ordered {
                true => 1,
                false => self.senders.max(1),
            };
            let parts = self.parts_in_order(&report).await?;
            let failed: Mutex<Option<DeliverError>> = Mutex::default();
            parts
                .for_each_concurrent(senders, |part| {
                    let sender = PartSender {
                        destination: Arc::clone(&self.destination),
                        ledger: self.ledger,
                        delivery_id: self.delivery_id,
                        rules: Arc::clone(&rules),
                        target: &*self.target,
                        watch: &*self.watch,
                        backlog_max: self.pace.backlog_max,
                        gate: &gate,
                        earlier: &earlier,
                        progress: self.progress,
                    };
                    let failed = &failed;
                    async move {
                        let sent = match part {
                            Ok(_) if sender.gate.stop.reason().is_some() => Ok(()),
                            Ok(part) => sender.send(part).await,
                            Err(error) => Err(error),
                        };
                        if let Err(error) = sent {
                            // The other senders end what they have in flight, so that nothing of it is sent twice.
                            sender.gate.stop.because(error.to_string());
                            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                            failed.get_or_insert(error);
                        }
                    }
                })
                .await;
            let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
            failed.map_or(Ok(()), Err)
        };
        let ended = tokio::select! {
            ended = sending => ended,
            // It ends only with the delivery.
            () = forever(look_after(&*self.watch, &self.stop)) => Ok(()),
        };
        let stopped = match &ended {
            Err(error) => Some(error.to_string()),
            Ok(()) => self.stop.reason().map(ToOwned::to_owned),
        };
        let found = tally(
            &*self.destination,
            self.ledger,
            &record,
            &report,
            stopped,
            Utc::now(),
        )
        .await?;
        let key = self.ledger.delivery_key(self.delivery_id, "report.json");
        self.destination.put(&key, to_json(&key, &found)?).await?;
        ended.map(|()| found)
    }

    /// What would be sent. Nothing is sent or written.
    ///
    /// # Errors
    ///
    /// See [`DeliverError`].
    pub async fn forecast(&self) -> Result<DeliveryForecast, DeliverError> {
        let report = self.report_of_run().await?;
        let rules = Arc::new(self.rules().await?);
        let earlier = self.earlier().await?;
        let mut found = DeliveryForecast::default();
        let limits = self.target.limits();
        let mut parts = self.parts_in_order(&report).await?;
        while let Some(part) = parts.try_next().await? {
            let known = Known {
                sent: Default::default(),
                earlier: part::earlier_positions(&*self.destination, self.ledger, &earlier, &part)
                    .await?
                    .positions,
                position: 0,
            };
            let (into, mut events) = tokio::sync::mpsc::channel(EVENTS_AHEAD);
            let storage = Arc::clone(&self.destination);
            let reading = tokio::spawn(read_part(storage, part, Arc::clone(&rules), known, into));
            let (mut batch, mut bytes) = (0, 0);
            while let Some(event) = events.recv().await {
                let event = event?;
                found.written += 1;
                match event.decision {
                    Decision::Earlier | Decision::Sent => found.earlier += 1,
                    Decision::Received => found.received += 1,
                    Decision::Filtered => found.filtered += 1,
                    Decision::Send if self.target.refusal(&event.outgoing).is_some() => {
                        found.refused += 1
                    }
                    Decision::Send => {
                        found.to_send += 1;
                        found.bytes += event.bytes;
                        let size = event.outgoing.event.len() + limits.event_overhead;
                        if batch == 0
                            || batch >= limits.batch_events
                            || bytes + size > limits.batch_bytes
                        {
                            found.requests += 1;
                            (batch, bytes) = (0, 0);
                        }
                        batch += 1;
                        bytes += size;
                    }
                }
            }
            reading.await.map_err(|_| DeliverError::Died)?;
        }
        let rate = self.pace.rate.map(|rate| u64::from(rate.get()));
        found.seconds = rate.map(|rate| found.to_send.div_ceil(rate));
        Ok(found)
    }

    async fn report_of_run(&self) -> Result<Report, DeliverError> {
        let id = || self.ledger.execution_id().clone();
        let storage = &*self.destination;
        let request = read_record::<RequestRecord>(storage, &self.ledger.request_key()).await?;
        let Some((request, _)) = request else {
            return Err(DeliverError::UnknownRun(id()));
        };
        if !matches!(request.request.output, OutputFormat::Ndjson(_)) {
            return Err(DeliverError::NotNdjson(id()));
        }
        let report = find_record::<Report>(storage, &self.ledger.report_key()).await?;
        match report {
            Some((report, _)) if report.verdict != Verdict::Incomplete || self.incomplete => {
                Ok(report)
            }
            _ => Err(DeliverError::Incomplete(id())),
        }
    }

    async fn rules(&self) -> Result<Rules, DeliverError> {
        let filters = self.terms.filters.matcher();
        Ok(Rules {
            filters: filters.map_err(|error| DeliverError::Filters(error.to_string()))?,
            missing: match &self.terms.only_missing {
                Some(id) => Some(self.missing(id).await?),
                None => None,
            },
            scope: format!("{}/{}", self.ledger.execution_id(), self.delivery_id),
            terms: self.terms.clone(),
        })
    }

    /// What the comparison found. It must be of what the run has now: events that came since would pass for received.
    async fn missing(&self, id: &ComparisonId) -> Result<Missing, DeliverError> {
        let missing = Missing::read(&*self.destination, self.ledger, id).await?;
        let mut fingerprint = RunFingerprint::default();
        let mut parts = parts(&*self.destination, self.ledger);
        while let Some(part) = parts.try_next().await? {
            fingerprint.add(&part);
        }
        match fingerprint.finish() == missing.outputs {
            true => Ok(missing),
            false => Err(DeliverError::RunChanged(id.clone())),
        }
    }

    /// Writes what was asked for, or compares it with what was asked for before.
    async fn freeze(&self, now: DateTime<Utc>) -> Result<DeliveryRecord, DeliverError> {
        let key = self.ledger.delivery_key(self.delivery_id, "delivery.json");
        let record = DeliveryRecord {
            version: LEDGER_VERSION,
            software: SOFTWARE.to_owned(),
            execution_id: self.ledger.execution_id().clone(),
            delivery_id: self.delivery_id.clone(),
            created_at: now,
            terms: self.terms.clone(),
        };
        let bytes = to_json(&key, &record)?;
        let written = self
            .destination
            .put_if(&key, bytes, Precondition::Absent)
            .await?;
        if written == Written::Yes {
            return Ok(record);
        }
        let known = read_record::<DeliveryRecord>(&*self.destination, &key).await?;
        let Some((known, _)) = known else {
            let detail = "it is gone".to_owned();
            return Err(LedgerError::Invalid { key, detail }.into());
        };
        match other_term(&known.terms, &self.terms) {
            None => Ok(known),
            Some(term) => Err(DeliverError::OtherTerms {
                delivery_id: self.delivery_id.clone(),
                term,
            }),
        }
    }

    /// The other deliveries of the run to the same target. Nobody knows whether standard output is the same as before.
    async fn earlier(&self) -> Result<Vec<ExecutionId>, DeliverError> {
        if self.terms.again || self.terms.target == "-" {
            return Ok(Vec::new());
        }
        let prefix = self.ledger.deliveries_prefix();
        let mut found = HashMap::new();
        let mut next: Option<String> = None;
        loop {
            let page = self
                .destination
                .list_level(&prefix, next.as_deref())
                .await?;
            for folder in page.folders {
                let name = folder[prefix.len()..].trim_end_matches('/');
                if let Ok(id) = ExecutionId::parse(name) {
                    found.insert(id.to_string(), id);
                }
            }
            match page.next {
                Some(cursor) => next = Some(cursor),
                None => break,
            }
        }
        found.remove(self.delivery_id.as_str());
        let mut same = Vec::new();
        for id in found.into_values() {
            let key = self.ledger.delivery_key(&id, "delivery.json");
            let record = find_record::<DeliveryRecord>(&*self.destination, &key).await?;
            if record.is_some_and(|(record, _)| record.terms.target == self.terms.target) {
                same.push(id);
            }
        }
        Ok(same)
    }

    /// The parts as they are sent: by the times of their objects where order was asked for.
    async fn parts_in_order(
        &self,
        report: &Report,
    ) -> Result<stream::BoxStream<'_, Result<Part, DeliverError>>, DeliverError> {
        let found = parts(&*self.destination, self.ledger).map_err(DeliverError::from);
        if !self.terms.ordered {
            return Ok(found.boxed());
        }
        let mut found: Vec<Part> = found.try_collect().await?;
        let org_id = &report.request.org_id;
        found.sort_by_cached_key(|part| {
            let time = ObjectTime::parse(part.key.name(), org_id, part.key.hour());
            (time.earliest(), part.key.to_string())
        });
        Ok(stream::iter(found.into_iter().map(Ok)).boxed())
    }
}

async fn forever(watching: impl Future<Output = ()>) {
    watching.await;
    // The senders see that the delivery stops, and end what is in flight.
    std::future::pending::<()>().await;
}

/// The first term that differs.
fn other_term(known: &DeliveryTerms, asked: &DeliveryTerms) -> Option<&'static str> {
    [
        (known.target != asked.target, "target"),
        (known.only_missing != asked.only_missing, "comparison"),
        (known.filters != asked.filters, "filter"),
        (known.from != asked.from || known.to != asked.to, "window"),
        (known.group_by != asked.group_by, "group"),
        (known.ordered != asked.ordered, "order"),
        (known.again != asked.again, "choice of sending again"),
        (known.detail_type != asked.detail_type, "detail type"),
        (known.event_source != asked.event_source, "source"),
        (known.attributes != asked.attributes, "attribute"),
    ]
    .iter()
    .find_map(|(differs, term)| differs.then_some(*term))
}
