//! Pauses a worker whose source denies everything.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use event_recovery_pipeline::Denials;

/// Consecutive denials of the source after which the worker pauses.
const DENIALS_MAX: u32 = 5;
/// The first pause; doubled for each further one up to [`PAUSE_MAX`], as long as nothing can be read.
const PAUSE_FIRST: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

/// Decides when tasks are begun. Closed at first: they are.
#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<Option<Pause>>);

#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Instant,
    length: Duration,
}

impl Breaker {
    /// Whether no task may begin.
    pub(crate) fn is_paused(&self, now: Instant) -> bool {
        let pause = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pause.is_some_and(|pause| now < pause.until)
    }

    /// Called after each attempt, with what the source has denied since it last allowed something. Returns the
    /// length of the pause that begins now, if one does. After a pause, a single denial begins the next one.
    pub(crate) fn judge(&self, denials: Option<Denials>, now: Instant) -> Option<Duration> {
        let mut pause = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(denials) = denials else {
            *pause = None;
            return None;
        };
        let is_paused = pause.is_some_and(|pause| now < pause.until);
        if is_paused || denials.count < DENIALS_MAX {
            return None;
        }
        let length = pause.map_or(PAUSE_FIRST, |pause| (pause.length * 2).min(PAUSE_MAX));
        *pause = Some(Pause {
            until: now + length,
            length,
        });
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denials(count: u32) -> Option<Denials> {
        Some(Denials {
            count,
            since: Instant::now().into(),
        })
    }

    #[test]
    fn pauses_double_up_to_their_limit_until_something_can_be_read() {
        let breaker = Breaker::default();
        let mut now = Instant::now();
        assert_eq!(breaker.judge(denials(4), now), None);
        assert!(!breaker.is_paused(now));
        let mut pauses = Vec::new();
        for count in 5..11 {
            let pause = breaker.judge(denials(count), now).unwrap();
            assert!(breaker.is_paused(now));
            // What had begun before and ends in the pause does not make it longer.
            assert_eq!(breaker.judge(denials(count), now), None);
            now += pause;
            assert!(!breaker.is_paused(now));
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [60, 120, 240, 480, 900, 900]);
        assert_eq!(breaker.judge(None, now), None);
        assert_eq!(breaker.judge(denials(5), now), Some(PAUSE_FIRST));
        // One object that can be read ends the pause.
        assert_eq!(breaker.judge(None, now), None);
        assert!(!breaker.is_paused(now));
    }
}
