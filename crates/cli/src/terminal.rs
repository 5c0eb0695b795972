//! What people are told, on stderr.

use std::io::{self, Write as _};

/// Says the text and ends the line. What is said is no part of the result: where stderr is full,
/// closed or gone, the exit code tells what it would have told.
pub(crate) fn say(text: &str) {
    let mut line = printable(text);
    line.push('\n');
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// The text with control characters but line breaks written out, since names of objects may hold
/// any, and a terminal obeys some.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(printable("a\u{1b}[31mb\nc é"), "a\\u{1b}[31mb\nc é");
    }
}
