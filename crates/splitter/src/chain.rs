//! Candidates for an event that are nested in each other and share one automaton.

use crate::grammar::is_whitespace;
use crate::grammar::{Fault, Grammar, Step};

/// One reading of the stream from an opening bracket on. Every object that opened since is a candidate for an event
/// as long as the reading is valid.
///
/// A byte that is invalid for one candidate is invalid for all, because all of them contain the innermost
/// one. So one automaton serves any number of candidates, and the cost of a byte does not depend on how
/// deep they are nested.
#[derive(Debug)]
pub(crate) struct Chain {
    grammar: Grammar,
    alive: bool,
    nesting_max: usize,
    depth_max: usize,
    /// A ring: the position of the opening bracket of level `n` is at `n % nesting_max`. A level is overwritten only
    /// once it contains more than `nesting_max` levels, and is too deep to be an event by then.
    starts: Vec<u64>,
    /// Levels below this one contain more than `nesting_max` levels.
    level_min: usize,
    /// The object that closed last, as long as only white space has followed it.
    just_closed: Option<Candidate>,
}

/// A complete object, by its positions in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) start: u64,
    /// Position after the closing brace.
    pub(crate) end: u64,
}

/// The effect of one byte on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Neither opened a bracket nor closed the outermost one.
    Content,
    /// Opened an object or array.
    Opened,
    /// Closed the outermost object (`true`) or array; the chain stops.
    Complete { object: bool },
    /// Ended a string or literal that is the whole value; the chain stops.
    ScalarComplete,
    /// Does not belong to the number before it, which is the whole value; the chain stops.
    ScalarCompleteBefore,
    /// Made the reading invalid; the chain stops. `before` closed directly before the byte or its white space.
    Broken {
        fault: Fault,
        before: Option<Candidate>,
    },
}

impl Chain {
    /// Levels beyond `nesting_max` are followed, so that the end of a value that is too deep is found. `depth_max`
    /// bounds the memory for that, one bit a level; a chain that exceeds it breaks.
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

    /// Whether the outermost value has had more than `nesting_max` levels.
    pub(crate) fn is_too_deep(&self) -> bool {
        self.level_min > 0
    }

    /// Whether the value so far is a number that only the end of the stream can end.
    pub(crate) fn is_whole_number(&self) -> bool {
        self.alive && self.grammar.is_whole_number()
    }

    /// The object that closed last, if the chain is alive and only white space has followed.
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
        let before = self.just_closed.take();
        self.alive = false;
        Outcome::Broken { fault, before }
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

    /// Position of the outermost opening bracket; `None` if the value is too deep. Valid until the chain starts
    /// again.
    pub(crate) fn outermost_start(&self) -> Option<u64> {
        (self.level_min == 0)
            .then(|| self.starts.first().copied())
            .flatten()
    }
}
