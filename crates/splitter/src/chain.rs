//! Nested candidates for an event that share one reading of the bytes.

use crate::grammar::is_whitespace;
use crate::grammar::{Fault, Grammar, Step};

/// One reading of the stream from some opening bracket on, and with it every object that opened
/// since: each of them is a candidate for an event as long as the reading holds.
///
/// A byte that breaks the grammar breaks it for all of them at once, because they all contain
/// the innermost one. That is why one automaton serves any number of candidates.
#[derive(Debug)]
pub(crate) struct Chain {
    grammar: Grammar,
    alive: bool,
    nesting_max: usize,
    depth_max: usize,
    /// Position of the opening bracket of level `n` at `n % nesting_max`. Older levels are
    /// overwritten only once they contain more than `nesting_max` levels: they are too deep.
    starts: Vec<u64>,
    /// Levels below this one contain more than `nesting_max` levels.
    level_min: usize,
    /// The object that closed last, while nothing but white space has followed it.
    just_closed: Option<Candidate>,
}

/// A complete object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) start: u64,
    /// Position behind the closing brace.
    pub(crate) end: u64,
}

/// What one byte did to the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was content: of a string, a number, or between values.
    Content,
    /// It opened an object or array.
    Opened,
    /// It closed the outermost object or array.
    Complete { object: bool },
    /// It ended a string or literal that is the chain's only value.
    ScalarComplete,
    /// The number before it is the chain's only value.
    ScalarCompleteBefore,
    /// It broke the reading. An object may have closed right before it.
    Broken {
        fault: Fault,
        behind: Option<Candidate>,
    },
}

impl Chain {
    /// `depth_max` bounds the memory of the nesting; a chain that exceeds it breaks.
    pub(crate) fn new(nesting_max: usize, depth_max: usize) -> Self {
        Self {
            grammar: Grammar::new(),
            alive: false,
            nesting_max: nesting_max.max(1),
            depth_max: depth_max.max(1),
            starts: Vec::new(),
            level_min: 0,
            just_closed: None,
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive
    }

    pub(crate) fn start(&mut self) {
        self.grammar.reset();
        self.alive = true;
        self.level_min = 0;
        self.just_closed = None;
    }

    pub(crate) fn stop(&mut self) {
        self.alive = false;
        self.just_closed = None;
    }

    /// Whether the outermost value has been nested too deep.
    pub(crate) fn is_too_deep(&self) -> bool {
        self.level_min > 0
    }

    /// Whether the chain is at the end of a number that is its only value.
    pub(crate) fn is_whole_number(&self) -> bool {
        self.alive && self.grammar.is_whole_number()
    }

    /// The object that closed last in a living chain, if only white space came after it.
    pub(crate) fn just_closed(&self) -> Option<Candidate> {
        self.just_closed.filter(|_| self.alive)
    }

    /// Takes the byte at `position`.
    pub(crate) fn step(&mut self, byte: u8, position: u64) -> Outcome {
        match self.grammar.step(byte) {
            Step::Inside => {
                if !is_whitespace(byte) {
                    self.just_closed = None;
                }
                Outcome::Content
            }
            Step::Opened => self.opened(position),
            Step::Closed { object } => self.closed(object, position),
            Step::ScalarEnded => {
                self.stop();
                Outcome::ScalarComplete
            }
            Step::NumberEndedBefore => {
                self.stop();
                Outcome::ScalarCompleteBefore
            }
            Step::Failed(fault) => self.broken(fault),
        }
    }

    fn broken(&mut self, fault: Fault) -> Outcome {
        let behind = self.just_closed.take();
        self.alive = false;
        Outcome::Broken { fault, behind }
    }

    fn opened(&mut self, position: u64) -> Outcome {
        self.just_closed = None;
        let depth = self.grammar.depth();
        if depth > self.depth_max {
            return self.broken(Fault::TooDeep);
        }
        let slot = (depth - 1) % self.nesting_max;
        match self.starts.get_mut(slot) {
            Some(start) => *start = position,
            None => self.starts.push(position),
        }
        self.level_min = self.level_min.max(depth.saturating_sub(self.nesting_max));
        Outcome::Opened
    }

    fn closed(&mut self, object: bool, position: u64) -> Outcome {
        let level = self.grammar.depth();
        let too_deep = level < self.level_min;
        if level == 0 {
            self.alive = false;
            return Outcome::Complete { object };
        }
        self.just_closed = (object && !too_deep).then(|| Candidate {
            start: self.starts[level % self.nesting_max],
            end: position + 1,
        });
        Outcome::Content
    }

    /// Position of the outermost opening bracket, unless it is nested too deep; meaningful until
    /// the chain starts again.
    pub(crate) fn outermost_start(&self) -> Option<u64> {
        (self.level_min == 0)
            .then(|| self.starts.first().copied())
            .flatten()
    }
}
