//! Finds the next event behind a fragment that is none.
//!
//! Behind a torn event nothing says whether a byte lies inside of a string. But there are only
//! two readings: whoever disagrees about one quote disagrees about all that follow, and a
//! backslash ends the reading that is outside of strings. So two [`Chain`]s follow all the
//! candidates there can be, and every byte is looked at twice, whatever the input.
//!
//! A candidate counts as an event only where nothing can contain it: when it is the outermost
//! of its reading, or when the reading breaks right behind it (a torn event had a value to come,
//! and the next event took its place). And it must look like an envelope. The two readings
//! can't both find an envelope in the same place: one's `"event_id"` breaks the other.

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
    /// Whether the next value must look like an envelope.
    rule_applies: bool,
    /// The bytes from `window_start` on that may still be needed.
    window: Vec<u8>,
    window_start: u64,
    /// Where the next byte to look at is, as an index into `window`.
    next: usize,
    held: Held,
    pub(crate) byte_visits: u64,
}

/// Where the stream stands, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Between values.
    Between,
    /// Inside of the value that began at `start`, followed by `chains[0]`. With a flaw it can't
    /// be an event any more, but its end is still to be found.
    InValue { start: u64, flaw: Option<Reason> },
    /// Behind the complete object in `held`: the next byte shows whether it was whole, or, if it
    /// came after a fragment, whether it is nested in what was torn.
    Held,
    /// The byte behind the held object, at `behind`, does not show it; the one after it does.
    Doubt { behind: u64 },
    /// Behind the point where a value broke.
    Lost { start: u64, reason: Reason },
}

/// What is to be done about one byte.
enum Verdict {
    Nothing,
    /// An object behind a broken value, to be checked.
    Check(Candidate, Surroundings),
    /// The value that the stream is in is a complete object within the limits.
    Whole(Candidate),
    /// The value from `start` on is complete and no event.
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

    /// Starts between values at `position`.
    pub(crate) fn start(&mut self, position: u64, rule_applies: bool) {
        self.stage = Stage::Between;
        self.rule_applies = rule_applies;
        self.window.clear();
        self.window_start = position;
        self.next = 0;
    }

    /// Whether all bytes so far are accounted for and the last thing was an event.
    pub(crate) fn is_in_step(&self) -> bool {
        self.stage == Stage::Between && !self.rule_applies && self.next == self.window.len()
    }

    /// Takes bytes until all are looked at or, behind an event, the stream is in step again.
    /// Returns how many it took; `until_in_step` is ignored for the first `must_take` bytes.
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
            if self.look_at_window(stop_at, rule, totals, on_item)? {
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
            self.look_at_window(usize::MAX, rule, totals, on_item)?;
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

    /// Looks at the rest of the window; stops where the stream is in step again, from the index
    /// `stop_at` on. Says whether it stopped. The only caller of [`Self::look_at_next`], so that it
    /// is compiled into this loop.
    fn look_at_window<E>(
        &mut self,
        stop_at: usize,
        rule: &impl Fn(&[u8]) -> bool,
        totals: &mut Totals,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        while self.next < self.window.len() {
            self.look_at_next(rule, totals, on_item)?;
            let in_step = self.stage == Stage::Between && !self.rule_applies;
            if in_step && self.next >= stop_at {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks at the byte at `next` and moves behind it, or stays if it must be looked at again.
    fn look_at_next<E>(
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

    /// Lets both readings take the byte and starts a new one where none has it as a bracket.
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
                // The other reading is wrong as long as the value holds.
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

    /// What the outcome of `chains[0]` means for the value that the stream is in.
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
            Outcome::Broken { fault, behind } => {
                self.lose(match fault {
                    Fault::Syntax => Reason::Syntax,
                    Fault::InvalidUtf8 => Reason::InvalidUtf8,
                    Fault::TooDeep => Reason::TooDeep,
                });
                behind.map_or(Verdict::Nothing, |candidate| {
                    Verdict::Check(candidate, Surroundings::Open)
                })
            }
        }
    }

    /// The object that the outcome offers as an event, behind a broken value.
    fn candidate_of(&self, index: usize, outcome: Outcome, position: u64) -> Option<Verdict> {
        match outcome {
            Outcome::Complete { object: true } => {
                let start = self.chains[index].outermost_start()?;
                let end = position + 1;
                let surroundings = Surroundings::Fragment;
                Some(Verdict::Check(Candidate { start, end }, surroundings))
            }
            Outcome::Broken { behind, .. } => Some(Verdict::Check(behind?, Surroundings::Open)),
            _ => None,
        }
    }

    /// The value that the stream is in is no event, and where it ends is unknown.
    fn lose(&mut self, reason: Reason) {
        if let Stage::InValue { start, flaw } = self.stage {
            self.stage = Stage::Lost {
                start,
                reason: flaw.unwrap_or(reason),
            };
        }
    }

    /// `seen_end` is the end of what has been looked at: the limit also bounds how far back from
    /// there a candidate may begin, because nothing older is kept.
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

    /// The position as an index; only for positions that `release` has kept.
    fn index_of(&self, position: u64) -> usize {
        debug_assert!(position >= self.window_start && position <= self.end());
        usize::try_from(position.saturating_sub(self.window_start)).unwrap_or(usize::MAX)
    }

    /// Goes on between values at `position`, which is known to be a boundary.
    fn restart_at(&mut self, position: u64, rule_applies: bool) {
        self.next = self.index_of(position);
        self.stage = Stage::Between;
        self.rule_applies = rule_applies;
        for chain in &mut self.chains {
            chain.stop();
        }
    }

    /// Holds an envelope that comes after a fragment, and hands that fragment out.
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

    /// Decides on the held object by the first byte behind it that is no white space.
    fn decide_held<E>(
        &mut self,
        behind: Option<u8>,
        rule: &impl Fn(&[u8]) -> bool,
        totals: &mut Totals,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let judgement = self.held.judge(behind, rule);
        if judgement == Judgement::Unclear {
            self.stage = Stage::Doubt {
                behind: self.position(),
            };
            self.next += 1;
            return Ok(());
        }
        self.end_held(judgement, totals, on_item)
    }

    /// Decides on the held object by the second byte behind it, and goes back to the first.
    fn end_doubt<E>(
        &mut self,
        second: Option<u8>,
        totals: &mut Totals,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Stage::Doubt { behind } = self.stage {
            self.next = self.index_of(behind);
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
