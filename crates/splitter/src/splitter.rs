//! The splitter: the plain road through intact events, and the way back to it.

use crate::grammar::{Grammar, Step, is_whitespace};
use crate::held::{Held, Surroundings, emit_object};
use crate::item::{Event, Item, Separators, Totals};
use crate::limits::Limits;
use crate::resync::Resync;
use crate::scanner::Scanner;
use crate::simd::Instructions;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Finds the events in a stream of bytes that comes in chunks of any size.
///
/// Push the chunks, then [`finish`](Self::finish). Items come in the order of the stream, each as
/// soon as it is certain. The items do not depend on how the stream is cut into chunks.
///
/// # Memory
///
/// An event that lies in one chunk is handed out without a copy. The splitter keeps the beginning
/// of an event that goes on in the next chunk, at most [`Limits::event_bytes_max`]; behind a torn
/// event it keeps about twice as much, to be able to go back to where the next event may have begun.
///
/// # Time
///
/// Linear in the input, whatever it is: see [`byte_visits`](Self::byte_visits).
pub struct Splitter<R> {
    limits: Limits,
    rule: R,
    grammar: Grammar,
    resync: Resync,
    scanner: Scanner,
    instructions: Instructions,
    /// Position up to which the scanner has looked already, in vain at the end.
    scanned_to: u64,
    mode: Mode,
    /// Position of the next byte to be pushed.
    position: u64,
    /// What earlier chunks hold of the current value, or of the byte order mark.
    carry: Vec<u8>,
    held: Held,
    totals: Totals,
    byte_visits: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// At the first bytes, where a byte order mark may stand.
    Begin,
    /// Between values.
    Between,
    /// Inside of a value, so far without a fault; `carry` and the chunk hold it.
    InValue,
    /// Behind the complete object in `held`.
    Held,
    /// Behind a fault.
    Resync,
}

impl<R: Fn(&[u8]) -> bool> Splitter<R> {
    /// A splitter at the beginning of a stream.
    ///
    /// `is_envelope` decides whether an object counts as an event when it comes after a rejected
    /// fragment, where it may be a piece of something torn. It is called with one complete JSON
    /// object within the limits, and must demand a top-level key that is a word, such as
    /// `event_id`: that is what keeps a piece of a string from being taken for an object.
    pub fn new(limits: Limits, is_envelope: R) -> Self {
        Self::with_instructions(limits, is_envelope, Instructions::preferred())
    }

    /// As [`new`](Self::new), with the given instructions. They make no difference but of speed.
    pub fn with_instructions(limits: Limits, is_envelope: R, instructions: Instructions) -> Self {
        // No object is shorter than its two braces.
        let limits = Limits {
            event_bytes_max: limits.event_bytes_max.max(2),
            nesting_max: limits.nesting_max.max(1),
        };
        Self {
            limits,
            rule: is_envelope,
            grammar: Grammar::new(),
            resync: Resync::new(limits),
            scanner: Scanner::new(limits),
            instructions,
            scanned_to: 0,
            mode: Mode::Begin,
            position: 0,
            carry: Vec::new(),
            held: Held::default(),
            totals: Totals::default(),
            byte_visits: 0,
        }
    }

    /// Takes the next bytes of the stream and hands out what has become certain.
    ///
    /// # Errors
    ///
    /// The first error of `on_item`. The splitter is of no use after it: the item is lost.
    pub fn push<E>(
        &mut self,
        chunk: &[u8],
        mut on_item: impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.totals.bytes += chunk.len() as u64;
        let mut index = 0;
        while index < chunk.len() {
            let rest = &chunk[index..];
            let taken = match self.mode {
                Mode::Begin => self.begin(rest, &mut on_item)?,
                Mode::Between if is_whitespace(rest[0]) => self.count_whitespace(rest),
                Mode::Between if self.may_scan(rest) => self.whole_events(rest, &mut on_item)?,
                Mode::Between => self.begin_value(),
                Mode::InValue => self.in_value(rest, &mut on_item)?,
                Mode::Held => self.behind_held(rest, &mut on_item)?,
                Mode::Resync => self.follow_resync(rest, 0, &mut on_item)?,
            };
            index += taken;
            self.position += taken as u64;
        }
        Ok(())
    }

    /// Ends the stream: what is open is rejected.
    ///
    /// # Errors
    ///
    /// The first error of `on_item`.
    pub fn finish<E>(
        mut self,
        mut on_item: impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<Totals, E> {
        if !self.carry.is_empty() {
            self.start_resync(&[], &mut on_item)?;
        }
        if self.mode == Mode::Held {
            let judgement = self.held.judge(None, &self.rule);
            self.held.end(judgement, &mut self.totals, &mut on_item)?;
        }
        if self.mode == Mode::Resync {
            self.resync
                .finish(&self.rule, &mut self.totals, &mut on_item)?;
        }
        Ok(self.totals)
    }

    /// What has been accounted for so far. Bytes of an open value are in none of its parts yet.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// How often a byte was looked at, all in all: at most a small constant times the bytes
    /// pushed, whatever they are. Once on the plain road, twice more behind a fault, once for the
    /// copy of an event that spans chunks or is looked at by the rule.
    pub fn byte_visits(&self) -> u64 {
        self.byte_visits + self.resync.byte_visits
    }

    fn begin<E>(
        &mut self,
        rest: &[u8],
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let expected = &BYTE_ORDER_MARK[self.carry.len()..];
        let matching = rest
            .iter()
            .zip(expected)
            .take_while(|(byte, mark)| byte == mark)
            .count();
        self.byte_visits += matching as u64;
        if matching == expected.len() {
            self.totals.whitespace_bytes += BYTE_ORDER_MARK.len() as u64;
            self.carry.clear();
            self.mode = Mode::Between;
        } else if matching == rest.len() {
            self.carry.extend_from_slice(rest);
        } else if self.carry.is_empty() && matching == 0 {
            self.mode = Mode::Between;
        } else {
            self.start_resync(&rest[..matching], on_item)?;
        }
        Ok(matching)
    }

    /// Begins to follow a value with the automaton; takes nothing yet.
    fn begin_value(&mut self) -> usize {
        self.grammar.reset();
        self.mode = Mode::InValue;
        0
    }

    /// Whether the scanner may find whole events here. Where it has looked before, it has stopped
    /// for a reason, and looking again behind every event would cost more than the events.
    fn may_scan(&self, rest: &[u8]) -> bool {
        rest[0] == b'{' && self.position >= self.scanned_to
    }

    /// Takes the events that lie whole in the chunk, as far as the scanner can vouch for them and
    /// another event follows.
    fn whole_events<E>(
        &mut self,
        rest: &[u8],
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        const STRETCH_BYTES_MAX: usize = u32::MAX as usize;
        let stretch = &rest[..rest.len().min(STRETCH_BYTES_MAX)];
        let mut taken = 0;
        self.scanner.start();
        while !self.scanner.is_ended() {
            self.instructions.scan(&mut self.scanner, stretch);
            for whole in self.scanner.found() {
                self.totals.whitespace_bytes += (whole.bytes.start - taken) as u64;
                taken = whole.bytes.end;
                self.totals.events += 1;
                self.totals.event_bytes += whole.bytes.len() as u64;
                on_item(Item::Event(Event {
                    offset: self.position + whole.bytes.start as u64,
                    bytes: &stretch[whole.bytes.clone()],
                    separators: self.scanner.marks(whole).map(|positions| Separators {
                        positions,
                        // Lossless: the stretch is below 4 GiB.
                        event_start: whole.bytes.start as u32,
                    }),
                }))?;
            }
        }
        self.byte_visits += self.scanner.byte_visits();
        self.scanned_to = self.position + self.scanner.position() as u64;
        if taken == 0 {
            return Ok(self.begin_value());
        }
        Ok(taken)
    }

    /// Follows the value through the rest of the chunk, which begins with it or goes on with it.
    fn in_value<E>(
        &mut self,
        rest: &[u8],
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let room = (self.limits.event_bytes_max - self.carry.len()).min(rest.len());
        let (length, end) = follow(&mut self.grammar, &rest[..room], self.limits.nesting_max);
        self.byte_visits += length as u64;
        match end {
            ValueEnd::Object => self.end_object(&rest[..length], &rest[length..], on_item)?,
            ValueEnd::Unknown if room == rest.len() => self.carry.extend_from_slice(rest),
            ValueEnd::Unknown | ValueEnd::NoEvent => self.start_resync(&rest[..length], on_item)?,
        }
        Ok(length)
    }

    /// Hands the object out, or holds it if the chunk does not show what follows.
    fn end_object<E>(
        &mut self,
        last_bytes: &[u8],
        behind: &[u8],
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let offset = self.position - self.carry.len() as u64;
        let bytes = if self.carry.is_empty() {
            last_bytes
        } else {
            self.carry.extend_from_slice(last_bytes);
            &self.carry
        };
        let behind = behind.iter().find(|byte| !is_whitespace(**byte)).copied();
        if behind.is_none() {
            self.held.hold(offset, bytes, Surroundings::Boundary);
            self.mode = Mode::Held;
        } else {
            let is_event =
                emit_object(offset, bytes, behind, &self.rule, &mut self.totals, on_item)?;
            self.go_on_at(offset + bytes.len() as u64, is_event);
        }
        self.carry.clear();
        Ok(())
    }

    fn behind_held<E>(
        &mut self,
        rest: &[u8],
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let whitespace = self.count_whitespace(rest);
        if let Some(&behind) = rest.get(whitespace) {
            let judgement = self.held.judge(Some(behind), &self.rule);
            let is_event = self.held.end(judgement, &mut self.totals, on_item)?;
            self.go_on_at(self.position + whitespace as u64, is_event);
        }
        Ok(whitespace)
    }

    /// Goes on between values, on the plain road only behind an event.
    fn go_on_at(&mut self, position: u64, behind_event: bool) {
        if behind_event {
            self.mode = Mode::Between;
        } else {
            self.resync.start(position, true);
            self.mode = Mode::Resync;
        }
    }

    fn count_whitespace(&mut self, rest: &[u8]) -> usize {
        let whitespace = rest.iter().take_while(|byte| is_whitespace(**byte)).count();
        self.byte_visits += whitespace as u64;
        self.totals.whitespace_bytes += whitespace as u64;
        whitespace
    }

    /// Goes over the value so far again, this time with both readings.
    fn start_resync<E>(
        &mut self,
        last_bytes: &[u8],
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.resync
            .start(self.position - self.carry.len() as u64, false);
        let mut carry = std::mem::take(&mut self.carry);
        carry.extend_from_slice(last_bytes);
        self.follow_resync(&carry, carry.len(), on_item)?;
        carry.clear();
        self.carry = carry;
        Ok(())
    }

    fn follow_resync<E>(
        &mut self,
        bytes: &[u8],
        must_take: usize,
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let taken = self
            .resync
            .push(bytes, must_take, &self.rule, &mut self.totals, on_item)?;
        self.mode = if self.resync.is_in_step() {
            Mode::Between
        } else {
            Mode::Resync
        };
        Ok(taken)
    }
}

enum ValueEnd {
    /// The bytes followed end with the closing brace of an object.
    Object,
    /// The bytes followed end with what shows that the value is no event.
    NoEvent,
    /// All bytes belong to the value.
    Unknown,
}

/// Follows a value; returns how many bytes that took, and how it ended.
fn follow(grammar: &mut Grammar, bytes: &[u8], nesting_max: usize) -> (usize, ValueEnd) {
    let mut index = 0;
    while index < bytes.len() {
        index += grammar.plain_text_length(&bytes[index..]);
        let Some(&byte) = bytes.get(index) else { break };
        index += 1;
        match grammar.step(byte) {
            Step::Inside => {}
            Step::Opened if grammar.depth() <= nesting_max => {}
            Step::Closed { .. } if grammar.depth() > 0 => {}
            Step::Closed { object: true } => return (index, ValueEnd::Object),
            _ => return (index, ValueEnd::NoEvent),
        }
    }
    (bytes.len(), ValueEnd::Unknown)
}
