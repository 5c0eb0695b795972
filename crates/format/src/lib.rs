//! What lies between a backup object's bytes and a file of events.
//!
//! - [`decode_reader`] undoes the object's compression, told by its first bytes, and tells a
//!   failing source from cut or corrupt data.
//! - [`Envelope`] finds the nine documented fields of one event, and every other one, in one pass
//!   over its bytes and without parsing what is inside the values. [`arrival`] says when the event
//!   arrived, [`EnvelopeRule`] whether a JSON object is an event of this backup at all.
//! - [`EventWriter`] writes events as NDJSON (the exact bytes) or Parquet (every value, in columns);
//!   [`count_rows`] counts those of a file.
//!
//! The library is synchronous and knows no cloud: readers and writers are [`std::io`]'s. Finding
//! where an event begins and ends in the decoded bytes is the splitter's work, and an
//! [`Envelope`] is read from what the splitter has found valid.
//!
//! ## Example
//!
//! ```
//! use std::io::Read;
//!
//! use event_recovery_format::{
//!     DecodeLimits, Envelope, EnvelopeScratch, EventWriter, NdjsonCompression, OutputFormat,
//!     decode_reader,
//! };
//!
//! let object = br#"{"event_id":"3f2e","domain":"account","data":{"id":7}}"#;
//! let mut event = Vec::new();
//! decode_reader(&object[..], DecodeLimits::default())?.read_to_end(&mut event)?;
//!
//! let mut scratch = EnvelopeScratch::default();
//! let envelope = Envelope::read(&event, &mut scratch);
//! assert_eq!(envelope.domain().as_deref(), Some("account"));
//!
//! let format = OutputFormat::Ndjson(NdjsonCompression::None);
//! let mut writer = EventWriter::open(format, Vec::new())?;
//! writer.write(&envelope)?;
//! assert_eq!(writer.finish()?, [&object[..], b"\n"].concat());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod columns;
mod decode;
mod decode_input;
mod envelope;
mod event_writer;
mod extra_fields;
mod instant;
mod json_string;
mod members;
mod ndjson;
mod output_format;
mod parquet;
mod row_count;
mod rule;
mod source_compression;
mod source_magic;
mod zstd_frames;

pub use crate::decode::{DecodeError, DecodeLimits, DecodedReader, decode_reader};
pub use crate::envelope::{Envelope, EnvelopeScratch, Field};
pub use crate::event_writer::{EVENT_BYTES_MAX, EventWriter};
pub use crate::instant::arrival;
pub use crate::json_string::{decode_string, integer};
pub use crate::members::Member;
pub use crate::output_format::{NdjsonCompression, OutputFormat, ParquetCompression};
pub use crate::row_count::count_rows;
pub use crate::rule::EnvelopeRule;
pub use crate::source_compression::SourceCompression;
