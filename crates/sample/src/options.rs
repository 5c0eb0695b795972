//! Options of a sample, their bounds, and errors.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Datelike as _, TimeDelta, TimeZone as _, Timelike as _, Utc};
use thiserror::Error;
use uuid::Uuid;

/// Accepted sizes of objects in bytes.
const OBJECT_BYTES: std::ops::RangeInclusive<u64> = 1_000..=100_000_000_000;
/// Accepted years of the first hour: none before 1970, and four digits in every key, also ten years later.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9900;
/// Longest sample: ten years of hours.
const HOURS_MAX: u32 = 10 * 366 * 24;
/// Most objects under one hour prefix: one a second, because names have whole seconds.
const OBJECTS_PER_HOUR_MAX: u32 = 3_600;

/// The options of a sample. The same options write the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleOptions {
    /// The folder to write to; it must be empty or not exist.
    pub directory: PathBuf,
    /// The org id: `tn-` and a UUID, in lower case.
    pub org_id: String,
    /// The start of the first hour; a whole hour of the years 1970 to 9900.
    pub start: DateTime<Utc>,
    /// Number of hours, 1 to 87,840 (ten years).
    pub hours: u32,
    /// Number of objects under each hour prefix, 1 to 3,600.
    pub objects_per_hour: u32,
    /// Approximate size of each object before compression in bytes, 1,000 to 10^11.
    pub object_bytes: u64,
    /// Seed of the random generator (ChaCha8).
    pub seed: u64,
    /// Whether to include what naive tools fail on: braces in strings, torn events, gzip, a byte order mark, empty
    /// objects and a foreign name.
    pub hard: bool,
}

impl SampleOptions {
    /// The defaults of `event-recovery sample`: 2024-04-01, 12 objects of 1 MiB an hour.
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

    /// The end of the last hour, exclusive.
    pub fn end(&self) -> DateTime<Utc> {
        self.start
            .checked_add_signed(TimeDelta::hours(i64::from(self.hours)))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    pub(crate) fn objects(&self) -> u64 {
        u64::from(self.hours) * u64::from(self.objects_per_hour)
    }

    /// Validates all options and the folder; touches nothing.
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

/// Why a sample was not written, or only in part.
#[derive(Debug, Error)]
pub enum SampleError {
    /// An option is out of bounds.
    #[error("`--{option}` accepts {accepts}: {found}")]
    Invalid {
        /// The option's name on the command line, without the dashes.
        option: &'static str,
        /// The accepted values, in words.
        accepts: String,
        /// The value that was given.
        found: String,
        /// An accepted value.
        example: &'static str,
    },
    /// The path exists and is not a folder.
    #[error("not a folder: `{}`", .directory.display())]
    NotAFolder {
        /// The path.
        directory: PathBuf,
    },
    /// The folder has entries, or another process writes a sample to it.
    #[error("the folder is not empty: `{}`", .directory.display())]
    NotEmpty {
        /// The folder as given in the options.
        directory: PathBuf,
    },
    /// Reading or writing failed; a part of the sample may have been written.
    #[error("could not write `{}`: {source}", .path.display())]
    Io {
        /// The file or folder that the call was about.
        path: PathBuf,
        /// The error of the operating system.
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

    /// What the user can do, if the error does not say so.
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

    /// Whether an option is invalid, which the program reports with exit code 2.
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
