//! What the 64 bytes of a block are, one bit a byte.

/// Bytes that are looked at together.
pub(crate) const BLOCK_BYTES: usize = 64;

/// The kinds of a block's bytes by value alone, whether in a string or not. The lowest bit of
/// every mask stands for the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    /// `"`
    pub(crate) quotes: u64,
    /// `\`
    pub(crate) backslashes: u64,
    /// `{` and `[`
    pub(crate) opening: u64,
    /// `}` and `]`
    pub(crate) closing: u64,
    /// Where a bracket stands, whether it is one of an object; elsewhere without a meaning.
    pub(crate) of_object: u64,
    /// `:`
    pub(crate) colons: u64,
    /// `,`
    pub(crate) commas: u64,
    /// The white space of RFC 8259.
    pub(crate) whitespace: u64,
    /// `0` to `9`
    pub(crate) digits: u64,
    /// `0`
    pub(crate) zeros: u64,
    /// `.`
    pub(crate) points: u64,
    /// Below 0x20, white space among them.
    pub(crate) control: u64,
    /// 0x80 and above.
    pub(crate) not_ascii: u64,
}

/// One way to tell the kinds of bytes, with the instructions of one processor family.
pub(crate) trait Kernel {
    fn classify(bytes: &[u8; BLOCK_BYTES]) -> Block;

    /// Bytes that may follow a backslash, `"\/bfnrtu`, and those of them that are `u`.
    fn escapable(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64);

    /// Bytes that go on with a character of UTF-8, 0x80 to 0xbf, and those that begin one of two
    /// bytes, 0xc2 to 0xdf.
    fn two_byte_text(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64);

    /// Every bit becomes the parity of the bits up to it, itself included.
    fn parity(bits: u64) -> u64;
}

/// Eight bytes at a time in a general register: runs everywhere.
pub(crate) struct Portable;

impl Kernel for Portable {
    #[inline(always)]
    fn classify(bytes: &[u8; BLOCK_BYTES]) -> Block {
        let mut block = Block {
            quotes: 0,
            backslashes: 0,
            opening: 0,
            closing: 0,
            of_object: 0,
            colons: 0,
            commas: 0,
            whitespace: 0,
            digits: 0,
            zeros: 0,
            points: 0,
            control: 0,
            not_ascii: 0,
        };
        let (words, _) = bytes.as_chunks::<8>();
        for (index, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let shift = index * 8;
            let folded = word | repeat(0x20);
            let control = below(word, 0x20);
            block.quotes |= gather(equal(word, b'"')) << shift;
            block.backslashes |= gather(equal(word, b'\\')) << shift;
            block.opening |= gather(equal(folded, b'{')) << shift;
            block.closing |= gather(equal(folded, b'}')) << shift;
            block.of_object |= gather(word << 2) << shift;
            block.colons |= gather(equal(word, b':')) << shift;
            block.commas |= gather(equal(word, b',')) << shift;
            block.digits |= gather(below(word, b'9' + 1) & !below(word, b'0')) << shift;
            block.zeros |= gather(equal(word, b'0')) << shift;
            block.points |= gather(equal(word, b'.')) << shift;
            block.control |= gather(control) << shift;
            block.not_ascii |= gather(word) << shift;
            let spaces = equal(word, b' ');
            // Most words hold no control character, and then no other white space.
            let others = if control & HIGHS == 0 {
                0
            } else {
                equal(word, b'\t') | equal(word, b'\n') | equal(word, b'\r')
            };
            block.whitespace |= gather(spaces | others) << shift;
        }
        block
    }

    #[inline(always)]
    fn escapable(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64) {
        let (mut escapable, mut unicode) = (0, 0);
        for (index, byte) in bytes.iter().enumerate() {
            let is_escapable = matches!(
                byte,
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u'
            );
            escapable |= u64::from(is_escapable) << index;
            unicode |= u64::from(*byte == b'u') << index;
        }
        (escapable, unicode)
    }

    #[inline(always)]
    fn two_byte_text(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64) {
        let (mut going_on, mut beginning) = (0, 0);
        let (words, _) = bytes.as_chunks::<8>();
        for (index, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let shift = index * 8;
            // By the three highest bits: 10 goes on, 110 begins; 0xc0 and 0xc1 never do.
            let never = equal(word & repeat(0xfe), 0xc0);
            going_on |= gather(word & !(word << 1)) << shift;
            beginning |= gather(word & word << 1 & !(word << 2) & !never) << shift;
        }
        (going_on, beginning)
    }

    #[inline(always)]
    fn parity(mut bits: u64) -> u64 {
        for shift in [1, 2, 4, 8, 16, 32] {
            bits ^= bits << shift;
        }
        bits
    }
}

const HIGHS: u64 = repeat(0x80);

const fn repeat(byte: u8) -> u64 {
    0x0101_0101_0101_0101 * byte as u64
}

/// Sets the high bit of every lane that holds the byte, and of no other; lower bits are arbitrary.
#[inline(always)]
fn equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ repeat(byte);
    !(((difference & !HIGHS) + !HIGHS) | difference)
}

/// Sets the high bit of every lane below the byte, which is at most 0x80, and of no other.
#[inline(always)]
fn below(word: u64, byte: u8) -> u64 {
    !(((word & !HIGHS) + repeat(0x80 - byte)) | word)
}

/// The high bits of the eight lanes, side by side.
#[inline(always)]
fn gather(word: u64) -> u64 {
    ((word & HIGHS) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The kinds of bytes as anyone would write them down.
    pub(crate) fn naive(bytes: &[u8; BLOCK_BYTES]) -> Block {
        let mask = |is: &dyn Fn(u8) -> bool| {
            (0..BLOCK_BYTES).fold(0, |mask, index| mask | u64::from(is(bytes[index])) << index)
        };
        Block {
            quotes: mask(&|byte| byte == b'"'),
            backslashes: mask(&|byte| byte == b'\\'),
            opening: mask(&|byte| byte == b'{' || byte == b'['),
            closing: mask(&|byte| byte == b'}' || byte == b']'),
            of_object: mask(&|byte| byte & 0x20 != 0),
            colons: mask(&|byte| byte == b':'),
            commas: mask(&|byte| byte == b','),
            whitespace: mask(&|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')),
            digits: mask(&|byte| byte.is_ascii_digit()),
            zeros: mask(&|byte| byte == b'0'),
            points: mask(&|byte| byte == b'.'),
            control: mask(&|byte| byte < 0x20),
            not_ascii: mask(&|byte| byte >= 0x80),
        }
    }

    pub(crate) fn check_kernel<K: Kernel>() {
        // Every byte at every place, between neighbours that differ by one bit.
        for byte in 0..=u8::MAX {
            for place in 0..BLOCK_BYTES {
                for neighbour in [b' ', byte ^ 0x80, byte ^ 0x20, byte ^ 1, 0, u8::MAX] {
                    let mut bytes = [neighbour; BLOCK_BYTES];
                    bytes[place] = byte;
                    assert_eq!(K::classify(&bytes), naive(&bytes), "{byte:#x} at {place}");
                    let (escapable, unicode) = K::escapable(&bytes);
                    let is_escapable = b"\"\\/bfnrtu".contains(&byte);
                    assert_eq!(escapable >> place & 1 == 1, is_escapable, "{byte:#x}");
                    assert_eq!(unicode >> place & 1 == 1, byte == b'u', "{byte:#x}");
                    let (going_on, beginning) = K::two_byte_text(&bytes);
                    let goes_on = (0x80..=0xbf).contains(&byte);
                    assert_eq!(going_on >> place & 1 == 1, goes_on, "{byte:#x}");
                    let begins = (0xc2..=0xdf).contains(&byte);
                    assert_eq!(beginning >> place & 1 == 1, begins, "{byte:#x}");
                }
            }
        }
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..10_000 {
            bits = bits.rotate_left(7).wrapping_mul(0xd134_2543_de82_ef95) ^ 1;
            for sparse in [bits, bits & bits.rotate_left(13), 1 << (bits % 64), 0] {
                let mut parity = 0;
                for index in 0..64 {
                    parity |= u64::from((sparse << (63 - index)).count_ones() % 2) << index;
                }
                assert_eq!(K::parity(sparse), parity);
            }
        }
    }

    #[test]
    fn the_portable_kernel_tells_the_kinds_of_bytes() {
        check_kernel::<Portable>();
    }
}
