//! The kernels for AVX-512, AVX2 and NEON, and the choice between them: the only module with `unsafe`.
//!
//! Two things here need it. Vectors are loaded through pointers: always from an array of 64 bytes,
//! with loads that need no alignment. And a function that is compiled for more instructions than
//! every processor has may be called only where it is known that this one has them: an
//! [`Instructions`] other than the portable ones is made in [`Instructions::available`] alone, after
//! asking the processor.
#![allow(unsafe_code, reason = "the fast instructions can't be reached without")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod tables;

use std::fmt;
use std::sync::OnceLock;

use crate::block::Portable;
#[cfg(feature = "benchmarks")]
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

    /// Finds the ends of the objects at the beginning of `bytes`, which follow on each other with nothing
    /// but white space in between: how fast it could be if nothing else were checked. Strings, escapes,
    /// braces and brackets must fit together.
    ///
    /// The ends are positions after the closing braces. The list ends where something else than an
    /// object follows, where brackets do not match, at an object that the bytes do not hold to its end,
    /// and at one that is nested deeper than 64 levels.
    ///
    /// ```
    /// use event_recovery_splitter::Instructions;
    ///
    /// let ends = Instructions::preferred().object_ends(br#"{"note":"a }{ b"} {"note":[{}]}{"no"#);
    /// assert_eq!(ends, [17, 31]);
    /// ```
    #[cfg(feature = "benchmarks")]
    pub fn object_ends(self, bytes: &[u8]) -> Vec<usize> {
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

#[cfg(all(feature = "benchmarks", target_arch = "x86_64"))]
#[target_feature(enable = "avx2,pclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn outline_with_avx2(bytes: &[u8]) -> Vec<usize> {
    outline::<avx2::Avx2>(bytes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx2,pclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn scan_with_avx512(scanner: &mut Scanner, bytes: &[u8]) {
    scanner.scan::<avx512::Avx512>(bytes);
}

#[cfg(all(feature = "benchmarks", target_arch = "x86_64"))]
#[target_feature(enable = "avx512f,avx512bw,avx2,pclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn outline_with_avx512(bytes: &[u8]) -> Vec<usize> {
    outline::<avx512::Avx512>(bytes)
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon,aes")]
fn scan_with_neon(scanner: &mut Scanner, bytes: &[u8]) {
    scanner.scan::<neon::Neon>(bytes);
}

#[cfg(all(feature = "benchmarks", target_arch = "aarch64"))]
#[target_feature(enable = "neon,aes")]
fn outline_with_neon(bytes: &[u8]) -> Vec<usize> {
    outline::<neon::Neon>(bytes)
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
