//! Validation of numbers and literals: the plain numbers of a block at once, others one by one.

use crate::block::Block;

/// What the numbers of a block depend on in the block before it: one bit each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NumberCarry {
    ends_with_digit: u64,
    ends_with_point: u64,
    /// The last byte is the leading zero of a number, which no digit may follow.
    ends_with_first_zero: u64,
    /// The next block's first byte follows a decimal point and digits, so that no second point is allowed.
    after_point: u64,
}

/// The result for the digits and decimal points of a block.
pub(crate) struct Numbers {
    /// Bytes of scalars other than the digits and the decimal point of a plain number, and those of misplaced ones.
    pub(crate) unclear: u64,
    /// Set for the first byte if it may not follow the end of the block before.
    pub(crate) is_broken: u64,
}

impl NumberCarry {
    #[inline(always)]
    pub(crate) fn check(&mut self, block: &Block, scalars: u64, starts: u64) -> Numbers {
        let digits = scalars & block.digits;
        let points = scalars & block.points;
        let first_zeros = starts & block.zeros;
        let leading_zeros = first_zeros & digits >> 1;
        let between_digits =
            points & (digits << 1 | self.ends_with_digit) & (digits >> 1 | 1 << 63);
        // Adding the bit of the first digit after a point to the run of digits carries to the byte after the run.
        let after_points = between_digits << 1 | self.after_point;
        let (carried, overflow) = after_points.overflowing_add(digits);
        let second_points = carried & between_digits;
        let is_broken = (self.ends_with_first_zero & digits | self.ends_with_point & !digits) & 1;
        self.after_point = between_digits >> 63 | u64::from(overflow);
        self.ends_with_digit = digits >> 63;
        self.ends_with_point = points >> 63;
        self.ends_with_first_zero = first_zeros >> 63;
        let clear = digits & !leading_zeros | between_digits & !second_points;
        Numbers {
            unclear: scalars & !clear,
            is_broken,
        }
    }
}

/// The end of the number or literal that begins at `start`. `None` if RFC 8259 does not allow it, or if the byte
/// after it is missing or neither white space, a comma nor a closing bracket.
pub(crate) fn scalar_end(bytes: &[u8], start: usize) -> Option<usize> {
    let rest = bytes.get(start..)?;
    let length = match rest.first()? {
        b't' => literal_length(rest, b"true")?,
        b'f' => literal_length(rest, b"false")?,
        b'n' => literal_length(rest, b"null")?,
        _ => number_length(rest)?,
    };
    let is_ended = matches!(
        rest.get(length)?,
        b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'
    );
    is_ended.then_some(start + length)
}

fn literal_length(rest: &[u8], literal: &[u8]) -> Option<usize> {
    rest.starts_with(literal).then_some(literal.len())
}

fn number_length(rest: &[u8]) -> Option<usize> {
    let mut length = usize::from(rest.first() == Some(&b'-'));
    length += match rest.get(length)? {
        b'0' => 1,
        _ => digits(&rest[length..])?,
    };
    if rest.get(length) == Some(&b'.') {
        length += 1 + digits(&rest[length + 1..])?;
    }
    if let Some(b'e' | b'E') = rest.get(length) {
        length += 1;
        length += usize::from(matches!(rest.get(length), Some(b'+' | b'-')));
        length += digits(&rest[length..])?;
    }
    Some(length)
}

/// The number of leading digits; `None` without any.
fn digits(rest: &[u8]) -> Option<usize> {
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_serde_json_on_short_scalars() {
        // All texts of up to five characters that scalars are made of, literals aside.
        let characters = b"0159-+.eE";
        let mut texts = vec![Vec::new()];
        for _ in 0..5 {
            let longer: Vec<Vec<u8>> = texts
                .iter()
                .flat_map(|text| characters.map(|byte| [text.as_slice(), &[byte]].concat()))
                .collect();
            for text in &longer {
                let is_number = serde_json::from_slice::<Box<serde_json::value::RawValue>>(text);
                let found = scalar_end(&[text.as_slice(), b","].concat(), 0);
                let expected = is_number.is_ok().then_some(text.len());
                assert_eq!(found, expected, "{}", String::from_utf8_lossy(text));
            }
            texts = longer;
        }
    }

    #[test]
    fn literals_are_taken_whole_and_alone() {
        for (text, expected) in [
            ("true,", Some(4)),
            ("false}", Some(5)),
            ("null]", Some(4)),
            ("null \n", Some(4)),
            ("nul,", None),
            ("nulll,", None),
            ("true1,", None),
            ("True,", None),
            ("12\"", None),
            ("12", None),
            ("", None),
        ] {
            assert_eq!(scalar_end(text.as_bytes(), 0), expected, "{text}");
        }
    }
}
