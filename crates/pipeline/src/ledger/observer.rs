//! Progress of a run.

use crate::ledger::plan_record::PlanRecord;
use crate::ledger::receipt::Receipt;

/// Receives progress. Called from several threads, some of which must not block.
pub trait Observer: Send + Sync {
    /// Objects were planned; their bytes as stored.
    fn planned(&self, _objects: u64, _bytes: u64) {}
    /// The plan is complete.
    fn plan_complete(&self, _plan: &PlanRecord) {}
    /// Bytes of an object were decoded, and events found in them. Called about every 256 KiB.
    fn read(&self, _bytes: u64, _events: u64) {}
    /// A task ended, now or in an earlier attempt of the run.
    fn task_ended(&self, _receipt: &Receipt) {}
    /// All tasks have ended, and the audit begins.
    fn auditing(&self) {}
    /// A task is retried after a transient failure.
    fn task_delayed(&self, _problem: &str) {}
}

/// Ignores all progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}
