//! Progress for people: bars on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use event_recovery_pipeline::{Observer, PlanRecord, Receipt, State};
use indicatif::{ProgressBar, ProgressStyle};

use crate::bytes::{grouped, size};
use crate::terminal;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows the progress of a run.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// When the next line is due; `None` where there is a bar, and with `--quiet`.
    next_line: Option<Mutex<Instant>>,
    objects_planned: AtomicU64,
    objects_ended: AtomicU64,
    bytes: AtomicU64,
    events: AtomicU64,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = if is_terminal && !quiet {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        let template = "{bar:30} {pos}/{len} objects  {msg}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self {
            bar,
            next_line: (!is_terminal && !quiet).then(|| Mutex::new(Instant::now() + LINE_EVERY)),
            objects_planned: AtomicU64::new(0),
            objects_ended: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            events: AtomicU64::new(0),
        }
    }

    /// Shows how many of the planned objects have ended, for callers that know no more.
    pub(crate) fn set(&self, ended: u64, planned: u64) {
        self.objects_planned.store(planned, Ordering::Relaxed);
        self.objects_ended.store(ended, Ordering::Relaxed);
        self.bar.set_length(planned);
        self.bar.set_position(ended);
        self.show();
    }

    /// Whether nothing is to be shown.
    pub(crate) fn is_quiet(&self) -> bool {
        self.bar.is_hidden() && self.next_line.is_none()
    }

    /// Takes the bar off the screen.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Shows a line for people, above the bar if there is one.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| terminal::say(line));
    }

    fn show(&self) {
        let read = size(self.bytes.load(Ordering::Relaxed));
        let events = grouped(self.events.load(Ordering::Relaxed));
        self.bar.set_message(format!("{read}  {events} events"));
        let Some(next_line) = &self.next_line else {
            return;
        };
        let now = Instant::now();
        let mut next_line = next_line.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= *next_line {
            *next_line = now + LINE_EVERY;
            let ended = grouped(self.objects_ended.load(Ordering::Relaxed));
            let planned = grouped(self.objects_planned.load(Ordering::Relaxed));
            terminal::say(&format!(
                "{ended} of {planned} objects, {read}, {events} events"
            ));
        }
    }
}

impl Observer for Progress {
    fn planned(&self, objects: u64, _bytes: u64) {
        self.objects_planned.fetch_add(objects, Ordering::Relaxed);
        self.bar.inc_length(objects);
    }

    fn plan_complete(&self, plan: &PlanRecord) {
        self.objects_planned
            .store(plan.objects.planned, Ordering::Relaxed);
        self.bar.set_length(plan.objects.planned);
    }

    fn read(&self, bytes: u64, events: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.events.fetch_add(events, Ordering::Relaxed);
        self.show();
    }

    fn task_ended(&self, receipt: &Receipt) {
        self.objects_ended.fetch_add(1, Ordering::Relaxed);
        self.bar.inc(1);
        if let (State::Failed { reason, .. }, true) = (&receipt.state, !self.bar.is_hidden()) {
            self.say(&format!("failed: `{}`: {reason}", receipt.key));
        }
        self.show();
    }

    fn task_delayed(&self, problem: &str) {
        self.say(&format!("trying again: {problem}"));
    }
}
