//! The time that an invocation has.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use lambda_runtime::Context;

/// The clock of a function. It can only be set forward where the function reaches an emulator on its own
/// machine, so that tests see hours pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Clock {
    ahead: TimeDelta,
}

impl Clock {
    /// The variables are `CLOCK_AHEAD_SECS` and `AWS_ENDPOINT_URL`.
    pub(crate) fn new(ahead_secs: u32, endpoint_url: Option<&str>) -> Self {
        let is_loopback = endpoint_url.is_some_and(|url| {
            url.starts_with("http://127.0.0.1:") || url.starts_with("http://localhost:")
        });
        let secs = if is_loopback { ahead_secs } else { 0 };
        Self {
            ahead: TimeDelta::seconds(i64::from(secs)),
        }
    }

    pub(crate) fn now(self) -> DateTime<Utc> {
        Utc::now() + self.ahead
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_in_front_of_an_emulator_the_clock_can_be_set() {
        let ahead = |endpoint| Clock::new(3600, endpoint).now() - Utc::now();
        assert!(ahead(Some("http://127.0.0.1:4566")) > TimeDelta::minutes(59));
        for endpoint in [
            None,
            Some("https://s3.amazonaws.com"),
            Some("http://127.0.0.1.example.com:1"),
        ] {
            assert!(ahead(endpoint) < TimeDelta::minutes(1), "{endpoint:?}");
        }
    }
}
