//! The two buckets of a run.

/// Which of a run's two buckets it is: each has settings of its own, which hints name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Side {
    /// The backup, which is only read.
    Source,
    /// Events and ledger.
    #[default]
    Destination,
}
