//! Decompression of a backup object: plain, gzip or zstd, by its first bytes.

use std::fmt;
use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use crate::decode_input::Input;
use crate::source_compression::{SourceCompression, foreign_tail};
use crate::source_magic::{MAGIC_BYTES_MAX, Magic};
use crate::zstd_frames::ZstdFrames;

/// Bounds on the output of decoding, against decompression bombs.
///
/// ```
/// use std::io::Read;
///
/// use event_recovery_format::{DecodeError, DecodeLimits, decode_reader};
///
/// let bomb = zstd::encode_all(&vec![b' '; 1_000_000][..], 19)?;
/// let limits = DecodeLimits { decoded_bytes_max: 100_000 };
/// let error = std::io::copy(&mut decode_reader(&bomb[..], limits)?, &mut std::io::sink()).unwrap_err();
/// assert!(matches!(DecodeError::from(error), DecodeError::TooLarge { decoded_bytes_max: 100_000 }));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Largest decoded size of one object in bytes; also bounds objects that are not compressed.
    pub decoded_bytes_max: u64,
}

impl DecodeLimits {
    /// 16 GiB: over a thousand times the 10 MB of events that an object holds by the platform's documentation, and
    /// still read within the time of a task.
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
/// [`DecodedReader`] returns it inside an [`io::Error`]. [`DecodeError::from_io`] borrows it from there, and
/// `DecodeError::from(error)` takes it out. Errors about the object's bytes are permanent; only
/// [`Source`](Self::Source) may be transient.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The object has a format that is recognised but not supported.
    #[error("cannot read an object in the format `{format}`, only plain, gzip and zstd ones")]
    Unsupported {
        /// The format's name, by the object's first bytes.
        format: &'static str,
    },
    /// The compressed data are invalid, fail their checksum, or are followed by something else.
    #[error("{compression} data are corrupt after {decoded_bytes} decoded bytes: {detail}")]
    Corrupt {
        /// The compression, by the object's first bytes.
        compression: SourceCompression,
        /// Decoded bytes that were read before the error.
        decoded_bytes: u64,
        /// The decoder's message, which never quotes data.
        detail: String,
    },
    /// The compressed data are truncated.
    #[error("{compression} data are cut off after {decoded_bytes} decoded bytes")]
    Truncated {
        /// The compression, by the object's first bytes.
        compression: SourceCompression,
        /// Decoded bytes that were read before the error.
        decoded_bytes: u64,
    },
    /// The object decodes to more than [`DecodeLimits::decoded_bytes_max`].
    #[error("object decodes to more bytes than the limit of {decoded_bytes_max}")]
    TooLarge {
        /// The limit that applied, in bytes.
        decoded_bytes_max: u64,
    },
    /// [`DecodedReader`] was read again after an error.
    #[error("read again after decoding had failed")]
    AfterFailure,
    /// The source failed, which says nothing about the object's bytes. A retry may help.
    #[error("cannot read the object: {0}")]
    Source(#[source] io::Error),
}

impl DecodeError {
    /// The decoding error inside `error`; `None` if `error` is not from a [`DecodedReader`].
    pub fn from_io(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

/// Takes the decoding error out; any other error becomes [`DecodeError::Source`].
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

/// Starts to decode the object that `reader` gives.
///
/// The format is recognised by the first bytes, not by a name. An object that begins with no known magic
/// number is plain; so is one that is shorter than that.
///
/// ```
/// use std::io::{Read, Write};
///
/// use event_recovery_format::{DecodeError, DecodeLimits, SourceCompression, decode_reader};
///
/// let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
/// encoder.write_all(br#"{"event_id":"1"}{"event_id":"2"}"#)?;
/// let object = encoder.finish()?;
///
/// let mut reader = decode_reader(&object[..], DecodeLimits::default())?;
/// assert_eq!(reader.compression(), SourceCompression::Gzip);
/// let mut events = String::new();
/// reader.read_to_string(&mut events)?;
/// assert_eq!(events, r#"{"event_id":"1"}{"event_id":"2"}"#);
///
/// // An object that is cut off is an error, not a shorter object.
/// let mut reader = decode_reader(&object[..object.len() - 1], DecodeLimits::default())?;
/// let error = reader.read_to_string(&mut events).unwrap_err();
/// assert!(matches!(DecodeError::from_io(&error), Some(DecodeError::Truncated { .. })));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`DecodeError::Unsupported`] for a format that is recognised but not supported, [`DecodeError::Source`] if the first
/// bytes cannot be read.
pub fn decode_reader<R: Read>(
    reader: R,
    limits: DecodeLimits,
) -> Result<DecodedReader<R>, DecodeError> {
    begin(reader, limits, Care::Usual)
}

/// As [`decode_reader`], for an object that is known to be damaged: returns every byte that can be decoded before the error.
/// [`decode_reader`] may keep some of them back, since its decoders return either bytes or an error. Decodes gzip byte by byte,
/// so about 10 MB/s.
///
/// [`DecodedReader::intact_bytes`] tells how many of them are known to be right.
///
/// ```
/// use std::io::Read;
///
/// use event_recovery_format::{DecodeLimits, salvage_reader};
///
/// let mut object = zstd::encode_all(&br#"{"event_id":"1"}"#[..], 3)?;
/// let intact_bytes = object.len() as u64;
/// object.extend([0x28, 0xB5, 0x2F, 0xFD, 0xFF, 0xFF]);
///
/// let mut reader = salvage_reader(&object[..], DecodeLimits::default())?;
/// let mut events = Vec::new();
/// assert!(reader.read_to_end(&mut events).is_err());
/// assert_eq!(events, br#"{"event_id":"1"}"#);
/// assert_eq!(reader.intact_bytes(), 16);
/// assert!(reader.stored_bytes() >= intact_bytes);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// As [`decode_reader`].
pub fn salvage_reader<R: Read>(
    reader: R,
    limits: DecodeLimits,
) -> Result<DecodedReader<R>, DecodeError> {
    begin(reader, limits, Care::EveryByte)
}

fn begin<R: Read>(
    reader: R,
    limits: DecodeLimits,
    care: Care,
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
            Decoder::Zstd(match care {
                Care::Usual => ZstdFrames::new(input)?,
                Care::EveryByte => ZstdFrames::by_blocks(input)?,
            }),
        ),
        Magic::Unsupported(format) => return Err(DecodeError::Unsupported { format }),
    };
    Ok(DecodedReader {
        decoder,
        compression,
        care,
        decoded_bytes: 0,
        intact_bytes: 0,
        limits,
        state: State::Reading,
        withheld: None,
    })
}

/// Reads an object's decoded bytes.
///
/// It reports the end only once the object has been read to its own end and every checksum has matched. Until then,
/// what has been read may be part of a damaged object. After an error, every further read is an error.
///
/// Holds 64 KiB of the object and the decoder's window: 32 KiB for gzip, up to 128 MiB for zstd as the frame requires
/// it (8 MiB at zstd's usual levels).
pub struct DecodedReader<R: Read> {
    decoder: Decoder<R>,
    compression: SourceCompression,
    care: Care,
    decoded_bytes: u64,
    intact_bytes: u64,
    limits: DecodeLimits,
    state: State,
    /// An error that comes with the next read.
    withheld: Option<io::Error>,
}

/// What is to be had of a damaged object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    /// Its error.
    Usual,
    /// Every byte before the error.
    EveryByte,
}

impl<R: Read> DecodedReader<R> {
    /// The compression, by the object's first bytes.
    pub fn compression(&self) -> SourceCompression {
        self.compression
    }

    /// Decoded bytes that have been read so far.
    pub fn decoded_bytes(&self) -> u64 {
        self.decoded_bytes
    }

    /// Those of them that belong to a gzip member or zstd frame which was read to its end, and whose checksum matched if it
    /// has one. If the object is damaged, the others may be wrong, too: a decoder notices damage late. All are, of an
    /// object that is not compressed.
    pub fn intact_bytes(&self) -> u64 {
        match self.compression {
            SourceCompression::None => self.decoded_bytes,
            _ => self.intact_bytes,
        }
    }

    /// Bytes of the object as stored that were decoded so far.
    pub fn stored_bytes(&self) -> u64 {
        match &self.decoder {
            Decoder::Plain(input) => input.consumed(),
            Decoder::Gzip(member) => member
                .as_ref()
                .map_or(0, |member| member.get_ref().consumed()),
            Decoder::Zstd(frames) => frames.input().consumed(),
        }
    }

    /// Distinguishes a failure of the source, which [`SourceReader`] has wrapped, from one of the decoder.
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

    /// Reads one byte of gzip. The decoder goes on until it needs room for the next one, and so may return an error although
    /// it has written this one: then the error comes with the next read. A NUL, which no JSON text holds, is taken for none.
    fn read_byte(&mut self, byte: &mut [u8], ended: &mut Ended) -> io::Result<usize> {
        if let Some(error) = self.withheld.take() {
            return Err(error);
        }
        byte.fill(0);
        match self.decoder.read(byte, ended) {
            Err(error) if byte.iter().any(|&byte| byte != 0) => {
                self.withheld = Some(error);
                Ok(byte.len())
            }
            read_bytes => read_bytes,
        }
    }

    fn read_decoded(&mut self, buffer: &mut [u8]) -> Result<usize, DecodeError> {
        let mut ended = Ended::None;
        let read_bytes = match (&self.decoder, self.care) {
            (Decoder::Gzip(_), Care::EveryByte) => self.read_byte(&mut buffer[..1], &mut ended),
            _ => self.decoder.read(buffer, &mut ended),
        };
        if ended == Ended::Before {
            self.intact_bytes = self.decoded_bytes;
        }
        let read_bytes = read_bytes.map_err(|error| self.decode_error(error))?;
        let decoded_bytes = self.decoded_bytes + read_bytes as u64;
        if decoded_bytes > self.limits.decoded_bytes_max {
            return Err(DecodeError::TooLarge {
                decoded_bytes_max: self.limits.decoded_bytes_max,
            });
        }
        self.decoded_bytes = decoded_bytes;
        if ended == Ended::After {
            self.intact_bytes = decoded_bytes;
        }
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

/// libzstd's message for a window above the limit. The data are not corrupt, so this error is
/// distinguished.
const ZSTD_WINDOW_TOO_LARGE: &str = "Frame requires too much memory for decoding";

enum State {
    Reading,
    Ended,
    Failed,
}

type ObjectInput<R> = Input<SourceReader<R>>;

enum Decoder<R: Read> {
    Plain(ObjectInput<R>),
    /// `None` only while the decoder of one member is replaced by that of the next.
    Gzip(Option<Box<GzDecoder<ObjectInput<R>>>>),
    Zstd(ZstdFrames<SourceReader<R>>),
}

/// Where a member or frame has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    None,
    /// Before the bytes that were read.
    Before,
    /// After them.
    After,
}

impl<R: Read> Decoder<R> {
    fn read(&mut self, buffer: &mut [u8], ended: &mut Ended) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Gzip(member) => read_gzip(member, buffer, ended),
            Self::Zstd(frames) => {
                let read_bytes = frames.read(buffer);
                *ended = match &read_bytes {
                    Ok(_) if frames.is_between_frames() => Ended::After,
                    _ if frames.has_ended_before() => Ended::Before,
                    _ => Ended::None,
                };
                read_bytes
            }
        }
    }
}

/// Reads one member after the other. Zero padding, which some tools write and `gunzip` ignores, ends the object;
/// flate2's `MultiGzDecoder` would take it for an invalid header.
fn read_gzip<R: Read>(
    current: &mut Option<Box<GzDecoder<Input<R>>>>,
    buffer: &mut [u8],
    ended: &mut Ended,
) -> io::Result<usize> {
    while let Some(member) = current {
        let read_bytes = member.read(buffer)?;
        if read_bytes > 0 {
            return Ok(read_bytes);
        }
        *ended = Ended::Before;
        let input = member.get_mut();
        match input.peek(2)? {
            [] => return Ok(0),
            [0, ..] => {
                skip_zero_padding(input)?;
                return Ok(0);
            }
            // Another member, or the first byte of one that is cut off.
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

/// Wraps every failure of the source in [`DecodeError::Source`], so that it cannot be taken for an error of the
/// decoder: both are `io::Error`s of the same kinds.
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
