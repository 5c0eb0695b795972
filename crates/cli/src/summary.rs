//! A report in a few lines for people.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use event_recovery_pipeline::{Cost, Ledger, ObjectCounts, PlanRecord, Report, Verdict};

use crate::bytes::{grouped, size};
use crate::location::Location;

/// Orgs that the summary names.
const ORGS_SHOWN_MAX: usize = 5;
/// Most unrecovered objects that the summary names; the report names more.
const UNRECOVERED_SHOWN_MAX: usize = 5;

/// The report of a run in `destination`.
pub(crate) fn of_report(report: &Report, destination: &Location) -> String {
    let ledger = Ledger::new(report.execution_id.clone());
    let (objects, events, bytes) = (&report.objects, &report.events, &report.bytes);
    let mut lines = vec![
        format!(
            "{}: {} events recovered from {} of {} objects in {:.1} s",
            verdict(report),
            grouped(events.written),
            grouped(objects.done),
            grouped(objects.planned),
            report.times.duration_millis as f64 / 1000.0,
        ),
        format!(
            "  objects   {} listed = {} pruned + {} planned; {}",
            grouped(objects.listed),
            grouped(objects.pruned),
            grouped(objects.planned),
            parts_of(objects),
        ),
        format!(
            "  bytes     {} read = {} events + {} white space + {} rejected",
            grouped(bytes.read),
            grouped(bytes.events),
            grouped(bytes.whitespace),
            grouped(bytes.rejected),
        ),
        format!(
            "  events    {} found = {} written + {} out of window + {} filtered out + {} duplicates dropped",
            grouped(events.found),
            grouped(events.written),
            grouped(events.out_of_window),
            grouped(events.filtered_out),
            grouped(events.duplicates),
        ),
    ];
    if report.late.objects > 0 {
        lines.push(format!(
            "  late      {} objects that came after the first listing; {} done, with {} events",
            grouped(report.late.objects),
            grouped(report.late.done),
            grouped(report.late.events),
        ));
    }
    lines.extend(
        report
            .reasons
            .iter()
            .map(|reason| format!("  look at   {reason}")),
    );
    if objects.listed == 0 {
        lines
            .push("            hint: the source is the folder that holds `main_stream`".to_owned());
    }
    for unrecovered in report.unrecovered.iter().take(UNRECOVERED_SHOWN_MAX) {
        lines.push(format!(
            "  lacking   {}: {}",
            unrecovered.key, unrecovered.reason
        ));
        lines.extend(
            unrecovered
                .hint
                .iter()
                .map(|hint| format!("            hint: {hint}")),
        );
    }
    if report.unverifiable_records > 0 {
        lines.push(format!(
            "  note      {} records are of an earlier version, without a digest: a change to them can't be seen",
            grouped(report.unverifiable_records)
        ));
    }
    if report.orgs.len() > 1 {
        let shown = report.orgs.iter().take(ORGS_SHOWN_MAX);
        let shown: Vec<String> = shown
            .map(|(org, events)| format!("{org}: {}", grouped(*events)))
            .collect();
        let more = match report.orgs.len().saturating_sub(ORGS_SHOWN_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        lines.push(format!("  orgs      {}{more}", shown.join(", ")));
    }
    let files = format!(
        "({} files, {})",
        grouped(report.output.files),
        size(report.output.bytes)
    );
    let place = |key: &str| destination.place(key);
    lines.push(format!(
        "  output    {} {files}",
        place(&ledger.output_prefix())
    ));
    if report.rejected_fragments > 0 {
        lines.push(format!("  rejected  {}", place(&ledger.rejected_prefix())));
    }
    lines.push(format!("  report    {}", place(&ledger.report_key())));
    lines.join("\n")
}

/// What has become of the planned objects.
fn parts_of(objects: &ObjectCounts) -> String {
    let mut parts = vec![format!("{} done", grouped(objects.done))];
    if objects.salvaged > 0 {
        parts.push(format!("{} salvaged", grouped(objects.salvaged)));
    }
    parts.push(format!("{} failed", grouped(objects.failed)));
    parts.push(format!("{} missing", grouped(objects.missing)));
    if objects.lost > 0 {
        parts.push(format!("{} lost", grouped(objects.lost)));
    }
    parts.join(", ")
}

/// What a run takes and costs on AWS.
pub(crate) fn of_cost(cost: &Cost) -> String {
    let requests = &cost.requests;
    format!(
        "about ${:.2}: {} GET, {} PUT and LIST, {} to SQS, {} GB-seconds of Lambda ({}, {})",
        cost.micro_usd.total as f64 / 1e6,
        grouped(requests.source_get + requests.destination_get),
        grouped(requests.source_list + requests.destination_list + requests.destination_put),
        grouped(requests.queue),
        grouped(cost.lambda_gb_seconds),
        cost.prices.region,
        cost.prices.as_of
    )
}

/// The verdict, and of which time it is. A run that is incomplete is not called final: it can be resumed.
fn verdict(report: &Report) -> String {
    let verdict = report.verdict.as_str();
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    match report.finality {
        Some(finality) if !finality.is_final => format!(
            "{verdict} as of {}, provisional until {}",
            time(finality.listed_at),
            time(finality.final_after)
        ),
        Some(_) if report.verdict != Verdict::Incomplete => format!("{verdict}, final"),
        _ => verdict.to_owned(),
    }
}

/// The plan of a dry run.
pub(crate) fn of_plan(plan: &PlanRecord) -> String {
    let objects = &plan.objects;
    let mut text = format!(
        "would recover {} objects ({}) of {} listed in {} hours; {} hours without objects",
        grouped(objects.planned),
        size(plan.bytes),
        grouped(objects.listed),
        grouped(plan.hours),
        plan.empty_hours.len(),
    );
    for day in &plan.days {
        let _ = write!(
            text,
            "\n  {}  {} objects  {}",
            day.date,
            grouped(day.objects.planned),
            size(day.bytes)
        );
        if !day.empty_hours.is_empty() {
            let hours: Vec<String> = day
                .empty_hours
                .iter()
                .map(|hour| hour.start().format("%H").to_string())
                .collect();
            let _ = write!(text, "  without objects: {}", hours.join(" "));
        }
    }
    text
}
