//! Arguments that several commands take.

use clap::Args;
use event_recovery_pipeline::LinkedOrgs;

use crate::failure::Failure;
use crate::output::Output;

/// Most objects at a time. Each holds up to two of the threads that may block, of which tokio has 512.
pub(crate) const CONCURRENCY_MAX: u16 = 256;

/// How a source is reached and read.
#[derive(Debug, Args)]
pub(crate) struct AccessArguments {
    /// The role that reads the source bucket: the platform's
    #[arg(long, value_name = "ARN")]
    pub(crate) source_role_arn: Option<String>,
    /// The external id that the role's trust policy requires
    #[arg(long, value_name = "ID", requires = "source_role_arn")]
    pub(crate) external_id: Option<String>,
    /// The source bucket's region, if it differs from the destination's
    #[arg(long, value_name = "REGION")]
    pub(crate) source_region: Option<String>,
    /// An org whose events the backup may hold besides its own; may be given several times. Only matters for events
    /// next to damage [default: any]
    #[arg(long = "linked-org", value_name = "ID")]
    linked_orgs: Vec<String>,
}

impl AccessArguments {
    pub(crate) fn linked_orgs(&self) -> Result<LinkedOrgs, Failure> {
        LinkedOrgs::parse(&self.linked_orgs.join(","))
            .map_err(|error| Failure::usage(format!("`--linked-org` is {error}")))
    }
}

/// How AWS is reached; credentials come from where the AWS tools find them.
#[derive(Debug, Args)]
pub(crate) struct AwsArguments {
    /// The profile of the AWS configuration files: with keys, a role, SSO or a `credential_process` [default: as the
    /// AWS tools find it]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// The AWS region [default: as the AWS tools find it]
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Another endpoint than AWS's, for emulators
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint_url: Option<String>,
}

/// What is shown.
#[derive(Debug, Args)]
pub(crate) struct OutputArguments {
    /// Print the report as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress and no summary
    #[arg(long)]
    pub(crate) quiet: bool,
}

impl OutputArguments {
    pub(crate) fn output(&self) -> Output {
        Output::of(self.json, self.quiet)
    }
}
