//! Tables that a shuffle looks characters up in by their low four bits.

/// The white space of RFC 8259.
pub(super) const WHITESPACE: [u8; 16] = by_low_bits(b" \t\n\r");
/// What may be escaped but `b` and `r`, which share their low bits with the quote.
pub(super) const ESCAPABLE: [u8; 16] = by_low_bits(b"\"\\/fntu");

/// A table of characters whose low four bits differ, each in the place that its bits name.
const fn by_low_bits(characters: &[u8]) -> [u8; 16] {
    // The other places hold what never leads there: only a byte with low bits 1 leads to place 1.
    let mut table = [1; 16];
    table[1] = 0;
    let mut index = 0;
    while index < characters.len() {
        table[(characters[index] & 0xf) as usize] = characters[index];
        index += 1;
    }
    table
}
