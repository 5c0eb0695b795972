//! What a run tells whoever watches it.

use crate::ledger::plan_record::PlanRecord;
use crate::ledger::receipt::Receipt;

/// Is told how a run goes on. Called from several threads.
pub trait Observer: Send + Sync {
    /// Objects were planned, with so many bytes as stored.
    fn planned(&self, _objects: u64, _bytes: u64) {}
    /// The plan is complete.
    fn plan_complete(&self, _plan: &PlanRecord) {}
    /// Bytes of an object were read, as decoded, and so many events found in them.
    fn read(&self, _bytes: u64, _events: u64) {}
    /// A task ended, now or in an earlier attempt of the run.
    fn task_ended(&self, _receipt: &Receipt) {}
    /// A task is tried again after a passing failure.
    fn task_delayed(&self, _problem: &str) {}
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}
