//! The arguments of the commands that handle a run which the ledger knows.

use std::path::PathBuf;

use clap::Args;

use crate::common_arguments::{AccessArguments, AwsArguments, CONCURRENCY_MAX, OutputArguments};
use crate::location::Location;

/// A run, and how it is reached to be carried on with.
#[derive(Debug, Args)]
pub(crate) struct KnownRunArguments {
    /// Have this stack do it, with its own access and destination
    #[arg(long, value_name = "NAME", conflicts_with_all = ["destination", "source", "source_role_arn", "concurrency"])]
    pub(crate) stack: Option<String>,
    /// The destination of the run: a folder or s3://BUCKET/PREFIX
    #[arg(long, value_name = "DIR|s3://...", required_unless_present = "stack")]
    pub(crate) destination: Option<Location>,
    /// The run's id
    #[arg(long, value_name = "ID")]
    pub(crate) execution_id: String,
    /// The folder that holds `main_stream`, or s3://BUCKET [default: the bucket that the run read]
    #[arg(long, value_name = "DIR|s3://...")]
    pub(crate) source: Option<Location>,
    #[command(flatten)]
    pub(crate) access: AccessArguments,
    #[command(flatten)]
    pub(crate) aws: AwsArguments,
    /// How many objects at the same time [default: as many as there are processors, or more if a bucket takes part]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(CONCURRENCY_MAX)))]
    pub(crate) concurrency: Option<u16>,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// Where the ledger of a run is.
#[derive(Debug, Args)]
pub(crate) struct LedgerArguments {
    /// The stack of the run; its ledger is read and written with your own access
    #[arg(long, value_name = "NAME", conflicts_with = "destination")]
    pub(crate) stack: Option<String>,
    /// The destination of the run: a folder or s3://BUCKET/PREFIX
    #[arg(long, value_name = "DIR|s3://...", required_unless_present = "stack")]
    pub(crate) destination: Option<Location>,
    /// The run's id
    #[arg(long, value_name = "ID")]
    pub(crate) execution_id: String,
    #[command(flatten)]
    pub(crate) aws: AwsArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// List the hours of a run again, and recover what came since
///
/// Compares the hours with everything that the run has planned. Objects that came since are recovered under
/// the same execution id; objects that have changed or are gone since are named; what is done stays as it
/// is. Then audits the run again. Lists again also when the run is final. An interrupted recheck is
/// resumed by the same command.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-recovery recheck --destination recovered --execution-id my-run --source backup
  event-recovery recheck --stack event-recovery --execution-id my-run --json

Exit codes: 0 complete; 1 could not run; 2 usage; 3 finished, but something needs a look;
130 interrupted.")]
pub(crate) struct RecheckArguments {
    #[command(flatten)]
    pub(crate) run: KnownRunArguments,
}

/// Carry on with a run that was interrupted or cancelled, or in which objects failed
///
/// Takes what is asked for from the run's own ledger. Recovers what is missing or has failed, leaves what is done as it
/// is, audits the run again and shows its report.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-recovery resume --destination recovered --execution-id my-run --source backup
  event-recovery resume --destination recovered --execution-id my-run --source backup \\
      --key main_stream/2024/04/01/13/NAME
  event-recovery resume --stack event-recovery --execution-id my-run --json

Exit codes: 0 complete; 1 could not run; 2 usage; 3 finished, but something needs a look;
130 interrupted.")]
pub(crate) struct ResumeArguments {
    #[command(flatten)]
    pub(crate) run: KnownRunArguments,
    /// Recover this object alone
    #[arg(long, value_name = "KEY", conflicts_with = "stack")]
    pub(crate) key: Option<String>,
}

/// Recover what can be had of a damaged object
///
/// If the object can't be decompressed to its end, its events before the damage are recovered. What could not be decoded is
/// counted, in bytes as stored, and so are the events that no checksum covers: damage is noticed late. Such a run needs a
/// look. An object that reads whole is recovered as usual. `resume` replaces what was salvaged once the object reads whole.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-recovery salvage --destination recovered --execution-id my-run --source backup \\
      --key main_stream/2024/04/01/13/NAME
  event-recovery salvage --stack event-recovery --execution-id my-run \\
      --key main_stream/2024/04/01/13/NAME

Exit codes: 0 complete; 1 could not run; 2 usage; 3 finished, but something needs a look, such as the damage;
130 interrupted.")]
pub(crate) struct SalvageArguments {
    #[command(flatten)]
    pub(crate) run: KnownRunArguments,
    /// The object's key, as the report names it
    #[arg(long, value_name = "KEY")]
    pub(crate) key: String,
}

/// List the runs of a destination, the oldest first
#[derive(Debug, Args)]
#[command(after_help = "Example:
  event-recovery list --destination recovered

Exit codes: 0 listed; 1 could not read; 2 usage.")]
pub(crate) struct ListArguments {
    /// The stack whose runs are listed, with your own access
    #[arg(long, value_name = "NAME", conflicts_with = "destination")]
    pub(crate) stack: Option<String>,
    /// The destination of the runs: a folder or s3://BUCKET/PREFIX
    #[arg(long, value_name = "DIR|s3://...", required_unless_present = "stack")]
    pub(crate) destination: Option<Location>,
    #[command(flatten)]
    pub(crate) aws: AwsArguments,
    /// Print the runs as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// Audit a run again, and write its report anew
///
/// Compares plan, receipts and output as at the end of the run. Nothing is listed or recovered.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  event-recovery report --destination recovered --execution-id my-run --json

Exit codes: 0 complete; 1 could not audit; 2 usage; 3 not complete, or something needs a look.")]
pub(crate) struct ReportArguments {
    #[command(flatten)]
    pub(crate) ledger: LedgerArguments,
    /// Sign the report with this key of KMS: its spec is ECC_NIST_P256, its usage SIGN_VERIFY
    #[arg(long, value_name = "ARN")]
    pub(crate) signing_key: Option<String>,
    /// Open the report's page with the program that opens such files here
    #[arg(long)]
    pub(crate) open: bool,
}

/// Check with the public key that report and ledger are as the auditor signed them
///
/// Reads the report's signature, compares report and digests with what was signed, and plan, receipts and files with the
/// digests. Asks no service besides the destination: a copy of the run on this machine will do.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  aws kms get-public-key --key-id ARN --query PublicKey --output text > key.txt
  event-recovery verify-signature --destination recovered --execution-id my-run --public-key key.txt

Exit codes: 0 everything is as it was signed; 1 could not read; 2 usage; 3 it is not signed, or not as it was signed.")]
pub(crate) struct VerifySignatureArguments {
    #[command(flatten)]
    pub(crate) ledger: LedgerArguments,
    /// The public key: PEM, DER, or DER in base64
    #[arg(long, value_name = "FILE")]
    pub(crate) public_key: PathBuf,
}

/// Cancel a run: no further object of it is begun
///
/// Objects in flight end. A planner or worker sees it within 30 s, on this machine or in a stack. Other runs are not
/// touched. Then the run is audited, and the report says that it was cancelled. `resume` carries on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-recovery cancel --destination recovered --execution-id my-run
  event-recovery cancel --stack event-recovery --execution-id my-run

Exit codes: 0 it was complete before; 1 could not cancel; 2 usage; 3 cancelled, so something is missing.")]
pub(crate) struct CancelArguments {
    #[command(flatten)]
    pub(crate) ledger: LedgerArguments,
}

/// Accept that an object is gone for good
///
/// It is then named in the report with the reason, and counts as lost in place of failed or missing: such a run needs a look
/// and is no longer incomplete. If the object is recovered later nevertheless, that counts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-recovery accept-loss --destination recovered --execution-id my-run \\
      --key main_stream/2024/04/01/13/NAME --reason \"deleted by the platform, ticket 4711\"
  event-recovery accept-loss --destination recovered --execution-id my-run \\
      --key main_stream/2024/04/01/13/NAME --revoke

Exit codes: 0 complete; 1 could not write; 2 usage; 3 something needs a look, such as the loss.")]
pub(crate) struct AcceptLossArguments {
    #[command(flatten)]
    pub(crate) ledger: LedgerArguments,
    /// The object's key, as the report names it
    #[arg(long, value_name = "KEY")]
    pub(crate) key: String,
    /// Why its loss is accepted
    #[arg(
        long,
        value_name = "TEXT",
        required_unless_present = "revoke",
        conflicts_with = "revoke"
    )]
    pub(crate) reason: Option<String>,
    /// Take the acceptance back
    #[arg(long)]
    pub(crate) revoke: bool,
}
