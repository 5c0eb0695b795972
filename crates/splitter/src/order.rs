//! Which tokens may stand behind which.

use crate::tokens::Tokens;

/// What the order of a block's tokens depends on in the blocks before: one bit each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OrderCarry {
    /// The block ended in a key.
    in_key: u64,
    /// The next block's first byte is behind, with nothing but white space in between:
    behind_value: u64,
    behind_key: u64,
    behind_separator: u64,
    before_key: u64,
}

impl OrderCarry {
    /// The tokens that can't stand behind the one before them. `in_object` is where the innermost
    /// bracket is an object's. `ends` are the closing braces that end events: what comes behind
    /// them is checked elsewhere.
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
    pub(crate) fn misplaced(&mut self, tokens: &Tokens, in_object: u64, ends: u64) -> u64 {
        // Most events have no white space between their tokens.
        if tokens.whitespace == 0 {
            self.misplaced_around(tokens, in_object, ends, 0)
        } else {
            self.misplaced_around(tokens, in_object, ends, tokens.whitespace)
        }
    }

    #[inline(always)]
    fn misplaced_around(
        &mut self,
        tokens: &Tokens,
        in_object: u64,
        ends: u64,
        whitespace: u64,
    ) -> u64 {
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
