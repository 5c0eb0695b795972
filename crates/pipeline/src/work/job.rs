//! The inputs of one object's recovery, and its errors.

use std::io;

use event_recovery_format::{DecodeError, DecodeLimits, EnvelopeRule, OutputFormat};
use event_recovery_splitter::Limits;
use thiserror::Error;

use crate::backup::object_time::ObjectTime;
use crate::backup::org_id::OrgId;
use crate::backup::source_key::SourceKey;
use crate::ledger::Ledger;
use crate::ledger::observer::Observer;
use crate::request::filters::{Dedupe, FilterMatcher};
use crate::request::window::Window;
use crate::storage::{CreateObject, StorageError};
use crate::work::duplicates::DEDUPE_EVENTS_MAX;

/// Most days that the events of one object may be spread over. Each costs a file, and each
/// [`OPEN_DATES_MAX`](crate::OPEN_DATES_MAX) of them another reading of the object.
pub const DATES_MAX: usize = 64;

/// The inputs of one object's recovery.
pub(crate) struct Job<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) org_id: &'a OrgId,
    pub(crate) rule: &'a EnvelopeRule,
    pub(crate) key: &'a SourceKey,
    pub(crate) size: u64,
    pub(crate) time: ObjectTime,
    pub(crate) window: &'a Window,
    pub(crate) filters: &'a FilterMatcher,
    pub(crate) dedupe: Option<Dedupe>,
    pub(crate) format: OutputFormat,
    pub(crate) limits: TransformLimits,
    pub(crate) damaged: Damaged,
    pub(crate) destination: &'a dyn CreateObject,
    pub(crate) observer: &'a dyn Observer,
}

/// What to do with an object that is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damaged {
    /// It fails, and nothing of it is written.
    Fails,
    /// The events before the damage are written.
    IsSalvaged,
}

/// Limits of one object, which bound a worker's memory and time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransformLimits {
    /// Of one event: size and nesting. An event beyond them is rejected.
    pub event: Limits,
    /// Of the decoded object. An object beyond them fails.
    pub decode: DecodeLimits,
}

/// Why an object could not be recovered.
#[derive(Debug, Error)]
pub(crate) enum TransformError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Decode(DecodeError),
    #[error("its events arrived on more than {DATES_MAX} days of the window")]
    TooManyDates,
    #[error(
        "it has more than {DEDUPE_EVENTS_MAX} different events, too many to look for repeated ones"
    )]
    TooManyEvents,
    #[error("could not write its output: {0}")]
    Write(io::Error),
}

pub(crate) fn write_error(error: io::Error) -> TransformError {
    match error.downcast::<StorageError>() {
        Ok(error) => TransformError::Storage(error),
        Err(error) => TransformError::Write(error),
    }
}
