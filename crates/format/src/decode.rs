//! Decoding of a backup object: plain, gzip or zstd, told apart by its first bytes.

use std::fmt;
use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use crate::decode_input::Input;
use crate::source_compression::{SourceCompression, foreign_tail};
use crate::source_magic::{MAGIC_BYTES_MAX, Magic};
use crate::zstd_frames::ZstdFrames;

/// Bounds on what decoding may produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// The most bytes that one object may decode to; a plain object counts as well.
    pub decoded_bytes_max: u64,
}

impl DecodeLimits {
    /// 16 GiB: over a thousand times the 10 MB of events that an object holds by the platform's
    /// documentation, and little enough to read within a task's time.
    pub const DECODED_BYTES_MAX_DEFAULT: u64 = 16 * 1024 * 1024 * 1024;
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            decoded_bytes_max: Self::DECODED_BYTES_MAX_DEFAULT,
        }
    }
}

/// Why an object could not be decoded.
///
/// [`DecodedReader`] returns it inside an [`io::Error`]; [`DecodeError::from_io`] or a conversion
/// (`DecodeError::from(error)`) takes it out again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The object is in a format that is not read.
    #[error("cannot read an object in the format `{format}`, only plain, gzip and zstd ones")]
    Unsupported {
        /// What the object's first bytes say it is.
        format: &'static str,
    },
    /// The compressed data contradict themselves, or something else follows them.
    #[error("{compression} data are corrupt after {decoded_bytes} decoded bytes: {detail}")]
    Corrupt {
        /// The compression that the object's first bytes name.
        compression: SourceCompression,
        /// Bytes that were decoded and handed out before.
        decoded_bytes: u64,
        /// What the decoder says; it never quotes the data.
        detail: String,
    },
    /// The compressed data end too early.
    #[error("{compression} data are cut off after {decoded_bytes} decoded bytes")]
    Truncated {
        /// The compression that the object's first bytes name.
        compression: SourceCompression,
        /// Bytes that were decoded and handed out before.
        decoded_bytes: u64,
    },
    /// The object decodes to more than [`DecodeLimits::decoded_bytes_max`].
    #[error("object decodes to more bytes than the limit of {decoded_bytes_max}")]
    TooLarge {
        /// The limit.
        decoded_bytes_max: u64,
    },
    /// The reader was read again after it had failed.
    #[error("read again after decoding had failed")]
    AfterFailure,
    /// The object's bytes could not be had; this says nothing about them.
    #[error("cannot read the object: {0}")]
    Source(#[source] io::Error),
}

impl DecodeError {
    /// The decoding error inside `error`, or `None` where it came from elsewhere.
    pub fn from_io(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

/// Takes the decoding error out; an error from elsewhere becomes [`DecodeError::Source`].
impl From<io::Error> for DecodeError {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(decode_error) => decode_error,
            Err(other) => Self::Source(other),
        }
    }
}

impl From<DecodeError> for io::Error {
    fn from(error: DecodeError) -> Self {
        let kind = match &error {
            DecodeError::Unsupported { .. } => io::ErrorKind::Unsupported,
            DecodeError::Corrupt { .. } | DecodeError::TooLarge { .. } => {
                io::ErrorKind::InvalidData
            }
            DecodeError::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            DecodeError::AfterFailure => io::ErrorKind::Other,
            DecodeError::Source(source) => source.kind(),
        };
        Self::new(kind, error)
    }
}

/// Starts to decode the object that `reader` yields.
///
/// The first bytes decide, whatever the object's name says. An object that begins like nothing
/// known is plain; so is one shorter than the marks that tell the formats apart.
///
/// # Errors
///
/// [`DecodeError::Unsupported`] for a format that is recognised and not read,
/// [`DecodeError::Source`] where the first bytes cannot be read.
pub fn decode_reader<R: Read>(
    reader: R,
    limits: DecodeLimits,
) -> Result<DecodedReader<R>, DecodeError> {
    let mut input = Input::new(SourceReader(reader));
    let magic = Magic::of(input.peek(MAGIC_BYTES_MAX)?);
    let (compression, decoder) = match magic {
        Magic::Plain => (SourceCompression::None, Decoder::Plain(input)),
        Magic::Gzip => (
            SourceCompression::Gzip,
            Decoder::Gzip(Some(Box::new(GzDecoder::new(input)))),
        ),
        Magic::Zstd => (
            SourceCompression::Zstd,
            Decoder::Zstd(ZstdFrames::new(input)?),
        ),
        Magic::Unsupported(format) => return Err(DecodeError::Unsupported { format }),
    };
    Ok(DecodedReader {
        decoder,
        compression,
        decoded_bytes: 0,
        limits,
        state: State::Reading,
    })
}

/// Reads an object's decoded bytes.
///
/// Holds 64 KiB of the object and the decoder's window: 32 KiB for gzip, up to 128 MiB for zstd as
/// the frame asks for it (8 MiB at zstd's usual levels). The end is reported only after the
/// object has been read to its own end and every checksum agreed.
pub struct DecodedReader<R: Read> {
    decoder: Decoder<R>,
    compression: SourceCompression,
    decoded_bytes: u64,
    limits: DecodeLimits,
    state: State,
}

impl<R: Read> DecodedReader<R> {
    /// The compression that the object's first bytes name.
    pub fn compression(&self) -> SourceCompression {
        self.compression
    }

    /// Bytes that were decoded and handed out so far.
    pub fn decoded_bytes(&self) -> u64 {
        self.decoded_bytes
    }

    /// Tells a failure of the source, which [`SourceReader`] has marked, from one of the decoder.
    fn decode_error(&self, error: io::Error) -> DecodeError {
        let other = match error.downcast::<DecodeError>() {
            Ok(decode_error) => return decode_error,
            Err(other) => other,
        };
        if other.kind() == io::ErrorKind::UnexpectedEof {
            return DecodeError::Truncated {
                compression: self.compression,
                decoded_bytes: self.decoded_bytes,
            };
        }
        let detail = other.to_string();
        if detail == ZSTD_WINDOW_TOO_LARGE {
            return DecodeError::Unsupported {
                format: "zstd with a window above 128 MiB",
            };
        }
        DecodeError::Corrupt {
            compression: self.compression,
            decoded_bytes: self.decoded_bytes,
            detail,
        }
    }

    fn read_decoded(&mut self, buffer: &mut [u8]) -> Result<usize, DecodeError> {
        let read_bytes = self.decoder.read(buffer);
        let read_bytes = read_bytes.map_err(|error| self.decode_error(error))?;
        let decoded_bytes = self.decoded_bytes + read_bytes as u64;
        if decoded_bytes > self.limits.decoded_bytes_max {
            return Err(DecodeError::TooLarge {
                decoded_bytes_max: self.limits.decoded_bytes_max,
            });
        }
        self.decoded_bytes = decoded_bytes;
        Ok(read_bytes)
    }
}

impl<R: Read> Read for DecodedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.state {
            State::Ended => return Ok(0),
            State::Failed => return Err(DecodeError::AfterFailure.into()),
            State::Reading if buffer.is_empty() => return Ok(0),
            State::Reading => {}
        }
        match self.read_decoded(buffer) {
            Ok(0) => {
                self.state = State::Ended;
                Ok(0)
            }
            Ok(read_bytes) => Ok(read_bytes),
            Err(error) => {
                self.state = State::Failed;
                Err(error.into())
            }
        }
    }
}

impl<R: Read> fmt::Debug for DecodedReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecodedReader")
            .field("compression", &self.compression)
            .field("decoded_bytes", &self.decoded_bytes)
            .finish_non_exhaustive()
    }
}

/// libzstd's name of the error for a window above the limit; it is not corruption.
const ZSTD_WINDOW_TOO_LARGE: &str = "Frame requires too much memory for decoding";

enum State {
    Reading,
    Ended,
    Failed,
}

type ObjectInput<R> = Input<SourceReader<R>>;

enum Decoder<R: Read> {
    Plain(ObjectInput<R>),
    /// `None` only while one member's decoder makes way for the next one's.
    Gzip(Option<Box<GzDecoder<ObjectInput<R>>>>),
    Zstd(ZstdFrames<SourceReader<R>>),
}

impl<R: Read> Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Gzip(member) => read_gzip(member, buffer),
            Self::Zstd(frames) => frames.read(buffer),
        }
    }
}

/// Reads member after member. flate2's own reader of several members takes zero padding, which
/// `gunzip` ignores and some tools write, for a broken header; here it ends the object.
fn read_gzip<R: Read>(
    current: &mut Option<Box<GzDecoder<Input<R>>>>,
    buffer: &mut [u8],
) -> io::Result<usize> {
    while let Some(member) = current {
        let read_bytes = member.read(buffer)?;
        if read_bytes > 0 {
            return Ok(read_bytes);
        }
        let input = member.get_mut();
        match input.peek(2)? {
            [] => return Ok(0),
            [0, ..] => {
                skip_zero_padding(input)?;
                return Ok(0);
            }
            // A member, or the first byte of one that is cut off.
            [0x1F] | [0x1F, 0x8B] => {
                let ended = current.take();
                *current = ended.map(|member| Box::new(GzDecoder::new(member.into_inner())));
            }
            _ => return Err(foreign_tail(SourceCompression::Gzip)),
        }
    }
    Ok(0)
}

fn skip_zero_padding(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let padding = input.fill_buf()?;
        if padding.is_empty() {
            return Ok(());
        }
        if padding.iter().any(|&byte| byte != 0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "data after zero padding",
            ));
        }
        let length = padding.len();
        input.consume(length);
    }
}

/// Marks every failure of the source, so that no decoder's own error can be taken for one.
struct SourceReader<R>(R);

impl<R: Read> Read for SourceReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(DecodeError::Source(error).into()),
                Ok(read_bytes) => return Ok(read_bytes),
            }
        }
    }
}
