//! What the splitter hands to its caller.

use std::fmt;

/// One thing found in the stream, in the order of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// An event.
    Event(Event<'a>),
    /// Some bytes of a rejected fragment. The parts of a fragment come in order, without gaps,
    /// and directly before its [`Item::Rejected`].
    RejectedPart(RejectedPart<'a>),
    /// The end of a rejected fragment.
    Rejected(Rejected),
}

/// A JSON object, valid by RFC 8259 and UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Position of the first brace in the stream, in bytes from 0.
    pub offset: u64,
    /// The event's own bytes, from its first brace to its last.
    pub bytes: &'a [u8],
    /// Where its top-level colons and commas are, if the splitter came by them: then the members
    /// need not be looked for again.
    pub separators: Option<Separators<'a>>,
}

/// The positions of an event's top-level colons and commas: a colon, a comma, a colon, and so on;
/// none for an empty object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Separators<'a> {
    pub(crate) positions: &'a [u32],
    /// Where the event begins, as the positions count.
    pub(crate) event_start: u32,
}

impl<'a> Separators<'a> {
    /// The positions in the order of the event, counted from its first byte.
    pub fn positions(self) -> impl Iterator<Item = usize> + use<'a> {
        let event_start = self.event_start;
        self.positions
            .iter()
            .map(move |position| (position - event_start) as usize)
    }
}

/// A piece of a rejected fragment, at most [`RejectedPart::BYTES_MAX`] bytes.
///
/// Where a fragment is cut depends on the fragment alone, not on the chunks it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectedPart<'a> {
    /// Position of the fragment's first byte in the stream.
    pub fragment_offset: u64,
    /// Position of this part's first byte in the stream.
    pub offset: u64,
    /// Why the fragment is no event.
    pub reason: Reason,
    /// The bytes as they came; any bytes at all.
    pub bytes: &'a [u8],
}

impl RejectedPart<'_> {
    /// Longest part in bytes. A fragment has no limit, so it is handed out in parts.
    pub const BYTES_MAX: usize = 1024 * 1024;
}

/// A stretch of the stream that is neither event nor white space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// Position of the first byte in the stream.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// Why it is no event.
    pub reason: Reason,
}

/// Why a fragment is no event: the first thing that was wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The stream ended inside of it.
    Truncated,
    /// Not JSON by RFC 8259.
    Syntax,
    /// A string in it is not UTF-8.
    InvalidUtf8,
    /// JSON, but an array, string, number or literal.
    NotAnObject,
    /// Longer than [`Limits::event_bytes_max`](crate::Limits::event_bytes_max).
    TooLarge,
    /// Nested deeper than [`Limits::nesting_max`](crate::Limits::nesting_max).
    TooDeep,
    /// A JSON object behind a rejected fragment that the caller's rule does not take for an
    /// envelope, so that it may be a piece of something torn.
    NotAnEnvelope,
    /// An envelope after a rejected fragment that is followed by a comma, a closing bracket, or damage
    /// directly behind it: a value inside of a torn event, not an event.
    Nested,
}

impl Reason {
    /// The reason as one stable word for machines.
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
            Self::Truncated => "the stream ends inside of it",
            Self::Syntax => "not valid JSON",
            Self::InvalidUtf8 => "not valid UTF-8",
            Self::NotAnObject => "a JSON value that is not an object",
            Self::TooLarge => "longer than the limit for one event",
            Self::TooDeep => "nested deeper than the limit",
            Self::NotAnEnvelope => "an object behind a rejected fragment that is no envelope",
            Self::Nested => "an envelope nested in a torn event",
        })
    }
}

/// What the splitter has accounted for so far.
///
/// After [`Splitter::finish`](crate::Splitter::finish),
/// `bytes = event_bytes + whitespace_bytes + rejected_bytes`; each of the three is counted
/// where the bytes are seen, not computed from the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes pushed.
    pub bytes: u64,
    /// Events handed out.
    pub events: u64,
    /// Bytes of the events.
    pub event_bytes: u64,
    /// White space between events, and a leading byte order mark.
    pub whitespace_bytes: u64,
    /// Rejected fragments handed out.
    pub rejected_fragments: u64,
    /// Bytes of the rejected fragments.
    pub rejected_bytes: u64,
}
