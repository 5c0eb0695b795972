//! The lexer of the envelope: the top-level members of one JSON object.

use event_recovery_splitter::Separators;
use memchr::memchr2;

/// One top-level member of an event, as written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// The key's token, with its quotes and escapes.
    pub key: &'a [u8],
    /// The value's bytes, without white space around them.
    pub value: &'a [u8],
}

/// Iterates over the top-level members of one JSON object, in order and in one pass.
///
/// It does not validate, because the splitter has done so. On bytes that are not an object it ends early or yields
/// arbitrary parts of them, but it ends and does not panic.
#[derive(Debug, Clone)]
pub(crate) struct Members<'a> {
    event: &'a [u8],
    at: usize,
}

impl<'a> Members<'a> {
    pub(crate) fn new(event: &'a [u8]) -> Self {
        let open = skip(event, 0, is_white_space);
        let at = match event.get(open) {
            Some(b'{') => open + 1,
            _ => event.len(),
        };
        Self { event, at }
    }

    /// The next member, after the start of its key for [`member_at`].
    pub(crate) fn next_with_start(&mut self) -> Option<(usize, Member<'a>)> {
        let start = skip(self.event, self.at, |byte| {
            byte == b',' || is_white_space(byte)
        });
        let (member, end) = lex(self.event, start)?;
        self.at = end;
        Some((start, member))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        self.next_with_start().map(|(_, member)| member)
    }
}

/// The same as [`Members`], from the separators that the splitter recorded: values are not read.
pub(crate) fn separated<'a>(
    event: &'a [u8],
    separators: Separators<'a>,
) -> impl Iterator<Item = (usize, Member<'a>)> {
    let mut positions = separators.positions();
    let mut at = skip(event, 0, is_white_space) + 1;
    std::iter::from_fn(move || {
        let colon = positions.next()?;
        let end = positions.next().unwrap_or(event.len().saturating_sub(1));
        let start = skip(event, at, is_white_space);
        at = end + 1;
        let member = Member {
            key: event.get(start..colon)?.trim_ascii_end(),
            value: event.get(colon + 1..end)?.trim_ascii(),
        };
        Some((start, member))
    })
}

/// The member whose key starts at `start`, a position from [`Members::next_with_start`].
pub(crate) fn member_at(event: &[u8], start: usize) -> Option<Member<'_>> {
    lex(event, start).map(|(member, _)| member)
}

/// The key that starts at `start`, with its quotes.
pub(crate) fn key_at(event: &[u8], start: usize) -> &[u8] {
    event
        .get(start..string_end(event, start))
        .unwrap_or_default()
}

fn lex(event: &[u8], key_start: usize) -> Option<(Member<'_>, usize)> {
    if event.get(key_start) != Some(&b'"') {
        return None;
    }
    let key_end = string_end(event, key_start);
    let colon = skip(event, key_end, is_white_space);
    if event.get(colon) != Some(&b':') {
        return None;
    }
    let value_start = skip(event, colon + 1, is_white_space);
    let value_end = value_end(event, value_start);
    let member = Member {
        key: event.get(key_start..key_end)?,
        value: event.get(value_start..value_end)?,
    };
    (value_end > value_start).then_some((member, value_end))
}

fn value_end(event: &[u8], start: usize) -> usize {
    match event.get(start) {
        Some(b'"') => string_end(event, start),
        Some(b'{' | b'[') => nested_end(event, start),
        _ => skip(event, start, |byte| {
            !matches!(byte, b',' | b'}' | b']') && !is_white_space(byte)
        }),
    }
}

/// The position after an object or array, found by counting depth: without recursion, so that no depth overflows the
/// stack, and without matching kinds of brackets, which the splitter has done.
fn nested_end(event: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(byte) = event.get(at) {
        match byte {
            b'"' => {
                at = string_end(event, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    event.len()
}

/// The position after the closing quote of the string whose opening quote is at `open`.
fn string_end(event: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    loop {
        let rest = event.get(at..).unwrap_or_default();
        match memchr2(b'"', b'\\', rest) {
            Some(length) if rest[length] == b'"' => return at + length + 1,
            Some(length) => at += length + 2,
            None => return event.len(),
        }
    }
}

fn skip(event: &[u8], start: usize, skipped: impl Fn(u8) -> bool) -> usize {
    let rest = event.get(start..).unwrap_or_default();
    let length = rest.iter().position(|&byte| !skipped(byte));
    start + length.unwrap_or(rest.len())
}

fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn members_come_out_as_they_are_written() {
        let event = concat!(
            " \r\n{ \"a\" : 1 ,\"b\\\"}\":\"}{\\\\\",\t\"c\":{\"x\":[\"]}\\\"\",{}]},",
            "\"d\":[ [1,2] , {} ]\n,\"\":null,\"e\":-1.5e+3,\"f\":true}  ",
        );
        let found: Vec<(&str, &str)> = Members::new(event.as_bytes())
            .map(|member| {
                let text = |bytes| std::str::from_utf8(bytes).unwrap();
                (text(member.key), text(member.value))
            })
            .collect();
        let expected = [
            ("\"a\"", "1"),
            ("\"b\\\"}\"", "\"}{\\\\\""),
            ("\"c\"", "{\"x\":[\"]}\\\"\",{}]}"),
            ("\"d\"", "[ [1,2] , {} ]"),
            ("\"\"", "null"),
            ("\"e\"", "-1.5e+3"),
            ("\"f\"", "true"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_member_is_found_again_by_its_start() {
        let event = b"{\"a\": [1] , \"b\":{}}";
        let mut members = Members::new(event);
        while let Some((start, member)) = members.next_with_start() {
            assert_eq!(member_at(event, start), Some(member));
            assert_eq!(key_at(event, start), member.key);
        }
    }

    #[test]
    fn empty_objects_and_other_values_have_no_members() {
        for event in [
            "", " ", "{}", " { } ", "[]", "1", "\"{\"", "{", "{\"a\"", "{\"a\":",
        ] {
            assert_eq!(Members::new(event.as_bytes()).count(), 0, "{event}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_loop(
            bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:\\ua1 \n\xFF".to_vec()), 0..60),
        ) {
            let mut event = b"{\"a\":".to_vec();
            event.extend_from_slice(&bytes);
            prop_assert!(Members::new(&event).count() <= event.len());
        }
    }
}
