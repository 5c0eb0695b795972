//! `event-recovery run`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::Utc;
use event_recovery_pipeline::{
    Compression, Ended, ExecutionId, Format, Ledger, PlanLimits, RequestLimits, ResolvedRequest,
    Run, Tolerance, TransformLimits, inspect, preview,
};
use tokio::sync::watch;

use crate::arguments::RunArguments;
use crate::failure::{Failure, INTERRUPTED};
use crate::progress::Progress;
use crate::status::{exit_code, print_json};
use crate::storage::{Places, SourceAccess};
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::could_not_run(format!("could not start: {error}")))?;
    let access = SourceAccess {
        role_arn: arguments.source_role_arn.as_deref(),
        external_id: arguments.external_id.as_deref(),
        region: arguments.source_region.as_deref(),
    };
    let places = Places::check(
        &arguments.source,
        &arguments.destination,
        &arguments.aws,
        &access,
    );
    let job = Job {
        arguments,
        request: resolution.request,
        execution_id,
        places: runtime.block_on(places)?,
        progress: Arc::new(Progress::new(arguments.output.quiet)),
    };
    if resolution.dry_run {
        runtime.block_on(job.preview())
    } else {
        runtime.block_on(job.carry_out())
    }
}

/// Without an id of the caller's, every call is a run of its own.
pub(crate) fn new_execution_id(request: &ResolvedRequest) -> Result<ExecutionId, Failure> {
    let mut identity = serde_json::to_vec(request)
        .map_err(|error| Failure::could_not_run(format!("could not name the run: {error}")))?;
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    identity.extend_from_slice(&nanos.to_le_bytes());
    identity.extend_from_slice(&std::process::id().to_le_bytes());
    Ok(ExecutionId::derive(request.start, request.end, &identity))
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
            PlanLimits::default(),
            &*self.progress,
            Utc::now(),
        )
        .await;
        self.progress.finish();
        let plan = planned?;
        if self.arguments.output.json {
            print_json("the plan", &plan)?;
        } else if !self.arguments.output.quiet {
            say(&summary::of_plan(&plan));
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn carry_out(&self) -> Result<ExitCode, Failure> {
        let held = self.places.hold_destination(&self.execution_id)?;
        let concurrency = match self.arguments.concurrency {
            Some(concurrency) => usize::from(concurrency),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let run = Run {
            source: self.places.source(),
            destination: Arc::clone(&held.storage),
            request: self.request.clone(),
            execution_id: self.execution_id.clone(),
            concurrency,
            plan_limits: PlanLimits::default(),
            transform_limits: TransformLimits::default(),
            observer: self.progress.clone(),
        };
        let (stop_sender, stop) = watch::channel(false);
        tokio::spawn(stop_on_signal(stop_sender, Arc::clone(&self.progress)));
        let ended = run.carry_out(stop).await;
        self.progress.finish();
        match ended? {
            Ended::Audited(report) => {
                if self.arguments.output.json {
                    let key = Ledger::new(self.execution_id.clone()).report_key();
                    let place = self.arguments.destination.place(&key);
                    print_json("the report", &report).map_err(|failure| {
                        failure.hint(format!("the run has ended, and its report is `{place}`"))
                    })?;
                }
                if !self.arguments.output.quiet && !self.arguments.output.json {
                    say(&summary::of_report(&report, &self.arguments.destination));
                }
                Ok(exit_code(report.verdict))
            }
            Ended::Stopped => {
                let resume = self.resume_command();
                say(&format!("stopped; to go on with the run:\n  {resume}"));
                if self.arguments.output.json {
                    let report = inspect(&*held.storage, &self.execution_id, Utc::now()).await?;
                    print_json("the report", &report)?;
                }
                Ok(ExitCode::from(INTERRUPTED))
            }
        }
    }

    /// The command that goes on with this run.
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
            ("source-role-arn", &arguments.source_role_arn),
            ("external-id", &arguments.external_id),
            ("source-region", &arguments.source_region),
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
        for domain in &arguments.request.domains {
            option("domain", domain);
        }
        for event_type in &arguments.request.event_types {
            option("event-type", event_type);
        }
        if arguments.tolerance() != Tolerance::default() {
            option("lead-secs", &arguments.lead_secs.to_string());
            option("lag-secs", &arguments.lag_secs.to_string());
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

/// Asks the run to stop at the first signal, and ends the process at the second.
async fn stop_on_signal(stop: watch::Sender<bool>, progress: Arc<Progress>) {
    if next_signal().await.is_err() {
        return;
    }
    progress.say("stopping after the objects in flight; once more to quit at once");
    // Nobody listens any more when the run has ended.
    let _ = stop.send(true);
    if next_signal().await.is_ok() {
        std::process::exit(i32::from(INTERRUPTED));
    }
}

#[cfg(unix)]
pub(crate) async fn next_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
pub(crate) async fn next_signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
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
