//! What a sample is to be, and why there is none.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Datelike as _, TimeDelta, TimeZone as _, Timelike as _, Utc};
use thiserror::Error;
use uuid::Uuid;

/// Smallest and largest object, in bytes.
const OBJECT_BYTES: std::ops::RangeInclusive<u64> = 1_000..=100_000_000_000;
/// Years that a sample may begin in: with four digits in every key, and none before 1970.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9900;
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
        self.start
            .checked_add_signed(TimeDelta::hours(i64::from(self.hours)))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    pub(crate) fn objects(&self) -> u64 {
        u64::from(self.hours) * u64::from(self.objects_per_hour)
    }

    /// Checks everything before anything is written.
    pub(crate) fn check(&self) -> Result<(), SampleError> {
        let uuid = self.org_id.strip_prefix("tn-").map(Uuid::try_parse);
        let is_canonical = |uuid: Uuid| self.org_id == format!("tn-{uuid}");
        if !uuid.is_some_and(|uuid| uuid.is_ok_and(is_canonical)) {
            let accepts = "`tn-` and a UUID in lower case".to_owned();
            let example = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";
            return invalid("org-id", accepts, &self.org_id, example);
        }
        let is_whole_hour = self.start.timestamp_subsec_nanos() == 0
            && self.start.minute() == 0
            && self.start.second() == 0;
        if !is_whole_hour || !YEARS.contains(&self.start.year()) {
            let accepts = format!(
                "a whole hour of the years {} to {}",
                YEARS.start(),
                YEARS.end()
            );
            return invalid("start", accepts, &self.start, "2024-04-01T00");
        }
        if !(1..=HOURS_MAX).contains(&self.hours) {
            return invalid("hours", format!("1 to {HOURS_MAX}"), &self.hours, "24");
        }
        let objects = self.objects_per_hour;
        if !(1..=OBJECTS_PER_HOUR_MAX).contains(&objects) {
            let accepts = format!("1 to {OBJECTS_PER_HOUR_MAX}");
            return invalid("objects-per-hour", accepts, &objects, "12");
        }
        if !OBJECT_BYTES.contains(&self.object_bytes) {
            let (least, most) = (OBJECT_BYTES.start(), OBJECT_BYTES.end());
            let accepts = format!("{least} to {most} bytes");
            return invalid("object-bytes", accepts, &self.object_bytes, "1048576");
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
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                Err(SampleError::NotAFolder {
                    directory: self.directory.clone(),
                })
            }
            Err(error) => Err(SampleError::io(&self.directory, error)),
        }
    }
}

/// Why there is no sample.
#[derive(Debug, Error)]
pub enum SampleError {
    /// An option is out of bounds.
    #[error("`--{option}` accepts {accepts}: {found}")]
    Invalid {
        /// Its name on the command line.
        option: &'static str,
        /// What it accepts.
        accepts: String,
        /// What it was.
        found: String,
        /// Something that it accepts.
        example: &'static str,
    },
    /// What is to be the folder is something else.
    #[error("not a folder: `{}`", .directory.display())]
    NotAFolder {
        /// What is no folder.
        directory: PathBuf,
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
            Self::Invalid {
                option, example, ..
            } => Some(format!("for example `--{option} {example}`")),
            Self::NotEmpty { .. } => Some("choose a new folder, or remove this one".to_owned()),
            Self::NotAFolder { .. } => Some("choose a new folder".to_owned()),
            Self::Io { .. } => None,
        }
    }

    /// Whether the caller asked for something that cannot be.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Invalid { .. })
    }
}

fn invalid(
    option: &'static str,
    accepts: String,
    found: &dyn Display,
    example: &'static str,
) -> Result<(), SampleError> {
    Err(SampleError::Invalid {
        option,
        accepts,
        found: found.to_string(),
        example,
    })
}
