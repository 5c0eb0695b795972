//! The kernels for AVX-512, AVX2 and NEON, and the choice between them: the only module with `unsafe`.
//!
//! Two things need it. Vectors are loaded through pointers: always from an array of 64 bytes, with loads that need
//! no alignment. And a function compiled with `target_feature` may be called only on a processor that has the
//! feature: [`Instructions::available`] detects it, and is the only place that makes an [`Instructions`] other than the
//! portable one.
#![allow(
    unsafe_code,
    reason = "vector loads and `target_feature` functions need it"
)]

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

/// A set of processor instructions to find whole events with. It changes the speed of a splitter and never its items.
///
/// ```
/// use event_recovery_splitter::Instructions;
///
/// let available = Instructions::available();
/// assert!(available.contains(&Instructions::preferred()));
/// // `avx512`, `avx2`, `neon`: whichever this processor has.
/// println!("{}", available[0]);
/// ```
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
    /// General-purpose registers only, which every processor has.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// The environment variable that names the instructions to prefer: `portable`, `avx2`, `avx512` or `neon`. It is
    /// read once in a process, when the first splitter is made. Names that are unknown or that the processor lacks
    /// are ignored.
    pub const VARIABLE: &str = "EVENT_RECOVERY_INSTRUCTIONS";

    /// The instructions of this processor, fastest first. The last is always [`PORTABLE`](Self::PORTABLE).
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

    /// Those that [`VARIABLE`](Self::VARIABLE) names, else the fastest available.
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

    /// The name as [`VARIABLE`](Self::VARIABLE) takes it, such as `avx2`.
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

    /// Continues a scan: see [`Scanner::scan`].
    pub(crate) fn scan(self, scanner: &mut Scanner, bytes: &[u8]) {
        match self.0 {
            Kind::Portable => scanner.scan::<Portable>(bytes),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `available` has detected the features that the function is compiled with.
            Kind::Avx2 => unsafe { scan_with_avx2(scanner, bytes) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as before.
            Kind::Avx512 => unsafe { scan_with_avx512(scanner, bytes) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `available` has detected the features that the function is compiled with.
            Kind::Neon => unsafe { scan_with_neon(scanner, bytes) },
        }
    }

    /// Finds the ends of the objects at the beginning of `bytes` by strings, escapes and brackets alone: the speed that
    /// would be possible without validation, for benchmarks.
    ///
    /// The ends are positions after the closing braces. The list ends where something other than an object
    /// follows, where brackets do not match, at an object that is cut off, and at one nested deeper than 64 levels.
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
            // SAFETY: `available` has detected the features that the function is compiled with.
            Kind::Avx2 => unsafe { outline_with_avx2(bytes) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as before.
            Kind::Avx512 => unsafe { outline_with_avx512(bytes) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `available` has detected the features that the function is compiled with.
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
    fn every_kernel_of_this_processor_classifies_bytes_like_the_reference() {
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
