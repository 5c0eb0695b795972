//! The NDJSON writer: one event per line, in its own bytes.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use memchr::memchr2;

use crate::output_format::NdjsonCompression;

/// Writes events as lines. It has no buffer besides the encoder's window, so the sink should have one.
pub(crate) struct NdjsonWriter<W: Write> {
    encoder: Encoder<W>,
    rows: u64,
}

impl<W: Write> NdjsonWriter<W> {
    pub(crate) fn open(compression: NdjsonCompression, sink: W) -> io::Result<Self> {
        Ok(Self {
            encoder: Encoder::open(compression, sink)?,
            rows: 0,
        })
    }

    pub(crate) fn write(&mut self, event: &[u8]) -> io::Result<()> {
        let mut rest = event;
        loop {
            // Valid JSON has raw line breaks only between tokens, where they mean nothing; in strings they are escaped.
            let line_break = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            self.encoder.write_all(&rest[..line_break])?;
            match rest.get(line_break + 1..) {
                Some(after) => rest = after,
                None => break,
            }
        }
        self.encoder.write_all(b"\n")?;
        self.rows += 1;
        Ok(())
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn flush_buffered(&mut self) -> io::Result<()> {
        self.encoder.flush_plain()
    }

    pub(crate) fn finish(self) -> io::Result<W> {
        self.encoder.finish()
    }
}

/// The defaults of gzip and zstd on the command line.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

enum Encoder<W: Write> {
    Plain(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    fn open(compression: NdjsonCompression, sink: W) -> io::Result<Self> {
        Ok(match compression {
            NdjsonCompression::None => Self::Plain(sink),
            // The header's mtime stays 0, so that the same events give the same bytes.
            NdjsonCompression::Gzip => {
                Self::Gzip(GzEncoder::new(sink, flate2::Compression::new(GZIP_LEVEL)))
            }
            NdjsonCompression::Zstd => {
                let mut encoder = zstd::Encoder::new(sink, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(sink) => sink.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    /// Compressed output is not flushed, because a flush point would change its bytes.
    fn flush_plain(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(sink) => sink.flush(),
            Self::Gzip(_) | Self::Zstd(_) => Ok(()),
        }
    }

    fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(sink) => Ok(sink),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(events: &[&[u8]]) -> Vec<u8> {
        let mut writer = NdjsonWriter::open(NdjsonCompression::None, Vec::new()).unwrap();
        for event in events {
            writer.write(event).unwrap();
        }
        assert_eq!(writer.rows(), events.len() as u64);
        writer.finish().unwrap()
    }

    #[test]
    fn only_line_breaks_are_taken_out() {
        let rows: &[(&str, &[u8], &[u8])] = &[
            ("none", b"{ \"a\" :\t1 }", b"{ \"a\" :\t1 }\n"),
            (
                "escaped ones stay",
                br#"{"a":"\n\r"}"#,
                b"{\"a\":\"\\n\\r\"}\n",
            ),
            ("all kinds", b"{\r\n\"a\":\n\n1\r}", b"{\"a\":1}\n"),
            ("at the ends", b"\n{}\r\n", b"{}\n"),
            ("empty", b"", b"\n"),
        ];
        for (name, event, expected) in rows {
            assert_eq!(lines(&[event]), *expected, "{name}");
        }
    }
}
