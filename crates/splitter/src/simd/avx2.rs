//! Kernel for AVX2: two vectors of 32 bytes.

use std::arch::x86_64::*;

use crate::block::{BLOCK_BYTES, Block, Kernel};
use crate::simd::tables::{ESCAPABLE, WHITESPACE};

/// Needs `avx2` and `pclmulqdq`.
///
/// SAFETY: its functions are inlined into `scan_with_avx2` and `outline_with_avx2`, which are compiled with these
/// features, and called from nowhere else except tests, which detect the features too.
pub(super) struct Avx2;

impl Kernel for Avx2 {
    #[inline(always)]
    fn classify(bytes: &[u8; BLOCK_BYTES]) -> Block {
        // SAFETY: see `Avx2`.
        unsafe { classify(bytes) }
    }

    #[inline(always)]
    fn escapable(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64) {
        // SAFETY: see `Avx2`.
        unsafe { escapable(bytes) }
    }

    #[inline(always)]
    fn two_byte_text(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64) {
        // SAFETY: see `Avx2`.
        unsafe { two_byte_text(bytes) }
    }

    #[inline(always)]
    fn prefix_xor(bits: u64) -> u64 {
        // SAFETY: see `Avx2`.
        unsafe { prefix_xor(bits) }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; BLOCK_BYTES]) -> [__m256i; 2] {
    let first = bytes.as_ptr().cast::<__m256i>();
    // SAFETY: both halves lie in the array, and the loads need no alignment.
    unsafe { [_mm256_loadu_si256(first), _mm256_loadu_si256(first.add(1))] }
}

/// The high bit of each byte.
#[inline]
#[target_feature(enable = "avx2")]
fn mask([low, high]: [__m256i; 2]) -> u64 {
    let low = _mm256_movemask_epi8(low) as u32;
    let high = _mm256_movemask_epi8(high) as u32;
    u64::from(low) | u64::from(high) << 32
}

#[inline]
#[target_feature(enable = "avx2")]
fn equal([low, high]: [__m256i; 2], byte: u8) -> [__m256i; 2] {
    let byte = _mm256_set1_epi8(byte as i8);
    [_mm256_cmpeq_epi8(low, byte), _mm256_cmpeq_epi8(high, byte)]
}

/// Bytes that are at most `byte`, unsigned. AVX2 compares signed bytes only, so a byte is compared with its minimum.
#[inline]
#[target_feature(enable = "avx2")]
fn at_most([low, high]: [__m256i; 2], byte: u8) -> [__m256i; 2] {
    let byte = _mm256_set1_epi8(byte as i8);
    [
        _mm256_cmpeq_epi8(_mm256_min_epu8(low, byte), low),
        _mm256_cmpeq_epi8(_mm256_min_epu8(high, byte), high),
    ]
}

/// Bytes that equal the table's entry for their low four bits: one shuffle and one comparison for up to 16 characters.
#[inline]
#[target_feature(enable = "avx2")]
fn equal_by_low_bits([low, high]: [__m256i; 2], table: [u8; 16]) -> [__m256i; 2] {
    let table = u128::from_le_bytes(table);
    let table = _mm256_broadcastsi128_si256(_mm_set_epi64x((table >> 64) as i64, table as i64));
    // The shuffle yields 0 for bytes above 0x7f, which are therefore never equal.
    [
        _mm256_cmpeq_epi8(_mm256_shuffle_epi8(table, low), low),
        _mm256_cmpeq_epi8(_mm256_shuffle_epi8(table, high), high),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn classify(bytes: &[u8; BLOCK_BYTES]) -> Block {
    let halves @ [low, high] = load(bytes);
    // In ASCII `{` and `[`, and `}` and `]`, differ in bit 0x20 alone.
    let case = _mm256_set1_epi8(0x20);
    let folded = [_mm256_or_si256(low, case), _mm256_or_si256(high, case)];
    let zero = _mm256_set1_epi8(b'0' as i8);
    let from_zero = [_mm256_sub_epi8(low, zero), _mm256_sub_epi8(high, zero)];
    Block {
        quotes: mask(equal(halves, b'"')),
        backslashes: mask(equal(halves, b'\\')),
        opening: mask(equal(folded, b'{')),
        closing: mask(equal(folded, b'}')),
        // Bit 0x20 of each byte, shifted to its high bit; there is no shift of single bytes.
        of_object: mask([_mm256_slli_epi16(low, 2), _mm256_slli_epi16(high, 2)]),
        colons: mask(equal(halves, b':')),
        commas: mask(equal(halves, b',')),
        whitespace: mask(equal_by_low_bits(halves, WHITESPACE)),
        digits: mask(at_most(from_zero, 9)),
        zeros: mask(equal(halves, b'0')),
        points: mask(equal(halves, b'.')),
        control: mask(at_most(halves, 0x1f)),
        not_ascii: mask(halves),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn escapable(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64) {
    let halves = load(bytes);
    let escapable = mask(equal_by_low_bits(halves, ESCAPABLE))
        | mask(equal(halves, b'b'))
        | mask(equal(halves, b'r'));
    (escapable, mask(equal(halves, b'u')))
}

#[inline]
#[target_feature(enable = "avx2")]
fn two_byte_text(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64) {
    let halves @ [low, high] = load(bytes);
    let first = _mm256_set1_epi8(0xc2_u8 as i8);
    let from_first = [_mm256_sub_epi8(low, first), _mm256_sub_epi8(high, first)];
    let up_to_continuation = mask(at_most(halves, 0xbf));
    (
        up_to_continuation & mask(halves),
        mask(at_most(from_first, 0xdf - 0xc2)),
    )
}

/// A carry-less product with all ones is the prefix XOR: bit `n` is the XOR of the bits `0..=n`.
#[inline]
#[target_feature(enable = "pclmulqdq")]
pub(super) fn prefix_xor(bits: u64) -> u64 {
    let ones = _mm_set1_epi8(-1);
    let product = _mm_clmulepi64_si128::<0>(_mm_set_epi64x(0, bits as i64), ones);
    _mm_cvtsi128_si64(product) as u64
}
