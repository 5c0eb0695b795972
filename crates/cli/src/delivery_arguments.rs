//! The arguments of the commands that give events back.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;

use crate::handling_arguments::LedgerArguments;
use crate::location::Location;
use crate::request_arguments::FilterArguments;

/// Most parts of a run that are sent at the same time.
const SENDERS_MAX: i64 = 64;

/// Say which events of a run a consumer lacks, by the ids of those that it has
///
/// Reads every event of the run and every id that the consumer has, whatever their number, and says exactly which ids are
/// missing, which the consumer has though the run does not, and which occur more than once. The result is in the run's
/// ledger, below comparisons/ID; `deliver --only-missing ID` sends what is missing. The run must have written NDJSON.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-recovery compare --destination recovered --execution-id my-run --received ids.txt
  event-recovery compare --destination recovered --execution-id my-run \\
      --received exported.csv --received s3://BUCKET/processed --column event_id --json

Files are lines of text with one id each, CSV by the extension .csv, or Parquet by .parquet; text and CSV may be
compressed by gzip or zstd. A line that begins with a quotation mark is a JSON string.

Exit codes: 0 the consumer has exactly the events of a complete run; 1 could not compare; 2 usage;
3 something is missing, unknown, or differs.")]
pub(crate) struct CompareArguments {
    #[command(flatten)]
    pub(crate) ledger: LedgerArguments,
    /// Ids that the consumer has: a file, a folder or s3://BUCKET/PREFIX; may be given several times
    #[arg(long, value_name = "PATH", required = true)]
    pub(crate) received: Vec<Location>,
    /// The column of CSV and Parquet that holds the ids
    #[arg(long, value_name = "NAME", default_value = "event_id")]
    pub(crate) column: String,
    /// Where ids are sorted; needs as much room as the ids of both sides take [default: the system's]
    #[arg(long, value_name = "DIR")]
    pub(crate) temporary_folder: Option<PathBuf>,
}

/// Send the events of a run to a queue, topic, bus or stream, or to standard output
///
/// Sends each event in its own bytes, keeps a record of what the target has confirmed, and ends with a report that adds up.
/// Interrupted or stopped, the same command resumes: nothing is lost, and at most ten events of each sender are sent twice
/// for each time that it was killed. What an earlier delivery of the run has sent to the same target is left out. The run
/// must have written NDJSON.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-recovery deliver --destination recovered --execution-id my-run --to - | consumer
  event-recovery deliver --destination recovered --execution-id my-run --only-missing COMPARISON \\
      --to arn:aws:sqs:us-east-1:111122223333:inbox --rate 200 --canary 10
  event-recovery deliver --destination recovered --execution-id my-run --to ARN --dry-run --json

Exit codes: 0 every event of a complete run has the fate that was asked for; 1 could not deliver; 2 usage;
3 something is left, refused, or needs a look; 130 interrupted; 141 whoever reads stdout went away.")]
pub(crate) struct DeliverArguments {
    #[command(flatten)]
    pub(crate) ledger: LedgerArguments,
    /// The target: the ARN of an SQS queue, SNS topic, EventBridge bus or Kinesis stream, the URL of a queue, or - for
    /// standard output, one event a line
    #[arg(long, value_name = "TARGET", allow_hyphen_values = true)]
    pub(crate) to: String,
    /// The delivery's id; a known one resumes that delivery [default: derived from what is asked for]
    #[arg(long, value_name = "ID")]
    pub(crate) delivery_id: Option<String>,
    /// Only what this comparison found to be missing
    #[arg(long, value_name = "COMPARISON")]
    pub(crate) only_missing: Option<String>,
    #[command(flatten)]
    pub(crate) filters: FilterArguments,
    /// Only events that arrived at this instant or later (RFC 3339)
    #[arg(long, value_name = "WHEN")]
    pub(crate) from_arrival: Option<String>,
    /// Only events that arrived before this instant
    #[arg(long, value_name = "WHEN")]
    pub(crate) until_arrival: Option<String>,
    /// Send again what earlier deliveries of the run have sent to the same target
    #[arg(long)]
    pub(crate) again: bool,
    /// Also events of a run that is incomplete
    #[arg(long)]
    pub(crate) incomplete: bool,
    /// Send the objects in the order of their times, one after the other
    #[arg(long)]
    pub(crate) order: bool,
    /// A JSON pointer into the event, such as `/data/account_id`: the message group on a FIFO queue or
    /// topic, or the partition key on a stream [default: the object]
    #[arg(long, value_name = "POINTER")]
    pub(crate) group_by: Option<String>,
    /// A message attribute besides those that say that it is a redelivery; may be given several times
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    pub(crate) attributes: Vec<String>,
    /// On a bus: the detail type [default: each event's own type]
    #[arg(long, value_name = "TEXT")]
    pub(crate) detail_type: Option<String>,
    /// On a bus: the source [default: event-recovery]
    #[arg(long, value_name = "TEXT")]
    pub(crate) event_source: Option<String>,
    /// Events per second of all senders together [default: as fast as the target takes them]
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<NonZeroU32>,
    /// Wait while more messages than this wait in the queue
    #[arg(long, value_name = "N")]
    pub(crate) max_backlog: Option<u64>,
    /// Stop once so many events are sent; without this, the same command goes on
    #[arg(long, value_name = "N")]
    pub(crate) canary: Option<u64>,
    /// Stop once the queue's dead-letter queue has more than so many messages more than when sending began [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) max_dead_letters: Option<u64>,
    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) for_secs: Option<u64>,
    /// How many objects are sent at the same time; to standard output, one
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=SENDERS_MAX))]
    pub(crate) senders: u16,
    /// Say what would be sent, and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
