//! Kernel for NEON: four vectors of 16 bytes.

use std::arch::aarch64::*;

use crate::block::{BLOCK_BYTES, Block, Kernel};

/// Needs `neon` and `aes`.
///
/// SAFETY: its functions are inlined into `scan_with_neon` and `outline_with_neon`, which are compiled with these
/// features, and called from nowhere else except tests, which detect the features too.
pub(super) struct Neon;

impl Kernel for Neon {
    #[inline(always)]
    fn classify(bytes: &[u8; BLOCK_BYTES]) -> Block {
        // SAFETY: see `Neon`.
        unsafe { classify(bytes) }
    }

    #[inline(always)]
    fn escapable(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64) {
        // SAFETY: see `Neon`.
        unsafe { escapable(bytes) }
    }

    #[inline(always)]
    fn two_byte_text(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64) {
        // SAFETY: see `Neon`.
        unsafe { two_byte_text(bytes) }
    }

    #[inline(always)]
    fn prefix_xor(bits: u64) -> u64 {
        // SAFETY: see `Neon`.
        unsafe { prefix_xor(bits) }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn load(bytes: &[u8; BLOCK_BYTES]) -> [uint8x16_t; 4] {
    let first = bytes.as_ptr();
    // SAFETY: all quarters lie in the array, and the loads need no alignment.
    [0, 16, 32, 48].map(|offset| unsafe { vld1q_u8(first.add(offset)) })
}

/// A bit for each byte, which must be all ones or all zeros. NEON has no movemask: each byte keeps the bit of its
/// position, and pairwise additions gather eight bytes in one.
#[inline]
#[target_feature(enable = "neon")]
fn mask(quarters: [uint8x16_t; 4]) -> u64 {
    const BITS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    // SAFETY: the array has 16 bytes.
    let bits = unsafe { vld1q_u8(BITS.as_ptr()) };
    let [first, second, third, fourth] = quarters;
    let low = vpaddq_u8(vandq_u8(first, bits), vandq_u8(second, bits));
    let high = vpaddq_u8(vandq_u8(third, bits), vandq_u8(fourth, bits));
    let sums = vpaddq_u8(low, high);
    let sums = vpaddq_u8(sums, sums);
    vgetq_lane_u64::<0>(vreinterpretq_u64_u8(sums))
}

#[inline]
#[target_feature(enable = "neon")]
fn equal(quarters: [uint8x16_t; 4], byte: u8) -> [uint8x16_t; 4] {
    let byte = vdupq_n_u8(byte);
    let [first, second, third, fourth] = quarters;
    [
        vceqq_u8(first, byte),
        vceqq_u8(second, byte),
        vceqq_u8(third, byte),
        vceqq_u8(fourth, byte),
    ]
}

/// Bytes that are at most `byte`, unsigned.
#[inline]
#[target_feature(enable = "neon")]
fn at_most(quarters: [uint8x16_t; 4], byte: u8) -> [uint8x16_t; 4] {
    let byte = vdupq_n_u8(byte);
    let [first, second, third, fourth] = quarters;
    [
        vcleq_u8(first, byte),
        vcleq_u8(second, byte),
        vcleq_u8(third, byte),
        vcleq_u8(fourth, byte),
    ]
}

#[inline]
#[target_feature(enable = "neon")]
fn classify(bytes: &[u8; BLOCK_BYTES]) -> Block {
    let quarters @ [first, second, third, fourth] = load(bytes);
    // In ASCII `{` and `[`, and `}` and `]`, differ in bit 0x20 alone.
    let case = vdupq_n_u8(0x20);
    let folded = [
        vorrq_u8(first, case),
        vorrq_u8(second, case),
        vorrq_u8(third, case),
        vorrq_u8(fourth, case),
    ];
    let of_object = [
        vtstq_u8(first, case),
        vtstq_u8(second, case),
        vtstq_u8(third, case),
        vtstq_u8(fourth, case),
    ];
    let zero = vdupq_n_u8(b'0');
    let from_zero = [
        vsubq_u8(first, zero),
        vsubq_u8(second, zero),
        vsubq_u8(third, zero),
        vsubq_u8(fourth, zero),
    ];
    let spaces = mask(equal(quarters, b' '));
    let control = mask(at_most(quarters, 0x1f));
    // Most blocks hold no control character, and therefore no white space but spaces.
    let others = if control == 0 {
        0
    } else {
        mask(equal(quarters, b'\t')) | mask(equal(quarters, b'\n')) | mask(equal(quarters, b'\r'))
    };
    Block {
        quotes: mask(equal(quarters, b'"')),
        backslashes: mask(equal(quarters, b'\\')),
        opening: mask(equal(folded, b'{')),
        closing: mask(equal(folded, b'}')),
        of_object: mask(of_object),
        colons: mask(equal(quarters, b':')),
        commas: mask(equal(quarters, b',')),
        whitespace: spaces | others,
        digits: mask(at_most(from_zero, 9)),
        zeros: mask(equal(quarters, b'0')),
        points: mask(equal(quarters, b'.')),
        control,
        not_ascii: !mask(at_most(quarters, 0x7f)),
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn escapable(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64) {
    let quarters = load(bytes);
    let unicode = mask(equal(quarters, b'u'));
    let others = *b"\"\\/bfnrt";
    let escapable = others
        .into_iter()
        .fold(unicode, |all, byte| all | mask(equal(quarters, byte)));
    (escapable, unicode)
}

#[inline]
#[target_feature(enable = "neon")]
fn two_byte_text(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64) {
    let quarters = load(bytes);
    let first = vdupq_n_u8(0xc2);
    let [a, b, c, d] = quarters;
    let from_first = [
        vsubq_u8(a, first),
        vsubq_u8(b, first),
        vsubq_u8(c, first),
        vsubq_u8(d, first),
    ];
    let ascii = mask(at_most(quarters, 0x7f));
    let up_to_continuation = mask(at_most(quarters, 0xbf));
    (
        up_to_continuation & !ascii,
        mask(at_most(from_first, 0xdf - 0xc2)),
    )
}

/// A carry-less product with all ones is the prefix XOR: bit `n` is the XOR of the bits `0..=n`.
#[inline]
#[target_feature(enable = "neon,aes")]
fn prefix_xor(bits: u64) -> u64 {
    vmull_p64(bits, u64::MAX) as u64
}
