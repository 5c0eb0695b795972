//! The preflight: tries what a run needs, in its order, and leaves nothing behind.

pub(crate) mod check;
pub(crate) mod destination;
pub(crate) mod need;
pub(crate) mod source;
