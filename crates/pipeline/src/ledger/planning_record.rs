//! The records of a planner's newest call, for callers that do not wait for its answer: `planning.json`, its
//! state, and `refused.json`, why it has failed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ledger::{Ledger, LedgerError, Versioned, read_record};
use crate::storage::Records;

/// The state of the planner's newest call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanningRecord {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub version: u32,
    /// When the call began.
    pub called_at: DateTime<Utc>,
    /// In the same JSON object as the other fields.
    #[serde(flatten)]
    pub state: PlanningState,
}

/// The state of a planner's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PlanningState {
    /// It is running, or has died. If it has failed, there is a [`Refusal`].
    Planning,
    /// It has reached its deadline; another call resumes the plan.
    OutOfTime {
        /// Hours whose tasks are queued.
        hours_done: u64,
        /// Hours of the window.
        hours: u64,
    },
    /// The plan is complete and its tasks are queued.
    Planned {
        /// Tasks that this call queued.
        tasks_queued: u64,
    },
}

/// Why a call of the planner has failed. It is removed when another call resumes the run, and applies to
/// the run only while the plan is not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub version: u32,
    /// Whether a retry may succeed.
    pub kind: RefusalKind,
    /// The error's text.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// When the call began.
    pub called_at: DateTime<Utc>,
}

/// Whether repeating the call may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// Permanent: the request must change first.
    Refused,
    /// Transient: the same call may succeed later.
    Transient,
}

impl RefusalKind {
    /// The kind as the record writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Transient => "transient",
        }
    }
}

impl Versioned for PlanningRecord {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Versioned for Refusal {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Refusal {
    /// The run's refusal, if there is one.
    ///
    /// # Errors
    ///
    /// The ledger's.
    pub async fn read(
        records: &(impl Records + ?Sized),
        ledger: &Ledger,
    ) -> Result<Option<Self>, LedgerError> {
        let found = read_record::<Self>(records, &ledger.refused_key()).await?;
        Ok(found.map(|(refusal, _)| refusal))
    }

    /// Removes the refusal of an earlier call, since this one resumes the run.
    pub(crate) async fn lift(records: &dyn Records, ledger: &Ledger) -> Result<(), LedgerError> {
        let key = ledger.refused_key();
        if records.find(&key).await?.is_some() {
            records.delete(&key).await?;
        }
        Ok(())
    }
}
