//! RFC 8259 and UTF-8 as an automaton over single bytes.

/// Validates one JSON value, with the UTF-8 of its strings in the same pass. Memory is one bit for each level of
/// nesting.
#[derive(Debug)]
pub(crate) struct Grammar {
    state: State,
    string_is_key: bool,
    literal_rest: &'static [u8],
    nesting: Nesting,
}

/// The effect of one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Belongs to the value; neither opens nor closes anything.
    Inside,
    /// Opens an object or array.
    Opened,
    /// Closes an object (`true`) or array; at depth 0 the value is complete.
    Closed { object: bool },
    /// Ends a string or literal that is the whole value.
    ScalarEnded,
    /// Does not belong to the number before it, which is the whole value.
    NumberEndedBefore,
    /// Is not allowed here.
    Failed(Fault),
}

/// Why a byte is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Syntax,
    InvalidUtf8,
    /// Opens a level beyond those that are tracked.
    TooDeep,
}

/// Named for what may come next, or for what the last byte was part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    ArrayFirst,
    ObjectFirst,
    Key,
    Colon,
    AfterValue,
    Text,
    Escape,
    /// So many hexadecimal digits of `\uXXXX` are due.
    Hex(u8),
    /// So many continuation bytes are due, the next of them within the bounds.
    Continuation {
        left: u8,
        low: u8,
        high: u8,
    },
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    Literal,
}

impl Grammar {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Value,
            string_is_key: false,
            literal_rest: b"",
            nesting: Nesting::default(),
        }
    }

    /// Starts over with the memory allocated so far.
    pub(crate) fn reset(&mut self) {
        self.state = State::Value;
        self.nesting.depth = 0;
    }

    /// The number of open objects and arrays.
    pub(crate) fn depth(&self) -> usize {
        self.nesting.depth
    }

    /// Whether the value is a complete number. Nothing in a number marks its end: only a byte that does not belong
    /// to it, or the end of the stream, ends it.
    pub(crate) fn is_whole_number(&self) -> bool {
        self.depth() == 0
            && matches!(
                self.state,
                State::Zero | State::Integer | State::Fraction | State::ExponentDigits
            )
    }

    /// The number of leading bytes that are plain ASCII characters of the current string; 0 outside of strings. They
    /// can be skipped, because `step` would not change the state.
    pub(crate) fn plain_text_length(&self, bytes: &[u8]) -> usize {
        if self.state != State::Text {
            return 0;
        }
        // SWAR, eight bytes at a time: a lane's high bit is set if the lane is a quote, a backslash, a control
        // character or not ASCII. `x - ONES & !x` finds zero bytes; a borrow from a lower lane may set bits above the
        // first match, which `trailing_zeros` ignores.
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGHS: u64 = 0x8080_8080_8080_8080;
        let mut length = 0;
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let mut lanes = [0; 8];
            lanes.copy_from_slice(word);
            let lanes = u64::from_le_bytes(lanes);
            let zero = |x: u64| x.wrapping_sub(ONES) & !x;
            let special = (zero(lanes ^ (ONES * u64::from(b'"')))
                | zero(lanes ^ (ONES * u64::from(b'\\')))
                | (lanes.wrapping_sub(ONES * 0x20) & !lanes)
                | lanes)
                & HIGHS;
            if special != 0 {
                return length + special.trailing_zeros() as usize / 8;
            }
            length += 8;
        }
        let rest = words.remainder();
        length
            + rest
                .iter()
                .position(|&byte| matches!(byte, b'"' | b'\\' | 0..=0x1f | 0x80..))
                .unwrap_or(rest.len())
    }

    /// Reads one byte. After [`Step::Failed`] or the end of the value the automaton must be reset.
    pub(crate) fn step(&mut self, byte: u8) -> Step {
        match self.state {
            State::Text => self.text(byte),
            State::AfterValue => self.after_value(byte),
            State::Colon => match byte {
                b' ' | b'\t' | b'\n' | b'\r' => Step::Inside,
                b':' => self.go(State::Value),
                _ => fail(byte),
            },
            State::ObjectFirst => match byte {
                b'}' => self.close(byte),
                _ => self.key(byte),
            },
            State::Key => self.key(byte),
            State::Value => self.value(byte),
            State::ArrayFirst => match byte {
                b']' => self.close(byte),
                _ => self.value(byte),
            },
            State::Escape => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.go(State::Text),
                b'u' => self.go(State::Hex(4)),
                _ => fail(byte),
            },
            State::Hex(left) => match byte {
                b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' if left == 1 => self.go(State::Text),
                b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' => self.go(State::Hex(left - 1)),
                _ => fail(byte),
            },
            State::Continuation { left, low, high } => match left {
                _ if byte < low || byte > high => Step::Failed(Fault::InvalidUtf8),
                1 => self.go(State::Text),
                _ => self.go(continuation(left - 1)),
            },
            State::Literal => self.literal(byte),
            _ => self.number(byte),
        }
    }

    fn go(&mut self, state: State) -> Step {
        self.state = state;
        Step::Inside
    }

    fn value(&mut self, byte: u8) -> Step {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => Step::Inside,
            b'"' => {
                self.string_is_key = false;
                self.go(State::Text)
            }
            b'{' => self.open(true, State::ObjectFirst),
            b'[' => self.open(false, State::ArrayFirst),
            b'-' => self.go(State::Minus),
            b'0' => self.go(State::Zero),
            b'1'..=b'9' => self.go(State::Integer),
            b't' => self.start_literal(b"rue"),
            b'f' => self.start_literal(b"alse"),
            b'n' => self.start_literal(b"ull"),
            _ => fail(byte),
        }
    }

    fn open(&mut self, object: bool, state: State) -> Step {
        self.nesting.push(object);
        self.state = state;
        Step::Opened
    }

    fn close(&mut self, byte: u8) -> Step {
        let object = byte == b'}';
        if self.nesting.top_is_object() != Some(object) {
            return Step::Failed(Fault::Syntax);
        }
        self.nesting.depth -= 1;
        self.state = State::AfterValue;
        Step::Closed { object }
    }

    fn key(&mut self, byte: u8) -> Step {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => Step::Inside,
            b'"' => {
                self.string_is_key = true;
                self.go(State::Text)
            }
            _ => fail(byte),
        }
    }

    fn after_value(&mut self, byte: u8) -> Step {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => Step::Inside,
            b',' if self.nesting.top_is_object() == Some(true) => self.go(State::Key),
            b',' => self.go(State::Value),
            b'}' | b']' => self.close(byte),
            _ => fail(byte),
        }
    }

    fn text(&mut self, byte: u8) -> Step {
        match byte {
            b'"' if self.string_is_key => self.go(State::Colon),
            b'"' => self.end_scalar(),
            b'\\' => self.go(State::Escape),
            0x20..=0x7f => Step::Inside,
            0x00..=0x1f => Step::Failed(Fault::Syntax),
            // Well-formed sequences by the Unicode standard, table 3-7. The narrower bounds of the second byte exclude
            // overlong forms (e0, f0), surrogates (ed) and code points above U+10FFFF (f4).
            0xc2..=0xdf => self.go(continuation(1)),
            0xe0 => self.go(bounded_continuation(2, 0xa0, 0xbf)),
            0xed => self.go(bounded_continuation(2, 0x80, 0x9f)),
            0xe1..=0xef => self.go(continuation(2)),
            0xf0 => self.go(bounded_continuation(3, 0x90, 0xbf)),
            0xf1..=0xf3 => self.go(continuation(3)),
            0xf4 => self.go(bounded_continuation(3, 0x80, 0x8f)),
            0x80..=0xc1 | 0xf5..=0xff => Step::Failed(Fault::InvalidUtf8),
        }
    }

    fn end_scalar(&mut self) -> Step {
        self.state = State::AfterValue;
        if self.depth() == 0 {
            Step::ScalarEnded
        } else {
            Step::Inside
        }
    }

    fn start_literal(&mut self, rest: &'static [u8]) -> Step {
        self.literal_rest = rest;
        self.go(State::Literal)
    }

    fn literal(&mut self, byte: u8) -> Step {
        match self.literal_rest {
            [expected, rest @ ..] if *expected == byte => {
                self.literal_rest = rest;
                if rest.is_empty() {
                    self.end_scalar()
                } else {
                    Step::Inside
                }
            }
            _ => fail(byte),
        }
    }

    fn number(&mut self, byte: u8) -> Step {
        let next = match (self.state, byte) {
            (State::Minus, b'0') => State::Zero,
            (State::Minus | State::Integer, b'0'..=b'9') => State::Integer,
            (State::Zero | State::Integer, b'.') => State::Point,
            (State::Point | State::Fraction, b'0'..=b'9') => State::Fraction,
            (State::Zero | State::Integer | State::Fraction, b'e' | b'E') => State::Exponent,
            (State::Exponent, b'+' | b'-') => State::ExponentSign,
            (State::Exponent | State::ExponentSign | State::ExponentDigits, b'0'..=b'9') => {
                State::ExponentDigits
            }
            (State::Zero | State::Integer | State::Fraction | State::ExponentDigits, _) => {
                if self.depth() == 0 {
                    return Step::NumberEndedBefore;
                }
                return self.after_value_of_number(byte);
            }
            _ => return fail(byte),
        };
        self.go(next)
    }

    fn after_value_of_number(&mut self, byte: u8) -> Step {
        self.state = State::AfterValue;
        self.after_value(byte)
    }
}

fn continuation(left: u8) -> State {
    bounded_continuation(left, 0x80, 0xbf)
}

fn bounded_continuation(left: u8, low: u8, high: u8) -> State {
    State::Continuation { left, low, high }
}

/// The fault of a byte that is not allowed here: distinguishes bytes that begin no UTF-8 sequence from
/// misplaced characters.
fn fail(byte: u8) -> Step {
    match byte {
        0x80..=0xc1 | 0xf5..=0xff => Step::Failed(Fault::InvalidUtf8),
        _ => Step::Failed(Fault::Syntax),
    }
}

/// A bit for each open object (1) and array (0), outermost first.
#[derive(Debug, Default)]
struct Nesting {
    words: Vec<u64>,
    depth: usize,
}

impl Nesting {
    fn push(&mut self, object: bool) {
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if word == self.words.len() {
            self.words.push(0);
        }
        self.words[word] = self.words[word] & !(1 << bit) | u64::from(object) << bit;
        self.depth += 1;
    }

    fn top_is_object(&self) -> Option<bool> {
        let top = self.depth.checked_sub(1)?;
        Some(self.words[top / 64] >> (top % 64) & 1 == 1)
    }
}

/// White space by RFC 8259, which is less than by ASCII or Unicode.
pub(crate) fn is_whitespace(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
