//! Finds whole valid events in a chunk, a block of 64 bytes at a time.
//!
//! The scanner accepts a subset of what the automaton in `grammar` accepts. Whatever it cannot decide by masks, invalid
//! or merely unusual, it leaves to the automaton, so it need not find out what is wrong.
//!
//! All tokens of a block are validated at once. A token is allowed if its kind may follow the kind of the
//! token before it, given whether the two are in an object or in an array. The first is a question of
//! neighbours: a mask of tokens, shifted by one and carried over white space by an addition, is the mask of
//! what follows them. The second takes a loop over the brackets, which are few. Numbers and literals are
//! validated one by one, except digits with at most one decimal point, for which the masks suffice.

use std::ops::Range;

use crate::block::{BLOCK_BYTES, Kernel};
use crate::grammar::is_whitespace;
use crate::limits::Limits;
use crate::order::OrderCarry;
use crate::scalar::scalar_end;
use crate::tokens::{TokenCarry, Tokens};

/// Deepest nesting that the scanner follows: one bit of a `u64` for each level. Deeper events are left to the
/// automaton.
const NESTING_MAX: u32 = 64;

/// Blocks that pass through each step together: 4 KiB of input, whose masks stay in the L1 cache. One small loop for
/// each step takes a tenth less time than one loop with all steps.
const BATCH_BLOCKS: usize = 64;

/// Top-level colons and commas that are recorded for an event. For an event with more, none are.
const MARKS_MAX: usize = 512;

/// The state of a scan through one stretch of bytes that begins with an opening brace.
#[derive(Debug)]
pub(crate) struct Scanner {
    event_bytes_max: usize,
    /// Position of the next batch.
    at: usize,
    is_ended: bool,
    found: Vec<Whole>,
    marks: Vec<u32>,
    open: OpenEvent,
    nesting: Nesting,
    batch: Vec<Scanned>,
    token_carry: TokenCarry,
    order_carry: OrderCarry,
    /// Whether the scalar that continues in the next block has been validated to its end.
    is_validated: bool,
    /// Bytes that were read a second time, for [`Scanner::byte_visits`].
    extra_visits: u64,
}

/// The masks of a block, with those that the loop over its brackets adds.
#[derive(Debug, Clone, Copy, Default)]
struct Scanned {
    tokens: Tokens,
    /// Bytes whose innermost enclosing bracket is an object's.
    in_object: u64,
    /// Bytes at the top level of an event.
    at_top: u64,
    /// Closing braces of events.
    ends: u64,
}

/// A whole event, followed by another one after nothing but white space.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    /// Its range in the stretch.
    pub(crate) bytes: Range<usize>,
    marks: Option<Range<usize>>,
}

/// The event whose end has not been reached.
#[derive(Debug, Default)]
struct OpenEvent {
    start: usize,
    /// Index of its first mark in [`Scanner::marks`].
    marks_start: usize,
    has_too_many_marks: bool,
    /// Not zero if it has bytes that the masks do not prove to be UTF-8.
    unclear_text: u64,
}

/// The kinds of the open brackets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nesting {
    /// A bit for each level, set for objects, the innermost lowest.
    kinds: u64,
    pub(crate) depth: u32,
    depth_max: u32,
}

impl Nesting {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            kinds: 0,
            depth: 0,
            depth_max: NESTING_MAX.min(u32::try_from(limits.nesting_max).unwrap_or(u32::MAX)),
        }
    }

    fn reset(&mut self) {
        (self.kinds, self.depth) = (0, 0);
    }

    /// Returns whether the new level is within the limit.
    #[inline(always)]
    pub(crate) fn open(&mut self, is_object: bool) -> bool {
        self.kinds = self.kinds << 1 | u64::from(is_object);
        self.depth += 1;
        self.depth <= self.depth_max
    }

    /// Returns whether the bracket matches the innermost open one.
    #[inline(always)]
    pub(crate) fn close(&mut self, is_object: bool) -> bool {
        let fits = self.depth > 0 && self.is_in_object() == is_object;
        self.kinds >>= 1;
        self.depth = self.depth.wrapping_sub(1);
        fits
    }

    #[inline(always)]
    fn is_in_object(&self) -> bool {
        self.kinds & 1 == 1
    }
}

/// The scanner cannot decide on the event; the automaton must.
struct Undecided;

impl Scanner {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            event_bytes_max: limits.event_bytes_max,
            at: 0,
            is_ended: true,
            found: Vec::new(),
            marks: Vec::new(),
            open: OpenEvent::default(),
            nesting: Nesting::new(limits),
            batch: vec![Scanned::default(); BATCH_BLOCKS],
            token_carry: TokenCarry::default(),
            order_carry: OrderCarry::default(),
            is_validated: false,
            extra_visits: 0,
        }
    }

    /// Begins a scan. The stretch then passed to [`scan`](Self::scan) must begin with an opening brace, and must be the
    /// same for each call until the scan has ended.
    pub(crate) fn start(&mut self) {
        self.at = 0;
        self.is_ended = false;
        self.found.clear();
        self.marks.clear();
        self.open = OpenEvent::default();
        self.nesting.reset();
        self.token_carry = TokenCarry::default();
        self.order_carry = OrderCarry::default();
        self.is_validated = false;
        self.extra_visits = 0;
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// The events that the last call of [`scan`](Self::scan) found, in their order.
    pub(crate) fn found(&self) -> &[Whole] {
        &self.found
    }

    /// The positions in the stretch of the event's top-level colons and commas, in ascending order; `None` if there
    /// are more than [`MARKS_MAX`].
    pub(crate) fn marks(&self, whole: &Whole) -> Option<&[u32]> {
        whole.marks.clone().map(|marks| &self.marks[marks])
    }

    /// Position up to which the stretch has been read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn byte_visits(&self) -> u64 {
        self.at as u64 + self.extra_visits
    }

    /// Continues until some events are found or the scan ends: at the end of the bytes, at an event that no other
    /// follows, or at a block that the scanner cannot decide on.
    #[inline(always)]
    pub(crate) fn scan<K: Kernel>(&mut self, bytes: &[u8]) {
        self.found.clear();
        self.marks.drain(..self.open.marks_start);
        self.open.marks_start = 0;
        while !self.is_ended && self.found.is_empty() {
            let batch = self.at;
            let blocks = self.read_tokens::<K>(bytes);
            let blocks_walked = self.walk_brackets(blocks);
            self.is_ended |= blocks_walked < blocks;
            let blocks_noted = self.note_events(blocks_walked, bytes);
            let blocks_checked = self.check_blocks(blocks_noted, bytes);
            if blocks_checked < blocks_noted {
                let checked_to = batch + blocks_checked * BLOCK_BYTES;
                self.found.retain(|whole| whole.bytes.end <= checked_to);
                self.is_ended = true;
            }
            self.at = (batch + BATCH_BLOCKS * BLOCK_BYTES).min(bytes.len());
            self.is_ended |= self.at == bytes.len();
        }
    }

    /// Fills the batch and returns the number of its blocks. Pads the last one of the stretch with white space, which
    /// no token depends on.
    #[inline(always)]
    fn read_tokens<K: Kernel>(&mut self, bytes: &[u8]) -> usize {
        let mut carry = self.token_carry;
        let (blocks, rest) = bytes[self.at..].as_chunks::<BLOCK_BYTES>();
        let mut filled = 0;
        for (scanned, block) in self.batch.iter_mut().zip(blocks) {
            scanned.tokens = carry.tokens::<K>(block);
            filled += 1;
        }
        if let Some(scanned) = self.batch.get_mut(filled)
            && !rest.is_empty()
        {
            let mut block = [b' '; BLOCK_BYTES];
            block[..rest.len()].copy_from_slice(rest);
            scanned.tokens = carry.tokens::<K>(&block);
            filled += 1;
        }
        self.token_carry = carry;
        filled
    }

    /// Follows the nesting through the batch. Returns the number of leading blocks whose brackets match.
    #[inline(always)]
    fn walk_brackets(&mut self, blocks: usize) -> usize {
        let mut nesting = self.nesting;
        for (index, scanned) in self.batch[..blocks].iter_mut().enumerate() {
            let tokens = &scanned.tokens;
            let mut in_object = all_if(nesting.is_in_object());
            let mut at_top = all_if(nesting.depth == 1);
            let mut ends = 0;
            let mut brackets = tokens.opening | tokens.closing;
            while brackets != 0 {
                // The lowest set bit (blsi), cleared by the XOR, and all bits above it.
                let bit = brackets & brackets.wrapping_neg();
                brackets ^= bit;
                let after = !(bit | (bit - 1));
                let before = nesting;
                let is_object = tokens.of_object & bit != 0;
                let fits = if tokens.opening & bit != 0 {
                    nesting.open(is_object)
                } else {
                    nesting.close(is_object)
                };
                if !fits {
                    return index;
                }
                // A change toggles all bytes after the bracket.
                in_object ^= after & all_if(nesting.is_in_object() != before.is_in_object());
                if nesting.depth <= 2 {
                    at_top ^= after & all_if((nesting.depth == 1) != (before.depth == 1));
                    ends |= bit & all_if(nesting.depth == 0);
                }
            }
            (scanned.in_object, scanned.at_top, scanned.ends) = (in_object, at_top, ends);
        }
        self.nesting = nesting;
        blocks
    }

    /// Records the events that end in the batch. Returns the number of leading blocks to validate: the scan ends with
    /// the block that has the end of an event that no other follows.
    #[inline(always)]
    fn note_events(&mut self, blocks: usize, stretch: &[u8]) -> usize {
        for index in 0..blocks {
            let scanned = &self.batch[index];
            let (tokens, mut ends) = (&scanned.tokens, scanned.ends);
            let mut unclear_text = tokens.unclear_text;
            let marks = tokens.separators() & scanned.at_top;
            if ends | marks == 0 {
                self.open.unclear_text |= unclear_text;
                continue;
            }
            let block_start = self.at + index * BLOCK_BYTES;
            let marks_before = self.marks.len();
            self.note_marks(marks, block_start);
            while ends != 0 {
                // All bits up to and including the lowest set one (blsmsk).
                let up_to = ends ^ (ends - 1);
                ends &= ends - 1;
                self.open.unclear_text |= unclear_text & up_to;
                unclear_text &= !up_to;
                let end = block_start + up_to.count_ones() as usize;
                let marks_end = marks_before + (marks & up_to).count_ones() as usize;
                if let Err(Undecided) = self.end_event(end, marks_end, stretch) {
                    self.is_ended = true;
                    return index + 1;
                }
            }
            self.open.unclear_text |= unclear_text;
            self.limit_marks();
        }
        blocks
    }

    /// Ends the event, and opens the one that follows it.
    fn end_event(&mut self, end: usize, marks_end: usize, stretch: &[u8]) -> Result<(), Undecided> {
        let open = &self.open;
        let event = stretch.get(open.start..end).ok_or(Undecided)?;
        if event.len() > self.event_bytes_max {
            return Err(Undecided);
        }
        if open.unclear_text != 0 {
            self.extra_visits += event.len() as u64;
            simdutf8::basic::from_utf8(event).map_err(|_| Undecided)?;
        }
        let after = stretch[end..].iter();
        let whitespace = after.take_while(|byte| is_whitespace(**byte)).count();
        self.extra_visits += whitespace as u64;
        let next = end + whitespace;
        if stretch.get(next) != Some(&b'{') {
            return Err(Undecided);
        }
        self.found.push(Whole {
            bytes: open.start..end,
            marks: (!open.has_too_many_marks).then_some(open.marks_start..marks_end),
        });
        self.open = OpenEvent {
            start: next,
            marks_start: marks_end,
            ..OpenEvent::default()
        };
        Ok(())
    }

    #[inline(always)]
    fn note_marks(&mut self, mut marks: u64, block_start: usize) {
        while marks != 0 {
            // Lossless: the caller keeps stretches below 4 GiB.
            self.marks.push(block_start as u32 + marks.trailing_zeros());
            marks &= marks - 1;
        }
    }

    /// Drops the marks of an event that has too many, so that they take a bounded amount of memory.
    fn limit_marks(&mut self) {
        let open = &mut self.open;
        open.has_too_many_marks |= self.marks.len() - open.marks_start > MARKS_MAX;
        if open.has_too_many_marks {
            self.marks.truncate(open.marks_start);
        }
    }

    /// Validates the blocks, and returns the number of leading ones that are valid.
    #[inline(always)]
    fn check_blocks(&mut self, blocks: usize, stretch: &[u8]) -> usize {
        let mut order = self.order_carry;
        for (index, scanned) in self.batch[..blocks].iter().enumerate() {
            let tokens = &scanned.tokens;
            let misplaced = order.misplaced(tokens, scanned.in_object, scanned.ends);
            let wrong = misplaced | tokens.broken;
            let undecided = tokens.unclear_scalars | tokens.unicode_escapes;
            if (wrong | undecided) == 0 {
                self.is_validated = false;
                continue;
            }
            let block_start = self.at + index * BLOCK_BYTES;
            let mut check = ByteCheck {
                block_start,
                stretch,
                is_validated: &mut self.is_validated,
                visits: &mut self.extra_visits,
            };
            if !check.is_valid(tokens, wrong) {
                return index;
            }
        }
        self.order_carry = order;
        blocks
    }
}

/// Validation of the bytes of one block that the masks do not decide.
struct ByteCheck<'a> {
    block_start: usize,
    stretch: &'a [u8],
    is_validated: &'a mut bool,
    visits: &'a mut u64,
}

impl ByteCheck<'_> {
    fn is_valid(&mut self, tokens: &Tokens, wrong: u64) -> bool {
        // The bytes of a scalar from the block before: adding 1 carries through a run that begins at the lowest bit.
        let continued = tokens.scalars & !tokens.scalar_starts & !tokens.scalars.wrapping_add(1);
        // If it was validated to its end, faults that the masks find in it do not count: they know plain numbers only.
        let validated = continued & all_if(*self.is_validated);
        wrong & !validated == 0
            && self.are_unicode_escapes(tokens.unicode_escapes)
            && self.are_scalars(tokens, tokens.unclear_scalars & !validated, continued)
    }

    fn are_unicode_escapes(&self, mut escapes: u64) -> bool {
        while escapes != 0 {
            let digits = self.block_start + escapes.trailing_zeros() as usize + 1;
            let digits = self.stretch.get(digits..digits + 4);
            if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                return false;
            }
            escapes &= escapes - 1;
        }
        true
    }

    /// Validates each scalar that has unclear bytes, to its end, also beyond the block.
    fn are_scalars(&mut self, tokens: &Tokens, mut unclear: u64, continued: u64) -> bool {
        *self.is_validated = false;
        while unclear != 0 {
            let first = unclear & unclear.wrapping_neg();
            if first & continued != 0 {
                // The part in the block before was plain digits, and where it began is not known here.
                return false;
            }
            let up_to = first | (first - 1);
            let start = 63 - (tokens.scalar_starts & up_to).leading_zeros() as usize;
            let start = self.block_start + start;
            let Some(end) = scalar_end(self.stretch, start) else {
                return false;
            };
            *self.visits += (end - start) as u64;
            let end = end - self.block_start;
            *self.is_validated = end > BLOCK_BYTES;
            unclear &= if end < BLOCK_BYTES { !0 << end } else { 0 };
        }
        true
    }
}

/// All ones or zero: a condition as a mask.
#[inline(always)]
fn all_if(condition: bool) -> u64 {
    0_u64.wrapping_sub(u64::from(condition))
}
