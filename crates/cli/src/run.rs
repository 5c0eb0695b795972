//! `event-recovery run`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::Utc;
use clap::ValueEnum as _;
use event_recovery_pipeline::{
    Ended, ExecutionId, InProcessQueue, LocalFolder, PlanLimits, Planner, RecoveryRequest,
    RequestLimits, ResolvedRequest, Run, Tolerance, TransformLimits, inspect,
};
use tokio::sync::watch;

use crate::arguments::RunArguments;
use crate::failure::{Failure, INTERRUPTED};
use crate::local_ledger::{LocalLedger, check_destination, check_source};
use crate::progress::Progress;
use crate::status::{exit_code, print_json};
use crate::summary;

pub(crate) fn run(arguments: &RunArguments) -> Result<ExitCode, Failure> {
    let tolerance = Tolerance::new(arguments.lead_secs, arguments.lag_secs)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let resolution =
        request(arguments).resolve(&RequestLimits::default(), &tolerance, Utc::now())?;
    let execution_id = match resolution.execution_id {
        Some(execution_id) => execution_id,
        None => new_execution_id(&resolution.request)?,
    };
    let source = check_source(&arguments.source)?;
    let destination = check_destination(&arguments.destination, &source)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::could_not_run(format!("could not start: {error}")))?;
    let progress = Arc::new(Progress::new(arguments.quiet));
    let job = Job {
        arguments,
        request: resolution.request,
        execution_id,
        source,
        destination,
        progress,
    };
    if resolution.dry_run {
        runtime.block_on(job.preview())
    } else {
        runtime.block_on(job.carry_out())
    }
}

fn request(arguments: &RunArguments) -> RecoveryRequest {
    let name = |value: Option<clap::builder::PossibleValue>| {
        value.map(|value| value.get_name().to_owned())
    };
    RecoveryRequest {
        org_id: arguments.org_id.clone(),
        start: arguments.start.clone(),
        end: arguments.end.clone(),
        window: name(arguments.window.to_possible_value()),
        format: name(arguments.format.to_possible_value()),
        compression: name(
            arguments
                .compression
                .and_then(|value| value.to_possible_value()),
        ),
        domains: arguments.domains.clone(),
        event_types: arguments.event_types.clone(),
        dry_run: arguments.dry_run,
        execution_id: arguments.execution_id.clone(),
    }
}

/// Without an id of the caller's, every call is a run of its own.
fn new_execution_id(request: &ResolvedRequest) -> Result<ExecutionId, Failure> {
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
    source: PathBuf,
    destination: PathBuf,
    progress: Arc<Progress>,
}

impl Job<'_> {
    fn source_storage(&self) -> LocalFolder {
        // The source is only read, so nothing is staged.
        LocalFolder::new(&self.source, &self.source)
    }

    async fn preview(&self) -> Result<ExitCode, Failure> {
        let source = self.source_storage();
        let planner = Planner {
            source: &source,
            ledger: &source,
            queue: &InProcessQueue::new(1),
            auditor: None,
            until: None,
            limits: PlanLimits::default(),
            observer: &*self.progress,
        };
        let planned = planner
            .preview(&self.request, &self.execution_id, Utc::now())
            .await;
        self.progress.finish();
        let plan = planned?;
        if self.arguments.json {
            print_json(&plan)?;
        } else if !self.arguments.quiet {
            eprintln!("{}", summary::of_plan(&plan));
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn carry_out(&self) -> Result<ExitCode, Failure> {
        let ledger = LocalLedger::lock(&self.destination, &self.execution_id)?;
        let concurrency = match self.arguments.concurrency {
            Some(concurrency) => usize::from(concurrency),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let run = Run {
            source: Arc::new(self.source_storage()),
            destination: Arc::new(ledger.storage()),
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
                if self.arguments.json {
                    print_json(&report)?;
                }
                if !self.arguments.quiet && !self.arguments.json {
                    eprintln!(
                        "{}",
                        summary::of_report(&report, &self.arguments.destination)
                    );
                }
                Ok(exit_code(report.verdict))
            }
            Ended::Stopped => {
                if self.arguments.json {
                    let storage = ledger.storage();
                    print_json(&inspect(&storage, &self.execution_id, Utc::now()).await?)?;
                }
                eprintln!(
                    "stopped; to go on with the run:\n  {}",
                    self.resume_command()
                );
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
        let path = |path: &Path| path.display().to_string();
        option("org-id", &arguments.org_id);
        option("source", &path(&arguments.source));
        option("destination", &path(&arguments.destination));
        option("start", &arguments.start);
        option("end", &arguments.end);
        option("window", self.request.window.kind.as_str());
        option("format", self.request.format.as_str());
        option("compression", self.request.compression.as_str());
        for domain in &arguments.domains {
            option("domain", domain);
        }
        for event_type in &arguments.event_types {
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
async fn next_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn next_signal() -> std::io::Result<()> {
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
