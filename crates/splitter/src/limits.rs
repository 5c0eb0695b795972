//! Bounds on one event, and thereby on memory.

/// Bounds on one event. They bound the splitter's memory, too, whatever the size of the stream: at most about twice
/// [`event_bytes_max`](Self::event_bytes_max), and 16 bytes for each level of [`nesting_max`](Self::nesting_max).
///
/// A limit costs the event that exceeds it, and no other:
///
/// ```
/// use event_recovery_splitter::{Item, Limits, Reason, Splitter};
///
/// let limits = Limits { event_bytes_max: 30, ..Limits::default() };
/// let (mut events, mut reasons) = (0, Vec::new());
/// let mut on_item = |item: Item<'_>| {
///     match item {
///         Item::Event(_) => events += 1,
///         Item::RejectedPart(_) => {}
///         Item::Rejected(fragment) => reasons.push(fragment.reason),
///     }
///     Ok::<_, std::convert::Infallible>(())
/// };
/// let mut splitter = Splitter::new(limits, |_: &[u8]| true);
/// splitter.push(br#"{"id":1}{"id":2,"note":"longer than thirty bytes"}{"id":3}"#, &mut on_item)?;
/// splitter.finish(&mut on_item)?;
///
/// assert_eq!(events, 2);
/// assert_eq!(reasons, [Reason::TooLarge]);
/// # Ok::<_, std::convert::Infallible>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest event in bytes, from its first brace to its last; values below 2 count as 2. A longer object is
    /// rejected as [`Reason::TooLarge`](crate::Reason::TooLarge).
    pub event_bytes_max: usize,
    /// Deepest nesting of objects and arrays, the event itself counting as one level; 0 counts as 1. A deeper object
    /// is rejected as [`Reason::TooDeep`](crate::Reason::TooDeep).
    pub nesting_max: usize,
}

impl Limits {
    /// 16 MiB: over sixteen times the 1,000 KiB that a record of Amazon Data Firehose may hold ("Amazon Data Firehose
    /// Quota" in its developer guide).
    pub const EVENT_BYTES_MAX_DEFAULT: usize = 16 * 1024 * 1024;
    /// 1,024 levels: eight times the recursion limit of serde_json.
    pub const NESTING_MAX_DEFAULT: usize = 1024;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes_max: Self::EVENT_BYTES_MAX_DEFAULT,
            nesting_max: Self::NESTING_MAX_DEFAULT,
        }
    }
}
