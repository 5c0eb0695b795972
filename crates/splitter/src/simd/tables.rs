//! Lookup tables for byte shuffles (`pshufb`), indexed by the low four bits of a byte.

/// White space by RFC 8259; its four characters differ in their low four bits.
pub(super) const WHITESPACE: [u8; 16] = by_low_bits(b" \t\n\r");
/// The characters that may be escaped, except `b` and `r`, which have the low four bits of the quote.
pub(super) const ESCAPABLE: [u8; 16] = by_low_bits(b"\"\\/fntu");

/// A table of characters whose low four bits differ, each at the index of its low four bits.
const fn by_low_bits(characters: &[u8]) -> [u8; 16] {
    // The other entries must equal no byte that is looked up in them: 1 is looked up at index 1 only, which has 0.
    let mut table = [1; 16];
    table[1] = 0;
    let mut index = 0;
    while index < characters.len() {
        table[(characters[index] & 0xf) as usize] = characters[index];
        index += 1;
    }
    table
}
