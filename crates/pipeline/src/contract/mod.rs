//! What the functions say to the command line and to people, as types that both sides share: how a planner is
//! asked, what it answers, which errors it ends with, and what a notification holds.
//!
//! The JSON is an interface. Each type has a test that pins its names and values.

pub(crate) mod notification;
pub(crate) mod planner;
pub(crate) mod planner_error;
