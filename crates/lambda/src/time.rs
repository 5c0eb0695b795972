//! The time that an invocation has.

use std::time::{Duration, SystemTime};

use lambda_runtime::Context;

/// How long the invocation may still run; zero when its deadline has passed.
pub(crate) fn time_left(context: &Context) -> Duration {
    context
        .deadline()
        .duration_since(SystemTime::now())
        .unwrap_or_default()
}

/// A duration as metrics have it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
