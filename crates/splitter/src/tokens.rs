//! A block's bytes told apart by what they are outside of strings.

use crate::block::{BLOCK_BYTES, Kernel};
use crate::scalar::NumberCarry;

/// A block's tokens, one bit a byte. All but the masks about strings leave out what is in them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tokens {
    pub(crate) opening: u64,
    pub(crate) opening_braces: u64,
    pub(crate) closing: u64,
    /// Where a bracket stands, whether it is one of an object; elsewhere without a meaning.
    pub(crate) of_object: u64,
    pub(crate) colons: u64,
    pub(crate) commas: u64,
    pub(crate) opening_quotes: u64,
    pub(crate) closing_quotes: u64,
    pub(crate) whitespace: u64,
    /// Every byte of every number and literal, and whatever has no place in JSON.
    pub(crate) scalars: u64,
    /// The first byte of each.
    pub(crate) scalar_starts: u64,
    /// Those of its bytes that are no plain number: to be looked at.
    pub(crate) unclear_scalars: u64,
    /// From each opening quote to the byte before the closing one.
    pub(crate) in_string: u64,
    /// Bytes of strings that can't stand there, and a first byte that can't go on with a number.
    pub(crate) broken: u64,
    /// The `u` of every `\u`.
    pub(crate) unicode_escapes: u64,
    /// Bytes that the masks do not show to be UTF-8.
    pub(crate) unclear_text: u64,
}

impl Tokens {
    #[inline(always)]
    pub(crate) fn separators(&self) -> u64 {
        self.colons | self.commas
    }
}

/// What the tokens of a block depend on in the block before.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TokenCarry {
    /// All ones if the block ended in a string.
    in_string: u64,
    /// One bit: whether the next block's first byte is escaped.
    escaped: u64,
    /// One bit: whether the block ended within a character.
    in_character: u64,
    /// One bit: whether the block ended with a scalar.
    in_scalar: u64,
    numbers: NumberCarry,
}

impl TokenCarry {
    #[inline(always)]
    pub(crate) fn tokens<K: Kernel>(&mut self, bytes: &[u8; BLOCK_BYTES]) -> Tokens {
        let block = K::classify(bytes);
        let escaped = escaped(block.backslashes, &mut self.escaped);
        let quotes = block.quotes & !escaped;
        let in_string = K::parity(quotes) ^ self.in_string;
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

    /// Text of the languages that an event is likely to be in has no characters above two bytes,
    /// and those are checked in the masks. Others are left to a check of the whole event. Without a
    /// branch for blocks that are all ASCII: which those are can't be foretold.
    #[inline(always)]
    fn unclear_text<K: Kernel>(&mut self, bytes: &[u8; BLOCK_BYTES], not_ascii: u64) -> u64 {
        let expected = std::mem::take(&mut self.in_character);
        let (going_on, beginning) = K::two_byte_text(bytes);
        self.in_character = beginning >> 63;
        let misplaced = (beginning << 1 | expected) ^ going_on;
        not_ascii & !(going_on | beginning) | misplaced
    }
}

/// The bytes behind a backslash that is not escaped itself. `carry` says whether the first byte is
/// one, and then whether the next block's is.
#[inline(always)]
pub(crate) fn escaped(backslashes: u64, carry: &mut u64) -> u64 {
    if backslashes == 0 {
        return std::mem::take(carry);
    }
    // A run of backslashes escapes what is behind it if its length is odd. Adding a run's first
    // bit to the run carries to the bit behind; even and odd places tell the length.
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let backslashes = backslashes & !*carry;
    let behind = backslashes << 1 | *carry;
    let odd_starts = backslashes & !EVEN & !behind;
    let (carried, overflow) = odd_starts.overflowing_add(backslashes);
    *carry = u64::from(overflow);
    (EVEN ^ carried << 1) & behind
}
