//! `event-recovery run`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::Utc;
use event_recovery_pipeline::{
    Compression, Cost, Ended, ExecutionId, Format, LATE_ALLOWANCE_HOURS_DEFAULT, LateAllowance,
    Ledger, PlanRecord, RequestLimits, ResolvedRequest, Run, RunOrigin, RunTerms, Tolerance,
    TransformLimits, forecast, inspect, preview,
};
use serde::Serialize;
use tokio::sync::watch;

use crate::arguments::RunArguments;
use crate::common_arguments::CONCURRENCY_MAX;
use crate::failure::{Failure, INTERRUPTED};
use crate::output::{exit_code, print_json};
use crate::progress::Progress;
use crate::runtime;
use crate::signals::stop_on_signal;
use crate::storage::Places;
use crate::summary;
use crate::terminal::say;

pub(crate) fn run(arguments: &RunArguments) -> Result<ExitCode, Failure> {
    let tolerance = Tolerance::new(arguments.lead_secs, arguments.lag_secs)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let resolution = arguments.request.to_request().resolve(
        &RequestLimits::default(),
        &tolerance,
        Utc::now(),
    )?;
    let execution_id = match resolution.execution_id {
        Some(execution_id) => execution_id,
        None => new_execution_id(&resolution.request)?,
    };
    runtime::block_on(async {
        let places = Places::check(
            &arguments.source,
            &arguments.destination,
            &arguments.aws,
            &arguments.access,
        );
        let job = Job {
            arguments,
            request: resolution.request,
            execution_id,
            places: places.await?,
            progress: Arc::new(Progress::new(arguments.output.quiet)),
        };
        match resolution.dry_run {
            true => job.preview().await,
            false => job.carry_out().await,
        }
    })
}

/// The default of `--concurrency` where a bucket takes part, for each processor, and its least.
const OBJECTS_OF_BUCKETS: usize = 2;
const OBJECTS_OF_BUCKETS_LEAST: usize = 4;
/// Small objects in the place of one other, by default and where a bucket takes part.
const SMALL_OBJECTS_OF_BUCKETS: usize = 8;

/// How many objects are processed at the same time.
pub(crate) struct Concurrency {
    pub(crate) objects: usize,
    /// In the place of one other.
    pub(crate) small_objects: usize,
}

impl Concurrency {
    /// As many as were asked for. Else processors are to be busy: between folders as many objects are enough, and from or to
    /// a bucket more, because they wait for it.
    pub(crate) fn new(asked: Option<u16>, places: &Places) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let (objects, small_objects) = match asked {
            Some(asked) => (usize::from(asked), 1),
            None if places.are_folders() => (processors.min(usize::from(CONCURRENCY_MAX)), 1),
            None => {
                let most = usize::from(CONCURRENCY_MAX) / SMALL_OBJECTS_OF_BUCKETS;
                let objects = (processors * OBJECTS_OF_BUCKETS).max(OBJECTS_OF_BUCKETS_LEAST);
                (objects.min(most), SMALL_OBJECTS_OF_BUCKETS)
            }
        };
        Self {
            objects,
            small_objects,
        }
    }
}

/// Without an id of the caller's, every call is a run of its own.
pub(crate) fn new_execution_id(request: &ResolvedRequest) -> Result<ExecutionId, Failure> {
    let origin = RunOrigin::Process {
        began_nanos: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos(),
        process_id: std::process::id(),
    };
    ExecutionId::of_request(request, origin)
        .map_err(|error| Failure::could_not_run(format!("could not name the run: {error}")))
}

/// A dry run.
#[derive(Serialize)]
struct Preview {
    #[serde(flatten)]
    plan: PlanRecord,
    forecast: Cost,
}

struct Job<'a> {
    arguments: &'a RunArguments,
    request: ResolvedRequest,
    execution_id: ExecutionId,
    places: Places,
    progress: Arc<Progress>,
}

impl Job<'_> {
    async fn preview(&self) -> Result<ExitCode, Failure> {
        let source = self.places.source();
        let planned = preview(
            &*source,
            &self.request,
            &self.execution_id,
            self.arguments.plan_limits(),
            &*self.progress,
            Utc::now(),
        )
        .await;
        self.progress.finish();
        let plan = planned?;
        let forecast = forecast(&plan, self.request.output);
        let preview = Preview { plan, forecast };
        let output = self.arguments.output.output();
        output.show("the plan", &preview, || {
            let plan = summary::of_plan(&preview.plan);
            format!(
                "{plan}\n  on AWS    {}",
                summary::of_cost(&preview.forecast)
            )
        })?;
        Ok(ExitCode::SUCCESS)
    }

    async fn carry_out(&self) -> Result<ExitCode, Failure> {
        let held = self.places.hold_destination(&self.execution_id)?;
        let late_allowance = LateAllowance::from_hours(self.arguments.late_allowance_hours)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let concurrency = Concurrency::new(self.arguments.concurrency, &self.places);
        let run = Run {
            linked_orgs: self.arguments.access.linked_orgs()?,
            source: self.places.source(),
            destination: Arc::clone(&held.storage),
            request: self.request.clone(),
            execution_id: self.execution_id.clone(),
            concurrency: concurrency.objects,
            small_objects: concurrency.small_objects,
            terms: RunTerms {
                late_allowance,
                scheduled_for: None,
                source: self.arguments.source.bucket_url(),
            },
            plan_limits: self.arguments.plan_limits(),
            transform_limits: TransformLimits::default(),
            only: None,
            observer: self.progress.clone(),
        };
        let (stop_sender, stop) = watch::channel(false);
        let progress = Arc::clone(&self.progress);
        tokio::spawn(stop_on_signal(stop_sender, move || {
            progress.say("stopping after the objects in flight; once more to quit at once");
        }));
        let ended = run.carry_out(stop).await;
        self.progress.finish();
        match ended? {
            Ended::Audited(report) => {
                let destination = &self.arguments.destination;
                let shown = self
                    .arguments
                    .output
                    .output()
                    .show("the report", &report, || {
                        summary::of_report(&report, destination)
                    });
                shown.map_err(|failure| {
                    let key = Ledger::new(self.execution_id.clone()).report_key();
                    let place = destination.place(&key);
                    failure.hint(format!("the run has ended, and its report is `{place}`"))
                })?;
                Ok(exit_code(report.verdict))
            }
            Ended::Stopped => {
                let resume = self.resume_command();
                say(&format!("stopped; to resume the run:\n  {resume}"));
                if self.arguments.output.json {
                    let report = inspect(&*held.storage, &self.execution_id, Utc::now()).await?;
                    print_json("the report", &report)?;
                }
                Ok(ExitCode::from(INTERRUPTED))
            }
        }
    }

    /// The command that resumes this run.
    fn resume_command(&self) -> String {
        let arguments = self.arguments;
        let mut words = vec!["event-recovery".to_owned(), "run".to_owned()];
        let mut option = |name: &str, value: &str| {
            words.push(format!("--{name}"));
            words.push(quoted(value));
        };
        option("org-id", &arguments.request.org_id);
        option("source", &arguments.source.to_string());
        option("destination", &arguments.destination.to_string());
        let access = [
            ("source-role-arn", &arguments.access.source_role_arn),
            ("external-id", &arguments.access.external_id),
            ("source-region", &arguments.access.source_region),
            ("region", &arguments.aws.region),
            ("endpoint-url", &arguments.aws.endpoint_url),
        ];
        for (name, value) in access {
            if let Some(value) = value {
                option(name, value);
            }
        }
        option("start", &arguments.request.start);
        option("end", &arguments.request.end);
        option("window", self.request.window.kind.as_str());
        option("format", Format::of(self.request.output).as_str());
        let compression = Compression::of(self.request.output);
        option("compression", compression.as_str());
        for domain in &arguments.request.filters.domains {
            option("domain", domain);
        }
        for event_type in &arguments.request.filters.event_types {
            option("event-type", event_type);
        }
        for domain in &arguments.request.filters.exclude_domains {
            option("exclude-domain", domain);
        }
        for event_type in &arguments.request.filters.exclude_event_types {
            option("exclude-event-type", event_type);
        }
        if let Some(dedupe) = self.request.dedupe {
            option("dedupe", dedupe.as_str());
        }
        if arguments.tolerance() != Tolerance::default() {
            option("lead-secs", &arguments.lead_secs.to_string());
            option("lag-secs", &arguments.lag_secs.to_string());
        }
        if arguments.late_allowance_hours != LATE_ALLOWANCE_HOURS_DEFAULT {
            option(
                "late-allowance-hours",
                &arguments.late_allowance_hours.to_string(),
            );
        }
        option("execution-id", self.execution_id.as_str());
        words.join(" ")
    }
}

/// The word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_are_quoted_for_the_shell_where_they_must_be() {
        assert_eq!(quoted("a/b-c_1:2"), "a/b-c_1:2");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
