//! Compares the tally with the plan, with the earlier audit, and with the listings of receipts and files.

use super::groups::{group_of, task_of};
use super::hours::files_of;
use super::naming::receipt_group;
use super::{RUN_AGAIN, Tally};
use crate::audit::error::AuditError;
use crate::audit::file_check::{ExpectedFile, check_content};
use crate::ledger::receipt::FoundReceipt;
use crate::ledger::report::AuditDigests;
use crate::ledger::{LedgerError, read_sealed, read_version, report_digest, seal};
use crate::storage::{ListPage, ListedObject, OpenObject, Records};

impl Tally<'_> {
    /// Whether every receipt must be of a task that was read. Before the plan is complete, it may be of one
    /// that was listed meanwhile.
    pub(super) fn knows_all_tasks(&self) -> bool {
        let sums = &self.sums;
        self.plan.is_some() && sums.unlisted_hours == 0 && sums.lost_late_lists == 0
    }

    pub(super) fn subtract_receipts(&mut self, prefix: &str, page: ListPage) {
        for object in page.objects {
            let key = object.key;
            match receipt_group(prefix, &key) {
                Some(group) => self.sums.receipts.subtract(group, &key, 0),
                None => self.disagree(format!("the receipt `{key}` belongs to no task of the run")),
            }
        }
        for entry in page.unreadable {
            let name = entry.name;
            self.disagree(format!(
                "the receipt `{name}` belongs to no task of the run"
            ));
        }
    }

    /// Where the files of the run are.
    pub(super) fn file_prefixes(&self) -> [String; 2] {
        [self.ledger.output_prefix(), self.ledger.rejected_prefix()]
    }

    pub(super) async fn subtract_files<D: Records + ?Sized>(
        &mut self,
        destination: &D,
        page: ListPage,
        reread: Option<&dyn OpenObject>,
    ) -> Result<(), AuditError> {
        let success_key = self.ledger.success_key();
        for file in page.objects {
            if file.key == success_key {
                continue;
            }
            let Some(group) = group_of(&file.key) else {
                let key = file.key;
                self.disagree(format!("`{key}` belongs to no task of the run"));
                continue;
            };
            self.sums.files.subtract(group, &file.key, file.size);
            if let Some(storage) = reread {
                self.reread(destination, storage, &file).await?;
            }
        }
        // No task writes such names, but a reader of the folder may read such files.
        for entry in page.unreadable {
            self.disagree(format!("`{}` belongs to no task of the run", entry.name));
        }
        Ok(())
    }

    /// Compares the content of a file with what its receipt says. Whether it has a receipt is found out
    /// apart.
    async fn reread<D: Records + ?Sized>(
        &mut self,
        destination: &D,
        storage: &dyn OpenObject,
        file: &ListedObject,
    ) -> Result<(), AuditError> {
        let Some(task) = task_of(&file.key) else {
            return Ok(());
        };
        let receipt_key = format!("{}{task}.json", self.ledger.receipts_prefix());
        let found = FoundReceipt::read(destination, &receipt_key).await?;
        let FoundReceipt::Receipt(receipt) = found else {
            return Ok(());
        };
        let Some(done) = receipt.value.state.into_written() else {
            return Ok(());
        };
        let named = files_of(done).find(|(output, _)| output.key == file.key);
        let Some((output, rejected)) = named.filter(|(output, _)| output.size == file.size) else {
            return Ok(());
        };
        let expected = ExpectedFile {
            crc64nvme: output.crc64nvme,
            rows: output.rows,
            rejected,
        };
        let format = self.request.request.output;
        if let Some(finding) = check_content(storage, file, &expected, format).await? {
            self.disagree(format!("`{}` {finding}", file.key));
        }
        Ok(())
    }

    /// Compares report, plan and receipts with what the newest audit saw.
    pub(super) async fn compare_with_audit<D: Records + ?Sized>(
        &mut self,
        destination: &D,
    ) -> Result<(), AuditError> {
        let (report_key, digests_key) = (self.ledger.report_key(), self.ledger.digests_key());
        let Some(record) = destination.find(&report_key).await? else {
            return Ok(());
        };
        let report = match read_version(&report_key, &record.bytes) {
            Ok(version) if version < seal::SEALED_SINCE_VERSION => {
                self.sums.unverifiable_records += 1;
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
            (plan_key, audit.plan, self.digests.plan.clone()),
        ] {
            if then.is_some() && then != now {
                self.disagree(format!("the record `{key}` was changed after the audit"));
            }
        }
        if !self.digests.late_plans.starts_with(&audit.late_plans) {
            self.disagree("late plans were changed after the audit".to_owned());
        }
        let first = audit.receipts.into_iter();
        let first = first.map(|(hour, digest)| (hour.label(), digest));
        for (label, then) in first.chain(audit.late_receipts) {
            if self.sums.receipts_digests.get(&label) != Some(&then) {
                self.disagree(format!(
                    "receipts of hour `{label}` were changed after the audit"
                ));
            }
        }
        Ok(())
    }

    pub(super) fn compare_plan(&mut self) {
        let Some(plan) = &self.plan else { return };
        let mut planned = plan.objects;
        let (mut bytes, mut foreign_names) = (plan.bytes, plan.foreign_names);
        for late in &self.late_plans {
            planned.listed += late.objects.listed;
            planned.pruned += late.objects.pruned;
            planned.planned += late.objects.planned;
            bytes += late.bytes;
            foreign_names += late.foreign_names;
        }
        let sums = &self.sums;
        let found = &sums.objects;
        let is_equal = (planned.listed, planned.pruned, planned.planned)
            == (found.listed, found.pruned, found.planned)
            && (bytes, foreign_names) == (sums.listed_bytes, sums.listed_foreign_names)
            && plan.hours == sums.listed_hours + sums.unlisted_hours;
        if !is_equal {
            self.disagree("the plan does not agree with its task lists".to_owned());
        }
    }
}
