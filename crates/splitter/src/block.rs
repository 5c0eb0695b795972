//! Classification of the 64 bytes of a block: a mask for each class, one bit for each byte.

/// Bytes that are classified together: as many as a `u64` has bits.
pub(crate) const BLOCK_BYTES: usize = 64;

/// The classes of a block's bytes by value alone, whether inside or outside of a string. The lowest bit of every mask
/// is the first byte.
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
    /// At brackets, set for `{` and `}`; arbitrary elsewhere.
    pub(crate) of_object: u64,
    /// `:`
    pub(crate) colons: u64,
    /// `,`
    pub(crate) commas: u64,
    /// Space, tab, LF and CR, the white space of RFC 8259.
    pub(crate) whitespace: u64,
    /// `0` to `9`
    pub(crate) digits: u64,
    /// `0`
    pub(crate) zeros: u64,
    /// `.`
    pub(crate) points: u64,
    /// Below 0x20, including tab, LF and CR.
    pub(crate) control: u64,
    /// 0x80 and above.
    pub(crate) not_ascii: u64,
}

/// Classification with the instructions of one processor family.
pub(crate) trait Kernel {
    fn classify(bytes: &[u8; BLOCK_BYTES]) -> Block;

    /// Masks of the bytes that may follow a backslash, `"\/bfnrtu`, and of `u` alone.
    fn escapable(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64);

    /// Masks of continuation bytes, 0x80 to 0xbf, and of lead bytes of two-byte sequences, 0xc2 to 0xdf.
    fn two_byte_text(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64);

    /// Prefix XOR: each bit of the result is the XOR of all bits up to and including its own. Of a mask of quotes it
    /// makes the mask of strings, from each opening quote to the byte before the closing one.
    fn prefix_xor(bits: u64) -> u64;
}

/// SWAR: eight bytes at a time in a general-purpose register, on any processor.
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
            // In ASCII `{` and `[`, and `}` and `]`, differ in bit 0x20 alone.
            let folded = word | repeat(0x20);
            let control = below(word, 0x20);
            block.quotes |= gather(equal(word, b'"')) << shift;
            block.backslashes |= gather(equal(word, b'\\')) << shift;
            block.opening |= gather(equal(folded, b'{')) << shift;
            block.closing |= gather(equal(folded, b'}')) << shift;
            // Bit 0x20 of each lane, shifted to the lane's high bit.
            block.of_object |= gather(word << 2) << shift;
            block.colons |= gather(equal(word, b':')) << shift;
            block.commas |= gather(equal(word, b',')) << shift;
            block.digits |= gather(below(word, b'9' + 1) & !below(word, b'0')) << shift;
            block.zeros |= gather(equal(word, b'0')) << shift;
            block.points |= gather(equal(word, b'.')) << shift;
            block.control |= gather(control) << shift;
            block.not_ascii |= gather(word) << shift;
            let spaces = equal(word, b' ');
            // Most words hold no control character, and therefore no white space but spaces.
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
        let (mut continuation, mut lead) = (0, 0);
        let (words, _) = bytes.as_chunks::<8>();
        for (index, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let shift = index * 8;
            // By the highest bits: 10 is a continuation byte, 110 a lead byte. 0xc0 and 0xc1 could only begin overlong
            // forms.
            let overlong = equal(word & repeat(0xfe), 0xc0);
            continuation |= gather(word & !(word << 1)) << shift;
            lead |= gather(word & word << 1 & !(word << 2) & !overlong) << shift;
        }
        (continuation, lead)
    }

    #[inline(always)]
    fn prefix_xor(mut bits: u64) -> u64 {
        // Each shift doubles the number of bits that are combined.
        for shift in [1, 2, 4, 8, 16, 32] {
            bits ^= bits << shift;
        }
        bits
    }
}

const HIGHS: u64 = repeat(0x80);

/// The byte in each of the eight lanes.
const fn repeat(byte: u8) -> u64 {
    0x0101_0101_0101_0101 * byte as u64
}

/// Sets the high bit of every lane that holds the byte, and of no other; the lower bits are arbitrary.
#[inline(always)]
fn equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ repeat(byte);
    // Adding 0x7f to the lower seven bits carries into the high bit unless they are zero, and never out of the lane, so
    // that it is exact, unlike a subtraction that borrows between lanes.
    !(((difference & !HIGHS) + !HIGHS) | difference)
}

/// Sets the high bit of every lane below the byte, which is at most 0x80, and of no other.
#[inline(always)]
fn below(word: u64, byte: u8) -> u64 {
    // The sum reaches 0x80 where the lower seven bits are not below the byte; lanes of 0x80 and above never are.
    !(((word & !HIGHS) + repeat(0x80 - byte)) | word)
}

/// The high bits of the eight lanes as the lowest eight bits: a movemask in a general-purpose register.
#[inline(always)]
fn gather(word: u64) -> u64 {
    // The multiplication adds up copies of the word, shifted so that bit 0 of lane `n` meets bit `56 + n` in one of
    // them; no two bits meet, so nothing carries.
    ((word & HIGHS) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The reference: a comparison for each byte and class.
    pub(crate) fn reference(bytes: &[u8; BLOCK_BYTES]) -> Block {
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
        // Every byte at every position, among neighbours that differ in one bit or could carry into it.
        for byte in 0..=u8::MAX {
            for place in 0..BLOCK_BYTES {
                for neighbour in [b' ', byte ^ 0x80, byte ^ 0x20, byte ^ 1, 0, u8::MAX] {
                    let mut bytes = [neighbour; BLOCK_BYTES];
                    bytes[place] = byte;
                    assert_eq!(
                        K::classify(&bytes),
                        reference(&bytes),
                        "{byte:#x} at {place}"
                    );
                    let (escapable, unicode) = K::escapable(&bytes);
                    let is_escapable = b"\"\\/bfnrtu".contains(&byte);
                    assert_eq!(escapable >> place & 1 == 1, is_escapable, "{byte:#x}");
                    assert_eq!(unicode >> place & 1 == 1, byte == b'u', "{byte:#x}");
                    let (continuation, lead) = K::two_byte_text(&bytes);
                    let is_continuation = (0x80..=0xbf).contains(&byte);
                    assert_eq!(continuation >> place & 1 == 1, is_continuation, "{byte:#x}");
                    let is_lead = (0xc2..=0xdf).contains(&byte);
                    assert_eq!(lead >> place & 1 == 1, is_lead, "{byte:#x}");
                }
            }
        }
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..10_000 {
            bits = bits.rotate_left(7).wrapping_mul(0xd134_2543_de82_ef95) ^ 1;
            for sparse in [bits, bits & bits.rotate_left(13), 1 << (bits % 64), 0] {
                let mut expected = 0;
                for index in 0..64 {
                    expected |= u64::from((sparse << (63 - index)).count_ones() % 2) << index;
                }
                assert_eq!(K::prefix_xor(sparse), expected);
            }
        }
    }

    #[test]
    fn the_portable_kernel_classifies_bytes_like_the_reference() {
        check_kernel::<Portable>();
    }
}
