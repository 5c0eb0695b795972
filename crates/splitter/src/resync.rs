//! Resynchronisation: finds the next event after a fault.
//!
//! After a torn event it is unknown whether a byte is inside or outside a string. But there are only two
//! readings. Each quote toggles both, so readings that disagree once disagree about every quote that
//! follows; and a backslash, which could make a quote count in one of them only, is invalid outside of
//! strings and ends that reading. So two [`Chain`]s follow all possible candidates, and every byte is read
//! at most twice, for any input.
//!
//! A candidate counts as an event only if nothing can contain it: it is the outermost value of its reading, or the
//! reading breaks directly after it (the torn event ended where a value was due, and the next event took its place).
//! And the caller's rule must take it for an envelope. The two readings cannot both find an envelope in the
//! same place: the word in `"event_id"` is a key for one of them, and bare letters between strings for the other.

mod fragment;

use crate::chain::{Candidate, Chain, Outcome};
use crate::grammar::Fault;
use crate::grammar::is_whitespace;
use crate::held::{Held, Judgement, Surroundings};
use crate::item::{Item, Reason, Totals};
use crate::limits::Limits;

pub(crate) struct Resync {
    limits: Limits,
    chains: [Chain; 2],
    stage: Stage,
    /// Whether the next value must be an envelope, because a fragment precedes it.
    rule_applies: bool,
    /// The bytes that may still be part of an event, from position `window_start` on.
    window: Vec<u8>,
    window_start: u64,
    /// Index in `window` of the next byte to read.
    next: usize,
    held: Held,
    pub(crate) byte_visits: u64,
}

/// Where in the stream's structure the next byte is, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Between values.
    Between,
    /// Inside of the value that began at `start`, which `chains[0]` follows. A value with a flaw is too large or too
    /// deep to be an event, but still valid, so that its end will be found.
    InValue { start: u64, flaw: Option<Reason> },
    /// After the complete object in `held`. The next byte decides whether it was whole and, after a fragment, whether
    /// it is nested in the torn event.
    Held,
    /// The byte after the held object, at `next`, did not decide; the one after that does.
    Doubt { next: u64 },
    /// After the byte at which a value broke.
    Lost { start: u64, reason: Reason },
}

/// The consequence of one byte.
enum Verdict {
    Nothing,
    /// An object after a broken value is complete; the rule decides about it.
    Check(Candidate, Surroundings),
    /// The value that the stream is in is a complete object within the limits.
    Whole(Candidate),
    /// The value from `start` on is complete and not an event.
    Reject {
        start: u64,
        reason: Reason,
    },
}

impl Resync {
    pub(crate) fn new(limits: Limits) -> Self {
        let chain = || Chain::new(limits.nesting_max, limits.event_bytes_max);
        Self {
            limits,
            chains: [chain(), chain()],
            stage: Stage::Between,
            rule_applies: false,
            window: Vec::new(),
            window_start: 0,
            next: 0,
            held: Held::default(),
            byte_visits: 0,
        }
    }

    /// Starts between values at `position`. `rule_applies` says that a fragment precedes it.
    pub(crate) fn start(&mut self, position: u64, rule_applies: bool) {
        self.stage = Stage::Between;
        self.rule_applies = rule_applies;
        self.window.clear();
        self.window_start = position;
        self.next = 0;
    }

    /// Whether every byte so far has come out and the last item was an event: the scanner can take over again.
    pub(crate) fn is_in_step(&self) -> bool {
        self.stage == Stage::Between && !self.rule_applies && self.next == self.window.len()
    }

    /// Reads until the bytes end or the stream is in step again, and returns how many bytes it read: at least
    /// `must_take`, which the splitter has consumed already and does not offer to anyone else.
    pub(crate) fn push<E>(
        &mut self,
        bytes: &[u8],
        must_take: usize,
        rule: &impl Fn(&[u8]) -> bool,
        totals: &mut Totals,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        const STEP_BYTES: usize = 64 * 1024;
        let mut taken = 0;
        while taken < bytes.len() {
            let step = &bytes[taken..bytes.len().min(taken + STEP_BYTES)];
            let window_before = self.window.len();
            self.window.extend_from_slice(step);
            let stop_at = window_before + must_take.saturating_sub(taken);
            if self.read_window(stop_at, rule, totals, on_item)? {
                let seen = taken + self.next - window_before;
                self.window.clear();
                self.next = 0;
                return Ok(seen);
            }
            taken += step.len();
            self.release(on_item)?;
        }
        Ok(taken)
    }

    /// Ends the stream.
    pub(crate) fn finish<E>(
        &mut self,
        rule: &impl Fn(&[u8]) -> bool,
        totals: &mut Totals,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Stage::Doubt { .. } = self.stage {
            self.end_doubt(None, totals, on_item)?;
            self.read_window(usize::MAX, rule, totals, on_item)?;
        }
        if let Stage::InValue { .. } = self.stage {
            let whole_number = self.chains[0].is_whole_number();
            self.lose(if whole_number {
                Reason::NotAnObject
            } else {
                Reason::Truncated
            });
        }
        if self.stage == Stage::Held {
            self.decide_held(None, rule, totals, on_item)?;
        }
        for index in 0..self.chains.len() {
            if let Some(candidate) = self.chains[index].just_closed()
                && self.is_event(candidate, self.end(), rule)
            {
                totals.whitespace_bytes += self.end() - candidate.end;
                self.hold_after_fragment(candidate, Surroundings::Open, totals, on_item)?;
                self.decide_held(None, rule, totals, on_item)?;
                break;
            }
        }
        if let Stage::Lost { start, reason } = self.stage {
            let end = self.trimmed(self.end());
            self.emit_rejected(start, end, reason, totals, on_item)?;
            totals.whitespace_bytes += self.end() - end;
        }
        self.stage = Stage::Between;
        Ok(())
    }

    fn end(&self) -> u64 {
        self.window_start + self.window.len() as u64
    }

    fn position(&self) -> u64 {
        self.window_start + self.next as u64
    }

    /// Reads the rest of the window, and stops once the stream is in step at or after the index `stop_at`. Returns
    /// whether it stopped. The only caller of [`Self::read_next`], which is therefore inlined into this loop.
    fn read_window<E>(
        &mut self,
        stop_at: usize,
        rule: &impl Fn(&[u8]) -> bool,
        totals: &mut Totals,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        while self.next < self.window.len() {
            self.read_next(rule, totals, on_item)?;
            let in_step = self.stage == Stage::Between && !self.rule_applies;
            if in_step && self.next >= stop_at {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the byte at `next` and advances, or stays if the byte must be read again in another stage.
    fn read_next<E>(
        &mut self,
        rule: &impl Fn(&[u8]) -> bool,
        totals: &mut Totals,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let position = self.position();
        let byte = self.window[self.next];
        self.byte_visits += 1;
        if let Stage::Doubt { .. } = self.stage {
            return self.end_doubt(Some(byte), totals, on_item);
        }
        if matches!(self.stage, Stage::Between | Stage::Held) {
            if is_whitespace(byte) {
                totals.whitespace_bytes += 1;
                self.next += 1;
                return Ok(());
            }
            if self.stage == Stage::Held {
                return self.decide_held(Some(byte), rule, totals, on_item);
            }
            self.stage = Stage::InValue {
                start: position,
                flaw: None,
            };
            self.chains[0].start();
            self.chains[1].stop();
        }
        match self.step_chains(byte, position) {
            Verdict::Nothing => {}
            Verdict::Check(candidate, surroundings) => {
                if self.is_event(candidate, position + 1, rule) {
                    return self.hold_after_fragment(candidate, surroundings, totals, on_item);
                }
            }
            Verdict::Whole(candidate) if self.rule_applies => {
                if self.is_event(candidate, position + 1, rule) {
                    let surroundings = Surroundings::Fragment;
                    return self.hold_after_fragment(candidate, surroundings, totals, on_item);
                }
                let (start, reason) = (candidate.start, Reason::NotAnEnvelope);
                return self.reject_whole(start, candidate.end, reason, totals, on_item);
            }
            Verdict::Whole(candidate) => {
                self.hold(candidate, Surroundings::Boundary);
                return Ok(());
            }
            Verdict::Reject { start, reason } => {
                return self.reject_whole(start, position + 1, reason, totals, on_item);
            }
        }
        self.next += 1;
        Ok(())
    }

    /// Steps both readings, and starts another at a bracket that is a bracket in neither.
    fn step_chains(&mut self, byte: u8, position: u64) -> Verdict {
        let mut bracket_taken = false;
        let mut verdict = Verdict::Nothing;
        for index in 0..self.chains.len() {
            if !self.chains[index].is_alive() {
                continue;
            }
            self.byte_visits += 1;
            let outcome = self.chains[index].step(byte, position);
            bracket_taken |= outcome == Outcome::Opened;
            match self.stage {
                Stage::InValue { start, flaw } if index == 0 => {
                    verdict = self.follow_value(start, flaw, outcome, position);
                }
                // As long as the value is valid, the other reading is the wrong one.
                Stage::InValue { .. } | Stage::Between | Stage::Held | Stage::Doubt { .. } => {}
                Stage::Lost { .. } => {
                    if let Some(check) = self.candidate_of(index, outcome, position) {
                        verdict = check;
                    }
                }
            }
        }
        if matches!(byte, b'{' | b'[')
            && !bracket_taken
            && let Some(chain) = self.chains.iter_mut().find(|chain| !chain.is_alive())
        {
            chain.start();
            chain.step(byte, position);
        }
        verdict
    }

    /// The consequence of an outcome of `chains[0]` for the value that it follows.
    fn follow_value(
        &mut self,
        start: u64,
        flaw: Option<Reason>,
        outcome: Outcome,
        position: u64,
    ) -> Verdict {
        let end = position + 1;
        let flaw = flaw.or_else(|| {
            let too_large = end - start > self.limits.event_bytes_max as u64;
            let too_deep = self.chains[0].is_too_deep();
            too_deep
                .then_some(Reason::TooDeep)
                .or(too_large.then_some(Reason::TooLarge))
        });
        self.stage = Stage::InValue { start, flaw };
        match outcome {
            Outcome::Content | Outcome::Opened => Verdict::Nothing,
            Outcome::Complete { object } => match flaw {
                Some(reason) => Verdict::Reject { start, reason },
                None if object => Verdict::Whole(Candidate { start, end }),
                None => Verdict::Reject {
                    start,
                    reason: Reason::NotAnObject,
                },
            },
            Outcome::ScalarComplete | Outcome::ScalarCompleteBefore => {
                self.lose(Reason::NotAnObject);
                Verdict::Nothing
            }
            Outcome::Broken { fault, before } => {
                self.lose(match fault {
                    Fault::Syntax => Reason::Syntax,
                    Fault::InvalidUtf8 => Reason::InvalidUtf8,
                    Fault::TooDeep => Reason::TooDeep,
                });
                before.map_or(Verdict::Nothing, |candidate| {
                    Verdict::Check(candidate, Surroundings::Open)
                })
            }
        }
    }

    /// After a broken value: the object that the outcome completes.
    fn candidate_of(&self, index: usize, outcome: Outcome, position: u64) -> Option<Verdict> {
        match outcome {
            Outcome::Complete { object: true } => {
                let start = self.chains[index].outermost_start()?;
                let end = position + 1;
                let surroundings = Surroundings::Fragment;
                Some(Verdict::Check(Candidate { start, end }, surroundings))
            }
            Outcome::Broken { before, .. } => Some(Verdict::Check(before?, Surroundings::Open)),
            _ => None,
        }
    }

    /// The current value is not an event, and its end is unknown from here on.
    fn lose(&mut self, reason: Reason) {
        if let Stage::InValue { start, flaw } = self.stage {
            self.stage = Stage::Lost {
                start,
                reason: flaw.unwrap_or(reason),
            };
        }
    }

    /// Whether the rule takes the candidate for an envelope. `seen_end` is the end of the bytes read: the limit
    /// bounds also how far before it a candidate may begin, because no older byte is kept.
    fn is_event(
        &mut self,
        candidate: Candidate,
        seen_end: u64,
        rule: &impl Fn(&[u8]) -> bool,
    ) -> bool {
        if seen_end - candidate.start > self.limits.event_bytes_max as u64 {
            return false;
        }
        self.byte_visits += candidate.end - candidate.start;
        rule(&self.window[self.index_of(candidate.start)..self.index_of(candidate.end)])
    }

    /// The index in `window` of a position that `release` has kept.
    fn index_of(&self, position: u64) -> usize {
        debug_assert!(position >= self.window_start && position <= self.end());
        usize::try_from(position.saturating_sub(self.window_start)).unwrap_or(usize::MAX)
    }

    /// Resumes between values at `position`, which is known to be a boundary.
    fn restart_at(&mut self, position: u64, rule_applies: bool) {
        self.next = self.index_of(position);
        self.stage = Stage::Between;
        self.rule_applies = rule_applies;
        for chain in &mut self.chains {
            chain.stop();
        }
    }

    /// Holds an envelope after a fragment, and passes the fragment on.
    fn hold_after_fragment<E>(
        &mut self,
        candidate: Candidate,
        surroundings: Surroundings,
        totals: &mut Totals,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Stage::Lost { start, reason } = self.stage {
            let end = self.trimmed(candidate.start);
            self.emit_rejected(start, end, reason, totals, on_item)?;
            totals.whitespace_bytes += candidate.start - end;
        }
        self.hold(candidate, surroundings);
        Ok(())
    }

    fn hold(&mut self, candidate: Candidate, surroundings: Surroundings) {
        let bytes = &self.window[self.index_of(candidate.start)..self.index_of(candidate.end)];
        self.held.hold(candidate.start, bytes, surroundings);
        self.restart_at(candidate.end, false);
        self.stage = Stage::Held;
    }

    /// Decides on the held object by the first byte after it that is not white space.
    fn decide_held<E>(
        &mut self,
        next: Option<u8>,
        rule: &impl Fn(&[u8]) -> bool,
        totals: &mut Totals,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let judgement = self.held.judge(next, rule);
        if judgement == Judgement::Unclear {
            self.stage = Stage::Doubt {
                next: self.position(),
            };
            self.next += 1;
            return Ok(());
        }
        self.end_held(judgement, totals, on_item)
    }

    /// Decides on the held object by the second byte after it, and goes back to the first.
    fn end_doubt<E>(
        &mut self,
        second: Option<u8>,
        totals: &mut Totals,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Stage::Doubt { next } = self.stage {
            self.next = self.index_of(next);
        }
        self.end_held(Held::judge_by_second(second), totals, on_item)
    }

    fn end_held<E>(
        &mut self,
        judgement: Judgement,
        totals: &mut Totals,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.byte_visits += self.held.bytes.len() as u64;
        self.stage = Stage::Between;
        self.rule_applies = !self.held.end(judgement, totals, on_item)?;
        Ok(())
    }

    fn reject_whole<E>(
        &mut self,
        start: u64,
        end: u64,
        reason: Reason,
        totals: &mut Totals,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.emit_rejected(start, end, reason, totals, on_item)?;
        self.restart_at(end, true);
        Ok(())
    }
}
