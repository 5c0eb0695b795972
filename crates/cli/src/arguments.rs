//! The arguments and their help texts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use event_recovery_pipeline::{
    AskedLimits, LAG_DEFAULT_SECS, LATE_ALLOWANCE_HOURS_DEFAULT, LATE_ALLOWANCE_HOURS_MAX,
    LEAD_DEFAULT_SECS, PlanLimits, Tolerance,
};

use crate::bytes::{parse_bytes, parse_dollars};
use crate::common_arguments::{AccessArguments, AwsArguments, CONCURRENCY_MAX, OutputArguments};
use crate::delivery_arguments::{CompareArguments, DeliverArguments};
use crate::handling_arguments::{
    AcceptLossArguments, CancelArguments, KnownRunArguments, LedgerArguments, ListArguments,
    RecheckArguments, ReportArguments, ResumeArguments, SalvageArguments, VerifySignatureArguments,
};
use crate::location::Location;
use crate::request_arguments::RequestArguments;

/// Recovers platform event backups: every event exactly as it was, with a report that proves it.
#[derive(Debug, Parser)]
#[command(name = "event-recovery", version, about, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 complete; 1 could not run; 2 usage; 3 finished, but something \
needs a look;\n130 interrupted; 141 whoever reads stdout went away before the end. Data goes to stdout, everything\n\
for people to stderr.\n\nEVENT_RECOVERY_LOG=LEVEL in the environment logs to stderr what the program does, never an event's content;\n\
LEVEL is off (the default), error, warn, info, debug or trace."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Sample(SampleArguments),
    Preflight(PreflightArguments),
    Run(RunArguments),
    Start(StartArguments),
    Status(StatusArguments),
    List(ListArguments),
    Resume(ResumeArguments),
    Recheck(RecheckArguments),
    Salvage(SalvageArguments),
    Cancel(CancelArguments),
    AcceptLoss(AcceptLossArguments),
    Report(ReportArguments),
    VerifySignature(VerifySignatureArguments),
    Compare(CompareArguments),
    Deliver(DeliverArguments),
    DeadLetters(DeadLettersArguments),
    Split(SplitArguments),
    /// Print shell completions
    #[command(
        after_help = "Example:\n  event-recovery completions bash > ~/.local/share/bash-completion/completions/event-recovery"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl Command {
    /// As it is written on the command line.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sample(_) => "sample",
            Self::Preflight(_) => "preflight",
            Self::Run(_) => "run",
            Self::Start(_) => "start",
            Self::Status(_) => "status",
            Self::List(_) => "list",
            Self::Resume(_) => "resume",
            Self::Recheck(_) => "recheck",
            Self::Salvage(_) => "salvage",
            Self::Cancel(_) => "cancel",
            Self::AcceptLoss(_) => "accept-loss",
            Self::Report(_) => "report",
            Self::VerifySignature(_) => "verify-signature",
            Self::Compare(_) => "compare",
            Self::Deliver(_) => "deliver",
            Self::DeadLetters(_) => "dead-letters",
            Self::Split(_) => "split",
            Self::Completions { .. } => "completions",
        }
    }

    /// What it prints on stdout, if anything.
    pub(crate) fn data(&self) -> Option<&'static str> {
        match self {
            Self::Split(_) => Some("the events"),
            Self::Completions { .. } => Some("the completions"),
            Self::Sample(SampleArguments { json, .. }) => json.then_some("what was written"),
            Self::Status(StatusArguments { json, .. }) => json.then_some("the report"),
            Self::List(ListArguments { json, .. }) => json.then_some("the runs"),
            Self::Preflight(PreflightArguments { output, .. }) => {
                output.json.then_some("the checks")
            }
            Self::Run(RunArguments { output, .. })
            | Self::Resume(ResumeArguments {
                run: KnownRunArguments { output, .. },
                ..
            })
            | Self::Salvage(SalvageArguments {
                run: KnownRunArguments { output, .. },
                ..
            })
            | Self::Recheck(RecheckArguments {
                run: KnownRunArguments { output, .. },
            })
            | Self::Cancel(CancelArguments {
                ledger: LedgerArguments { output, .. },
            })
            | Self::AcceptLoss(AcceptLossArguments {
                ledger: LedgerArguments { output, .. },
                ..
            })
            | Self::Report(ReportArguments {
                ledger: LedgerArguments { output, .. },
                ..
            }) => output.json.then_some("the report"),
            Self::VerifySignature(VerifySignatureArguments {
                ledger: LedgerArguments { output, .. },
                ..
            }) => output.json.then_some("what was verified"),
            Self::Compare(CompareArguments {
                ledger: LedgerArguments { output, .. },
                ..
            }) => output.json.then_some("the comparison"),
            Self::Deliver(DeliverArguments { to, ledger, .. }) => match to.as_str() {
                "-" => Some("the events"),
                _ => ledger.output.json.then_some("the report"),
            },
            Self::DeadLetters(DeadLettersArguments { output, .. }) => {
                output.json.then_some("the dead letters")
            }
            Self::Start(StartArguments {
                output, request, ..
            }) => (output.json || request.dry_run).then_some("the report"),
        }
    }
}

/// Write a realistic backup to try things on, and the list of its events
///
/// The backup is in DIR/main_stream, with the layout of the bucket. Next to it are expected.ndjson, with
/// every intact event on a sorted line of its own, and torn.jsonl, with the place of every torn one. The
/// same arguments write the same bytes.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  event-recovery sample backup\n  event-recovery sample backup --hard --hours 48 --objects-per-hour 12 --seed 7"
)]
pub(crate) struct SampleArguments {
    /// Where to write; must be empty or not exist
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// The org id of the backup
    #[arg(
        long,
        value_name = "ID",
        default_value = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be"
    )]
    pub(crate) org_id: String,
    /// The first hour, UTC
    #[arg(long, value_name = "YYYY-MM-DDTHH", default_value = "2024-04-01T00")]
    pub(crate) start: String,
    /// How many hours
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub(crate) hours: u32,
    /// How many objects under each hour prefix
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub(crate) objects_per_hour: u32,
    /// Approximate size of each object
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = parse_bytes)]
    pub(crate) object_bytes: u64,
    /// Another seed gives another backup
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Add what breaks naive tools: braces and JSON in strings, torn events, compressed objects
    #[arg(long)]
    pub(crate) hard: bool,
    /// Print what was written as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// Try what a run needs, before there is one, and leave nothing behind
///
/// In the order of a run: identity, roles, listing and reading of the backup, names against times, then writing,
/// conditional writing, uploading, reading and removing at the destination, and the clock. With --stack, each function
/// tries that with its own role, and also queues, topic, subscriptions and concurrency are looked at. For what is
/// missing, says which side can mend it, the action, the resource, and the statement to send to them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-recovery preflight --org-id tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be \\
      --source s3://BACKUP-BUCKET --source-role-arn ARN --destination s3://BUCKET/PREFIX
  event-recovery preflight --stack event-recovery --json

Exit codes: 0 everything works; 1 could not try; 2 usage; 3 something is missing, or can't be told.")]
pub(crate) struct PreflightArguments {
    /// Have the functions of this stack try
    #[arg(long, value_name = "NAME", conflicts_with_all = ["org_id", "source", "destination", "source_role_arn"])]
    pub(crate) stack: Option<String>,
    /// Whose backup it is: `tn-` and a UUID
    #[arg(long, value_name = "ID", required_unless_present = "stack")]
    pub(crate) org_id: Option<String>,
    /// The folder that holds `main_stream`, or s3://BUCKET
    #[arg(long, value_name = "DIR|s3://...", required_unless_present = "stack")]
    pub(crate) source: Option<Location>,
    /// Where events and ledger are to go: a folder, or s3://BUCKET/PREFIX
    #[arg(long, value_name = "DIR|s3://...", required_unless_present = "stack")]
    pub(crate) destination: Option<Location>,
    #[command(flatten)]
    pub(crate) access: AccessArguments,
    #[command(flatten)]
    pub(crate) aws: AwsArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// Recover a range of a backup, on this machine
///
/// Plans the range, recovers every object, audits the result and says whether it is complete. Events
/// are written below DESTINATION/execution_id=ID, the report and all that proves it below
/// DESTINATION/_recovery/ID. An interrupted run is resumed with the same arguments and its
/// execution id.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-recovery run --org-id tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be \\
      --source backup --destination recovered --start 2024-04-01 --end 2024-04-03
  event-recovery run --org-id tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be \\
      --source backup --destination recovered --format ndjson --domain account \\
      --start 2024-04-01T13:20:00Z --end 2024-04-01T15:45:00Z --json

Exit codes: 0 complete; 1 could not run; 2 usage; 3 finished, but something needs a look;
130 interrupted.")]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) request: RequestArguments,
    /// The folder that holds `main_stream`, or s3://BUCKET
    #[arg(long, value_name = "DIR|s3://...")]
    pub(crate) source: Location,
    /// Where events and ledger go: a folder, created if it does not exist, or s3://BUCKET/PREFIX
    #[arg(long, value_name = "DIR|s3://...")]
    pub(crate) destination: Location,
    #[command(flatten)]
    pub(crate) access: AccessArguments,
    #[command(flatten)]
    pub(crate) aws: AwsArguments,
    /// How many objects at the same time [default: as many as there are processors, or more if a bucket takes part]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(CONCURRENCY_MAX)))]
    pub(crate) concurrency: Option<u16>,
    /// How long after its object's time an event may have arrived, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = LEAD_DEFAULT_SECS)]
    pub(crate) lead_secs: u32,
    /// How long before its object's time an event may have arrived, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = LAG_DEFAULT_SECS)]
    pub(crate) lag_secs: u32,
    /// How long after its end an hour may gain objects, in hours; until then the report is provisional
    #[arg(long, value_name = "HOURS", default_value_t = LATE_ALLOWANCE_HOURS_DEFAULT,
        value_parser = clap::value_parser!(u32).range(0..=i64::from(LATE_ALLOWANCE_HOURS_MAX)))]
    pub(crate) late_allowance_hours: u32,
    /// Refuse to recover more objects than this, before the first one is begun
    #[arg(long, value_name = "N", default_value_t = PlanLimits::default().objects_max)]
    pub(crate) max_objects: u64,
    /// Refuse to recover objects of more bytes than this together, as stored, such as `500GB`
    #[arg(long, value_name = "SIZE", default_value = "10000GB", value_parser = parse_bytes)]
    pub(crate) max_bytes: u64,
    /// Refuse what would cost more than this on AWS, in US dollars, by the forecast of `--dry-run`
    #[arg(long, value_name = "USD", value_parser = parse_dollars)]
    pub(crate) max_usd: Option<u64>,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

impl RunArguments {
    pub(crate) fn plan_limits(&self) -> PlanLimits {
        PlanLimits {
            objects_max: self.max_objects,
            bytes_max: self.max_bytes,
            micro_usd_max: self.max_usd.unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn tolerance(&self) -> Tolerance {
        Tolerance {
            lead_secs: self.lead_secs,
            lag_secs: self.lag_secs,
        }
    }
}

/// Show the dead letters of a stack, and remove those whose work is done
///
/// A dead letter stays in its queue for 14 days, and its alarm with it, also when the run was completed since. A
/// task is moot when its receipt says that it is done, a call of the auditor when it was answered. All others stay.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  event-recovery dead-letters --stack event-recovery --purge

Exit codes: 0 there are none, or all are moot; 1 could not run; 2 usage; 3 some are not moot.")]
pub(crate) struct DeadLettersArguments {
    /// The name of the stack
    #[arg(long, value_name = "NAME")]
    pub(crate) stack: String,
    /// Remove those that are moot
    #[arg(long)]
    pub(crate) purge: bool,
    #[command(flatten)]
    pub(crate) aws: AwsArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// Start a recovery in a deployed stack
///
/// Has the stack's planner check the request and then plan the run, which queues one task per
/// backup object, and follows it until that is done. With --watch, follows the run to its end, with the
/// exit codes of `run`. The run continues when this program is interrupted.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  event-recovery start --stack event-recovery --watch \\
      --org-id tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be --start 2024-04-01 --end 2024-04-03

Exit codes: 0 complete, or started without --watch; 1 could not start, or refused; 2 usage; 3 finished,
but something needs a look; 130 interrupted, while the run continues.")]
pub(crate) struct StartArguments {
    /// The name of the stack
    #[arg(long, value_name = "NAME")]
    pub(crate) stack: String,
    #[command(flatten)]
    pub(crate) request: RequestArguments,
    /// Follow the run to its end
    #[arg(long)]
    pub(crate) watch: bool,
    /// Refuse to recover more objects than this, before the first one is queued [default: the stack's limit]
    #[arg(long, value_name = "N")]
    pub(crate) max_objects: Option<u64>,
    /// Refuse to recover objects of more bytes than this together, as stored, such as `500GB` [default: the stack's limit]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) max_bytes: Option<u64>,
    /// Refuse what would cost more than this, in US dollars, by the forecast of `--dry-run`
    #[arg(long, value_name = "USD", value_parser = parse_dollars)]
    pub(crate) max_usd: Option<u64>,
    /// On a terminal, ask before a run that would cost more than this, in US dollars
    #[arg(long, value_name = "USD", default_value = "10", value_parser = parse_dollars)]
    pub(crate) confirm_above_usd: u64,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) aws: AwsArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

impl StartArguments {
    pub(crate) fn limits(&self) -> AskedLimits {
        AskedLimits {
            objects_max: self.max_objects,
            bytes_max: self.max_bytes,
            micro_usd_max: self.max_usd,
        }
    }
}

/// Show the status of a run
///
/// Reads the ledger and compares it with what is in the destination, as the audit at the end of a run does,
/// without writing anything. With --watch, says every few seconds how the run stands, until it has ended.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-recovery status --destination recovered --execution-id my-run
  event-recovery status --stack event-recovery --execution-id my-run --watch

Exit codes: 0 complete; 1 could not read the run, or the planner refused it; 2 usage; 3 not complete, or
something needs a look; 130 interrupted.")]
pub(crate) struct StatusArguments {
    /// The stack of the run; its ledger is read with your own access
    #[arg(long, value_name = "NAME", conflicts_with = "destination")]
    pub(crate) stack: Option<String>,
    /// The destination of the run: a folder or s3://BUCKET/PREFIX
    #[arg(long, value_name = "DIR|s3://...", required_unless_present = "stack")]
    pub(crate) destination: Option<Location>,
    /// The run's id
    #[arg(long, value_name = "ID")]
    pub(crate) execution_id: String,
    /// Read every file back and compare its checksum with the one that was written down
    #[arg(long)]
    pub(crate) checksums: bool,
    /// Say how the run stands until it has ended: what is done, waiting and failed, how fast it is, and what is left
    #[arg(long, conflicts_with = "checksums")]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) aws: AwsArguments,
    /// Print the report as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// Split one backup object into lines, as a filter
///
/// Reads one object, plain or compressed with gzip or zstd, and writes every event on a line of its
/// own to stdout. Rejected fragments, and events with a repeated `event_id`, are named on stderr as
/// JSON lines with offset, length and reason.
/// Memory does not depend on the object's size.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-recovery split object > events.ndjson
  cat object | event-recovery split | jq .event_type | sort | uniq -c

Exit codes: 0 nothing was rejected; 1 could not read or write; 2 usage; 3 something was named on stderr;
141 whoever reads stdout went away before the end.")]
pub(crate) struct SplitArguments {
    /// The object; `-` for stdin
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) file: PathBuf,
}
