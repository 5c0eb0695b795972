//! The compressions that a backup object may have.

use std::fmt;
use std::io;

/// The compression of a backup object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceCompression {
    /// The object is the events themselves.
    None,
    /// One or more gzip members (RFC 1952).
    Gzip,
    /// One or more zstd frames (RFC 8878), skippable ones too.
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

/// What is said of bytes behind the data that begin neither a member nor a frame, however many.
pub(crate) fn foreign_tail(compression: SourceCompression) -> io::Error {
    let detail = format!("what follows is not {compression}");
    io::Error::new(io::ErrorKind::InvalidData, detail)
}
