//! Compares the events of a run with the ids that a consumer has: which does it lack?

pub(crate) mod error;
pub(crate) mod id_files;
pub(crate) mod received;
pub(crate) mod record;
pub(crate) mod sorter;

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use event_recovery_format::{Envelope, EnvelopeScratch, OutputFormat};
use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};

use crate::compare::error::CompareError;
use crate::compare::id_files::{IdFiles, Repeated};
use crate::compare::received::{ReceivedFile, read_received};
use crate::compare::record::{
    ComparedEvents, ComparedInput, Comparison, ComparisonId, Duplicates, RepeatedIds,
};
use crate::compare::sorter::{Keyed, Sorted, Sorter};
use crate::ledger::report::Report;
use crate::ledger::{LEDGER_VERSION, Ledger, RequestRecord, SOFTWARE, read_record, to_json};
use crate::recovered::lines::EventLines;
use crate::recovered::parts::{RunFingerprint, etag_of, parts};
use crate::storage::RunStorage;

/// Bytes of the digest of an event.
const DIGEST_BYTES: usize = 32;

/// What is to be compared.
pub struct Comparing<'a> {
    /// The run's destination.
    pub destination: Arc<dyn RunStorage>,
    /// The run.
    pub ledger: &'a Ledger,
    /// Files with the ids that the consumer has.
    pub received: Vec<ReceivedFile>,
    /// The column of those that are CSV or Parquet.
    pub column: String,
    /// Where sorted ids are kept meanwhile: as much as the ids of both sides take.
    pub folder: &'a Path,
    /// Hears how many events and ids were read.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

impl Comparing<'_> {
    /// Compares, and writes what was found into the run's ledger. Memory does not grow with the number of ids.
    ///
    /// # Errors
    ///
    /// See [`CompareError`]; no comparison is recorded then.
    pub async fn compare(&self, now: DateTime<Utc>) -> Result<Comparison, CompareError> {
        let (destination, ledger) = (&*self.destination, self.ledger);
        let request = read_record::<RequestRecord>(destination, &ledger.request_key()).await?;
        let Some((request, _)) = request else {
            return Err(CompareError::UnknownRun(ledger.execution_id().clone()));
        };
        if !matches!(request.request.output, OutputFormat::Ndjson(_)) {
            return Err(CompareError::NotNdjson(ledger.execution_id().clone()));
        }
        let report = read_record::<Report>(destination, &ledger.report_key()).await?;
        let Some((report, _)) = report else {
            return Err(CompareError::NotAudited(ledger.execution_id().clone()));
        };
        let mut files = IdFiles::new(&*self.destination, ledger, ComparisonId::new(now)?);
        let (run_ids, mut events, outputs) = self.run_ids(&mut files).await?;
        let (received_ids, inputs) = self.received_ids().await?;
        let mut found = Join::default();
        found.join(run_ids, received_ids, &mut files).await?;
        events.missing = found.missing_events;
        events.received = found.received_events;
        // Whoever delivers must know that all events were seen.
        if events.found != report.events.written {
            return Err(CompareError::OtherEvents {
                execution_id: ledger.execution_id().clone(),
                found: events.found,
                written: report.events.written,
            });
        }
        let counts = files.finish().await?;
        let comparison = Comparison {
            version: LEDGER_VERSION,
            software: SOFTWARE.to_owned(),
            execution_id: ledger.execution_id().clone(),
            comparison_id: counts.id,
            created_at: now,
            run_verdict: report.verdict,
            run_is_final: report.finality.is_some_and(|finality| finality.is_final),
            outputs,
            column: self.column.clone(),
            inputs,
            events,
            missing: found.missing,
            received: found.received,
            unknown: found.unknown,
            duplicates: Duplicates {
                in_run: RepeatedIds {
                    same_bytes: found.same_bytes,
                    other_bytes: found.other_bytes,
                },
                in_received: found.received_again,
            },
            missing_files: counts.missing,
            unknown_files: counts.unknown,
            repeated_files: counts.repeated,
            positions_files: counts.positions,
        };
        let key = ledger.comparison_key(&comparison.comparison_id);
        destination.put(&key, to_json(&key, &comparison)?).await?;
        Ok(comparison)
    }

    /// The ids of the run's events with the digests of their bytes, sorted.
    async fn run_ids(
        &self,
        files: &mut IdFiles<'_>,
    ) -> Result<(Sorted, ComparedEvents, String), CompareError> {
        let mut sorter = Sorter::new(self.folder, DIGEST_BYTES);
        let mut events = ComparedEvents::default();
        let mut fingerprint = RunFingerprint::default();
        let mut parts = parts(&*self.destination, self.ledger);
        while let Some(part) = parts.try_next().await? {
            fingerprint.add(&part);
            let mut position = 0;
            for output in part.outputs {
                let etag = etag_of(&*self.destination, &output.key).await?;
                let destination = Arc::clone(&self.destination);
                let reading = tokio::task::spawn_blocking(move || {
                    let mut positions = Vec::new();
                    let first = position;
                    let reader = destination.open_here(&output.key, &etag)?;
                    let mut lines = EventLines::new(reader, &output)?;
                    let mut scratch = EnvelopeScratch::default();
                    while let Some(event) = lines.next()? {
                        match Envelope::read(event, &mut scratch).event_id() {
                            Some(id) => sorter.push(id.as_bytes(), &Sha256::digest(event))?,
                            None => positions.push(position),
                        }
                        position += 1;
                    }
                    Ok::<_, CompareError>((sorter, positions, position - first, position))
                });
                let (sorter_back, positions, read, next) = reading.await??;
                (sorter, position) = (sorter_back, next);
                events.found += read;
                events.without_id += positions.len() as u64;
                (self.progress)(read, 0);
                for position in positions {
                    files.without_id(&part.task, position).await?;
                }
            }
        }
        let sorted = tokio::task::spawn_blocking(move || sorter.sorted()).await??;
        Ok((sorted, events, fingerprint.finish()))
    }

    async fn received_ids(&self) -> Result<(Sorted, Vec<ComparedInput>), CompareError> {
        let mut sorter = Sorter::new(self.folder, 0);
        let mut inputs = Vec::new();
        for file in &self.received {
            let (read, folder) = (file.clone(), self.folder.to_owned());
            let column = self.column.clone();
            let reading = tokio::task::spawn_blocking(move || {
                let ids = read_received(&read, &column, &folder, |id| sorter.push(id, &[]))?;
                Ok::<_, CompareError>((sorter, ids))
            });
            let (back, ids) = reading.await??;
            sorter = back;
            (self.progress)(0, ids);
            inputs.push(ComparedInput {
                name: file.name.clone(),
                bytes: file.object.size,
                etag: file.object.etag.clone(),
                ids,
            });
        }
        let sorted = tokio::task::spawn_blocking(move || sorter.sorted()).await??;
        Ok((sorted, inputs))
    }
}

/// What the comparison has come to.
#[derive(Default)]
struct Join {
    missing: u64,
    received: u64,
    unknown: u64,
    same_bytes: u64,
    other_bytes: u64,
    received_again: u64,
    missing_events: u64,
    received_events: u64,
}

/// One id of a side, with how often it occurs there.
struct Group {
    id: Vec<u8>,
    events: u64,
    /// Different payloads.
    contents: u64,
}

/// Gives the ids of a side one by one.
struct Groups {
    sorted: Sorted,
    next: Keyed,
    has_next: bool,
}

impl Groups {
    fn new(mut sorted: Sorted) -> Result<Self, CompareError> {
        let mut next = Keyed::default();
        let has_next = sorted.next_into(&mut next)?;
        Ok(Self {
            sorted,
            next,
            has_next,
        })
    }

    fn next(&mut self) -> Result<Option<Group>, CompareError> {
        if !self.has_next {
            return Ok(None);
        }
        let mut group = Group {
            id: self.next.id().to_vec(),
            events: 1,
            contents: 1,
        };
        let mut payload = self.next.payload().to_vec();
        loop {
            self.has_next = self.sorted.next_into(&mut self.next)?;
            if !self.has_next || self.next.id() != group.id {
                return Ok(Some(group));
            }
            group.events += 1;
            if self.next.payload() != payload {
                group.contents += 1;
                payload.clear();
                payload.extend_from_slice(self.next.payload());
            }
        }
    }
}

impl Join {
    async fn join(
        &mut self,
        run: Sorted,
        received: Sorted,
        files: &mut IdFiles<'_>,
    ) -> Result<(), CompareError> {
        let (mut run, mut received) = (Groups::new(run)?, Groups::new(received)?);
        let (mut ours, mut theirs) = (run.next()?, received.next()?);
        loop {
            let order = match (&ours, &theirs) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(ours), Some(theirs)) => ours.id.cmp(&theirs.id),
            };
            if order.is_le()
                && let Some(group) = ours.take()
            {
                self.of_run(&group, order.is_lt(), files).await?;
                ours = run.next()?;
            }
            if order.is_ge()
                && let Some(group) = theirs.take()
            {
                self.received_again += u64::from(group.events > 1);
                if order.is_gt() {
                    self.unknown += 1;
                    files.unknown(&group.id).await?;
                }
                theirs = received.next()?;
            }
        }
    }

    async fn of_run(
        &mut self,
        group: &Group,
        is_missing: bool,
        files: &mut IdFiles<'_>,
    ) -> Result<(), CompareError> {
        match is_missing {
            true => {
                self.missing += 1;
                self.missing_events += group.events;
                files.missing(&group.id).await?;
            }
            false => {
                self.received += 1;
                self.received_events += group.events;
            }
        }
        if group.events > 1 {
            match group.contents {
                1 => self.same_bytes += 1,
                _ => self.other_bytes += 1,
            }
            files
                .repeated(&Repeated {
                    id: &String::from_utf8_lossy(&group.id),
                    events: group.events,
                    contents: group.contents,
                })
                .await?;
        }
        Ok(())
    }
}
