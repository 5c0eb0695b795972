//! The ends of objects, found by strings and brackets alone: the upper bound of speed for benchmarks.

use crate::block::{BLOCK_BYTES, Kernel};
use crate::grammar::is_whitespace;
use crate::limits::Limits;
use crate::scanner::Nesting;
use crate::tokens::escaped;

/// See [`Instructions::object_ends`](crate::Instructions::object_ends).
#[inline(always)]
pub(crate) fn outline<K: Kernel>(bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut nesting = Nesting::new(Limits::default());
    let (mut in_string, mut is_escaped) = (0, 0);
    if !begins_object(bytes, 0) {
        return ends;
    }
    for (index, part) in bytes.chunks(BLOCK_BYTES).enumerate() {
        let mut padded = [b' '; BLOCK_BYTES];
        let block = part.first_chunk::<BLOCK_BYTES>().unwrap_or_else(|| {
            padded[..part.len()].copy_from_slice(part);
            &padded
        });
        let block = K::classify(block);
        let escaped = escaped(block.backslashes, &mut is_escaped);
        let strings = K::prefix_xor(block.quotes & !escaped) ^ in_string;
        // The last byte's bit, spread over all 64: the next block begins where this one ends.
        in_string = 0_u64.wrapping_sub(strings >> 63);
        let opening = block.opening & !strings;
        let mut brackets = opening | block.closing & !strings;
        while brackets != 0 {
            // The lowest set bit (blsi), cleared by the XOR.
            let bit = brackets & brackets.wrapping_neg();
            brackets ^= bit;
            let is_object = block.of_object & bit != 0;
            if opening & bit != 0 {
                if !nesting.open(is_object) {
                    return ends;
                }
                continue;
            }
            if !nesting.close(is_object) {
                return ends;
            }
            if nesting.depth == 0 {
                let end = index * BLOCK_BYTES + bit.trailing_zeros() as usize + 1;
                ends.push(end);
                if !begins_object(bytes, end) {
                    return ends;
                }
            }
        }
    }
    ends
}

#[inline(always)]
fn begins_object(bytes: &[u8], position: usize) -> bool {
    let rest = bytes[position..].iter();
    rest.copied().find(|byte| !is_whitespace(*byte)) == Some(b'{')
}
