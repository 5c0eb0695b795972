//! Command line of event-recovery.
fn main() {}
