//! Finds JSON events that were written one after another without a delimiter.
//!
//! Backups of event streams often hold one JSON object directly behind the other: `}{`. Cutting at
//! those two characters tears every event that has them in a string. This crate follows the JSON
//! grammar instead, in one pass, over chunks of any size, without I/O:
//!
//! ```
//! use event_recovery_splitter::{Item, Limits, Splitter};
//!
//! let mut events = Vec::new();
//! let mut on_item = |item: Item<'_>| {
//!     if let Item::Event(event) = item {
//!         events.push((event.offset, event.bytes.to_vec()));
//!     }
//!     Ok::<_, std::convert::Infallible>(())
//! };
//! let mut splitter = Splitter::new(Limits::default(), |_: &[u8]| true);
//! splitter.push(br#"{"note":"a }{ b"}{"no"#, &mut on_item)?;
//! splitter.push(br#"te":"c"}"#, &mut on_item)?;
//! let totals = splitter.finish(&mut on_item)?;
//!
//! assert_eq!(events[0], (0, br#"{"note":"a }{ b"}"#.to_vec()));
//! assert_eq!(events[1], (17, br#"{"note":"c"}"#.to_vec()));
//! assert_eq!(totals.events, 2);
//! # Ok::<_, std::convert::Infallible>(())
//! ```
//!
//! An event is a JSON object that RFC 8259 and UTF-8 allow, within the [`Limits`]. All else but
//! white space between events is a rejected fragment with a [`Reason`]. Every byte is in exactly
//! one event, in white space, or in one fragment; [`Totals`] adds them up.
//!
//! # Torn events
//!
//! Behind a rejected fragment the splitter finds the next object that can be an event and goes on,
//! so that a torn event costs that event alone. What lies inside of the torn one must not come
//! back as an event of its own. So an object behind a fragment counts only if the caller's rule
//! takes it for an envelope, and if no other object or array around it holds together.
//!
//! The same rule holds for an object directly before a fragment, which may be its own rest: a
//! damaged byte can close a torn event too early.
//!
//! An envelope after a fragment that a comma or a closing bracket follows is nested in what was torn,
//! because between events there are none. It becomes a fragment of its own, [`Reason::Nested`].
//!
//! Some things can't be told from the bytes, for instance a torn event that ends with a whole envelope
//! as its last value from a torn event followed by an intact one. Each time there is a rejected fragment
//! in the same place, which says where to look; `docs/semantics.md` of the project lists them.

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
