//! `event-recovery sample`.

use std::process::ExitCode;

use event_recovery_pipeline::HourPrefix;
use event_recovery_sample::{SampleOptions, write_sample};
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::SampleArguments;
use crate::bytes::{grouped, size};
use crate::failure::Failure;
use crate::output::print_json;
use crate::terminal::say;

pub(crate) fn sample(arguments: &SampleArguments) -> Result<ExitCode, Failure> {
    let start = HourPrefix::parse(&arguments.start).map_err(|_| {
        Failure::usage(format!(
            "`--start` accepts an hour like `2024-04-01T00`: {:?}",
            arguments.start
        ))
    })?;
    let options = SampleOptions {
        org_id: arguments.org_id.clone(),
        start: start.start(),
        hours: arguments.hours,
        objects_per_hour: arguments.objects_per_hour,
        object_bytes: arguments.object_bytes,
        seed: arguments.seed,
        hard: arguments.hard,
        ..SampleOptions::new(&arguments.directory)
    };
    // Draws nothing when stderr is no terminal.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} objects, {eta} left") {
        bar.set_style(style);
    }
    let written = write_sample(&options, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let summary = written.map_err(|error| {
        let failure = if error.is_usage() {
            Failure::usage(error.to_string())
        } else {
            Failure::could_not_run(error.to_string())
        };
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })?;
    if arguments.json {
        print_json("what was written", &summary)?;
    }
    say(&format!(
        "wrote {} objects with {} events ({}) to {}",
        grouped(summary.objects),
        grouped(summary.events),
        size(summary.bytes),
        arguments.directory.join("main_stream").display(),
    ));
    say(&format!("the truth: {}", summary.expected.display()));
    if summary.torn > 0 {
        say(&format!(
            "torn events: {}, listed in {}",
            summary.torn,
            summary.torn_list.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}
