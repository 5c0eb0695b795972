//! The tokens of a block: its classes of bytes with the content of strings masked out.

use crate::block::{BLOCK_BYTES, Kernel};
use crate::scalar::NumberCarry;

/// Masks of a block, one bit for each byte. The content of strings is in none but those that say so.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tokens {
    pub(crate) opening: u64,
    pub(crate) opening_braces: u64,
    pub(crate) closing: u64,
    /// At brackets, set for `{` and `}`; arbitrary elsewhere.
    pub(crate) of_object: u64,
    pub(crate) colons: u64,
    pub(crate) commas: u64,
    pub(crate) opening_quotes: u64,
    pub(crate) closing_quotes: u64,
    pub(crate) whitespace: u64,
    /// Every byte of numbers and literals, and every other byte outside of strings that is not JSON.
    pub(crate) scalars: u64,
    /// The first byte of each run of `scalars`.
    pub(crate) scalar_starts: u64,
    /// Bytes of `scalars` that do not belong to a plain number, and must be validated one by one.
    pub(crate) unclear_scalars: u64,
    /// From each opening quote to the byte before the closing one.
    pub(crate) in_string: u64,
    /// Bytes that are not allowed in strings, and a first byte that may not continue the number of the block before.
    pub(crate) broken: u64,
    /// The `u` of every `\u`, whose four digits must be validated.
    pub(crate) unicode_escapes: u64,
    /// Bytes that the masks do not prove to be UTF-8.
    pub(crate) unclear_text: u64,
}

impl Tokens {
    #[inline(always)]
    pub(crate) fn separators(&self) -> u64 {
        self.colons | self.commas
    }
}

/// What the tokens of a block depend on in the block before it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TokenCarry {
    /// All ones if the block ended inside a string, else zero.
    in_string: u64,
    /// One bit: whether the next block's first byte is escaped.
    escaped: u64,
    /// One bit: whether the block ended with the lead byte of a two-byte sequence.
    in_character: u64,
    /// One bit: whether the block ended with a byte of a scalar.
    in_scalar: u64,
    numbers: NumberCarry,
}

impl TokenCarry {
    #[inline(always)]
    pub(crate) fn tokens<K: Kernel>(&mut self, bytes: &[u8; BLOCK_BYTES]) -> Tokens {
        let block = K::classify(bytes);
        let escaped = escaped(block.backslashes, &mut self.escaped);
        let quotes = block.quotes & !escaped;
        // The prefix XOR is 1 from each opening quote to the byte before its closing one. If the block begins inside
        // of a string, every bit is the other way round.
        let in_string = K::prefix_xor(quotes) ^ self.in_string;
        // The last byte's bit, spread over all 64.
        self.in_string = 0_u64.wrapping_sub(in_string >> 63);
        let outside = !in_string;

        let structure = block.opening | block.closing | block.colons | block.commas;
        let scalars = !(in_string | quotes | structure | block.whitespace);
        let scalar_starts = scalars & !(scalars << 1 | self.in_scalar);
        self.in_scalar = scalars >> 63;

        let numbers = self.numbers.check(&block, scalars, scalar_starts);
        let unclear_text = self.unclear_text::<K>(bytes, block.not_ascii);
        let mut broken_text = block.control & in_string;
        let mut unicode_escapes = 0;
        if escaped != 0 {
            let (escapable, unicode) = K::escapable(bytes);
            broken_text |= escaped & !escapable;
            unicode_escapes = escaped & unicode;
        }
        Tokens {
            opening: block.opening & outside,
            opening_braces: block.opening & block.of_object & outside,
            closing: block.closing & outside,
            of_object: block.of_object,
            colons: block.colons & outside,
            commas: block.commas & outside,
            opening_quotes: quotes & in_string,
            closing_quotes: quotes & outside,
            whitespace: block.whitespace & outside,
            scalars,
            scalar_starts,
            unclear_scalars: numbers.unclear,
            in_string,
            broken: broken_text | numbers.is_broken,
            unicode_escapes,
            unclear_text,
        }
    }

    /// Validates UTF-8 sequences of two bytes by masks: the text of European languages has few longer ones. An event
    /// with longer sequences is validated as a whole by simdutf8. There is no branch for blocks that are all ASCII,
    /// because it would be unpredictable.
    #[inline(always)]
    fn unclear_text<K: Kernel>(&mut self, bytes: &[u8; BLOCK_BYTES], not_ascii: u64) -> u64 {
        let expected = std::mem::take(&mut self.in_character);
        let (continuation, lead) = K::two_byte_text(bytes);
        self.in_character = lead >> 63;
        // A continuation byte must follow each lead byte, and nothing else: the XOR is set where it does not.
        let misplaced = (lead << 1 | expected) ^ continuation;
        not_ascii & !(continuation | lead) | misplaced
    }
}

/// A mask of the bytes after a backslash that is not escaped itself. `carry` is one bit: whether the first byte is such
/// a byte, and on return whether the next block's first byte is.
#[inline(always)]
pub(crate) fn escaped(backslashes: u64, carry: &mut u64) -> u64 {
    if backslashes == 0 {
        return std::mem::take(carry);
    }
    // A run of backslashes escapes the byte after it if its length is odd, that is, if the run begins at an even
    // position and ends before an odd one, or the reverse. Adding the first bits of the runs that begin at odd
    // positions carries through them and clears them, which tells the two kinds of runs apart (as simdjson does).
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let backslashes = backslashes & !*carry;
    let after = backslashes << 1 | *carry;
    let odd_starts = backslashes & !EVEN & !after;
    let (carried, overflow) = odd_starts.overflowing_add(backslashes);
    *carry = u64::from(overflow);
    (EVEN ^ carried << 1) & after
}
