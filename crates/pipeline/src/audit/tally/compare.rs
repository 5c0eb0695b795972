//! Compares the tally with the earlier audit and with the files in the destination.

use event_recovery_format::OutputFormat;
use futures::TryStreamExt;

use super::{DISAGREEMENTS_MAX, RUN_AGAIN, Tally};
use crate::audit::error::AuditError;
use crate::audit::file_check::check_content;
use crate::ledger::report::AuditDigests;
use crate::ledger::{LedgerError, read_sealed, read_version, report_digest, seal};
use crate::storage::listing::list_pages;
use crate::storage::{ListObjects, ListedObject, OpenObject, Records};

impl Tally<'_> {
    /// Looks for receipts that belong to no task. Before the plan is complete, they may belong to a task
    /// that was listed meanwhile.
    pub(crate) async fn compare_receipts<D: ListObjects + ?Sized>(
        &mut self,
        destination: &D,
    ) -> Result<(), AuditError> {
        if self.plan.is_none() || self.unlisted_hours > 0 {
            return Ok(());
        }
        let mut strays = Vec::new();
        let prefix = self.ledger.receipts_prefix();
        let mut pages = list_pages(destination, &prefix);
        while let Some(page) = pages.try_next().await? {
            let keys = page.objects.into_iter().map(|object| object.key);
            strays.extend(keys.filter(|key| !self.receipt_keys.contains(key)));
            strays.extend(page.unreadable.into_iter().map(|entry| entry.name));
            strays.truncate(DISAGREEMENTS_MAX);
        }
        for key in strays {
            self.disagree(format!("the receipt `{key}` belongs to no task of the run"));
        }
        Ok(())
    }

    /// Compares report, plan and receipts with what the newest audit saw.
    pub(crate) async fn compare_with_audit<D: Records + ?Sized>(
        &mut self,
        destination: &D,
    ) -> Result<(), AuditError> {
        let (report_key, digests_key) = (self.ledger.report_key(), self.ledger.digests_key());
        let Some(record) = destination.find(&report_key).await? else {
            return Ok(());
        };
        let report = match read_version(&report_key, &record.bytes) {
            Ok(version) if version < seal::SEALED_SINCE_VERSION => {
                self.unverifiable_records += 1;
                return Ok(());
            }
            Ok(_) => report_digest(&report_key, &record.bytes)?,
            Err(error @ LedgerError::Newer { .. }) => return Err(error.into()),
            // It is not what the audit wrote, as the digests will say.
            Err(_) => String::new(),
        };
        let audit = match read_sealed::<AuditDigests>(destination, &digests_key).await {
            Ok(Some(audit)) => audit,
            Ok(None) => {
                self.disagree(format!("the record `{digests_key}` is gone; {RUN_AGAIN}"));
                return Ok(());
            }
            Err(error @ LedgerError::Invalid { .. }) => {
                self.disagree(format!("{error}; {RUN_AGAIN}, which writes it anew"));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.check_seal(&digests_key, audit.seal);
        let audit = audit.value;
        let plan_key = self.ledger.plan_key();
        for (key, then, now) in [
            (report_key, Some(audit.report), Some(report)),
            (plan_key, audit.plan, self.plan_digest.clone()),
        ] {
            if then.is_some() && then != now {
                self.disagree(format!("the record `{key}` was changed after the audit"));
            }
        }
        for (hour, then) in audit.receipts {
            if self.receipts_digests.get(&hour) != Some(&then) {
                self.disagree(format!(
                    "receipts of hour `{hour}` were changed after the audit"
                ));
            }
        }
        Ok(())
    }

    /// Compares the files in the destination with those that the receipts name, in both directions.
    pub(crate) async fn compare_files<D: ListObjects + ?Sized>(
        &mut self,
        destination: &D,
        reread: Option<&dyn OpenObject>,
    ) -> Result<(), AuditError> {
        let success_key = self.ledger.success_key();
        let format = self.request.request.output;
        for prefix in [self.ledger.output_prefix(), self.ledger.rejected_prefix()] {
            let mut pages = list_pages(destination, &prefix);
            while let Some(page) = pages.try_next().await? {
                for file in page.objects.iter().filter(|file| file.key != success_key) {
                    self.compare_file(file, reread, format).await?;
                }
                // No task writes such names, but a reader of the folder may read such files.
                for entry in &page.unreadable {
                    self.disagree(format!("`{}` belongs to no task of the run", entry.name));
                }
            }
        }
        let mut absent: Vec<String> = self.files.drain().map(|(key, _)| key).collect();
        absent.sort_unstable();
        for key in absent {
            self.disagree(format!("`{key}` is gone: remove its receipt and run again"));
        }
        Ok(())
    }

    async fn compare_file(
        &mut self,
        file: &ListedObject,
        reread: Option<&dyn OpenObject>,
        format: OutputFormat,
    ) -> Result<(), AuditError> {
        let (key, size) = (&file.key, file.size);
        match (self.files.remove(key), reread) {
            (Some(expected), _) if expected.size != size => {
                let expected = expected.size;
                self.disagree(format!("`{key}` has {size} bytes instead of {expected}"));
            }
            (Some(expected), Some(storage)) => {
                let finding = check_content(storage, file, &expected, format).await?;
                if let Some(finding) = finding {
                    self.disagree(format!("`{key}` {finding}"));
                }
            }
            (Some(_), None) => {}
            // While tasks are open, a file can be there before its receipt.
            (None, _) if self.objects.missing > 0 || self.objects.failed > 0 => {}
            (None, _) => self.disagree(format!("`{key}` belongs to no task of the run")),
        }
        Ok(())
    }

    pub(super) fn compare_plan(&mut self) {
        let Some(plan) = &self.plan else { return };
        let (planned, found) = (plan.objects, &self.objects);
        let is_equal = (planned.listed, planned.pruned, planned.planned)
            == (found.listed, found.pruned, found.planned)
            && (plan.bytes, plan.foreign_names) == (self.listed_bytes, self.listed_foreign_names)
            && plan.hours == self.hours.len() as u64 + self.unlisted_hours;
        if !is_equal {
            self.disagree("the plan does not agree with its task lists".to_owned());
        }
    }
}
