//! The arguments that say what is to be recovered.

use clap::{Args, ValueEnum};
use event_recovery_pipeline::{Compression, Dedupe, Filters, Format, RecoveryRequest, WindowKind};

/// What is to be recovered.
#[derive(Debug, Args)]
pub(crate) struct RequestArguments {
    /// Whose backup it is: `tn-` and a UUID
    #[arg(long, value_name = "ID")]
    pub(crate) org_id: String,
    /// The first date, or the first instant (RFC 3339), UTC
    #[arg(long, value_name = "WHEN")]
    pub(crate) start: String,
    /// The last date (inclusive), or the first instant after the range
    #[arg(long, value_name = "WHEN")]
    pub(crate) end: String,
    /// What the range means: when events arrived, or the hour prefixes they were published under
    #[arg(long, value_name = "WINDOW", default_value = "arrival")]
    pub(crate) window: WindowArgument,
    /// Parquet has the platform's columns, NDJSON the events' own bytes
    #[arg(long, value_name = "FORMAT", default_value = "parquet")]
    pub(crate) format: FormatArgument,
    /// zstd, snappy or none for Parquet [default: zstd]; none, gzip or zstd for NDJSON [default: none]
    #[arg(long, value_name = "COMPRESSION")]
    pub(crate) compression: Option<CompressionArgument>,
    #[command(flatten)]
    pub(crate) filters: FilterArguments,
    /// Drop events whose id and bytes repeat within an object; the report counts them [default: all are kept]
    #[arg(long, value_name = "WITHIN")]
    pub(crate) dedupe: Option<DedupeArgument>,
    /// The run's id; a known one resumes that run [default: a new one]
    #[arg(long, value_name = "ID")]
    pub(crate) execution_id: Option<String>,
    /// Plan only: count objects, bytes and empty hours of each day, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl RequestArguments {
    pub(crate) fn to_request(&self) -> RecoveryRequest {
        RecoveryRequest {
            org_id: self.org_id.clone(),
            start: self.start.clone(),
            end: self.end.clone(),
            window: Some(self.window.into()),
            format: Some(self.format.into()),
            compression: self.compression.map(Compression::from),
            domains: self.filters.domains.clone(),
            event_types: self.filters.event_types.clone(),
            exclude_domains: self.filters.exclude_domains.clone(),
            exclude_event_types: self.filters.exclude_event_types.clone(),
            dedupe: self.dedupe.map(Dedupe::from),
            dry_run: self.dry_run,
            execution_id: self.execution_id.clone(),
        }
    }
}

/// Which events are wanted.
#[derive(Debug, Args)]
pub(crate) struct FilterArguments {
    /// Only events of this domain, which may be a pattern such as `card*`; may be given several times
    #[arg(long = "domain", value_name = "D")]
    pub(crate) domains: Vec<String>,
    /// Only events of this type or pattern; may be given several times
    #[arg(long = "event-type", value_name = "T")]
    pub(crate) event_types: Vec<String>,
    /// No events of this domain or pattern; may be given several times
    #[arg(long = "exclude-domain", value_name = "D")]
    pub(crate) exclude_domains: Vec<String>,
    /// No events of this type or pattern; may be given several times
    #[arg(long = "exclude-event-type", value_name = "T")]
    pub(crate) exclude_event_types: Vec<String>,
}

impl FilterArguments {
    pub(crate) fn to_filters(&self) -> Filters {
        let set = |values: &[String]| values.iter().cloned().collect();
        Filters {
            domains: set(&self.domains),
            event_types: set(&self.event_types),
            exclude_domains: set(&self.exclude_domains),
            exclude_event_types: set(&self.exclude_event_types),
            dedupe: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WindowArgument {
    Arrival,
    Publish,
}

impl From<WindowArgument> for WindowKind {
    fn from(argument: WindowArgument) -> Self {
        match argument {
            WindowArgument::Arrival => Self::Arrival,
            WindowArgument::Publish => Self::Publish,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DedupeArgument {
    Object,
}

impl From<DedupeArgument> for Dedupe {
    fn from(argument: DedupeArgument) -> Self {
        match argument {
            DedupeArgument::Object => Self::Object,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArgument {
    Parquet,
    Ndjson,
}

impl From<FormatArgument> for Format {
    fn from(argument: FormatArgument) -> Self {
        match argument {
            FormatArgument::Parquet => Self::Parquet,
            FormatArgument::Ndjson => Self::Ndjson,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompressionArgument {
    None,
    Gzip,
    Zstd,
    Snappy,
}

impl From<CompressionArgument> for Compression {
    fn from(argument: CompressionArgument) -> Self {
        match argument {
            CompressionArgument::None => Self::None,
            CompressionArgument::Gzip => Self::Gzip,
            CompressionArgument::Zstd => Self::Zstd,
            CompressionArgument::Snappy => Self::Snappy,
        }
    }
}
