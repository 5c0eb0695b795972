//! Kernel for AVX-512: one vector of 64 bytes, whose comparisons yield masks directly.

use std::arch::x86_64::*;

use crate::block::{BLOCK_BYTES, Block, Kernel};
use crate::simd::avx2;
use crate::simd::tables::{ESCAPABLE, WHITESPACE};

/// Needs `avx512f`, `avx512bw` and `pclmulqdq`.
///
/// SAFETY: its functions are inlined into `scan_with_avx512` and `outline_with_avx512`, which are compiled with these
/// features, and called from nowhere else except tests, which detect the features too.
pub(super) struct Avx512;

impl Kernel for Avx512 {
    #[inline(always)]
    fn classify(bytes: &[u8; BLOCK_BYTES]) -> Block {
        // SAFETY: see `Avx512`.
        unsafe { classify(bytes) }
    }

    #[inline(always)]
    fn escapable(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64) {
        // SAFETY: see `Avx512`.
        unsafe { escapable(bytes) }
    }

    #[inline(always)]
    fn two_byte_text(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64) {
        // SAFETY: see `Avx512`.
        unsafe { two_byte_text(bytes) }
    }

    #[inline(always)]
    fn prefix_xor(bits: u64) -> u64 {
        // SAFETY: see `Avx512`.
        unsafe { avx2::prefix_xor(bits) }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(bytes: &[u8; BLOCK_BYTES]) -> __m512i {
    // SAFETY: the array has 64 bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn equal(bytes: __m512i, byte: u8) -> u64 {
    _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte as i8))
}

/// Bytes that equal the table's entry for their low four bits: one shuffle and one comparison for up to 16 characters.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn equal_by_low_bits(bytes: __m512i, table: [u8; 16]) -> u64 {
    let table = u128::from_le_bytes(table);
    let table = _mm512_broadcast_i32x4(_mm_set_epi64x((table >> 64) as i64, table as i64));
    // The shuffle yields 0 for bytes above 0x7f, which are therefore never equal.
    _mm512_cmpeq_epi8_mask(_mm512_shuffle_epi8(table, bytes), bytes)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn classify(bytes: &[u8; BLOCK_BYTES]) -> Block {
    let bytes = load(bytes);
    // In ASCII `{` and `[`, and `}` and `]`, differ in bit 0x20 alone.
    let case = _mm512_set1_epi8(0x20);
    let folded = _mm512_or_si512(bytes, case);
    let from_zero = _mm512_sub_epi8(bytes, _mm512_set1_epi8(b'0' as i8));
    Block {
        quotes: equal(bytes, b'"'),
        backslashes: equal(bytes, b'\\'),
        opening: equal(folded, b'{'),
        closing: equal(folded, b'}'),
        of_object: _mm512_test_epi8_mask(bytes, case),
        colons: equal(bytes, b':'),
        commas: equal(bytes, b','),
        whitespace: equal_by_low_bits(bytes, WHITESPACE),
        digits: _mm512_cmple_epu8_mask(from_zero, _mm512_set1_epi8(9)),
        zeros: equal(bytes, b'0'),
        points: equal(bytes, b'.'),
        control: _mm512_cmplt_epu8_mask(bytes, case),
        not_ascii: _mm512_movepi8_mask(bytes),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn escapable(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64) {
    let bytes = load(bytes);
    let escapable = equal_by_low_bits(bytes, ESCAPABLE) | equal(bytes, b'b') | equal(bytes, b'r');
    (escapable, equal(bytes, b'u'))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn two_byte_text(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64) {
    let bytes = load(bytes);
    let from_first = _mm512_sub_epi8(bytes, _mm512_set1_epi8(0xc2_u8 as i8));
    // As signed bytes, 0x80 to 0xbf are the lowest.
    let continuation = _mm512_cmple_epi8_mask(bytes, _mm512_set1_epi8(0xbf_u8 as i8));
    let lead = _mm512_cmple_epu8_mask(from_first, _mm512_set1_epi8((0xdf_u8 - 0xc2) as i8));
    (continuation, lead)
}
