//! The items that the splitter passes to the caller: events, rejected fragments, totals.

use std::fmt;

/// One piece of the stream. Items come in the order of the stream; white space between them is only counted, in
/// [`Totals`].
///
/// ```
/// use event_recovery_splitter::{Item, Limits, Splitter};
///
/// let mut seen = Vec::new();
/// let mut on_item = |item: Item<'_>| {
///     seen.push(match item {
///         Item::Event(event) => format!("event at {}", event.offset),
///         Item::RejectedPart(part) => format!("bytes {:?}", part.bytes),
///         Item::Rejected(fragment) => format!("rejected at {}: {}", fragment.offset, fragment.reason),
///     });
///     Ok::<_, std::convert::Infallible>(())
/// };
/// let mut splitter = Splitter::new(Limits::default(), |_: &[u8]| true);
/// splitter.push(b"{}\0{}", &mut on_item)?;
/// splitter.finish(&mut on_item)?;
///
/// assert_eq!(seen, ["event at 0", "bytes [0]", "rejected at 2: not valid JSON", "event at 3"]);
/// # Ok::<_, std::convert::Infallible>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A whole valid object within the limits.
    Event(Event<'a>),
    /// Bytes of a rejected fragment. The parts of a fragment come in order, without gaps, and directly before its
    /// [`Item::Rejected`].
    RejectedPart(RejectedPart<'a>),
    /// The end of a rejected fragment, at least one byte long.
    Rejected(Rejected),
}

/// A JSON object, valid by RFC 8259 and UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Position of the first brace in the stream, in bytes from 0.
    pub offset: u64,
    /// The event's own bytes, from its first brace to its last.
    pub bytes: &'a [u8],
    /// The positions of its top-level colons and commas, with which a reader finds the members without another
    /// pass. `None` for an event of more than 256 members, and for one that the scan of whole blocks leaves to the
    /// automaton: it spans chunks, is the last of its chunk, is nested deeper than 64 levels, or stands next to damage.
    pub separators: Option<Separators<'a>>,
}

/// The positions of an event's top-level colons and commas, in turns and starting with a colon; none for an empty
/// object.
///
/// ```
/// use event_recovery_splitter::{Item, Limits, Splitter};
///
/// let stream = br#"{"id":"a,b","data":{"n":1}}{}"#;
/// let mut key_ends = Vec::new();
/// Splitter::new(Limits::default(), |_: &[u8]| true).push(stream, |item| {
///     if let Item::Event(event) = item {
///         key_ends.extend(event.separators.into_iter().flat_map(|found| found.positions()).step_by(2));
///     }
///     Ok::<_, std::convert::Infallible>(())
/// })?;
///
/// assert_eq!(key_ends, [5, 18]);
/// # Ok::<_, std::convert::Infallible>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Separators<'a> {
    pub(crate) positions: &'a [u32],
    /// The event's first byte, in the same count as `positions`.
    pub(crate) event_start: u32,
}

impl<'a> Separators<'a> {
    /// The positions in ascending order, in bytes from the event's first.
    pub fn positions(self) -> impl Iterator<Item = usize> + use<'a> {
        let event_start = self.event_start;
        self.positions
            .iter()
            .map(move |position| (position - event_start) as usize)
    }
}

/// A piece of a rejected fragment, of 1 to [`RejectedPart::BYTES_MAX`] bytes.
///
/// A fragment has no limit: it may be longer than memory. The cuts are every [`RejectedPart::BYTES_MAX`] bytes of the
/// fragment, so they do not depend on the chunks that it came in.
///
/// ```
/// use event_recovery_splitter::{Item, Limits, RejectedPart, Splitter};
///
/// let mut lengths = Vec::new();
/// let mut on_item = |item: Item<'_>| {
///     if let Item::RejectedPart(part) = item {
///         lengths.push(part.bytes.len());
///     }
///     Ok::<_, std::convert::Infallible>(())
/// };
/// let mut splitter = Splitter::new(Limits::default(), |_: &[u8]| true);
/// for _ in 0..5 {
///     splitter.push(&[0xff; 300_000], &mut on_item)?;
/// }
/// splitter.finish(&mut on_item)?;
///
/// assert_eq!(lengths, [RejectedPart::BYTES_MAX, 1_500_000 - RejectedPart::BYTES_MAX]);
/// # Ok::<_, std::convert::Infallible>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectedPart<'a> {
    /// Position of the fragment's first byte in the stream.
    pub fragment_offset: u64,
    /// Position of this part's first byte in the stream.
    pub offset: u64,
    /// Why the fragment is not an event, the same as in its [`Rejected`].
    pub reason: Reason,
    /// The bytes as they were pushed; they need not be UTF-8.
    pub bytes: &'a [u8],
}

impl RejectedPart<'_> {
    /// Longest part in bytes: 1 MiB.
    pub const BYTES_MAX: usize = 1024 * 1024;
}

/// A stretch of the stream that is neither an event nor white space between events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// Position of the first byte in the stream.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// Why it is not an event.
    pub reason: Reason,
}

/// Why a fragment is not an event: the first fault in it.
///
/// An event that was cut off is [`Syntax`](Self::Syntax) more often than [`Truncated`](Self::Truncated): it breaks at
/// the first brace or quote of the event that follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The stream ended before it was complete.
    Truncated,
    /// Not JSON by RFC 8259.
    Syntax,
    /// It has a byte that cannot stand where it does in UTF-8.
    InvalidUtf8,
    /// Valid JSON, but an array, string, number or literal.
    NotAnObject,
    /// Longer than [`Limits::event_bytes_max`](crate::Limits::event_bytes_max).
    TooLarge,
    /// Nested deeper than [`Limits::nesting_max`](crate::Limits::nesting_max).
    TooDeep,
    /// An object next to a rejected fragment that the caller's rule does not take for an envelope: it may be a piece
    /// of a torn event.
    NotAnEnvelope,
    /// An envelope after a rejected fragment, followed by a comma, a closing bracket or damage: a value
    /// inside a torn event.
    Nested,
}

impl Reason {
    /// The reason as a stable identifier for records and logs; [`Display`](fmt::Display) is the sentence for people.
    ///
    /// ```
    /// use event_recovery_splitter::Reason;
    ///
    /// assert_eq!(Reason::TooLarge.as_str(), "too_large");
    /// assert_eq!(Reason::TooLarge.to_string(), "longer than the limit for one event");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Syntax => "syntax",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::NotAnObject => "not_an_object",
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
            Self::NotAnEnvelope => "not_an_envelope",
            Self::Nested => "nested",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Truncated => "the stream ends before it is complete",
            Self::Syntax => "not valid JSON",
            Self::InvalidUtf8 => "not valid UTF-8",
            Self::NotAnObject => "a JSON value that is not an object",
            Self::TooLarge => "longer than the limit for one event",
            Self::TooDeep => "nested deeper than the limit",
            Self::NotAnEnvelope => "an object next to a rejected fragment that is not an envelope",
            Self::Nested => "an envelope nested in a torn event",
        })
    }
}

/// Counts of what has come out so far.
///
/// After [`Splitter::finish`](crate::Splitter::finish), `bytes = event_bytes + whitespace_bytes + rejected_bytes`. Each
/// of the three is counted where its bytes are seen and not computed from the others, so the sum is a check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes pushed.
    pub bytes: u64,
    /// Number of [`Item::Event`]s.
    pub events: u64,
    /// Sum of the lengths of the events.
    pub event_bytes: u64,
    /// Bytes of white space between events, and of a leading byte order mark.
    pub whitespace_bytes: u64,
    /// Number of [`Item::Rejected`]s.
    pub rejected_fragments: u64,
    /// Sum of the lengths of the rejected fragments.
    pub rejected_bytes: u64,
}
