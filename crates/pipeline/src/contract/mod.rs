//! The JSON between the functions, the command line and people, as shared types: a planner's payload,
//! answer and errors, and the content of a notification.
//!
//! The JSON is an interface. Each type has a test that pins its names and values.

pub(crate) mod notification;
pub(crate) mod places;
pub(crate) mod planner;
pub(crate) mod planner_error;
pub(crate) mod recheck;
pub(crate) mod salvage;
