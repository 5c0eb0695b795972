//! Whether the source denies one object or everything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::storage::{OpenObject, Problem};

/// What a worker knows of its access to the source, from its own requests. Empty at first.
#[derive(Debug, Clone, Default)]
pub struct SourceAccess(Arc<Mutex<Access>>);

#[derive(Debug, Default)]
struct Access {
    /// Key and etag of the object that was opened last.
    opened: Option<(String, String)>,
    denials: Option<Denials>,
}

/// Objects that the source denied one after another, with none opened since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denials {
    /// How many requests; at least 1.
    pub count: u32,
    /// When the first of them was denied.
    pub since: Instant,
}

impl SourceAccess {
    /// The denials since an object was opened last; `None` if there are none.
    pub fn denials(&self) -> Option<Denials> {
        self.access().denials
    }

    pub(crate) fn opened(&self, key: &str, etag: &str) {
        let mut access = self.access();
        access.opened = Some((key.to_owned(), etag.to_owned()));
        access.denials = None;
    }

    /// Whether an object that was just denied is denied alone: another one, which was opened before, can be opened
    /// now. Otherwise the denial may be that of the whole source, for example because a trust policy was
    /// revoked or has not propagated yet, and is counted as such.
    pub(crate) async fn is_denied_alone(
        &self,
        source: &(impl OpenObject + ?Sized),
        denied_key: &str,
    ) -> bool {
        let opened = self.access().opened.clone();
        if let Some((key, etag)) = opened.filter(|(key, _)| key != denied_key) {
            let is_allowed = match source.open(&key, &etag).await {
                Ok(_) => true,
                // What it answers to whom it allows to read.
                Err(error) => matches!(error.problem, Problem::Changed),
            };
            if is_allowed {
                self.access().denials = None;
                return true;
            }
        }
        let mut access = self.access();
        let denials = access.denials.get_or_insert_with(|| Denials {
            count: 0,
            since: Instant::now(),
        });
        denials.count = denials.count.saturating_add(1);
        false
    }

    fn access(&self) -> MutexGuard<'_, Access> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
