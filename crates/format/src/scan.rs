//! The byte search under the envelope lexer and the NDJSON writer.

/// Position of the first `a` or `b` in `bytes`, or the length of `bytes`.
///
/// Eight bytes are tested at a time: an event is mostly text, so the search for the end of a
/// string, or for a line break that is hardly ever there, decides the speed of both callers.
pub(crate) fn position_of_either(bytes: &[u8], a: u8, b: u8) -> usize {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let (a_word, b_word) = (u64::from(a) * ONES, u64::from(b) * ONES);
    for (index, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        // The lowest flag is exact; a flag above it may be wrong because of the borrow.
        let found = zero_byte_flags(word ^ a_word) | zero_byte_flags(word ^ b_word);
        if found != 0 {
            return index * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    let tail = rest.iter().position(|&byte| byte == a || byte == b);
    chunks.len() * 8 + tail.unwrap_or(rest.len())
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// Sets the high bit of the lowest zero byte of `word`, and of no byte below it.
fn zero_byte_flags(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(bytes: &[u8], a: u8, b: u8) -> usize {
        let found = bytes.iter().position(|&byte| byte == a || byte == b);
        found.unwrap_or(bytes.len())
    }

    proptest! {
        #[test]
        fn matches_the_naive_search(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x20_u8..0x24, 0x0A_u8..0x0E], 0..64),
        ) {
            for (a, b) in [(b'"', b'\\'), (b'\n', b'\r'), (0, 0xFF), (0x80, 0x01)] {
                prop_assert_eq!(position_of_either(&bytes, a, b), naive(&bytes, a, b));
            }
        }
    }
}
