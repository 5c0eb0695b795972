//! Messages for people, on stderr.

use std::io::{self, Write as _};

/// Prints the text and ends the line. Failures are ignored: messages are no part of the result, and the
/// exit code tells the same where stderr is full, closed or gone.
pub(crate) fn say(text: &str) {
    let mut line = printable(text);
    line.push('\n');
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// The text with control characters other than line breaks escaped, since names of objects may hold any of
/// them, and terminals interpret some.
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
