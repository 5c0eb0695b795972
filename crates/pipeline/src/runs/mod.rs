//! What a person may do to runs: see which there are, and accept the loss of an object.

pub(crate) mod list;
pub(crate) mod loss;
pub(crate) mod planned_object;
