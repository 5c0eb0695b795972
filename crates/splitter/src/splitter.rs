//! The public API: scans through intact events, and hands over to `resync` after a fault.

use crate::grammar::{Grammar, Step, is_whitespace};
use crate::held::{Held, Surroundings, emit_object};
use crate::item::{Event, Item, Separators, Totals};
use crate::limits::Limits;
use crate::resync::Resync;
use crate::scanner::Scanner;
use crate::simd::Instructions;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Finds the events in a stream of bytes that is pushed in chunks of any size.
///
/// [`push`](Self::push) every chunk, then [`finish`](Self::finish). Both pass [`Item`]s to a callback, in the order of
/// the stream and each as soon as it is certain, which may be with a later chunk. The items do not depend on how the
/// stream is cut into chunks.
///
/// ```
/// use std::io::{Read, Write};
///
/// use event_recovery_splitter::{Item, Limits, Splitter};
///
/// /// Writes the events of `source`, one per line.
/// fn to_lines(mut source: impl Read, mut lines: impl Write) -> std::io::Result<u64> {
///     let mut on_item = |item: Item<'_>| match item {
///         Item::Event(event) => lines.write_all(event.bytes).and_then(|()| lines.write_all(b"\n")),
///         Item::RejectedPart(_) | Item::Rejected(_) => Ok(()),
///     };
///     let mut splitter = Splitter::new(Limits::default(), |_: &[u8]| true);
///     let mut chunk = vec![0; 256 * 1024];
///     loop {
///         match source.read(&mut chunk)? {
///             0 => break,
///             length => splitter.push(&chunk[..length], &mut on_item)?,
///         }
///     }
///     Ok(splitter.finish(&mut on_item)?.rejected_bytes)
/// }
///
/// let mut lines = Vec::new();
/// let rejected_bytes = to_lines(&br#"{"note":"}{"}{"n":1} {"n":2}"#[..], &mut lines)?;
/// assert_eq!(lines, b"{\"note\":\"}{\"}\n{\"n\":1}\n{\"n\":2}\n");
/// assert_eq!(rejected_bytes, 0);
/// # Ok::<_, std::io::Error>(())
/// ```
///
/// # Memory
///
/// An event that is whole in one chunk is passed on without a copy. The splitter keeps the beginning of an
/// event that continues in the next chunk, at most [`Limits::event_bytes_max`]. After a torn event it keeps
/// about twice as much: any byte of that window may turn out to be the beginning of the next event.
///
/// # Time
///
/// Linear in the length of the input, for any input: see [`byte_visits`](Self::byte_visits).
pub struct Splitter<R> {
    limits: Limits,
    rule: R,
    grammar: Grammar,
    resync: Resync,
    scanner: Scanner,
    instructions: Instructions,
    /// Position up to which the scanner has read; it found no further event before it.
    scanned_to: u64,
    mode: Mode,
    /// Position of the next byte to be pushed.
    position: u64,
    /// The beginning of the current value, or of the byte order mark, from earlier chunks.
    carry: Vec<u8>,
    held: Held,
    totals: Totals,
    byte_visits: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// At the first bytes, where a byte order mark is allowed.
    Begin,
    /// Between values.
    Between,
    /// Inside of a value that has no fault so far; `carry` and the chunk hold it.
    InValue,
    /// After the complete object in `held`.
    Held,
    /// After a fault; `resync` has the bytes.
    Resync,
}

impl<R: Fn(&[u8]) -> bool> Splitter<R> {
    /// A splitter at the beginning of a stream.
    ///
    /// `is_envelope` decides whether an object next to a rejected fragment, which may be a piece of a torn
    /// event, counts as an event. It is called with one complete JSON object within the limits. It must
    /// require a top-level key that is a word, such as `event_id`: after damage a byte may be inside or
    /// outside a string, and such a key is valid in at most one of these two readings.
    ///
    /// ```
    /// use event_recovery_splitter::{Item, Limits, Splitter};
    ///
    /// let has_id = |object: &[u8]| object.starts_with(br#"{"event_id":"#);
    /// let mut events = Vec::new();
    /// let mut splitter = Splitter::new(Limits::default(), has_id);
    /// // The first event lost its beginning, so `{"n":1}` is not an event but a piece of it.
    /// let mut on_item = |item: Item<'_>| {
    ///     if let Item::Event(event) = item {
    ///         events.push(event.bytes.to_vec());
    ///     }
    ///     Ok::<_, std::convert::Infallible>(())
    /// };
    /// splitter.push(br#"1","data":[{"n":1}]}{"event_id":"2"}"#, &mut on_item)?;
    /// splitter.finish(&mut on_item)?;
    ///
    /// assert_eq!(events, [br#"{"event_id":"2"}"#]);
    /// # Ok::<_, std::convert::Infallible>(())
    /// ```
    pub fn new(limits: Limits, is_envelope: R) -> Self {
        Self::with_instructions(limits, is_envelope, Instructions::preferred())
    }

    /// As [`new`](Self::new), with chosen instructions instead of [`Instructions::preferred`]. They change the speed
    /// and never the items.
    ///
    /// ```
    /// use event_recovery_splitter::{Instructions, Limits, Splitter};
    ///
    /// for instructions in Instructions::available() {
    ///     let mut splitter = Splitter::with_instructions(Limits::default(), |_: &[u8]| true, instructions);
    ///     splitter.push(br#"{"n":1}{"n":"\ud83d"}{"n":01}"#, |_| Ok::<_, ()>(()))?;
    ///     let totals = splitter.finish(|_| Ok::<_, ()>(()))?;
    ///     assert_eq!((totals.events, totals.rejected_bytes), (2, 8), "{instructions}");
    /// }
    /// # Ok::<_, ()>(())
    /// ```
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

    /// Reads the next bytes of the stream and passes on the items that they complete.
    ///
    /// An event is passed on once the first byte after it is known, because an object before damage may be a torn event
    /// that closes too early.
    ///
    /// ```
    /// use event_recovery_splitter::{Limits, Splitter};
    ///
    /// let mut splitter = Splitter::new(Limits::default(), |_: &[u8]| true);
    /// splitter.push(br#"{"n":1"#, |_| Ok::<_, ()>(()))?;
    /// splitter.push(b"}", |_| Ok::<_, ()>(()))?;
    /// assert_eq!(splitter.totals().events, 0);
    /// splitter.push(b"{", |_| Ok::<_, ()>(()))?;
    /// assert_eq!(splitter.totals().events, 1);
    /// # Ok::<_, ()>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The first error of `on_item`, unchanged. The item is lost then, and the splitter must not be used again.
    ///
    /// ```
    /// use event_recovery_splitter::{Limits, Splitter};
    ///
    /// let mut splitter = Splitter::new(Limits::default(), |_: &[u8]| true);
    /// assert_eq!(splitter.push(b"{}{}", |_| Err("disk full")), Err("disk full"));
    /// ```
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
                Mode::Held => self.after_held(rest, &mut on_item)?,
                Mode::Resync => self.follow_resync(rest, 0, &mut on_item)?,
            };
            index += taken;
            self.position += taken as u64;
        }
        Ok(())
    }

    /// Ends the stream and returns the final counts. An incomplete value is rejected as
    /// [`Reason::Truncated`](crate::Reason::Truncated), or with the fault that it had before.
    ///
    /// ```
    /// use event_recovery_splitter::{Item, Limits, Reason, Splitter};
    ///
    /// let mut splitter = Splitter::new(Limits::default(), |_: &[u8]| true);
    /// splitter.push(br#"{"n":1}{"n":"#, |_| Ok::<_, ()>(()))?;
    /// let mut last = None;
    /// let totals = splitter.finish(|item| {
    ///     last = if let Item::Rejected(fragment) = item { Some(fragment) } else { None };
    ///     Ok::<_, ()>(())
    /// })?;
    /// assert_eq!(last.map(|fragment| (fragment.offset, fragment.reason)), Some((7, Reason::Truncated)));
    /// assert_eq!((totals.bytes, totals.event_bytes, totals.rejected_bytes), (12, 7, 5));
    /// # Ok::<_, ()>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The first error of `on_item`, unchanged.
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

    /// The counts so far. Bytes of a value that is not complete are in `bytes` alone.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// How many byte reads splitting took so far: a measure of time that does not depend on the machine.
    ///
    /// At most a small constant times the bytes pushed, for any input: one read in intact events, two more
    /// after a fault, and one for the copy of an event that spans chunks or for the call of the rule.
    ///
    /// ```
    /// use event_recovery_splitter::{Limits, Splitter};
    ///
    /// // Every brace may be the beginning of an event, and none is.
    /// let hostile = br#"{"a":"#.repeat(100_000);
    /// let mut splitter = Splitter::new(Limits::default(), |_: &[u8]| true);
    /// splitter.push(&hostile, |_| Ok::<_, ()>(()))?;
    /// assert!(splitter.byte_visits() <= 6 * hostile.len() as u64);
    /// # Ok::<_, ()>(())
    /// ```
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

    /// Begins to follow a value with the automaton, and consumes nothing yet.
    fn begin_value(&mut self) -> usize {
        self.grammar.reset();
        self.mode = Mode::InValue;
        0
    }

    /// Whether the scanner may find whole events here. Where it has read before, it stopped at something that only
    /// the automaton decides; to scan the same bytes again after each event would make the time quadratic.
    fn may_scan(&self, rest: &[u8]) -> bool {
        rest[0] == b'{' && self.position >= self.scanned_to
    }

    /// Passes on the events that are whole in the chunk, as long as the scanner finds them valid and
    /// another event follows. Falls back to the automaton if there are none.
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

    /// Follows the value through the rest of the chunk, which begins or continues it.
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

    /// Passes the object on, or holds it if the chunk does not show what follows.
    fn end_object<E>(
        &mut self,
        last_bytes: &[u8],
        after: &[u8],
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let offset = self.position - self.carry.len() as u64;
        let bytes = if self.carry.is_empty() {
            last_bytes
        } else {
            self.carry.extend_from_slice(last_bytes);
            &self.carry
        };
        let next = after.iter().find(|byte| !is_whitespace(**byte)).copied();
        if next.is_none() {
            self.held.hold(offset, bytes, Surroundings::Boundary);
            self.mode = Mode::Held;
        } else {
            let is_event = emit_object(offset, bytes, next, &self.rule, &mut self.totals, on_item)?;
            self.resume_at(offset + bytes.len() as u64, is_event);
        }
        self.carry.clear();
        Ok(())
    }

    fn after_held<E>(
        &mut self,
        rest: &[u8],
        on_item: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let whitespace = self.count_whitespace(rest);
        if let Some(&next) = rest.get(whitespace) {
            let judgement = self.held.judge(Some(next), &self.rule);
            let is_event = self.held.end(judgement, &mut self.totals, on_item)?;
            self.resume_at(self.position + whitespace as u64, is_event);
        }
        Ok(whitespace)
    }

    /// Resumes between values: with the scanner after an event, with `resync` after a rejected object.
    fn resume_at(&mut self, position: u64, after_event: bool) {
        if after_event {
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

    /// Reads the value again from its beginning, now in both readings: inside and outside of a string.
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
    /// The last byte followed is the closing brace of an object.
    Object,
    /// The last byte followed shows that the value is not an event.
    NoEvent,
    /// All bytes belong to the value, which may continue.
    Unknown,
}

/// Follows a value; returns how many bytes it read, and how the value ended.
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
