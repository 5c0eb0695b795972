//! `event-recovery list`.

use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat, Utc};
use event_recovery_pipeline::{ListedRun, RunState, list_runs};

use crate::bytes::grouped;
use crate::failure::Failure;
use crate::handling_arguments::ListArguments;
use crate::ledger_place::location_of;
use crate::output::Output;
use crate::runtime;
use crate::storage::Recovered;

pub(crate) fn list(arguments: &ListArguments) -> Result<ExitCode, Failure> {
    let runs = runtime::block_on(async {
        let location =
            location_of(&arguments.stack, &arguments.destination, &arguments.aws).await?;
        let now = Utc::now();
        let runs = match Recovered::open(&location, &arguments.aws).await {
            Recovered::Folder(folder) => list_runs(&folder, now).await,
            Recovered::Bucket(bucket) => list_runs(&bucket, now).await,
        };
        Ok(runs?)
    })?;
    Output::of(arguments.json, false).show("the runs", &runs, || table(&runs))?;
    Ok(ExitCode::SUCCESS)
}

fn table(runs: &[ListedRun]) -> String {
    if runs.is_empty() {
        return "there are no runs".to_owned();
    }
    let header = ["run", "range", "state", "objects", "events", "age"].map(str::to_owned);
    let mut lines = vec![header];
    lines.extend(runs.iter().map(cells));
    let width = |column: usize| {
        let lengths = lines.iter().map(|line| line[column].chars().count());
        lengths.max().unwrap_or_default()
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let rows = lines.iter().map(|line| {
        let cells = line.iter().zip(widths);
        let padded = cells.map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    rows.collect::<Vec<_>>().join("\n")
}

fn cells(run: &ListedRun) -> [String; 6] {
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let range = run
        .request
        .as_ref()
        .map(|request| format!("{} to {}", time(request.start), time(request.end)));
    let objects = run.objects.as_ref().map(|objects| {
        let (done, planned) = (grouped(objects.done), grouped(objects.planned));
        format!("{done} of {planned}")
    });
    [
        run.execution_id.to_string(),
        range.unwrap_or_default(),
        state(run),
        objects.unwrap_or_default(),
        run.events.map(grouped).unwrap_or_default(),
        run.age_secs.map(age).unwrap_or_default(),
    ]
}

fn state(run: &ListedRun) -> String {
    let verdict = run.verdict.map(|verdict| verdict.as_str());
    match run.state {
        RunState::NotAudited => "not audited yet".to_owned(),
        RunState::Refused => "refused".to_owned(),
        RunState::Cancelled => "cancelled".to_owned(),
        RunState::Damaged => run.error.clone().unwrap_or_default(),
        RunState::Audited => {
            let finality = match run.finality {
                Some(finality) if finality.is_final => ", final",
                Some(_) => ", provisional",
                None => "",
            };
            format!("{}{finality}", verdict.unwrap_or_default())
        }
    }
}

/// In the largest unit of which there is at least one.
fn age(secs: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(of, _)| secs >= *of);
    match unit {
        Some((of, name)) => format!("{} {name}", secs / of),
        None => format!("{secs} s"),
    }
}
