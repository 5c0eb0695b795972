//! Where the parts of a run are.

use serde::Serialize;

use crate::ledger::Ledger;
use crate::request::execution_id::ExecutionId;

/// The URLs of a run's ledger and events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunPlaces {
    /// The destination, without a slash at its end. The JSON does not repeat it.
    #[serde(skip)]
    pub destination: String,
    /// [`Ledger::folder`], with a slash at its end.
    pub ledger: String,
    /// [`Ledger::output_prefix`], which ends with a slash.
    pub output: String,
}

impl RunPlaces {
    /// The URLs of a run in the destination, whose URL has no slash at its end.
    pub fn of(execution_id: &ExecutionId, destination: &str) -> Self {
        let ledger = Ledger::new(execution_id.clone());
        Self {
            destination: destination.to_owned(),
            ledger: format!("{destination}/{}/", ledger.folder()),
            output: format!("{destination}/{}", ledger.output_prefix()),
        }
    }

    /// The same from the URLs in an answer; `None` if they are not this run's.
    pub(crate) fn parse(execution_id: &ExecutionId, ledger: &str, output: &str) -> Option<Self> {
        let run = Ledger::new(execution_id.clone());
        let destination = ledger.strip_suffix(&format!("/{}/", run.folder()))?;
        let places = Self::of(execution_id, destination);
        (places.output == output).then_some(places)
    }
}
