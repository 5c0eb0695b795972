//! Charts of the hours of a run, as numbers for SVG.

use chrono::{DateTime, Duration, Utc};

use crate::ledger::report::HourBalance;
use crate::page::words::grouped;

/// Most bars of a chart: 31 days of hours. Longer ranges are shown by day.
const BARS_MAX: usize = 31 * 24;
/// Of the drawing, in its own units.
const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 164.0;
/// Where bars begin at the top, below the number of the highest.
const TOP: f64 = 26.0;
const BASE: f64 = 134.0;
/// Where times stand, below the marks.
const TICKS_AT: f64 = 160.0;
/// What stands out below the bars of an hour, and how high a bar is at least that is not zero.
const MARK_HEIGHT: f64 = 5.0;
const BAR_HEIGHT_LEAST: f64 = 2.0;
const TICKS: usize = 4;

/// One chart.
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) description: String,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) base: f64,
    pub(super) ticks_at: f64,
    /// The highest value.
    pub(super) most: String,
    pub(super) bars: Vec<Bar>,
    pub(super) ticks: Vec<Tick>,
}

/// A rectangle with a text for whoever points at it.
pub(super) struct Bar {
    pub(super) class: &'static str,
    pub(super) x: String,
    pub(super) y: String,
    pub(super) width: String,
    pub(super) height: String,
    pub(super) label: String,
}

/// A time below the axis.
pub(super) struct Tick {
    pub(super) x: String,
    pub(super) label: String,
    pub(super) is_last: bool,
}

/// An hour, or a day.
struct Slot {
    start: DateTime<Utc>,
    label: String,
    events: u64,
    bytes: u64,
    done: u64,
    undone: u64,
    late: u64,
    listed: u64,
}

/// Events, objects and bytes over the hours of the run.
pub(super) fn charts(hours: &[HourBalance]) -> Vec<Chart> {
    let slots = slots(hours);
    if slots.is_empty() {
        return Vec::new();
    }
    vec![
        chart("Events written", "events", &slots, |slot| (slot.events, 0)),
        chart("Objects", "objects", &slots, |slot| {
            (slot.done, slot.undone)
        }),
        chart("Bytes read", "bytes", &slots, |slot| (slot.bytes, 0)),
    ]
}

fn slots(hours: &[HourBalance]) -> Vec<Slot> {
    let by_day = hours.len() > BARS_MAX;
    let mut slots: Vec<Slot> = Vec::new();
    let mut sorted: Vec<&HourBalance> = hours.iter().collect();
    sorted.sort_by_key(|hour| hour.hour);
    for hour in sorted {
        let start = hour.hour.start();
        let label = match by_day {
            true => start.format("%Y-%m-%d").to_string(),
            false => start.format("%Y-%m-%d %H:00").to_string(),
        };
        if slots.last().is_none_or(|last| last.label != label) {
            slots.push(Slot {
                start,
                label,
                events: 0,
                bytes: 0,
                done: 0,
                undone: 0,
                late: 0,
                listed: 0,
            });
        }
        if let Some(slot) = slots.last_mut() {
            let objects = &hour.objects;
            slot.events += hour.counts.events.written;
            slot.bytes += hour.counts.bytes.read;
            slot.done += objects.done;
            slot.undone += objects.salvaged + objects.failed + objects.missing + objects.lost;
            slot.late += hour.late_objects;
            slot.listed += objects.listed;
        }
    }
    slots
}

/// `value` gives what is done and what is not, which stands above it.
fn chart(
    title: &'static str,
    unit: &str,
    slots: &[Slot],
    value: impl Fn(&Slot) -> (u64, u64),
) -> Chart {
    let values: Vec<(u64, u64)> = slots.iter().map(value).collect();
    let most = values.iter().map(|(done, undone)| done + undone).max();
    let most = most.unwrap_or_default();
    let step = WIDTH / slots.len() as f64;
    let width = (step * 0.9).max(0.5);
    let height = |value: u64| match value {
        0 => 0.0,
        value => ((BASE - TOP) * value as f64 / most.max(1) as f64).max(BAR_HEIGHT_LEAST),
    };
    let mut bars = Vec::new();
    let mut x = 0.0;
    for (slot, (done, undone)) in slots.iter().zip(&values) {
        let label = label(slot, *done, unit);
        let mut add = |class, y: f64, height: f64| {
            bars.push(Bar {
                class,
                x: number(x),
                y: number(y),
                width: number(width),
                height: number(height),
                label: label.clone(),
            });
        };
        let (high, higher) = (height(*done), height(*undone));
        if *done > 0 {
            add("done", BASE - high, high);
        }
        if *undone > 0 {
            add("failed", BASE - high - higher, higher);
        }
        // Below the axis, so that it is seen however high the bars are.
        let mark = match slot {
            Slot { undone: 1.., .. } => Some("failed"),
            Slot { late: 1.., .. } => Some("late"),
            Slot { listed: 0, .. } => Some("gap"),
            _ => None,
        };
        if let Some(mark) = mark {
            add(mark, BASE + 1.0, MARK_HEIGHT);
        }
        x += step;
    }
    let count = |is: fn(&Slot) -> bool| slots.iter().filter(|slot| is(slot)).count();
    Chart {
        title,
        description: format!(
            "{title} over {} bars, at most {} {unit} in one; {} with objects that are not recovered, {} with late objects, {} \
             without objects",
            slots.len(),
            grouped(most),
            count(|slot| slot.undone > 0),
            count(|slot| slot.late > 0),
            count(|slot| slot.listed == 0),
        ),
        width: WIDTH,
        height: HEIGHT,
        base: BASE,
        ticks_at: TICKS_AT,
        most: format!("{} {unit}", grouped(most)),
        bars,
        ticks: ticks(slots, step),
    }
}

fn label(slot: &Slot, value: u64, unit: &str) -> String {
    let mut label = format!("{}: {} {unit}", slot.label, grouped(value));
    for (number, what) in [
        (slot.undone, "objects not recovered"),
        (slot.late, "objects came late"),
    ] {
        if number > 0 {
            label.push_str(&format!("; {} {what}", grouped(number)));
        }
    }
    if slot.listed == 0 {
        label.push_str("; no objects");
    }
    label
}

/// Of the first bar, the end of the last, and some between.
fn ticks(slots: &[Slot], step: f64) -> Vec<Tick> {
    let (Some(first), Some(last)) = (slots.first(), slots.last()) else {
        return Vec::new();
    };
    let is_long = last.start - first.start >= Duration::days(2);
    let text = |slot: &Slot| match is_long {
        true => slot.start.format("%m-%d").to_string(),
        false => slot.start.format("%m-%d %H:00").to_string(),
    };
    let every = slots.len().div_ceil(TICKS).max(1);
    let mut ticks: Vec<Tick> = slots
        .iter()
        .enumerate()
        .step_by(every)
        .map(|(index, slot)| Tick {
            x: number(index as f64 * step),
            label: text(slot),
            is_last: false,
        })
        .collect();
    // Not on top of the one before.
    if (slots.len() - 1) % every > every / 2 {
        ticks.push(Tick {
            x: number(WIDTH),
            label: text(last),
            is_last: true,
        });
    }
    ticks
}

/// With two decimals, so that the same report gives the same page.
fn number(value: f64) -> String {
    format!("{value:.2}")
}
