//! What a sample is to be, and why there is none.

use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, TimeZone as _, Timelike as _, Utc};
use thiserror::Error;
use uuid::Uuid;

/// Smallest and largest object, in bytes.
const OBJECT_BYTES: std::ops::RangeInclusive<u64> = 1_000..=100_000_000_000;
/// Most hours: ten years.
const HOURS_MAX: u32 = 10 * 366 * 24;
/// Most objects under one hour prefix: one a second.
const OBJECTS_PER_HOUR_MAX: u32 = 3_600;

/// What a sample is to be. The same options write the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleOptions {
    /// Where it is written; must be empty or not there.
    pub directory: PathBuf,
    /// Whose backup it is: `tn-` and a UUID, in lower case.
    pub org_id: String,
    /// The first hour.
    pub start: DateTime<Utc>,
    /// How many hours.
    pub hours: u32,
    /// How many objects under each hour prefix.
    pub objects_per_hour: u32,
    /// About how large each object is, in bytes of events.
    pub object_bytes: u64,
    /// Another seed gives another backup.
    pub seed: u64,
    /// Whether it holds what breaks naive tools.
    pub hard: bool,
}

impl SampleOptions {
    /// A day of small objects.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            org_id: "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be".to_owned(),
            start: Utc
                .timestamp_opt(1_711_929_600, 0)
                .single()
                .unwrap_or_default(),
            hours: 24,
            objects_per_hour: 12,
            object_bytes: 1024 * 1024,
            seed: 1,
            hard: false,
        }
    }

    /// The first instant after the sample.
    pub fn end(&self) -> DateTime<Utc> {
        self.start + TimeDelta::hours(i64::from(self.hours))
    }

    pub(crate) fn objects(&self) -> u64 {
        u64::from(self.hours) * u64::from(self.objects_per_hour)
    }

    /// Checks everything before anything is written.
    pub(crate) fn check(&self) -> Result<(), SampleError> {
        let invalid = |option, accepts: String| Err(SampleError::Invalid { option, accepts });
        let uuid = self.org_id.strip_prefix("tn-").map(Uuid::try_parse);
        let is_canonical = |uuid: Uuid| self.org_id == format!("tn-{uuid}");
        if !uuid.is_some_and(|uuid| uuid.is_ok_and(is_canonical)) {
            return invalid("org-id", "`tn-` and a UUID in lower case".to_owned());
        }
        if self.start.minute() != 0 || self.start.second() != 0 || self.start.nanosecond() != 0 {
            return invalid("start", "a whole hour".to_owned());
        }
        if !(1..=HOURS_MAX).contains(&self.hours) {
            return invalid("hours", format!("1 to {HOURS_MAX}"));
        }
        if !(1..=OBJECTS_PER_HOUR_MAX).contains(&self.objects_per_hour) {
            return invalid("objects-per-hour", format!("1 to {OBJECTS_PER_HOUR_MAX}"));
        }
        if !OBJECT_BYTES.contains(&self.object_bytes) {
            let (least, most) = (OBJECT_BYTES.start(), OBJECT_BYTES.end());
            return invalid("object-bytes", format!("{least} to {most} bytes"));
        }
        self.check_directory()
    }

    fn check_directory(&self) -> Result<(), SampleError> {
        match std::fs::read_dir(&self.directory) {
            Ok(mut entries) => match entries.next() {
                None => Ok(()),
                Some(_) => Err(SampleError::NotEmpty {
                    directory: self.directory.clone(),
                }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(SampleError::io(&self.directory, error)),
        }
    }
}

/// Why there is no sample.
#[derive(Debug, Error)]
pub enum SampleError {
    /// An option is out of bounds.
    #[error("`--{option}` accepts {accepts}")]
    Invalid {
        /// Its name on the command line.
        option: &'static str,
        /// What it accepts.
        accepts: String,
    },
    /// There is something in the folder already.
    #[error("the folder is not empty: `{}`", .directory.display())]
    NotEmpty {
        /// The folder.
        directory: PathBuf,
    },
    /// The sample could not be written.
    #[error("could not write `{}`: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SampleError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotEmpty { .. } => Some("choose a new folder, or remove this one".to_owned()),
            Self::Invalid { .. } | Self::Io { .. } => None,
        }
    }

    /// Whether the caller asked for something that cannot be.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Invalid { .. })
    }
}
