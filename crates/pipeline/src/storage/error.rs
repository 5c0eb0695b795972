//! The one error of all storages.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A storage operation failed.
///
/// Its text, and with it what receipts and reports repeat, says the same for the same failure. What differs
/// each time, such as [`request_id`](Self::request_id), is not in the text.
#[derive(Debug, Clone)]
pub struct StorageError {
    /// What was tried.
    pub operation: StorageOperation,
    /// On which object or prefix.
    pub key: String,
    /// Why it failed.
    pub problem: Problem,
    circumstances: Circumstances,
}

/// What is known of a failure besides its text: what to do about it, which request it was, what caused it.
#[derive(Debug, Clone, Default)]
pub struct Circumstances(
    // Small where nothing is known, and out of the way where something is: results hold errors by value.
    Option<Box<Known>>,
);

#[derive(Debug, Clone, Default)]
struct Known {
    hint: Option<String>,
    request_id: Option<RequestId>,
    cause: Option<Arc<dyn Error + Send + Sync>>,
    subject: Subject,
}

/// What a permission is missing on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Subject {
    /// The storage itself.
    #[default]
    Storage,
    /// A role that had to be assumed first.
    Role,
    /// The key that objects are encrypted with.
    Key,
}

/// What a storage is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageOperation {
    /// A page of a listing.
    List,
    /// An object or a record, or what is known of it.
    Read,
    /// An object or a record.
    Write,
    /// A record.
    Remove,
}

/// Why a storage operation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It may succeed when tried again.
    Transient(String),
    /// There is no such object.
    Gone,
    /// The object is not the one that was planned.
    Changed,
    /// A permission is missing.
    AccessDenied(String),
    /// Its content is not what was stored, as the storage's own checksum shows.
    Damaged(String),
    /// It will fail again for another reason.
    Permanent(String),
}

/// What a service calls a request, by which its operator finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId {
    /// `x-amz-request-id` or `x-amzn-requestid`.
    pub id: String,
    /// `x-amz-id-2`, which S3 adds and AWS Support asks for.
    pub extended_id: Option<String>,
}

impl StorageError {
    /// The operation on the object or prefix at `key` failed.
    pub fn new(operation: StorageOperation, key: impl Into<String>, problem: Problem) -> Self {
        Self {
            operation,
            key: key.into(),
            problem,
            circumstances: Circumstances::default(),
        }
    }

    /// The object at the key is not the one that was planned.
    pub fn changed(key: &str) -> Self {
        Self::new(StorageOperation::Read, key, Problem::Changed)
            .with_hint("start a new run, which plans the object as it is now")
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.circumstances = self.circumstances.with_hint(hint);
        self
    }

    /// Adds the error that it came from.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.circumstances = self.circumstances.caused_by(cause);
        self
    }

    /// Replaces all that is known besides the text.
    #[must_use]
    pub fn under(mut self, circumstances: Circumstances) -> Self {
        self.circumstances = circumstances;
        self
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        self.circumstances.hint()
    }

    /// The id of the request that failed, if the storage is a service and it answered.
    pub fn request_id(&self) -> Option<&RequestId> {
        self.circumstances.request_id()
    }

    /// What a permission is missing on, if one is.
    pub fn subject(&self) -> Subject {
        self.circumstances.subject()
    }

    /// Whether trying again can help.
    pub fn is_transient(&self) -> bool {
        matches!(self.problem, Problem::Transient(_))
    }
}

/// Failures are equal if their operations, keys, problems and hints are. Request ids and causes do not
/// count.
impl PartialEq for StorageError {
    fn eq(&self, other: &Self) -> bool {
        let told = |error: &Self| (error.operation, error.hint());
        told(self) == told(other) && self.key == other.key && self.problem == other.problem
    }
}

impl Eq for StorageError {}

impl fmt::Display for StorageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operation,
            key,
            problem,
            ..
        } = self;
        write!(formatter, "could not {operation} `{key}`: {problem}")
    }
}

impl Error for StorageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.circumstances.source()
    }
}

impl Circumstances {
    /// With a hint and a request id, if they are known.
    pub fn new(hint: Option<String>, request_id: Option<RequestId>) -> Self {
        Self(Some(Box::new(Known {
            hint,
            request_id,
            cause: None,
            subject: Subject::default(),
        })))
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.get_or_insert_default().hint = Some(hint.into());
        self
    }

    /// Adds the error that it came from.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.0.get_or_insert_default().cause = Some(Arc::new(cause));
        self
    }

    /// Says what a permission is missing on.
    #[must_use]
    pub fn about(mut self, subject: Subject) -> Self {
        self.0.get_or_insert_default().subject = subject;
        self
    }

    /// What a permission is missing on.
    pub fn subject(&self) -> Subject {
        self.0
            .as_ref()
            .map_or(Subject::default(), |known| known.subject)
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        self.0.as_ref()?.hint.clone()
    }

    /// The id of the request that failed, if a service answered it.
    pub fn request_id(&self) -> Option<&RequestId> {
        self.0.as_ref()?.request_id.as_ref()
    }

    /// What [`Error::source`] of the failure gives.
    pub fn source(&self) -> Option<&(dyn Error + 'static)> {
        let cause = self.0.as_ref()?.cause.as_deref()?;
        Some(cause)
    }
}

impl fmt::Display for StorageOperation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::List => "list",
            Self::Read => "read",
            Self::Write => "write",
            Self::Remove => "remove",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => formatter.write_str("it is gone"),
            Self::Changed => formatter.write_str("it has changed since it was planned"),
            Self::AccessDenied(detail) => write!(formatter, "access denied ({detail})"),
            Self::Transient(detail) | Self::Permanent(detail) | Self::Damaged(detail) => {
                formatter.write_str(detail)
            }
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.id)?;
        match &self.extended_id {
            Some(extended_id) => write!(formatter, ", extended {extended_id}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_text_is_the_same_whichever_request_failed() {
        let problem = Problem::Permanent("no".to_owned());
        let plain = StorageError::new(StorageOperation::List, "a/", problem);
        let request_id = RequestId {
            id: "4FE2".to_owned(),
            extended_id: Some("Zm8=".to_owned()),
        };
        let circumstances = Circumstances::new(Some("ask".to_owned()), Some(request_id));
        let told = plain
            .clone()
            .under(circumstances.caused_by(io::Error::other("why")));
        assert_eq!(plain.to_string(), "could not list `a/`: no");
        assert_eq!(told.to_string(), plain.to_string());
        let shown = told.request_id().map(ToString::to_string);
        assert_eq!(shown.as_deref(), Some("4FE2, extended Zm8="));
    }

    #[test]
    fn the_cause_is_kept_and_can_be_told_by_its_type() {
        let error = StorageError::changed("a").caused_by(io::Error::other("why"));
        let cause = error.source().unwrap().downcast_ref::<io::Error>();
        assert_eq!(cause.unwrap().to_string(), "why");
        assert!(StorageError::changed("a").source().is_none());
    }
}
