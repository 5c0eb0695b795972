//! Decoding of consecutive zstd frames.
//!
//! The library's own reader treats anything after a frame as another frame, and its error then depends on
//! the number of bytes that follow. Here they are an error of their own.

use std::io::{self, BufRead, Read};

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::decode_input::Input;
use crate::source_compression::{SourceCompression, foreign_tail};

/// The largest window that zstd decodes without `--long`: 2^27 bytes (zstd(1)). It bounds the decoder's memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Reads the decoded bytes of all frames of an object.
pub(crate) struct ZstdFrames<R> {
    input: Input<R>,
    decoder: Decoder<'static>,
    position: Position,
    steps: Steps,
    /// Whether a frame has ended before the bytes that were read last.
    has_ended_before: bool,
}

/// How much the decoder is given at a time.
enum Steps {
    /// All that there is.
    Whole,
    /// A header or a block, and never the header after it: an error there can't take the bytes of the block along, as the
    /// library returns either bytes or an error.
    Blocks {
        /// How much it needs next.
        wanted: usize,
    },
}

/// Length of a block's header in bytes (RFC 8878 section 3.1.1.2). The library asks for it together with the block before.
const BLOCK_HEADER_BYTES: usize = 3;

enum Position {
    BetweenFrames,
    InFrame {
        /// Whether the decoder may hold decoded bytes: it has filled the last buffer to its end.
        may_hold: bool,
    },
}

impl<R: Read> ZstdFrames<R> {
    pub(crate) fn new(input: Input<R>) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
        Ok(Self {
            input,
            decoder,
            position: Position::BetweenFrames,
            steps: Steps::Whole,
            has_ended_before: false,
        })
    }

    /// The same, block by block.
    pub(crate) fn by_blocks(input: Input<R>) -> io::Result<Self> {
        let steps = Steps::Blocks {
            wanted: BLOCK_HEADER_BYTES,
        };
        Ok(Self {
            steps,
            ..Self::new(input)?
        })
    }

    /// Whether what was read so far ends with a frame.
    pub(crate) fn is_between_frames(&self) -> bool {
        matches!(self.position, Position::BetweenFrames)
    }

    /// Whether a frame has ended before what was read last, which may have been an error.
    pub(crate) fn has_ended_before(&self) -> bool {
        self.has_ended_before
    }

    pub(crate) fn input(&self) -> &Input<R> {
        &self.input
    }

    /// `buffer` must not be empty.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.has_ended_before = false;
        loop {
            let may_hold = match self.position {
                Position::InFrame { may_hold } => may_hold,
                Position::BetweenFrames => match self.input.peek(FRAME_MARK_BYTES)? {
                    [] => return Ok(0),
                    head if begins_frame(head) => {
                        self.decoder.reinit()?;
                        false
                    }
                    _ => return Err(foreign_tail(SourceCompression::Zstd)),
                },
            };
            let source = if may_hold {
                &[]
            } else {
                match self.input.fill_buf()? {
                    [] => return Err(io::ErrorKind::UnexpectedEof.into()),
                    source => match self.steps {
                        Steps::Whole => source,
                        Steps::Blocks { wanted } => &source[..wanted.min(source.len())],
                    },
                }
            };
            let mut source = InBuffer::around(source);
            let mut decoded = OutBuffer::around(&mut *buffer);
            let hint = self.decoder.run(&mut source, &mut decoded)?;
            let is_frame_over = hint == 0;
            if let Steps::Blocks { wanted } = &mut self.steps {
                *wanted = match hint.checked_sub(BLOCK_HEADER_BYTES) {
                    None | Some(0) => BLOCK_HEADER_BYTES,
                    Some(block) => block,
                };
            }
            let (consumed, decoded) = (source.pos(), decoded.pos());
            self.input.consume(consumed);
            self.position = if is_frame_over {
                Position::BetweenFrames
            } else {
                Position::InFrame {
                    may_hold: decoded == buffer.len(),
                }
            };
            if decoded > 0 {
                return Ok(decoded);
            }
            self.has_ended_before |= is_frame_over;
        }
    }
}

/// Length of a frame's magic number in bytes.
const FRAME_MARK_BYTES: usize = 4;

/// Whether `head` begins a frame or a skippable frame (RFC 8878 section 3.1), or is the beginning of a magic number
/// that is cut off.
fn begins_frame(head: &[u8]) -> bool {
    let frame = [0x28, 0xB5, 0x2F, 0xFD];
    let skippable = [head[0], 0x2A, 0x4D, 0x18];
    frame.starts_with(head) || matches!(head[0], 0x50..=0x5F) && skippable.starts_with(head)
}
