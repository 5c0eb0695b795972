//! Finds whole valid events in bytes that lie in memory, a block of 64 bytes at a time.
//!
//! The scanner only ever says yes: what it finds are objects that the automaton in `grammar` takes
//! as well. Whatever it can't vouch for, invalid or merely unusual, it leaves to the automaton.
//!
//! Validity is checked for all tokens of a block at once. A token stands where it may if its kind
//! goes together with the kind of the token before it, and with whether the two stand in an object
//! or an array. The first is a question of neighbours: a mask of tokens, shifted by one and carried
//! over white space by an addition, gives the tokens behind them. The second takes a walk over the
//! brackets, which are few. Numbers and literals are looked at one by one, unless they are of the plain
//! kind.

use std::ops::Range;

use crate::block::{BLOCK_BYTES, Block, Kernel};
use crate::limits::Limits;
use crate::scalar::scalar_end;
use crate::splitter::is_whitespace;

/// Deepest nesting that is followed: one bit a level. A deeper event is left to the automaton.
const NESTING_MAX: u32 = 64;

/// Bytes after which a scan pauses, so that what it found is still in the processor's cache.
const PAUSE_BYTES: usize = 16 * 1024;

/// Top-level colons and commas that are noted for one event; an event with more has none noted.
const MARKS_MAX: usize = 512;

/// A scan through one stretch of bytes, which begins with an opening brace.
#[derive(Debug)]
pub(crate) struct Scanner {
    event_bytes_max: usize,
    nesting_max: u32,
    /// Position of the next block.
    at: usize,
    is_ended: bool,
    found: Vec<Whole>,
    marks: Vec<u32>,
    open: OpenEvent,
    carry: Carry,
    /// Bytes that were looked at beside the blocks.
    extra_visits: u64,
}

/// A whole event.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    /// Where the event lies in the stretch.
    pub(crate) bytes: Range<usize>,
    /// Whether the next byte that is no white space is an opening brace.
    pub(crate) is_followed: bool,
    marks: Option<Range<usize>>,
}

/// The event that the next byte belongs to.
#[derive(Debug, Default)]
struct OpenEvent {
    start: usize,
    /// Index of its first mark.
    marks_start: usize,
    has_too_many_marks: bool,
    has_not_ascii: bool,
    /// The open objects (1) and arrays (0), the innermost lowest.
    nesting: u64,
    depth: u32,
}

/// What a block hands to the next one.
#[derive(Debug, Default)]
struct Carry {
    /// All ones if the block ended in a string.
    in_string: u64,
    /// Each of these is one bit: whether the next block's first byte is escaped, goes on with a
    /// scalar, is in a key, or is behind the tokens that the name says.
    escaped: u64,
    in_scalar: u64,
    in_key: u64,
    behind_value: u64,
    behind_key: u64,
    behind_separator: u64,
    before_key: u64,
}

/// The block holds what the scanner can't vouch for.
struct Doubtful;

impl Scanner {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            event_bytes_max: limits.event_bytes_max,
            nesting_max: NESTING_MAX.min(u32::try_from(limits.nesting_max).unwrap_or(u32::MAX)),
            at: 0,
            is_ended: true,
            found: Vec::new(),
            marks: Vec::new(),
            open: OpenEvent::default(),
            carry: Carry::default(),
            extra_visits: 0,
        }
    }

    /// Begins a scan. The stretch that is then scanned must begin with an opening brace, and be
    /// the same until the scan has ended.
    pub(crate) fn start(&mut self) {
        self.at = 0;
        self.is_ended = false;
        self.found.clear();
        self.marks.clear();
        self.open = OpenEvent::default();
        self.carry = Carry::default();
        self.extra_visits = 0;
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// What the last call of [`scan`](Self::scan) found: events that follow on each other.
    pub(crate) fn found(&self) -> &[Whole] {
        &self.found
    }

    /// The positions of the event's top-level colons and commas in the stretch, in order, if they
    /// are known.
    pub(crate) fn marks(&self, whole: &Whole) -> Option<&[u32]> {
        whole.marks.clone().map(|marks| &self.marks[marks])
    }

    /// Position up to which the bytes were looked at.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn byte_visits(&self) -> u64 {
        self.at as u64 + self.extra_visits
    }

    /// Goes on until some events are found or the scan ends: at the end of the bytes, behind an
    /// event that no other follows, or where the scanner can't vouch for what comes.
    #[inline(always)]
    pub(crate) fn scan<K: Kernel>(&mut self, bytes: &[u8]) {
        self.found.clear();
        self.marks.drain(..self.open.marks_start);
        self.open.marks_start = 0;
        let begin = self.at;
        while !self.is_ended && (self.found.is_empty() || self.at - begin < PAUSE_BYTES) {
            let found_before = self.found.len();
            let scanned = match bytes[self.at..].first_chunk::<BLOCK_BYTES>() {
                Some(block) => self.scan_block::<K>(block, bytes),
                None => self.scan_last_block::<K>(bytes),
            };
            self.at = (self.at + BLOCK_BYTES).min(bytes.len());
            if let Err(Doubtful) = scanned {
                self.found.truncate(found_before);
                self.is_ended = true;
            }
        }
    }

    #[inline(always)]
    fn scan_last_block<K: Kernel>(&mut self, bytes: &[u8]) -> Result<(), Doubtful> {
        let rest = &bytes[self.at..];
        let mut block = [b' '; BLOCK_BYTES];
        block[..rest.len()].copy_from_slice(rest);
        self.is_ended = true;
        self.scan_block::<K>(&block, bytes)
    }

    #[inline(always)]
    fn scan_block<K: Kernel>(
        &mut self,
        bytes: &[u8; BLOCK_BYTES],
        stretch: &[u8],
    ) -> Result<(), Doubtful> {
        let block = K::classify(bytes);
        let escaped = self.carry.escaped(block.backslashes);
        let quotes = block.quotes & !escaped;
        // From each opening quote to the byte before the closing one.
        let in_string = K::parity(quotes) ^ self.carry.in_string;
        self.carry.in_string = 0_u64.wrapping_sub(in_string >> 63);
        let tokens = Tokens::new(&block, quotes, in_string, &mut self.carry.in_scalar);

        let walk = self.walk_brackets(&tokens, &block, stretch)?;
        let misplaced =
            self.carry.misplaced(&tokens, walk.in_object, walk.ends) | block.control & in_string;
        if misplaced & walk.meant != 0 {
            return Err(Doubtful);
        }
        if escaped & walk.meant != 0 {
            let (escapable, unicode) = K::escapable(bytes);
            self.check_escapes(escaped & walk.meant, escapable, unicode, stretch)?;
        }
        self.check_scalars(&tokens, &block, walk.meant, stretch)?;
        self.note_marks(tokens.separators() & walk.at_top);
        Ok(())
    }

    /// Follows the nesting through the block, and notes the events that end in it.
    #[inline(always)]
    fn walk_brackets(
        &mut self,
        tokens: &Tokens,
        block: &Block,
        stretch: &[u8],
    ) -> Result<Walk, Doubtful> {
        let open = &mut self.open;
        let mut walk = Walk {
            in_object: all_if(open.nesting & 1 == 1),
            at_top: all_if(open.depth == 1),
            ends: 0,
            meant: !0,
        };
        let marks_before = self.marks.len();
        let mut not_ascii = block.not_ascii;
        let mut brackets = tokens.opening | tokens.closing;
        while brackets != 0 {
            let bit = brackets & brackets.wrapping_neg();
            brackets ^= bit;
            let behind = !(bit | (bit - 1));
            let is_object = u64::from(block.of_object & bit != 0);
            let before = (open.nesting & 1 == 1, open.depth == 1);
            if tokens.opening & bit != 0 {
                open.nesting = open.nesting << 1 | is_object;
                open.depth += 1;
                if open.depth > self.nesting_max {
                    return Err(Doubtful);
                }
            } else {
                if open.depth == 0 || open.nesting & 1 != is_object {
                    return Err(Doubtful);
                }
                open.nesting >>= 1;
                open.depth -= 1;
            }
            walk.in_object ^= behind & all_if((open.nesting & 1 == 1) != before.0);
            walk.at_top ^= behind & all_if((open.depth == 1) != before.1);
            if open.depth > 0 {
                continue;
            }

            walk.ends |= bit;
            let end = self.at + bit.trailing_zeros() as usize + 1;
            let event = stretch.get(open.start..end).ok_or(Doubtful)?;
            let has_not_ascii = open.has_not_ascii || not_ascii & !behind != 0;
            self.extra_visits += if has_not_ascii { event.len() as u64 } else { 0 };
            if event.len() > self.event_bytes_max
                || has_not_ascii && simdutf8::basic::from_utf8(event).is_err()
            {
                return Err(Doubtful);
            }
            let marks_in_block = tokens.separators() & walk.at_top & !behind;
            let marks_end = marks_before + marks_in_block.count_ones() as usize;
            let whitespace = stretch[end..]
                .iter()
                .take_while(|byte| is_whitespace(**byte));
            let next = end + whitespace.count();
            self.extra_visits += (next - end) as u64;
            let is_followed = stretch.get(next) == Some(&b'{');
            self.found.push(Whole {
                bytes: open.start..end,
                is_followed,
                marks: (!open.has_too_many_marks).then_some(open.marks_start..marks_end),
            });
            not_ascii &= behind;
            *open = OpenEvent {
                start: next,
                marks_start: marks_end,
                ..OpenEvent::default()
            };
            if !is_followed {
                self.is_ended = true;
                walk.meant = !behind;
                break;
            }
        }
        open.has_not_ascii |= not_ascii != 0;
        Ok(walk)
    }

    #[inline(always)]
    fn check_escapes(
        &self,
        escaped: u64,
        escapable: u64,
        unicode: u64,
        stretch: &[u8],
    ) -> Result<(), Doubtful> {
        if escaped & !escapable != 0 {
            return Err(Doubtful);
        }
        let mut unicode = escaped & unicode;
        while unicode != 0 {
            let digits = self.at + unicode.trailing_zeros() as usize + 1;
            let digits = stretch.get(digits..digits + 4).ok_or(Doubtful)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return Err(Doubtful);
            }
            unicode &= unicode - 1;
        }
        Ok(())
    }

    /// Checks the numbers and literals that begin in the block. Digits, with a point in
    /// between or not, need no look, unless a zero leads them or the block does not show their end.
    #[inline(always)]
    fn check_scalars(
        &mut self,
        tokens: &Tokens,
        block: &Block,
        meant: u64,
        stretch: &[u8],
    ) -> Result<(), Doubtful> {
        let (scalars, starts) = (tokens.scalars, tokens.scalar_starts);
        // What an earlier block began was looked at there, to its end.
        let looked_at = scalars & !starts & !scalars.wrapping_add(1);
        let digits = scalars & block.digits;
        let leading_zeros = starts & block.zeros & digits >> 1;
        // A point is clear between digits, if no other point follows on those behind it.
        let points = scalars & block.points & digits << 1 & digits >> 1;
        let second_points = (points << 1).wrapping_add(digits) & points;
        let clear = digits | points & !second_points;
        let mut unclear =
            (scalars & !clear | leading_zeros | scalars & 1 << 63) & !looked_at & meant;
        while unclear != 0 {
            let up_to = unclear ^ (unclear - 1);
            let start = 63 - (starts & up_to).leading_zeros() as usize;
            let end = scalar_end(stretch, self.at + start).ok_or(Doubtful)?;
            self.extra_visits += (end - self.at - start) as u64;
            unclear &= u32::try_from(end - self.at)
                .ok()
                .and_then(|length| (!0_u64).checked_shl(length))
                .unwrap_or(0);
        }
        Ok(())
    }

    #[inline(always)]
    fn note_marks(&mut self, mut marks: u64) {
        while marks != 0 {
            // Lossless: the caller keeps stretches below 4 GiB.
            self.marks.push(self.at as u32 + marks.trailing_zeros());
            marks &= marks - 1;
        }
        let open = &mut self.open;
        if self.marks.len() - open.marks_start > MARKS_MAX {
            open.has_too_many_marks = true;
        }
        if open.has_too_many_marks {
            self.marks.truncate(open.marks_start);
        }
    }
}

/// What the walk over a block's brackets showed.
struct Walk {
    /// Where the innermost open bracket is an object's.
    in_object: u64,
    /// Where the event's own object is the innermost.
    at_top: u64,
    /// The braces that end events.
    ends: u64,
    /// The bytes up to the end of an event that no other follows; else all.
    meant: u64,
}

/// A block's tokens outside of strings; strings by their quotes.
struct Tokens {
    opening: u64,
    opening_braces: u64,
    closing: u64,
    colons: u64,
    commas: u64,
    opening_quotes: u64,
    closing_quotes: u64,
    in_string: u64,
    whitespace: u64,
    /// Every byte of every number and literal, and whatever has no place in JSON.
    scalars: u64,
    /// The first byte of each.
    scalar_starts: u64,
}

impl Tokens {
    #[inline(always)]
    fn new(block: &Block, quotes: u64, in_string: u64, in_scalar: &mut u64) -> Self {
        let outside = !in_string;
        let structure = block.opening | block.closing | block.colons | block.commas;
        let scalars = !(in_string | quotes | structure | block.whitespace);
        let scalar_starts = scalars & !(scalars << 1 | *in_scalar);
        *in_scalar = scalars >> 63;
        Self {
            opening: block.opening & outside,
            opening_braces: block.opening & block.of_object & outside,
            closing: block.closing & outside,
            colons: block.colons & outside,
            commas: block.commas & outside,
            opening_quotes: quotes & in_string,
            closing_quotes: quotes & outside,
            in_string,
            whitespace: block.whitespace & outside,
            scalars,
            scalar_starts,
        }
    }

    #[inline(always)]
    fn separators(&self) -> u64 {
        self.colons | self.commas
    }
}

impl Carry {
    /// The bytes behind a backslash that is not escaped itself.
    #[inline(always)]
    fn escaped(&mut self, backslashes: u64) -> u64 {
        if backslashes == 0 {
            return std::mem::take(&mut self.escaped);
        }
        // A run of backslashes escapes what is behind it if its length is odd. Adding a run's first
        // bit to the run carries to the bit behind; even and odd places tell the length.
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let backslashes = backslashes & !self.escaped;
        let behind = backslashes << 1 | self.escaped;
        let odd_starts = backslashes & !EVEN & !behind;
        let (carried, overflow) = odd_starts.overflowing_add(backslashes);
        self.escaped = u64::from(overflow);
        (EVEN ^ carried << 1) & behind
    }

    /// The tokens that can't stand behind the one before them. `ends` are the closing braces that end
    /// events: what comes behind them is checked elsewhere.
    ///
    /// Where a wrong pair is caught, by the kind of its first token:
    /// - key: a colon must follow, and follows nothing else;
    /// - value: no other value may follow; a comma must follow a value;
    /// - colon or comma: no closing bracket may follow;
    /// - opening brace, or comma in an object: a string must follow, which is a key then, or a
    ///   closing bracket;
    /// - opening bracket: what may not follow, a colon or comma, is caught by the first two.
    ///
    /// Brackets that do not go together are caught by the walk over them.
    #[inline(always)]
    fn misplaced(&mut self, tokens: &Tokens, in_object: u64, ends: u64) -> u64 {
        let whitespace = tokens.whitespace;
        let before_keys = tokens.opening_braces | tokens.commas & in_object;
        let key_places = behind(before_keys, whitespace, &mut self.before_key);
        let keys = tokens.opening_quotes & key_places;
        // Adding a key's first bit to its string's run carries to the closing quote.
        let (carried, overflow) = tokens.in_string.overflowing_add(keys | self.in_key);
        self.in_key = u64::from(overflow);
        let key_ends = carried & tokens.closing_quotes;
        let values = tokens.closing & !ends | tokens.closing_quotes & !key_ends | tokens.scalars;
        let value_starts = tokens.opening | tokens.opening_quotes | tokens.scalar_starts;

        let behind_keys = behind(key_ends, whitespace, &mut self.behind_key);
        let behind_values = behind(values, whitespace, &mut self.behind_value);
        let separators = tokens.separators();
        let behind_separators = behind(separators, whitespace, &mut self.behind_separator);
        behind_keys ^ tokens.colons
            | behind_values & value_starts
            | tokens.commas & !behind_values
            | behind_separators & tokens.closing
            | key_places & !(tokens.opening_quotes | tokens.closing)
    }
}

/// The first bytes behind the tokens that are no white space. A scalar's bytes count as tokens each.
#[inline(always)]
fn behind(tokens: u64, whitespace: u64, carry: &mut u64) -> u64 {
    let next = tokens << 1 | *carry;
    // Adding to the first bit of a run of white space carries to the byte behind it.
    let (carried, overflow) = next.overflowing_add(whitespace);
    *carry = tokens >> 63 | u64::from(overflow);
    carried & !whitespace
}

#[inline(always)]
fn all_if(condition: bool) -> u64 {
    0_u64.wrapping_sub(u64::from(condition))
}
