//! The kernels for AVX-512, AVX2 and NEON, and the choice between them: the only module with `unsafe`.
//!
//! Two things here need it. Vectors are loaded through pointers: always from an array of 64 bytes,
//! with loads that need no alignment. And a function that is compiled for more instructions than
//! every processor has may be called only where it is known that this one has them: an
//! [`Instructions`] other than the portable ones is made in [`Instructions::available`] alone, after
//! asking the processor.
#![allow(unsafe_code, reason = "the fast instructions can't be reached without")]

use std::fmt;
use std::sync::OnceLock;

use crate::block::{BLOCK_BYTES, Block, Kernel, Portable};
use crate::outline::outline;
use crate::scanner::Scanner;

/// The instructions that the splitter finds whole events with. All find the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instructions(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Instructions {
    /// Those that every processor has.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// Names the instructions to use, `portable`, `avx2`, `avx512` or `neon`, instead of the fastest. Looked
    /// up once, when the first splitter is made; what the processor lacks is not used.
    pub const VARIABLE: &str = "EVENT_RECOVERY_INSTRUCTIONS";

    /// What this processor can execute, the fastest first.
    pub fn available() -> Vec<Self> {
        let mut available = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if has_avx2() {
            if has_avx512() {
                available.push(Self(Kind::Avx512));
            }
            available.push(Self(Kind::Avx2));
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon")
            && std::arch::is_aarch64_feature_detected!("aes")
        {
            available.push(Self(Kind::Neon));
        }
        available.push(Self::PORTABLE);
        available
    }

    /// The fastest available, or those that [`VARIABLE`](Self::VARIABLE) names.
    pub fn preferred() -> Self {
        static PREFERRED: OnceLock<Instructions> = OnceLock::new();
        *PREFERRED.get_or_init(|| {
            let wanted = std::env::var(Self::VARIABLE).ok();
            let available = Self::available();
            let named = available
                .iter()
                .find(|instructions| Some(instructions.as_str()) == wanted.as_deref());
            *named.unwrap_or(&available[0])
        })
    }

    /// The name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
        }
    }

    /// Goes on with the scan.
    pub(crate) fn scan(self, scanner: &mut Scanner, bytes: &[u8]) {
        match self.0 {
            Kind::Portable => scanner.scan::<Portable>(bytes),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has what the function is compiled for, see `available`.
            Kind::Avx2 => unsafe { scan_with_avx2(scanner, bytes) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as before.
            Kind::Avx512 => unsafe { scan_with_avx512(scanner, bytes) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the processor has what the function is compiled for, see `available`.
            Kind::Neon => unsafe { scan_with_neon(scanner, bytes) },
        }
    }

    /// See [`object_ends`](crate::object_ends).
    pub(crate) fn outline(self, bytes: &[u8]) -> Vec<usize> {
        match self.0 {
            Kind::Portable => outline::<Portable>(bytes),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has what the function is compiled for, see `available`.
            Kind::Avx2 => unsafe { outline_with_avx2(bytes) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as before.
            Kind::Avx512 => unsafe { outline_with_avx512(bytes) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the processor has what the function is compiled for, see `available`.
            Kind::Neon => unsafe { outline_with_neon(bytes) },
        }
    }
}

impl fmt::Display for Instructions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("pclmulqdq")
        && std::arch::is_x86_feature_detected!("bmi1")
        && std::arch::is_x86_feature_detected!("bmi2")
        && std::arch::is_x86_feature_detected!("lzcnt")
        && std::arch::is_x86_feature_detected!("popcnt")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,pclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn scan_with_avx2(scanner: &mut Scanner, bytes: &[u8]) {
    scanner.scan::<avx2::Avx2>(bytes);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,pclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn outline_with_avx2(bytes: &[u8]) -> Vec<usize> {
    outline::<avx2::Avx2>(bytes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx2,pclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn scan_with_avx512(scanner: &mut Scanner, bytes: &[u8]) {
    scanner.scan::<avx512::Avx512>(bytes);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx2,pclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn outline_with_avx512(bytes: &[u8]) -> Vec<usize> {
    outline::<avx512::Avx512>(bytes)
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon,aes")]
fn scan_with_neon(scanner: &mut Scanner, bytes: &[u8]) {
    scanner.scan::<neon::Neon>(bytes);
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon,aes")]
fn outline_with_neon(bytes: &[u8]) -> Vec<usize> {
    outline::<neon::Neon>(bytes)
}

#[cfg(target_arch = "x86_64")]
const WHITESPACE: [u8; 16] = by_low_bits(b" \t\n\r");
/// What may be escaped but `b` and `r`, which share their low bits with the quote.
#[cfg(target_arch = "x86_64")]
const ESCAPABLE: [u8; 16] = by_low_bits(b"\"\\/fntu");

/// A table of characters whose low four bits differ, each in the place that its bits name.
#[cfg(target_arch = "x86_64")]
const fn by_low_bits(characters: &[u8]) -> [u8; 16] {
    // The other places hold what never leads there: only a byte with low bits 1 leads to place 1.
    let mut table = [1; 16];
    table[1] = 0;
    let mut index = 0;
    while index < characters.len() {
        table[(characters[index] & 0xf) as usize] = characters[index];
        index += 1;
    }
    table
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{BLOCK_BYTES, Block, ESCAPABLE, Kernel, WHITESPACE};

    /// Thirty-two bytes at a time.
    ///
    /// SAFETY of the whole: its functions are inlined into `scan_with_avx2` and `outline_with_avx2`, and
    /// called from nowhere else but the tests, which ask the processor too.
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
        fn parity(bits: u64) -> u64 {
            // SAFETY: see `Avx2`.
            unsafe { parity(bits) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(bytes: &[u8; BLOCK_BYTES]) -> [__m256i; 2] {
        let first = bytes.as_ptr().cast::<__m256i>();
        // SAFETY: both halves lie in the array, and the load needs no alignment.
        unsafe { [_mm256_loadu_si256(first), _mm256_loadu_si256(first.add(1))] }
    }

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

    /// Where the bytes are at most as large, taken without a sign.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn at_most([low, high]: [__m256i; 2], byte: u8) -> [__m256i; 2] {
        let byte = _mm256_set1_epi8(byte as i8);
        [
            _mm256_cmpeq_epi8(_mm256_min_epu8(low, byte), low),
            _mm256_cmpeq_epi8(_mm256_min_epu8(high, byte), high),
        ]
    }

    /// Where the bytes are equal to what the table has for their low four bits.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn equal_by_low_bits([low, high]: [__m256i; 2], table: [u8; 16]) -> [__m256i; 2] {
        let table = u128::from_le_bytes(table);
        let table = _mm256_broadcastsi128_si256(_mm_set_epi64x((table >> 64) as i64, table as i64));
        // The shuffle gives 0 for bytes above 0x7f: they are never equal to it.
        [
            _mm256_cmpeq_epi8(_mm256_shuffle_epi8(table, low), low),
            _mm256_cmpeq_epi8(_mm256_shuffle_epi8(table, high), high),
        ]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn classify(bytes: &[u8; BLOCK_BYTES]) -> Block {
        let halves @ [low, high] = load(bytes);
        let case = _mm256_set1_epi8(0x20);
        let folded = [_mm256_or_si256(low, case), _mm256_or_si256(high, case)];
        let zero = _mm256_set1_epi8(b'0' as i8);
        let from_zero = [_mm256_sub_epi8(low, zero), _mm256_sub_epi8(high, zero)];
        Block {
            quotes: mask(equal(halves, b'"')),
            backslashes: mask(equal(halves, b'\\')),
            opening: mask(equal(folded, b'{')),
            closing: mask(equal(folded, b'}')),
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
        let up_to_going_on = mask(at_most(halves, 0xbf));
        (
            up_to_going_on & mask(halves),
            mask(at_most(from_first, 0xdf - 0xc2)),
        )
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    pub(super) fn parity(bits: u64) -> u64 {
        let ones = _mm_set1_epi8(-1);
        let product = _mm_clmulepi64_si128::<0>(_mm_set_epi64x(0, bits as i64), ones);
        _mm_cvtsi128_si64(product) as u64
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{BLOCK_BYTES, Block, ESCAPABLE, Kernel, WHITESPACE, avx2};

    /// Sixty-four bytes at a time, with masks as results.
    ///
    /// SAFETY of the whole: its functions are inlined into `scan_with_avx512` and
    /// `outline_with_avx512`, and called from nowhere else but the tests, which ask the processor too.
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
        fn parity(bits: u64) -> u64 {
            // SAFETY: see `Avx512`.
            unsafe { avx2::parity(bits) }
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

    /// Where the bytes are equal to what the table has for their low four bits.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn equal_by_low_bits(bytes: __m512i, table: [u8; 16]) -> u64 {
        let table = u128::from_le_bytes(table);
        let table = _mm512_broadcast_i32x4(_mm_set_epi64x((table >> 64) as i64, table as i64));
        // The shuffle gives 0 for bytes above 0x7f: they are never equal to it.
        _mm512_cmpeq_epi8_mask(_mm512_shuffle_epi8(table, bytes), bytes)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn classify(bytes: &[u8; BLOCK_BYTES]) -> Block {
        let bytes = load(bytes);
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
        let escapable =
            equal_by_low_bits(bytes, ESCAPABLE) | equal(bytes, b'b') | equal(bytes, b'r');
        (escapable, equal(bytes, b'u'))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn two_byte_text(bytes: &[u8; BLOCK_BYTES]) -> (u64, u64) {
        let bytes = load(bytes);
        let from_first = _mm512_sub_epi8(bytes, _mm512_set1_epi8(0xc2_u8 as i8));
        // Taken with a sign, 0x80 to 0xbf are the lowest.
        let going_on = _mm512_cmple_epi8_mask(bytes, _mm512_set1_epi8(0xbf_u8 as i8));
        let beginning =
            _mm512_cmple_epu8_mask(from_first, _mm512_set1_epi8((0xdf_u8 - 0xc2) as i8));
        (going_on, beginning)
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    use super::{BLOCK_BYTES, Block, Kernel};

    /// Sixteen bytes at a time.
    ///
    /// SAFETY of the whole: its functions are inlined into `scan_with_neon` and `outline_with_neon`, and
    /// called from nowhere else but the tests, which ask the processor too.
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
        fn parity(bits: u64) -> u64 {
            // SAFETY: see `Neon`.
            unsafe { parity(bits) }
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn load(bytes: &[u8; BLOCK_BYTES]) -> [uint8x16_t; 4] {
        let first = bytes.as_ptr();
        // SAFETY: all quarters lie in the array, and the load needs no alignment.
        [0, 16, 32, 48].map(|offset| unsafe { vld1q_u8(first.add(offset)) })
    }

    /// One bit a byte: each byte is all ones or all zeros.
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

    /// Where the bytes are at most as large.
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
        // Most blocks hold no control character, and then no other white space.
        let others = if control == 0 {
            0
        } else {
            mask(equal(quarters, b'\t'))
                | mask(equal(quarters, b'\n'))
                | mask(equal(quarters, b'\r'))
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
        let up_to_going_on = mask(at_most(quarters, 0xbf));
        (
            up_to_going_on & !ascii,
            mask(at_most(from_first, 0xdf - 0xc2)),
        )
    }

    #[inline]
    #[target_feature(enable = "neon,aes")]
    fn parity(bits: u64) -> u64 {
        vmull_p64(bits, u64::MAX) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::tests::check_kernel;

    #[test]
    fn every_kernel_that_runs_here_tells_the_kinds_of_bytes() {
        for instructions in Instructions::available() {
            match instructions.0 {
                Kind::Portable => check_kernel::<Portable>(),
                #[cfg(target_arch = "x86_64")]
                Kind::Avx2 => check_kernel::<avx2::Avx2>(),
                #[cfg(target_arch = "x86_64")]
                Kind::Avx512 => check_kernel::<avx512::Avx512>(),
                #[cfg(target_arch = "aarch64")]
                Kind::Neon => check_kernel::<neon::Neon>(),
            }
        }
    }
}
