//! The report as a page for people, `report.html`: a view of the report and of nothing else.

mod chart;
mod words;

use std::collections::BTreeSet;

use askama::Template;
use chrono::{DateTime, SecondsFormat, Utc};

use crate::ledger::recheck_record::NamedKeys;
use crate::ledger::report::Report;
use crate::page::chart::{Chart, charts};
use crate::page::words::{VerdictWords, grouped, span};
use crate::request::resolved::ResolvedRequest;

/// Most kinds of events on the page; `report.json` has all.
const KINDS_SHOWN_MAX: usize = 50;

/// The page of a report: self-contained, without scripts, and with everything escaped that comes from keys or errors.
///
/// # Errors
///
/// None in practice: the template writes to memory.
pub fn report_page(report: &Report) -> Result<String, askama::Error> {
    Page::of(report).render().map(visible)
}

/// With characters written out that can't be seen, and that make others look like something else, such as those that turn the
/// direction of a text around. The template has none.
fn visible(page: String) -> String {
    let is_hidden = |character: char| {
        let turns = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || (character.is_control() && character != '\n')
    };
    if !page.contains(is_hidden) {
        return page;
    }
    let mut text = String::with_capacity(page.len());
    for character in page.chars() {
        match is_hidden(character) {
            true => text.extend(character.escape_unicode()),
            false => text.push(character),
        }
    }
    text
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    report: &'a Report,
    verdict: VerdictWords,
    balances: [Balance; 3],
    span: String,
    charts: Vec<Chart>,
    unrecovered_caption: String,
    losses_caption: String,
    salvaged_caption: String,
    kinds: Vec<Kind<'a>>,
    kinds_caption: String,
    named: Vec<Named<'a>>,
    facts: Vec<Fact>,
}

/// A sum that people can check.
struct Balance {
    title: &'static str,
    parts: Vec<Row>,
    sum: Row,
}

struct Row {
    what: &'static str,
    number: String,
}

/// Objects that are named.
struct Named<'a> {
    title: &'static str,
    explanation: String,
    keys: &'a [String],
    more: u64,
}

/// Events of one domain and type.
struct Kind<'a> {
    domain: &'a str,
    event_type: &'a str,
    events: u64,
}

struct Fact {
    what: &'static str,
    value: String,
}

impl<'a> Page<'a> {
    fn of(report: &'a Report) -> Self {
        let objects = &report.objects;
        let kinds = kinds(report);
        let (unrecovered, lost) = (objects.failed + objects.missing, objects.lost);
        Self {
            report,
            verdict: VerdictWords::of(report),
            balances: balances(report),
            span: span(report),
            charts: charts(&report.hours),
            unrecovered_caption: shown(report.unrecovered.len(), unrecovered),
            losses_caption: shown(report.losses.len(), lost),
            salvaged_caption: shown(report.salvage.named.len(), objects.salvaged),
            kinds_caption: shown(kinds.len().min(KINDS_SHOWN_MAX), kinds.len() as u64),
            kinds: kinds.into_iter().take(KINDS_SHOWN_MAX).collect(),
            named: named(report),
            facts: facts(report),
        }
    }
}

fn row(what: &'static str, number: u64) -> Row {
    Row {
        what,
        number: grouped(number),
    }
}

fn balances(report: &Report) -> [Balance; 3] {
    let (objects, events, bytes) = (&report.objects, &report.events, &report.bytes);
    let mut parts = vec![
        row("recovered", objects.done),
        row("failed", objects.failed),
        row("missing", objects.missing),
    ];
    if objects.salvaged > 0 {
        parts.insert(1, row("recovered up to their damage", objects.salvaged));
    }
    if objects.lost > 0 {
        parts.push(row("loss accepted", objects.lost));
    }
    parts.push(row("can't hold events of the window", objects.pruned));
    [
        Balance {
            title: "Objects of the backup",
            parts,
            sum: row("listed", objects.listed),
        },
        Balance {
            title: "Events",
            parts: vec![
                row("written", events.written),
                row("arrived outside of the window", events.out_of_window),
                row("left out by filters", events.filtered_out),
                row("duplicates dropped", events.duplicates),
            ],
            sum: row("found", events.found),
        },
        Balance {
            title: "Bytes, decoded",
            parts: vec![
                row("events", bytes.events),
                row("white space between events", bytes.whitespace),
                row("rejected fragments", bytes.rejected),
            ],
            sum: row("read", bytes.read),
        },
    ]
}

/// The most frequent kinds first.
fn kinds(report: &Report) -> Vec<Kind<'_>> {
    let mut kinds: Vec<Kind<'_>> = Vec::new();
    for (domain, types) in &report.kinds {
        kinds.extend(types.iter().map(|(event_type, events)| Kind {
            domain,
            event_type,
            events: *events,
        }));
    }
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.events));
    kinds
}

/// How many of all are shown.
fn shown(shown: usize, all: u64) -> String {
    match shown as u64 == all {
        true => format!("{} in all", grouped(all)),
        false => format!("the first {} of {}", grouped(shown as u64), grouped(all)),
    }
}

fn named(report: &Report) -> Vec<Named<'_>> {
    let mut found = Vec::new();
    if report.rejected_fragments > 0 {
        let explanation = format!(
            "{} fragments are not an event. Each line of these files gives the object, the offset and the reason of one, \
             and its bytes.",
            grouped(report.rejected_fragments)
        );
        // The report does not count the files.
        found.push(Named {
            title: "Rejected fragments",
            explanation,
            keys: &report.rejected_files,
            more: 0,
        });
    }
    if report.late.objects > 0 {
        let late = &report.late;
        found.push(Named {
            title: "Objects that came late",
            explanation: format!(
                "They came after their hours were first listed: {}. Recovered of them: {}, with {} events.",
                grouped(late.objects),
                grouped(late.done),
                grouped(late.events)
            ),
            keys: &late.named,
            more: late.objects.saturating_sub(late.named.len() as u64),
        });
    }
    found.extend(changed(
        "Objects that changed",
        "They changed after they were listed. What was recovered of them before can't be compared any more.",
        &report.changed,
    ));
    found.extend(changed(
        "Objects that vanished",
        "They are gone from the backup since they were listed.",
        &report.vanished,
    ));
    if report.unexpected.objects > 0 {
        let unexpected = &report.unexpected;
        found.push(Named {
            title: "Objects that belong to no hour",
            explanation: "They lie among the hours of the range and were not recovered.".to_owned(),
            keys: &unexpected.named,
            more: unexpected
                .objects
                .saturating_sub(unexpected.named.len() as u64),
        });
    }
    found
}

fn changed<'a>(title: &'static str, explanation: &str, keys: &'a NamedKeys) -> Option<Named<'a>> {
    (!keys.is_empty()).then(|| Named {
        title,
        explanation: explanation.to_owned(),
        keys: &keys.named,
        more: keys.objects.saturating_sub(keys.named.len() as u64),
    })
}

fn facts(report: &Report) -> Vec<Fact> {
    let request = &report.request;
    let fact = |what, value: String| Fact { what, value };
    let joined = |values: &BTreeSet<String>| match values.is_empty() {
        true => "all".to_owned(),
        false => values.iter().cloned().collect::<Vec<_>>().join(", "),
    };
    let optional = |time: Option<DateTime<Utc>>| time.map_or("–".to_owned(), written);
    let mut facts = vec![
        fact("Run", report.execution_id.to_string()),
        fact("Backup of", request.org_id.to_string()),
        fact("From", written(request.start)),
        fact("To, exclusive", written(request.end)),
        fact("Window", words::window(request)),
        fact("Domains", joined(&request.domains)),
        fact("Event types", joined(&request.event_types)),
        fact("Left out", excluded(request)),
        fact("Format", words::format(request)),
        fact(
            "Output",
            format!(
                "{} files, {} bytes",
                grouped(report.output.files),
                grouped(report.output.bytes)
            ),
        ),
        fact("Begun", written(report.times.created_at)),
        fact("Planned", optional(report.times.planned_at)),
        fact("Last object done", optional(report.times.finished_at)),
        fact("Audited", written(report.times.audited_at)),
        fact(
            "From its beginning to this report",
            words::duration(report.times.duration_millis),
        ),
        fact("Software", report.software.clone()),
    ];
    if let Some(cost) = &report.cost {
        facts.push(fact("Cost on AWS", words::cost(cost)));
    }
    if report.orgs.len() > 1 {
        let orgs = report
            .orgs
            .iter()
            .map(|(org, events)| format!("{org}: {}", grouped(*events)));
        facts.push(fact("Events by org", orgs.collect::<Vec<_>>().join(", ")));
    }
    facts
}

fn excluded(request: &ResolvedRequest) -> String {
    let mut parts = Vec::new();
    for (what, values) in [
        ("domains", &request.exclude_domains),
        ("event types", &request.exclude_event_types),
    ] {
        if !values.is_empty() {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            parts.push(format!("{what} {}", values.join(", ")));
        }
    }
    if let Some(dedupe) = request.dedupe {
        parts.push(format!("repeated events of one {}", dedupe.as_str()));
    }
    match parts.is_empty() {
        true => "nothing".to_owned(),
        false => parts.join("; "),
    }
}

fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
