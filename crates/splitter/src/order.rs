//! Which kinds of tokens may follow which.

use crate::tokens::Tokens;

/// What the order of a block's tokens depends on in the blocks before it: one bit each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OrderCarry {
    /// The block ended inside a key.
    in_key: u64,
    /// The next block's first byte follows a token of this kind, with nothing but white space in between:
    after_value: u64,
    after_key: u64,
    after_separator: u64,
    /// The next block's first byte is where a key may begin.
    before_key: u64,
}

impl OrderCarry {
    /// A mask of the tokens that may not follow the token before them. `in_object` are the bytes whose innermost
    /// bracket is an object's. `ends` are the closing braces of events; what follows those is validated elsewhere.
    ///
    /// The rules, by the kind of the first of two tokens, which together are the grammar of RFC 8259:
    /// - key: a colon must follow, and follows nothing else;
    /// - value: no other value may follow; a comma follows nothing but a value;
    /// - colon or comma: no closing bracket may follow;
    /// - opening brace, or comma in an object: a string must follow, which is a key then, or a closing bracket;
    /// - opening bracket: a colon or comma may not follow, by the first two rules.
    ///
    /// Brackets that do not match are found by the loop over them.
    #[inline(always)]
    pub(crate) fn misplaced(&mut self, tokens: &Tokens, in_object: u64, ends: u64) -> u64 {
        // Most events have no white space between their tokens: a constant 0 lets the compiler drop the additions.
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
        let key_places = after(before_keys, whitespace, &mut self.before_key);
        let keys = tokens.opening_quotes & key_places;
        // A string is a run of ones from its opening quote to the byte before its closing one: adding the first bit
        // of a key's run carries to the closing quote.
        let (carried, overflow) = tokens.in_string.overflowing_add(keys | self.in_key);
        self.in_key = u64::from(overflow);
        let key_ends = carried & tokens.closing_quotes;
        let values = tokens.closing & !ends | tokens.closing_quotes & !key_ends | tokens.scalars;
        let value_starts = tokens.opening | tokens.opening_quotes | tokens.scalar_starts;

        let after_keys = after(key_ends, whitespace, &mut self.after_key);
        let after_values = after(values, whitespace, &mut self.after_value);
        let separators = tokens.separators();
        let after_separators = after(separators, whitespace, &mut self.after_separator);
        // The XOR finds both keys without a colon and colons without a key.
        after_keys ^ tokens.colons
            | after_values & value_starts
            | tokens.commas & !after_values
            | after_separators & tokens.closing
            | key_places & !(tokens.opening_quotes | tokens.closing)
    }
}

/// A mask of the first byte after each token that is not white space. Each byte of a scalar counts as a token.
#[inline(always)]
fn after(tokens: u64, whitespace: u64, carry: &mut u64) -> u64 {
    let next = tokens << 1 | *carry;
    // Adding the first bit of a run of white space to the run carries to the byte after it.
    let (carried, overflow) = next.overflowing_add(whitespace);
    *carry = tokens >> 63 | u64::from(overflow);
    carried & !whitespace
}
