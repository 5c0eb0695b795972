//! How fast events are sent, and when to stop.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::Notify;

use crate::deliver::target::{BATCH_EVENTS_MAX, WatchConsumer};

/// The time between two looks at the consumer. What it complains about stops the sending in less than five seconds.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a look may take.
const LOOK_SECS_MAX: Duration = Duration::from_secs(2);
/// Looks that may fail one after the other before nothing more is sent: nobody knows how the consumer is.
const LOOKS_FAILED_MAX: u32 = 5;
/// The shortest wait before a backlog is looked at again.
const BACKLOG_PAUSE: Duration = Duration::from_secs(1);

/// How fast a delivery is.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// Events per second of all senders together.
    pub rate: Option<NonZeroU32>,
    /// Waits while more messages than this wait at the target.
    pub backlog_max: Option<u64>,
    /// When to stop.
    pub until: Option<Instant>,
    /// Stops once so many events are sent.
    pub canary: Option<u64>,
}

/// The reason for which a delivery stops, shared by all of its senders.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    reason: OnceLock<String>,
    notify: Notify,
}

impl Stop {
    /// Stops the delivery for this reason, unless it stops for another one.
    pub fn because(&self, reason: impl Into<String>) {
        let _ = self.0.reason.set(reason.into());
        self.0.notify.notify_waiters();
    }

    /// Why the delivery stops, if it does.
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.get().map(String::as_str)
    }

    /// Waits until the delivery is to stop.
    pub async fn stopped(&self) {
        let notified = self.0.notify.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if self.reason().is_none() {
            notified.await;
        }
    }
}

/// Lets the senders of a delivery send.
pub(crate) struct Gate {
    limiter: Option<DefaultDirectRateLimiter>,
    batch: usize,
    until: Option<Instant>,
    /// Events that may still be sent.
    left: Option<AtomicU64>,
    canary: u64,
    pub(crate) stop: Stop,
}

impl Gate {
    /// For a delivery that has sent so many events before.
    pub(crate) fn new(pace: &Pace, sent: u64, stop: Stop) -> Self {
        let most = u32::try_from(BATCH_EVENTS_MAX).unwrap_or(1);
        // A burst as long as a batch: over any minute, no more than the rate and one batch.
        let burst = pace.rate.map(|rate| rate.get().min(most));
        let quota = pace
            .rate
            .zip(burst.and_then(NonZeroU32::new))
            .map(|(rate, burst)| Quota::per_second(rate).allow_burst(burst));
        Self {
            limiter: quota.map(RateLimiter::direct),
            batch: burst.map_or(BATCH_EVENTS_MAX, |burst| burst as usize),
            until: pace.until,
            left: pace
                .canary
                .map(|canary| AtomicU64::new(canary.saturating_sub(sent))),
            canary: pace.canary.unwrap_or(0),
            stop,
        }
    }

    /// Most events of one request.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// Whether one more event may be sent for the first time.
    pub(crate) fn take(&self) -> bool {
        let Some(left) = &self.left else {
            return true;
        };
        let take = |left: u64| left.checked_sub(1);
        left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .is_ok()
    }

    /// Stops the delivery, since the canary is sent.
    pub(crate) fn end_canary(&self) {
        let canary = self.canary;
        self.stop.because(format!(
            "the canary of {canary} events is sent; the same command without `--canary` goes on"
        ));
    }

    /// Waits until so many events may be sent. Returns whether they may.
    pub(crate) async fn pass(&self, events: usize) -> bool {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            self.stop.because("its time is up");
        }
        if self.stop.reason().is_some() {
            return false;
        }
        let events = u32::try_from(events).ok().and_then(NonZeroU32::new);
        if let (Some(limiter), Some(events)) = (&self.limiter, events) {
            tokio::select! {
                // No more than the burst, so that it can't fail.
                _ = limiter.until_n_ready(events) => {}
                () = self.stop.stopped() => return false,
            }
        }
        self.stop.reason().is_none()
    }

    /// Waits so long, or until the delivery stops. Returns whether it goes on.
    pub(crate) async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => self.stop.reason().is_none(),
            () = self.stop.stopped() => false,
        }
    }

    /// Waits while too many messages wait at the target. A backlog that nobody can tell is none.
    pub(crate) async fn wait_for_backlog(
        &self,
        watch: &dyn WatchConsumer,
        most: Option<u64>,
    ) -> bool {
        let Some(most) = most else { return true };
        loop {
            match watch.backlog().await {
                Ok(Some(backlog)) if backlog > most => {}
                Ok(_) | Err(_) => return true,
            }
            if !self.pause(BACKLOG_PAUSE).await {
                return false;
            }
        }
    }
}

/// Looks at the consumer until the delivery stops, and stops it when the consumer complains.
pub(crate) async fn look_after(watch: &dyn WatchConsumer, stop: &Stop) {
    let mut failed = 0;
    loop {
        let looked = tokio::time::timeout(LOOK_SECS_MAX, watch.complaint()).await;
        match looked {
            Ok(Ok(None)) => failed = 0,
            Ok(Ok(Some(complaint))) => {
                stop.because(format!("the breaker has tripped: {complaint}"))
            }
            Ok(Err(error)) if !error.is_transient() => {
                stop.because(format!("the consumer's health can't be seen: {error}"));
            }
            Ok(Err(_)) | Err(_) => {
                failed += 1;
                if failed >= LOOKS_FAILED_MAX {
                    stop.because("the consumer's health could not be seen for ten seconds");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.stopped() => return,
        }
    }
}
