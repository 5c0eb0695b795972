//! The events that a run has written, read back.

pub(crate) mod lines;
pub(crate) mod parts;
