//! What the page says in words.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::cost::bill::Cost;
use crate::ledger::report::{Report, Verdict};
use crate::request::output::{Compression, Format};
use crate::request::resolved::ResolvedRequest;
use crate::request::window::WindowKind;

/// The verdict in words that a manager understands.
pub(super) struct VerdictWords {
    pub(super) word: &'static str,
    pub(super) class: &'static str,
    pub(super) headline: &'static str,
    pub(super) explanation: String,
    pub(super) finality: String,
}

impl VerdictWords {
    pub(super) fn of(report: &Report) -> Self {
        let (objects, events) = (&report.objects, &report.events);
        let (headline, explanation) = match report.verdict {
            Verdict::Complete => (
                "Everything was recovered",
                format!(
                    "All {} events of the window are in the output, from {} objects of the backup, and every byte that was \
                     read is accounted for.",
                    grouped(events.written),
                    grouped(objects.done)
                ),
            ),
            Verdict::NeedsLook => (
                "Recovered, but a person should look at it",
                format!(
                    "{} events are in the output, from {} of {} objects. Points to look at: {}.",
                    grouped(events.written),
                    grouped(objects.done),
                    grouped(objects.planned),
                    report.reasons.len()
                ),
            ),
            Verdict::Incomplete => (
                "Not everything is recovered",
                format!(
                    "{} events are in the output. Of {} objects, {} failed and {} are missing. The run can be resumed: what \
                     is recovered stays.",
                    grouped(events.written),
                    grouped(objects.planned),
                    grouped(objects.failed),
                    grouped(objects.missing)
                ),
            ),
        };
        Self {
            word: report.verdict.as_str(),
            class: report.verdict.as_str(),
            headline,
            explanation,
            finality: finality(report),
        }
    }
}

fn finality(report: &Report) -> String {
    match &report.finality {
        None => String::new(),
        Some(finality) if finality.is_final => format!(
            "Final: the backup was listed at {}, when it could gain nothing more for this window.",
            written(finality.listed_at)
        ),
        Some(finality) => format!(
            "Provisional: true as of {}. Until {} the backup may gain objects for this window; a recheck after that makes the \
             report final.",
            written(finality.listed_at),
            written(finality.final_after)
        ),
    }
}

/// Requests, Lambda's time and dollars.
pub(super) fn cost(cost: &Cost) -> String {
    let requests = &cost.requests;
    let of_s3 = requests.source_list
        + requests.source_get
        + requests.destination_list
        + requests.destination_get
        + requests.destination_put;
    format!(
        "about ${:.2}: {} requests to S3, {} to SQS, {} GB-seconds of Lambda, by the list prices of {} as of {}",
        cost.micro_usd.total as f64 / 1e6,
        grouped(of_s3),
        grouped(requests.queue),
        grouped(cost.lambda_gb_seconds),
        cost.prices.region,
        cost.prices.as_of
    )
}

/// The heading of the charts.
pub(super) fn span(report: &Report) -> String {
    format!(
        "From {} to {}",
        written(report.request.start),
        written(report.request.end)
    )
}

pub(super) fn window(request: &ResolvedRequest) -> String {
    match request.window.kind {
        WindowKind::Arrival => "events that arrived in the range".to_owned(),
        WindowKind::Publish => "everything under the hours of the range".to_owned(),
    }
}

pub(super) fn format(request: &ResolvedRequest) -> String {
    let (format, compression) = (Format::of(request.output), Compression::of(request.output));
    format!("{}, compression: {}", format.as_str(), compression.as_str())
}

/// Two units at most.
pub(super) fn duration(millis: u64) -> String {
    let secs = millis / 1000;
    match secs {
        0..60 => format!("{:.1} s", millis as f64 / 1000.0),
        60..3_600 => format!("{} min {} s", secs / 60, secs % 60),
        _ => format!("{} h {} min", secs / 3_600, secs % 3_600 / 60),
    }
}

/// With a comma after each three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
