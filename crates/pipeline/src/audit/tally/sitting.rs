//! One sitting of an audit: from its beginning, or from a checkpoint, to its end or until time is up.

use std::time::Instant;

use futures::TryStreamExt;

use super::Tally;
use super::checkpoint::{Checkpoint, Keeper};
use super::hours::HourInProgress;
use super::receipts::{Read, read_lists};
use super::step::{Place, Step};
use crate::audit::error::AuditError;
use crate::ledger::report::{AuditDigests, Report};
use crate::storage::listing::Cursor;
use crate::storage::{ListObjects, OpenObject, Records};

/// What an audit does besides comparing records and listings.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manner<'a> {
    /// Reads every file back.
    pub(crate) reread: Option<&'a dyn OpenObject>,
    /// Compares with what the newest audit saw. Not where its report is about to be replaced: records that
    /// were repaired since then may differ from it.
    pub(crate) compares_with_audit: bool,
    /// Whether a run that is not finished is to be waited for.
    pub(crate) waits: bool,
    /// When to stop.
    pub(crate) until: Option<Instant>,
}

/// How a sitting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sat {
    /// Everything is compared.
    ToTheEnd,
    /// A task has not ended.
    UntilUnfinished,
    /// Time was up. The next sitting resumes from the checkpoint.
    UntilTime,
}

/// An audit in progress.
pub(crate) struct Sitting<'a, D: ?Sized> {
    destination: &'a D,
    tally: Tally<'a>,
    step: Step,
    manner: Manner<'a>,
    keeper: Option<Keeper<'a>>,
}

impl<'a, D: ListObjects + Records + ?Sized> Sitting<'a, D> {
    /// An audit from its beginning.
    pub(crate) fn new(
        destination: &'a D,
        tally: Tally<'a>,
        manner: Manner<'a>,
        keeper: Option<Keeper<'a>>,
    ) -> Self {
        let step = match manner.waits {
            true => Step::Count {
                receipts: 0,
                cursor: Cursor::default(),
            },
            false => Step::Hours { done: 0 },
        };
        Self {
            destination,
            tally,
            step,
            manner,
            keeper,
        }
    }

    /// Goes on from the checkpoint. Returns whether it fits the run.
    pub(crate) fn resume(&mut self, checkpoint: Checkpoint) -> bool {
        let Some((step, sums)) = checkpoint.resume(&self.tally.digests) else {
            return false;
        };
        self.tally.sums = sums;
        // The count was for a run that was waited for, which is over now.
        self.step = match step {
            Step::Count { .. } if !self.manner.waits => Step::Hours { done: 0 },
            step => step,
        };
        true
    }

    /// Counts the receipts, if that is the next step. Tells whether all tasks may have ended: a listing shows
    /// that receipts are missing, at a fraction of the cost of reading them.
    pub(crate) async fn count(&mut self) -> Result<Sat, AuditError> {
        let Step::Count {
            mut receipts,
            mut cursor,
        } = self.step.clone()
        else {
            return Ok(Sat::ToTheEnd);
        };
        let prefix = self.tally.ledger.receipts_prefix();
        while let Some(page) = cursor.page(self.destination, &prefix).await? {
            receipts += page.objects.len() as u64;
            let cursor = cursor.clone();
            self.step = Step::Count { receipts, cursor };
            if self.pause().await? {
                return Ok(Sat::UntilTime);
            }
        }
        let planned = self.tally.planned_tasks();
        if planned.is_some_and(|planned| receipts < planned) {
            return Ok(Sat::UntilUnfinished);
        }
        self.step = Step::Hours { done: 0 };
        Ok(Sat::ToTheEnd)
    }

    /// The receipts that were counted, or read, so far.
    pub(crate) fn receipts(&self) -> u64 {
        let objects = &self.tally.sums.objects;
        match &self.step {
            Step::Count { receipts, .. } => *receipts,
            _ => objects.done + objects.failed,
        }
    }

    pub(crate) fn is_counting(&self) -> bool {
        matches!(self.step, Step::Count { .. })
    }

    /// Whether a checkpoint was written.
    pub(crate) fn has_progressed(&self) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| keeper.has_saved)
    }

    pub(crate) fn planned(&self) -> Option<u64> {
        self.tally.planned_tasks()
    }

    /// Whether failed tasks are among the sums. Such a task may be done later, unlike one that is done.
    pub(crate) fn has_failed(&self) -> bool {
        self.tally.sums.objects.failed > 0
    }

    /// Takes one step after the other.
    pub(crate) async fn sit(&mut self) -> Result<Sat, AuditError> {
        loop {
            let sat = match &self.step {
                Step::Count { .. } => self.count().await?,
                Step::Hours { done } => {
                    let done = *done;
                    self.add_hours(done).await?
                }
                Step::Receipts { .. } => self.subtract_receipts().await?,
                Step::NameReceipts { .. } => self.name_receipts().await?,
                Step::EarlierAudit => {
                    if self.manner.compares_with_audit {
                        self.tally.compare_with_audit(self.destination).await?;
                    }
                    let place = Place::default();
                    self.step = Step::Files { place };
                    Sat::ToTheEnd
                }
                Step::Files { .. } => self.subtract_files().await?,
                Step::NameFiles { .. } => self.name_files().await?,
                Step::Ended => return Ok(Sat::ToTheEnd),
            };
            if sat != Sat::ToTheEnd {
                return Ok(sat);
            }
        }
    }

    /// Reads the hours after the first `done`.
    async fn add_hours(&mut self, done: u64) -> Result<Sat, AuditError> {
        let hours = self.tally.hours();
        let rest = hours
            .into_iter()
            .skip(usize::try_from(done).unwrap_or(usize::MAX));
        let lists = rest.flat_map(|hour| self.tally.lists_of(hour)).collect();
        let (destination, ledger) = (self.destination, self.tally.ledger);
        let mut read = read_lists(destination, ledger, lists, |_| true);
        let mut hour: Option<HourInProgress> = None;
        while let Some(item) = read.try_next().await? {
            match item {
                Read::List(list, frozen) => {
                    let is_next = hour.as_ref().is_some_and(|hour| hour.hour() != list.hour);
                    if is_next && let Some(ended) = hour.take() {
                        let sat = self.end_hour(ended).await?;
                        if sat != Sat::ToTheEnd {
                            return Ok(sat);
                        }
                    }
                    let hour = hour.get_or_insert_with(|| HourInProgress::new(list.hour));
                    let frozen = match &frozen {
                        Ok(frozen) => Ok(frozen.as_deref()),
                        Err(error) => Err(error.clone()),
                    };
                    self.tally.begin_list(hour, list, frozen);
                }
                Read::Task(task) => {
                    let Some(hour) = &mut hour else { continue };
                    self.tally.add_task(hour, task);
                    if self.manner.waits && hour.is_unfinished() {
                        return Ok(Sat::UntilUnfinished);
                    }
                    // In the middle of an hour there is nothing to save.
                    if self.is_over() {
                        return Ok(Sat::UntilTime);
                    }
                }
            }
        }
        drop(read);
        if let Some(ended) = hour {
            let sat = self.end_hour(ended).await?;
            if sat != Sat::ToTheEnd {
                return Ok(sat);
            }
        }
        let cursor = Cursor::default();
        self.step = match self.tally.knows_all_tasks() {
            true => Step::Receipts { cursor },
            // They may belong to tasks that were listed meanwhile, or whose lists are gone.
            false => Step::EarlierAudit,
        };
        Ok(Sat::ToTheEnd)
    }

    async fn end_hour(&mut self, hour: HourInProgress) -> Result<Sat, AuditError> {
        self.tally.end_hour(hour);
        if let Step::Hours { done } = &mut self.step {
            *done += 1;
        }
        match self.pause().await? {
            true => Ok(Sat::UntilTime),
            false => Ok(Sat::ToTheEnd),
        }
    }

    async fn subtract_receipts(&mut self) -> Result<Sat, AuditError> {
        let prefix = self.tally.ledger.receipts_prefix();
        while let Step::Receipts { cursor } = &mut self.step
            && let Some(page) = cursor.page(self.destination, &prefix).await?
        {
            self.tally.subtract_receipts(&prefix, page);
            if self.pause().await? {
                return Ok(Sat::UntilTime);
            }
        }
        let cursor = Cursor::default();
        self.step = match self.tally.sums.receipts.differing().is_empty() {
            true => Step::EarlierAudit,
            false => Step::NameReceipts { cursor },
        };
        Ok(Sat::ToTheEnd)
    }

    async fn name_receipts(&mut self) -> Result<Sat, AuditError> {
        let prefix = self.tally.ledger.receipts_prefix();
        let known = self.tally.known_receipts(self.destination).await?;
        while let Step::NameReceipts { cursor } = &mut self.step
            && let Some(page) = cursor.page(self.destination, &prefix).await?
        {
            self.tally.name_receipts(&known, page);
            if self.pause().await? {
                return Ok(Sat::UntilTime);
            }
        }
        self.tally.tell_unnamed_receipts(&known);
        self.step = Step::EarlierAudit;
        Ok(Sat::ToTheEnd)
    }

    async fn subtract_files(&mut self) -> Result<Sat, AuditError> {
        let prefixes = self.tally.file_prefixes();
        while let Step::Files { place } = &mut self.step
            && let Some(prefix) = prefixes.get(place.listings_done)
        {
            let Some(page) = place.cursor.page(self.destination, prefix).await? else {
                *place = place.next();
                continue;
            };
            self.tally
                .subtract_files(self.destination, page, self.manner.reread)
                .await?;
            if self.pause().await? {
                return Ok(Sat::UntilTime);
            }
        }
        self.step = match self.tally.sums.files.differing().is_empty() {
            true => Step::Ended,
            false => Step::NameFiles {
                expected: self.tally.expected_files(self.destination).await?,
                place: Place::default(),
            },
        };
        Ok(Sat::ToTheEnd)
    }

    async fn name_files(&mut self) -> Result<Sat, AuditError> {
        let groups = self.tally.named_groups(&self.tally.sums.files);
        let prefixes = self.tally.file_prefixes();
        while let Step::NameFiles { expected, place } = &mut self.step
            && let Some(prefix) = prefixes.get(place.listings_done)
        {
            let Some(page) = place.cursor.page(self.destination, prefix).await? else {
                *place = place.next();
                continue;
            };
            self.tally.name_files(&groups, expected, page);
            if self.pause().await? {
                return Ok(Sat::UntilTime);
            }
        }
        if let Step::NameFiles { expected, .. } = std::mem::replace(&mut self.step, Step::Ended) {
            self.tally.tell_absent_files(&groups, expected);
        }
        Ok(Sat::ToTheEnd)
    }

    fn is_over(&self) -> bool {
        self.manner
            .until
            .is_some_and(|until| Instant::now() >= until)
    }

    /// Whether to stop here. Saves what the audit has come to when it is due, and before stopping.
    async fn pause(&mut self) -> Result<bool, AuditError> {
        let is_over = self.is_over();
        if let Some(keeper) = &mut self.keeper
            && (is_over || keeper.is_due())
        {
            let Tally { digests, sums, .. } = &self.tally;
            keeper
                .save(self.destination, digests, &self.step, sums)
                .await?;
        }
        Ok(is_over)
    }

    /// The report of an audit that has sat to the end, and the digests of the records it was computed from.
    pub(crate) fn into_report(self) -> (Report, AuditDigests, Option<Keeper<'a>>) {
        let (report, digests) = self.tally.into_report();
        (report, digests, self.keeper)
    }

    pub(crate) fn into_keeper(self) -> Option<Keeper<'a>> {
        self.keeper
    }
}
