//! Writes a run's report and the mark of a complete run, even while another auditor of the same run does
//! the same.

use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use crate::audit::error::AuditError;
use crate::ledger::report::{AuditDigests, Report, Verdict};
use crate::ledger::{Ledger, LedgerError, read_record, report_digest, to_json, to_unsealed_json};
use crate::page::report_page;
use crate::storage::{Precondition, Records, Written};

/// Most audits of one call, each repeated because another auditor wrote its report meanwhile.
pub(crate) const CONFLICTS_MAX: u32 = 16;

/// The report as it was before an audit began to read its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReportBefore {
    /// `None` if there was none.
    etag: Option<String>,
    /// Its verdict, if it can be read.
    pub(crate) verdict: Option<Verdict>,
}

impl ReportBefore {
    /// Call before reading the run: the new report then replaces only a report written before that, so that
    /// the report of the newest audit stays.
    pub(crate) async fn look(
        destination: &(impl Records + ?Sized),
        ledger: &Ledger,
    ) -> Result<Self, AuditError> {
        #[derive(Deserialize)]
        struct AnyReport {
            verdict: Verdict,
        }
        let known = destination.find(&ledger.report_key()).await?;
        let report = known
            .as_ref()
            .and_then(|known| serde_json::from_slice::<AnyReport>(&known.bytes).ok());
        Ok(Self {
            etag: known.map(|known| known.etag),
            verdict: report.map(|report| report.verdict),
        })
    }
}

/// Where the report of an audit belongs.
pub(crate) struct ReportSlot<'a, D: ?Sized> {
    destination: &'a D,
    ledger: &'a Ledger,
    precondition: Precondition,
}

impl<'a, D: Records + ?Sized> ReportSlot<'a, D> {
    /// The slot of an audit that is to replace this report.
    pub(crate) fn new(destination: &'a D, ledger: &'a Ledger, before: &ReportBefore) -> Self {
        Self {
            destination,
            ledger,
            precondition: match &before.etag {
                None => Precondition::Absent,
                Some(etag) => Precondition::Unchanged(etag.clone()),
            },
        }
    }

    /// Writes the report, the digests of its records, and the mark, unless another report was written
    /// meanwhile: then the run must be audited again.
    pub(crate) async fn write(
        self,
        report: &Report,
        digests: AuditDigests,
    ) -> Result<Written, AuditError> {
        let (key, digests_key) = (self.ledger.report_key(), self.ledger.digests_key());
        // First, so that an audit that is cut short does not leave the mark next to a worse report.
        if report.verdict != Verdict::Complete {
            self.destination.delete(&self.ledger.success_key()).await?;
        }
        let bytes = to_unsealed_json(&key, report)?;
        let digest = report_digest(&key, &bytes)?;
        let precondition = self.precondition.clone();
        let mut written = self.destination.put_if(&key, bytes, precondition).await?;
        if written == Written::Yes {
            let digests = AuditDigests {
                report: digest.clone(),
                ..digests
            };
            let bytes = to_json(&digests_key, &digests)?;
            self.destination.put(&digests_key, bytes).await?;
            // Another auditor may have written its own report and digests in between. Where they
            // say the same, it does not matter whose are there.
            let now = self.destination.find(&key).await?;
            let is_same = match now {
                Some(record) => report_digest(&key, &record.bytes)? == digest,
                None => false,
            };
            if !is_same {
                written = Written::PreconditionFailed;
            }
        }
        if written == Written::PreconditionFailed {
            debug!(key, "another auditor has written its report meanwhile");
        }
        self.settle_mark().await?;
        Ok(written)
    }

    /// Makes the mark agree with the current report, even if another auditor wrote it: its finality is in the
    /// mark. Reads the report
    /// again afterwards: the auditor of an even later report settles the mark after this one.
    async fn settle_mark(&self) -> Result<(), AuditError> {
        let (key, mark) = (self.ledger.report_key(), self.ledger.success_key());
        let mut settled = None;
        for _ in 0..CONFLICTS_MAX {
            let Some((report, etag)) = read_record::<Report>(self.destination, &key).await? else {
                return Ok(());
            };
            if settled.as_ref() == Some(&etag) {
                return Ok(());
            }
            match report.verdict {
                Verdict::Complete => self.destination.put(&mark, mark_of(&report)?).await?,
                Verdict::NeedsLook | Verdict::Incomplete => self.destination.delete(&mark).await?,
            }
            self.write_page(&report).await;
            settled = Some(etag);
        }
        Err(conflict(self.ledger).into())
    }
}

impl<D: Records + ?Sized> ReportSlot<'_, D> {
    /// Writes the report's page. It is a view of the report, which is written already: people do without the page if that
    /// fails, and the next audit writes it anew.
    async fn write_page(&self, report: &Report) {
        let key = self.ledger.page_key();
        match report_page(report) {
            Ok(page) => {
                if let Err(error) = self.destination.put(&key, page.into_bytes()).await {
                    warn!(key, %error, "the report's page could not be written");
                }
            }
            Err(error) => warn!(key, %error, "the report's page could not be made"),
        }
    }
}

/// The report changed during every audit of the run.
pub(crate) fn conflict(ledger: &Ledger) -> LedgerError {
    LedgerError::Invalid {
        key: ledger.report_key(),
        detail: "it changes with every attempt to write it".to_owned(),
    }
}

/// The mark of a complete run: its finality in one line, so that readers of the output need not read the
/// report.
fn mark_of(report: &Report) -> Result<Vec<u8>, LedgerError> {
    let Some(finality) = &report.finality else {
        return Ok(Vec::new());
    };
    let mut line = serde_json::to_vec(finality).map_err(|error| LedgerError::Invalid {
        key: Ledger::new(report.execution_id.clone()).success_key(),
        detail: error.to_string(),
    })?;
    line.push(b'\n');
    Ok(line)
}
