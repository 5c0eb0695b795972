#![doc = include_str!("../README.md")]

mod block;
mod chain;
mod grammar;
mod held;
mod item;
mod limits;
mod order;
#[cfg(feature = "benchmarks")]
mod outline;
mod resync;
mod scalar;
mod scanner;
mod simd;
mod splitter;
mod tokens;

pub use item::{Event, Item, Reason, Rejected, RejectedPart, Separators, Totals};
pub use limits::Limits;
pub use simd::Instructions;
pub use splitter::Splitter;
