//! The limits that bound what the splitter holds in memory.

/// Bounds on one event; both decide the splitter's memory, never the input's size.
///
/// The splitter holds at most about twice [`event_bytes_max`](Self::event_bytes_max) and two
/// positions for every level of [`nesting_max`](Self::nesting_max).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest event in bytes, from its first brace to its last. A longer object is rejected as
    /// [`Reason::TooLarge`](crate::Reason::TooLarge).
    pub event_bytes_max: usize,
    /// Deepest nesting of objects and arrays, the event itself counting as one. A deeper object
    /// is rejected as [`Reason::TooDeep`](crate::Reason::TooDeep).
    pub nesting_max: usize,
}

impl Limits {
    /// 16 MiB: sixteen times the 1,000 KiB that a record of Amazon Data Firehose may hold
    /// ("Amazon Data Firehose Quota" in its developer guide).
    pub const EVENT_BYTES_MAX_DEFAULT: usize = 16 * 1024 * 1024;
    /// 1,024 levels: eight times the depth at which most JSON parsers stop.
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
