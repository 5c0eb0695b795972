//! What was tried, and what came of it.

use serde::{Deserialize, Serialize};

use crate::preflight::need::{Need, Reach};
use crate::storage::{Problem, StorageError};

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A run can do this.
    Works,
    /// A run can't do this, and [`Check::needs`] says what it takes.
    Missing,
    /// It was not possible to find out, or it is nothing that fails a run.
    CannotTell,
}

/// One thing that a run needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Which, such as `source_list`.
    pub name: String,
    /// Who tried: `you`, or one of the functions.
    pub by: String,
    /// Whether it works.
    pub outcome: Outcome,
    /// What was seen, for people.
    pub detail: String,
    /// What is missing; more than one where AWS does not say which of them.
    #[serde(default)]
    pub needs: Vec<Need>,
}

impl Check {
    /// It works.
    pub fn works(name: &str, detail: impl Into<String>) -> Self {
        Self::new(name, Outcome::Works, detail)
    }

    /// It can't be told.
    pub fn cannot_tell(name: &str, detail: impl Into<String>) -> Self {
        Self::new(name, Outcome::CannotTell, detail)
    }

    /// It is missing.
    pub fn missing(name: &str, detail: impl Into<String>, needs: Vec<Need>) -> Self {
        Self {
            needs,
            ..Self::new(name, Outcome::Missing, detail)
        }
    }

    fn new(name: &str, outcome: Outcome, detail: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            by: YOU.to_owned(),
            outcome,
            detail: detail.into(),
            needs: Vec::new(),
        }
    }

    /// A request of this check has failed. What a retry may mend can't be told.
    pub fn failed(name: &str, reach: &Reach, actions: &[&str], error: &StorageError) -> Self {
        let detail = match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        };
        let owner = reach
            .bucket
            .as_ref()
            .and_then(|bucket| bucket.expected_owner.as_ref());
        let detail = match (&error.problem, owner) {
            (Problem::AccessDenied(_), Some(owner)) => {
                format!(
                    "{detail}; or the bucket is not owned by the account `{owner}`, as is expected"
                )
            }
            _ => detail,
        };
        match error.problem {
            Problem::Transient(_) => Self::cannot_tell(name, detail),
            _ => Self::missing(name, detail, reach.needs(actions, error)),
        }
    }

    /// The same check by a function.
    #[must_use]
    pub fn by(mut self, who: &str) -> Self {
        self.by = who.to_owned();
        self
    }
}

/// Who tries where no function does.
const YOU: &str = "you";
