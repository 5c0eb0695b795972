//! The file of one object, plain or gzip.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

/// The compression of an object. Its name does not show it, as in a real backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    Plain,
    Gzip,
    /// Two concatenated gzip members.
    TwoGzipMembers,
}

/// Writes an object and counts its bytes before compression.
pub(crate) struct ObjectSink {
    state: State,
    storage: Storage,
    pub(crate) decoded_bytes: u64,
}

enum State {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
    /// While the state changes, and after an error.
    Closed,
}

impl ObjectSink {
    pub(crate) fn create(path: &Path, storage: Storage) -> io::Result<Self> {
        let file = BufWriter::new(File::create_new(path)?);
        let state = match storage {
            Storage::Plain => State::Plain(file),
            Storage::Gzip | Storage::TwoGzipMembers => State::Gzip(gzip(file)),
        };
        Ok(Self {
            state,
            storage,
            decoded_bytes: 0,
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.state {
            State::Plain(file) => file.write_all(bytes)?,
            State::Gzip(encoder) => encoder.write_all(bytes)?,
            State::Closed => return Err(io::Error::from(io::ErrorKind::BrokenPipe)),
        }
        self.decoded_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Called in the middle of the object: begins the second gzip member, if it has two.
    pub(crate) fn half_time(&mut self) -> io::Result<()> {
        if self.storage == Storage::TwoGzipMembers
            && let State::Gzip(encoder) = std::mem::replace(&mut self.state, State::Closed)
        {
            self.state = State::Gzip(gzip(encoder.finish()?));
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        match self.state {
            State::Plain(mut file) => file.flush(),
            State::Gzip(encoder) => encoder.finish()?.flush(),
            State::Closed => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
        }
    }
}

/// The header's mtime stays 0, so that the same events give the same bytes.
fn gzip(file: BufWriter<File>) -> Box<GzEncoder<BufWriter<File>>> {
    Box::new(GzEncoder::new(file, Compression::fast()))
}
