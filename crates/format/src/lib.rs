#![doc = include_str!("../README.md")]

mod columns;
mod decode;
mod decode_input;
mod envelope;
mod event_writer;
mod extra_fields;
mod ids;
mod instant;
mod json_string;
mod members;
mod ndjson;
mod org_id;
mod output_format;
mod parquet;
mod row_count;
mod rule;
mod source_compression;
mod source_magic;
mod zstd_frames;

pub use crate::decode::{DecodeError, DecodeLimits, DecodedReader, decode_reader, salvage_reader};
pub use crate::envelope::{Envelope, EnvelopeScratch, Field};
pub use crate::event_writer::{EVENT_BYTES_MAX, EventWriter};
pub use crate::instant::arrival;
pub use crate::json_string::{decode_string, integer};
pub use crate::members::Member;
pub use crate::org_id::{is_org_id, is_uuid};
pub use crate::output_format::{NdjsonCompression, OutputFormat, ParquetCompression};
pub use crate::row_count::count_rows;
pub use crate::rule::{EnvelopeRule, OrgRule};
pub use crate::source_compression::SourceCompression;
pub use ids::{ID_BYTES_MAX, IdFormat, IdsError, read_ids, read_parquet_ids};
