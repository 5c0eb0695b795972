//! `event-recovery deliver`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use event_recovery_aws::{BusTarget, QueueTarget, StreamTarget, TopicTarget};
use event_recovery_pipeline::{
    BATCH_EVENTS_MAX, ComparisonId, Delivering, DeliveryForecast, DeliveryReport, DeliveryTerms,
    ExecutionId, Fate, Outgoing, Pace, SendEvents, Stop, TargetError, TargetLimits, Unwatched,
    WatchConsumer, digest,
};

use crate::bytes::{grouped, size};
use crate::delivery_arguments::DeliverArguments;
use crate::failure::{Failure, INTERRUPTED};
use crate::ledger_place::LedgerPlace;
use crate::output::{Output, exit_code, print_json};
use crate::progress::Counting;
use crate::runtime;
use crate::signals::next_signal;
use crate::storage::aws_session;
use crate::streams;
use crate::terminal::say;

/// The attributes of each message that say what it is.
const REDELIVERY: &str = "event-recovery-redelivery";
const RUN: &str = "event-recovery-run";
const DELIVERY: &str = "event-recovery-delivery";
/// Attributes of one message ("Amazon SQS message quotas" in the SQS developer guide).
const ATTRIBUTES_MAX: usize = 10;

/// Where events go.
struct Place {
    target: Arc<dyn SendEvents>,
    watch: Arc<dyn WatchConsumer>,
    /// Why standard output could not be written to.
    stdout_failed: Arc<OnceLock<io::Error>>,
}

pub(crate) fn deliver(arguments: &DeliverArguments) -> Result<ExitCode, Failure> {
    let delivery_id = match &arguments.delivery_id {
        Some(id) => ExecutionId::parse(id)
            .map_err(|error| Failure::usage(format!("`--delivery-id`: {error}")))?,
        None => derived_id(arguments)?,
    };
    let is_stdout = arguments.to == "-";
    if is_stdout && arguments.ledger.output.json {
        return Err(
            Failure::usage("`--json` prints on stdout, where `--to -` writes the events")
                .hint("the report is in the ledger, as deliveries/ID/report.json"),
        );
    }
    let attributes = attributes(arguments, &delivery_id)?;
    runtime::block_on(async {
        let ledger_place = LedgerPlace::open(&arguments.ledger).await?;
        let place = open(arguments, &attributes).await?;
        let terms = terms(arguments, place.target.name())?;
        let stop = Stop::default();
        let counting = Counting::new(arguments.ledger.output.quiet);
        let (sent, left_out) = (AtomicU64::new(0), AtomicU64::new(0));
        let progress = |more: u64, others: u64| {
            let sent = sent.fetch_add(more, Ordering::Relaxed) + more;
            let left_out = left_out.fetch_add(others, Ordering::Relaxed) + others;
            counting.show(&format!(
                "{} events sent, {} left out",
                grouped(sent),
                grouped(left_out)
            ));
        };
        let delivering = Delivering {
            destination: ledger_place.run_storage(),
            ledger: &ledger_place.ledger,
            delivery_id: &delivery_id,
            terms,
            target: place.target,
            watch: place.watch,
            pace: pace(arguments),
            // Lines of several objects must not mix.
            senders: if is_stdout {
                1
            } else {
                arguments.senders.into()
            },
            incomplete: arguments.incomplete,
            stop: stop.clone(),
            progress: &progress,
        };
        if arguments.dry_run {
            let found = delivering.forecast().await?;
            return match Output::of(arguments.ledger.output.json, false) {
                Output::Json => print_json("the forecast", &found),
                _ => {
                    say(&forecast_summary(&found));
                    Ok(())
                }
            }
            .map(|()| ExitCode::SUCCESS);
        }
        let interrupted = async {
            let _ = next_signal().await;
            stop.because("it was interrupted");
            std::future::pending::<Infallible>().await
        };
        let delivered = tokio::select! {
            delivered = delivering.deliver(Utc::now()) => delivered,
            // It waits for the delivery to stop.
            never = interrupted => match never {},
        };
        counting.finish();
        let report = match (delivered, place.stdout_failed.get()) {
            (Err(_), Some(error)) => return Err(Failure::of_stdout("the events", error)),
            (delivered, _) => delivered?,
        };
        let output = arguments.ledger.output.output();
        output.show("the report", &report, || summary(&report))?;
        let is_interrupted = report.stopped.as_deref() == Some("it was interrupted");
        Ok(match is_interrupted {
            true => ExitCode::from(INTERRUPTED),
            false => exit_code(report.verdict),
        })
    })
}

/// The same command twice is the same delivery, which resumes.
fn derived_id(arguments: &DeliverArguments) -> Result<ExecutionId, Failure> {
    let terms = terms(arguments, &arguments.to)?;
    let json = serde_json::to_vec(&terms).unwrap_or_default();
    let digest = digest(&json);
    let digest = digest.trim_start_matches("sha256:");
    let short = digest.get(..12).unwrap_or(digest);
    Ok(ExecutionId::parse(&format!("d-{short}"))?)
}

fn attributes(
    arguments: &DeliverArguments,
    delivery_id: &ExecutionId,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut attributes = BTreeMap::from([
        (REDELIVERY.to_owned(), "true".to_owned()),
        (RUN.to_owned(), arguments.ledger.execution_id.clone()),
        (DELIVERY.to_owned(), delivery_id.to_string()),
    ]);
    attributes.extend(own_attributes(arguments)?);
    match attributes.len() > ATTRIBUTES_MAX {
        true => Err(Failure::usage(format!(
            "`--attribute`: a message has at most {ATTRIBUTES_MAX} attributes, of which this program sets three"
        ))),
        false => Ok(attributes),
    }
}

fn own_attributes(arguments: &DeliverArguments) -> Result<BTreeMap<String, String>, Failure> {
    let mut attributes = BTreeMap::new();
    for attribute in &arguments.attributes {
        let Some((name, value)) = attribute.split_once('=') else {
            return Err(Failure::usage(format!(
                "`--attribute` takes NAME=VALUE: `{attribute}`"
            )));
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let starts_ok = !name.to_ascii_lowercase().starts_with("aws.");
        if name.is_empty() || value.is_empty() || !name.chars().all(is_name) || !starts_ok {
            return Err(Failure::usage(format!(
                "`--attribute`: `{attribute}` has no valid name, or no value"
            ))
            .hint("a name has letters, digits and `_-.`"));
        }
        attributes.insert(name.to_owned(), value.to_owned());
    }
    Ok(attributes)
}

fn terms(arguments: &DeliverArguments, target: &str) -> Result<DeliveryTerms, Failure> {
    let only_missing = match &arguments.only_missing {
        Some(id) => Some(
            ComparisonId::parse(id)
                .map_err(|error| Failure::usage(format!("`--only-missing`: {error}")))?,
        ),
        None => None,
    };
    if let Some(pointer) = &arguments.group_by
        && !pointer.starts_with('/')
    {
        return Err(Failure::usage(format!(
            "`--group-by` takes a JSON pointer such as `/data/account_id`: `{pointer}`"
        )));
    }
    Ok(DeliveryTerms {
        target: target.to_owned(),
        only_missing,
        filters: arguments.filters.to_filters(),
        from: instant("--from-arrival", &arguments.from_arrival)?,
        to: instant("--until-arrival", &arguments.until_arrival)?,
        group_by: arguments.group_by.clone(),
        ordered: arguments.order,
        detail_type: arguments.detail_type.clone(),
        event_source: match Service::of(&arguments.to) {
            Some(Service::Bus) => Some(event_source(arguments).to_owned()),
            _ => None,
        },
        again: arguments.again,
        attributes: own_attributes(arguments)?,
    })
}

fn instant(option: &str, text: &Option<String>) -> Result<Option<DateTime<Utc>>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let parsed = DateTime::parse_from_rfc3339(text);
    parsed.map(|time| Some(time.to_utc())).map_err(|_| {
        Failure::usage(format!(
            "`{option}` takes an instant such as `2024-04-01T13:20:00Z`: `{text}`"
        ))
    })
}

fn pace(arguments: &DeliverArguments) -> Pace {
    let until = arguments.for_secs.map(Duration::from_secs);
    Pace {
        rate: arguments.rate,
        backlog_max: arguments.max_backlog,
        until: until.and_then(|time| Instant::now().checked_add(time)),
        canary: arguments.canary,
    }
}

/// The kinds of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    StandardOutput,
    Queue,
    Topic,
    Bus,
    Stream,
}

impl Service {
    fn of(to: &str) -> Option<Self> {
        let is_queue_url = to.starts_with("https://sqs.") || to.starts_with("http://");
        let service = to
            .strip_prefix("arn:")
            .and_then(|arn| arn.split(':').nth(1));
        match service {
            _ if to == "-" => Some(Self::StandardOutput),
            Some("sqs") => Some(Self::Queue),
            Some("sns") => Some(Self::Topic),
            Some("events") => Some(Self::Bus),
            Some("kinesis") => Some(Self::Stream),
            None if is_queue_url => Some(Self::Queue),
            _ => None,
        }
    }
}

/// The kind of the target. An option that does nothing there is refused.
fn service_of(arguments: &DeliverArguments) -> Result<Service, Failure> {
    let to = arguments.to.as_str();
    let Some(service) = Service::of(to) else {
        return Err(Failure::usage(format!("`--to`: `{to}` is not a target")).hint(
            "it takes the ARN of an SQS queue, an SNS topic, an EventBridge bus or a Kinesis stream, the URL of a queue, or `-` \
             for standard output",
        ));
    };
    let has_groups = service == Service::Stream || to.ends_with(".fifo");
    let has_attributes = !matches!(service, Service::StandardOutput | Service::Stream);
    let rows = [
        (
            arguments.detail_type.is_some(),
            service == Service::Bus,
            "--detail-type",
        ),
        (
            arguments.event_source.is_some(),
            service == Service::Bus,
            "--event-source",
        ),
        (
            arguments.max_backlog.is_some(),
            service == Service::Queue,
            "--max-backlog",
        ),
        (
            arguments.max_dead_letters.is_some(),
            service == Service::Queue,
            "--max-dead-letters",
        ),
        (
            !arguments.attributes.is_empty(),
            has_attributes,
            "--attribute",
        ),
        (arguments.group_by.is_some(), has_groups, "--group-by"),
    ];
    match rows
        .iter()
        .find(|(is_given, has_effect, _)| *is_given && !has_effect)
    {
        Some((_, _, option)) => Err(Failure::usage(format!(
            "`{option}` has no effect on the target `{to}`"
        ))),
        None => Ok(service),
    }
}

fn event_source(arguments: &DeliverArguments) -> &str {
    arguments
        .event_source
        .as_deref()
        .unwrap_or("event-recovery")
}

async fn open(
    arguments: &DeliverArguments,
    attributes: &BTreeMap<String, String>,
) -> Result<Place, Failure> {
    let to = arguments.to.as_str();
    let service = service_of(arguments)?;
    if service == Service::StandardOutput {
        let stdout = streams::stdout().map_err(|error| Failure::of_stdout("the events", &error))?;
        let failed = Arc::new(OnceLock::new());
        return Ok(Place {
            target: Arc::new(Lines {
                stdout: Arc::new(stdout),
                failed: Arc::clone(&failed),
            }),
            watch: Arc::new(Unwatched),
            stdout_failed: failed,
        });
    }
    let config = aws_session(&arguments.ledger.aws).await;
    let mut watch: Arc<dyn WatchConsumer> = Arc::new(Unwatched);
    let target: Arc<dyn SendEvents> = match service {
        Service::StandardOutput | Service::Queue => {
            let group = format!("event-recovery-{}", arguments.ledger.execution_id);
            let most = arguments.max_dead_letters.unwrap_or(0);
            let queue = QueueTarget::open(&config, to, attributes.clone(), &group, most).await?;
            if !queue.is_watched() && !arguments.ledger.output.quiet {
                say(
                    "the queue has no dead-letter queue, so nothing tells whether its consumer fails",
                );
            }
            let queue = Arc::new(queue);
            watch = queue.clone();
            queue
        }
        Service::Topic => Arc::new(TopicTarget::new(&config, to, attributes.clone())),
        Service::Bus => {
            let resources = attributes
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            Arc::new(BusTarget::new(
                &config,
                to,
                arguments.detail_type.clone(),
                event_source(arguments),
                resources.collect(),
            ))
        }
        Service::Stream => Arc::new(StreamTarget::new(&config, to)),
    };
    Ok(Place {
        target,
        watch,
        stdout_failed: Arc::default(),
    })
}

fn forecast_summary(found: &DeliveryForecast) -> String {
    let time = match found.seconds {
        Some(seconds) => format!(", {seconds} s at the given rate"),
        None => String::new(),
    };
    format!(
        "would send {} of {} events: {}, at least {} requests{time}\n  left out: {} sent earlier, {} received, {} filtered, {} refused",
        grouped(found.to_send),
        grouped(found.written),
        size(found.bytes),
        grouped(found.requests),
        grouped(found.earlier),
        grouped(found.received),
        grouped(found.filtered),
        grouped(found.refused)
    )
}

fn summary(report: &DeliveryReport) -> String {
    let (events, fates) = (&report.events, &report.events.fates);
    let mut lines = vec![
        format!(
            "{}: delivery `{}` of the run `{}`",
            report.verdict.as_str(),
            report.delivery_id,
            report.execution_id
        ),
        format!(
            "  events    {} = {} sent + {} earlier + {} received + {} duplicates + {} filtered + {} refused + {} pending",
            grouped(events.written),
            grouped(fates.sent),
            grouped(fates.earlier),
            grouped(fates.received),
            grouped(fates.duplicate),
            grouped(fates.filtered),
            grouped(fates.refused),
            grouped(events.pending)
        ),
    ];
    if report.sent_twice_max > 0 {
        lines.push(format!(
            "  at most {} events were sent twice",
            grouped(report.sent_twice_max)
        ));
    }
    lines.extend(report.reasons.iter().map(|reason| format!("  {reason}")));
    lines.join("\n")
}

/// Standard output, one event a line.
struct Lines {
    stdout: Arc<File>,
    failed: Arc<OnceLock<io::Error>>,
}

#[async_trait]
impl SendEvents for Lines {
    fn name(&self) -> &str {
        "-"
    }

    fn limits(&self) -> TargetLimits {
        TargetLimits {
            batch_events: BATCH_EVENTS_MAX,
            batch_bytes: usize::MAX,
            event_overhead: 0,
            one_of_group: false,
        }
    }

    fn refusal(&self, _: &Outgoing) -> Option<String> {
        None
    }

    async fn send(&self, batch: &[Outgoing]) -> Result<Vec<Fate>, TargetError> {
        let mut lines = Vec::new();
        for event in batch {
            lines.extend_from_slice(&event.event);
            lines.push(b'\n');
        }
        let stdout = Arc::clone(&self.stdout);
        // A file has no buffer: what is written is with whoever reads.
        let written = tokio::task::spawn_blocking(move || (&*stdout).write_all(&lines));
        let written = written
            .await
            .unwrap_or_else(|died| Err(io::Error::other(died)));
        match written {
            Ok(()) => Ok(batch
                .iter()
                .map(|_| Fate::Sent { message_id: None })
                .collect()),
            Err(error) => {
                let failed = TargetError::new("-", error.to_string(), false);
                let _ = self.failed.set(error);
                Err(failed)
            }
        }
    }
}
