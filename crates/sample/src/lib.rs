//! Generates a realistic backup, and the list of the events in it to compare a recovery with.
//!
//! The backup has the layout, names and contents of the platform's own. The list comes from the generator and never
//! from reading the backup: this crate depends neither on the splitter nor on the writers, so that it does not share
//! their faults. The same options give the same bytes.
//!
//! ```
//! use event_recovery_sample::{SampleOptions, write_sample};
//!
//! # let folder = tempfile::tempdir()?;
//! let options = SampleOptions {
//!     hours: 1,
//!     object_bytes: 10_000,
//!     ..SampleOptions::new(folder.path().join("backup"))
//! };
//! let summary = write_sample(&options, &mut |_done, _all| {})?;
//! assert_eq!(summary.objects, 12);
//! let expected = std::fs::read_to_string(&summary.expected)?;
//! assert_eq!(expected.lines().count() as u64, summary.events);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod event;
mod generate;
mod options;
mod peculiarity;
mod schedule;
mod sink;
mod text;
mod torn;
mod truth;

pub use generate::{SampleSummary, write_sample};
pub use options::{SampleError, SampleOptions};
