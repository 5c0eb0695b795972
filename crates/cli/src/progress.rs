//! Progress for people: bars on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use event_recovery_pipeline::{Observer, PlanRecord, Receipt, State};
use indicatif::{ProgressBar, ProgressStyle};

use crate::bytes::{grouped, size};
use crate::terminal;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// While the hours are listed. No bar: how much there is to do is not known.
const PLANNING: &str = "{spinner} {pos} objects ended, {len} found so far  {msg}";
/// While it is known what there is to do.
const WORKING: &str = "{bar:30} {pos}/{len} objects  {msg}  {eta} left";
/// While the result is audited. No bar: it would stand at its end.
const AUDITING: &str = "{spinner} {pos} objects ended, auditing  {msg}";

fn show_phase(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

/// Shows the progress of a run.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// When the next line is due; `None` where there is a bar, and with `--quiet`.
    next_line: Option<Mutex<Instant>>,
    objects_planned: AtomicU64,
    objects_ended: AtomicU64,
    bytes: AtomicU64,
    events: AtomicU64,
    /// A [`Phase`].
    phase: AtomicU8,
}

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Planning,
    Working,
    Auditing,
}

impl Phase {
    fn template(self) -> &'static str {
        match self {
            Self::Planning => PLANNING,
            Self::Working => WORKING,
            Self::Auditing => AUDITING,
        }
    }
}

/// Shows what a command that knows no end has come to.
pub(crate) struct Counting {
    bar: ProgressBar,
    /// When the next line is due; `None` where there is a bar, and with `--quiet`.
    next_line: Option<Mutex<Instant>>,
}

impl Counting {
    pub(crate) fn new(quiet: bool) -> Self {
        let Progress { bar, next_line, .. } = Progress::new(quiet);
        show_phase(&bar, "{spinner} {msg}");
        Self { bar, next_line }
    }

    pub(crate) fn show(&self, message: &str) {
        self.bar.set_message(message.to_owned());
        let Some(next_line) = &self.next_line else {
            return;
        };
        let now = Instant::now();
        let mut next_line = next_line.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= *next_line {
            *next_line = now + LINE_EVERY;
            terminal::say(message);
        }
    }

    /// Takes the line off the screen.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = if is_terminal && !quiet {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        show_phase(&bar, Phase::Planning.template());
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
            phase: AtomicU8::new(Phase::Planning as u8),
        }
    }

    /// Shows how many of the planned objects have ended, for callers that know no more.
    pub(crate) fn set(&self, ended: u64, planned: u64) {
        self.objects_planned.store(planned, Ordering::Relaxed);
        self.objects_ended.store(ended, Ordering::Relaxed);
        self.bar.set_length(planned);
        self.bar.set_position(ended);
        match ended >= planned {
            true => self.enter(Phase::Auditing),
            false => self.enter(Phase::Working),
        }
        self.show();
    }

    fn enter(&self, phase: Phase) {
        let before = self.phase.swap(phase as u8, Ordering::Relaxed);
        if before != phase as u8 {
            show_phase(&self.bar, phase.template());
        }
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
            let phase = self.phase.load(Ordering::Relaxed);
            let objects = match phase {
                phase if phase == Phase::Planning as u8 => {
                    format!("{ended} objects ended, {planned} found so far")
                }
                phase if phase == Phase::Auditing as u8 => {
                    format!("{ended} objects ended, auditing")
                }
                _ => format!("{ended} of {planned} objects"),
            };
            terminal::say(&format!("{objects}, {read}, {events} events"));
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
        self.enter(Phase::Working);
    }

    fn auditing(&self) {
        self.enter(Phase::Auditing);
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
