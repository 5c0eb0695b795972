//! The compressions of backup objects that can be decoded.

use std::fmt;
use std::io;

/// The compression of a backup object, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceCompression {
    /// Not compressed.
    None,
    /// One or more gzip members (RFC 1952).
    Gzip,
    /// One or more zstd frames (RFC 8878), including skippable ones.
    Zstd,
}

impl fmt::Display for SourceCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// The error for bytes after the data that begin neither a gzip member nor a zstd frame, the same for any number of
/// them.
pub(crate) fn foreign_tail(compression: SourceCompression) -> io::Error {
    let detail = format!("what follows is not {compression}");
    io::Error::new(io::ErrorKind::InvalidData, detail)
}
