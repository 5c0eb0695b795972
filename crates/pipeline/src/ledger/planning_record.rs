//! What a planner leaves in the ledger for those who did not wait for its answer: how its newest
//! call stands, and why it was refused.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ledger::{Ledger, LedgerError, Versioned, read_record};
use crate::storage::Records;

/// How the newest call of the planner stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanningRecord {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub version: u32,
    /// When the call began.
    pub called_at: DateTime<Utc>,
    /// How it stands.
    #[serde(flatten)]
    pub state: PlanningState,
}

/// How a call of the planner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PlanningState {
    /// It is at work, or has died, or has failed: then there is a [`Refusal`].
    Planning,
    /// It has stopped because its time was up; another call goes on.
    OutOfTime {
        /// Hours whose tasks are queued.
        hours_done: u64,
        /// Hours of the window.
        hours: u64,
    },
    /// The plan is complete, and what had to be queued is queued.
    Planned {
        /// Tasks that this call queued.
        tasks_queued: u64,
    },
}

/// Why a call of the planner came to nothing. It lies there until another call for the same run
/// goes on, and says something about the run only while the plan is not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub version: u32,
    /// What kind of reason it is.
    pub kind: RefusalKind,
    /// The reason.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// When the call began.
    pub called_at: DateTime<Utc>,
}

/// Whether the same call again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// It can't be planned as it is.
    Refused,
    /// Something stood in the way that may be gone next time.
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
    /// The refusal that lies in the ledger, if there is one.
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

    /// Removes the refusal of an earlier call, since this one goes on.
    pub(crate) async fn lift(records: &dyn Records, ledger: &Ledger) -> Result<(), LedgerError> {
        let key = ledger.refused_key();
        if records.get(&key).await?.is_some() {
            records.delete(&key).await?;
        }
        Ok(())
    }
}
