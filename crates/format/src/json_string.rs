//! Decoding of single JSON tokens: strings, keys, and the integers of the envelope.

use std::borrow::Cow;
use std::cmp::Ordering;

use memchr::memchr;

/// Decodes a JSON string token, with its quotes. Borrows if it has no escapes.
///
/// `None` if `raw` is not a string token, or if an escape names a lone surrogate, which UTF-8 cannot encode.
///
/// ```
/// use event_recovery_format::decode_string;
///
/// assert_eq!(decode_string(br#""caf\u00e9 \ud83c\udf88""#).as_deref(), Some("café 🎈"));
/// assert_eq!(decode_string(br#""\ud83c""#), None);
/// assert_eq!(decode_string(b"null"), None);
/// ```
pub fn decode_string(raw: &[u8]) -> Option<Cow<'_, str>> {
    match decode_text(raw)? {
        Cow::Borrowed(text) => simdutf8::basic::from_utf8(text).ok().map(Cow::Borrowed),
        Cow::Owned(text) => String::from_utf8(text).ok().map(Cow::Owned),
    }
}

/// As [`decode_string`], without validating UTF-8: the result is UTF-8 if the token is.
pub(crate) fn decode_text(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inner = string_content(raw)?;
    if memchr(b'\\', inner).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    let unescaped = unescape(inner);
    (!unescaped.lone_surrogate).then_some(Cow::Owned(unescaped.bytes))
}

/// Parses an integer within `i64`: a JSON number without fraction and exponent, or a JSON string that matches
/// `-?(0|[1-9][0-9]*)`. Others do not survive a round trip through an integer column, so they are `None`.
///
/// ```
/// use event_recovery_format::integer;
///
/// assert_eq!(integer(b"-7"), Some(-7));
/// assert_eq!(integer(br#""7""#), Some(7));
/// for other in [&b"7.0"[..], b"7e0", br#""07""#, br#""+7""#, b"9223372036854775808"] {
///     assert_eq!(integer(other), None);
/// }
/// ```
pub fn integer(raw: &[u8]) -> Option<i64> {
    if raw.first() == Some(&b'"') {
        integer_text(decode_string(raw)?.as_bytes())
    } else {
        integer_text(raw)
    }
}

/// The key's text in WTF-8: a lone surrogate becomes its three bytes instead of U+FFFD, so that different keys never
/// become equal.
pub(crate) fn decode_key(raw: &[u8]) -> Cow<'_, [u8]> {
    let inner = string_content(raw).unwrap_or(raw);
    if memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    Cow::Owned(unescape(inner).bytes)
}

/// Orders two keys by their decoded bytes. Equal keys may have different escapes.
pub(crate) fn compare_keys(left: &[u8], right: &[u8]) -> Ordering {
    decode_key(left).cmp(&decode_key(right))
}

/// The bytes between the quotes of a string token.
fn string_content(raw: &[u8]) -> Option<&[u8]> {
    raw.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

fn integer_text(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

struct Unescaped {
    bytes: Vec<u8>,
    /// Whether an escape names a surrogate without its counterpart, or is invalid.
    lone_surrogate: bool,
}

fn unescape(inner: &[u8]) -> Unescaped {
    let mut bytes = Vec::with_capacity(inner.len());
    let mut lone_surrogate = false;
    let mut rest = inner;
    loop {
        let plain = memchr(b'\\', rest).unwrap_or(rest.len());
        bytes.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        let [b'\\', kind, tail @ ..] = rest else {
            lone_surrogate |= !rest.is_empty();
            return Unescaped {
                bytes,
                lone_surrogate,
            };
        };
        rest = tail;
        match kind {
            b'b' => bytes.push(0x08),
            b'f' => bytes.push(0x0C),
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b't' => bytes.push(b'\t'),
            b'u' => {
                let (code_point, tail) = code_point(rest);
                rest = tail;
                lone_surrogate |= push_wtf8(&mut bytes, code_point);
            }
            other => bytes.push(*other),
        }
    }
}

/// Parses what follows `\u`: one UTF-16 code unit, and a second one with its `\u` if the two are a surrogate pair.
/// Anything but four hexadecimal digits counts as a lone surrogate.
fn code_point(rest: &[u8]) -> (u32, &[u8]) {
    const HIGH: std::ops::RangeInclusive<u32> = 0xD800..=0xDBFF;
    const LOW: std::ops::RangeInclusive<u32> = 0xDC00..=0xDFFF;
    let Some((first, tail)) = utf16_unit(rest) else {
        return (*LOW.end(), rest);
    };
    if HIGH.contains(&first)
        && let Some((second, pair_tail)) = tail.strip_prefix(b"\\u").and_then(utf16_unit)
        && LOW.contains(&second)
    {
        let code_point = 0x1_0000 + ((first - HIGH.start()) << 10) + (second - LOW.start());
        return (code_point, pair_tail);
    }
    (first, tail)
}

fn utf16_unit(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, tail) = rest.split_first_chunk::<4>()?;
    let unit = digits.iter().try_fold(0, |unit, &digit| {
        Some(unit * 16 + char::from(digit).to_digit(16)?)
    })?;
    Some((unit, tail))
}

/// Appends a code point, and returns whether it is a surrogate, which is encoded in the three bytes that UTF-8 forbids.
fn push_wtf8(bytes: &mut Vec<u8>, code_point: u32) -> bool {
    if let Some(character) = char::from_u32(code_point) {
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        return false;
    }
    let continuation = |shift: u32| 0x80 | (code_point >> shift & 0x3F) as u8;
    bytes.extend_from_slice(&[0xED, continuation(6), continuation(0)]);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strings_decode_as_json_says() {
        let rows: &[(&str, &str, Option<&str>)] = &[
            ("empty", r#""""#, Some("")),
            ("plain", r#""a b""#, Some("a b")),
            ("utf-8", r#""čß🎈""#, Some("čß🎈")),
            (
                "short escapes",
                r#""\"\\\/\b\f\n\r\t""#,
                Some("\"\\/\u{8}\u{c}\n\r\t"),
            ),
            ("unit", r#""\u0041\u00e9\u20AC""#, Some("Aé€")),
            ("nul", r#""\u0000""#, Some("\0")),
            ("pair", r#""x\uD83C\uDF88y""#, Some("x🎈y")),
            ("lone high", r#""\ud800""#, None),
            ("lone low", r#""\udc00x""#, None),
            ("two highs", r#""\ud800\ud800\udc00""#, None),
            ("high, then text", r#""\ud800A""#, None),
            ("high, then another escape", r#""\ud800\n""#, None),
            ("a number", "12", None),
            ("null", "null", None),
            ("object", "{}", None),
            ("one quote", "\"", None),
            ("cut escape", r#""\"#, None),
            ("cut unit", r#""\u12""#, None),
            ("no hexadecimal digits", r#""\u+123""#, None),
        ];
        for (name, raw, expected) in rows {
            assert_eq!(
                decode_string(raw.as_bytes()).as_deref(),
                *expected,
                "{name}"
            );
        }
    }

    #[test]
    fn a_string_without_escapes_is_borrowed() {
        assert!(matches!(
            decode_string(b"\"plain text\""),
            Some(Cow::Borrowed("plain text"))
        ));
    }

    #[test]
    fn integers_are_canonical_and_within_64_bits() {
        let rows: &[(&str, Option<i64>)] = &[
            ("0", Some(0)),
            ("-0", Some(0)),
            ("17", Some(17)),
            ("-17", Some(-17)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("123456789012345678901234567890", None),
            ("1.0", None),
            ("1e3", None),
            ("true", None),
            ("null", None),
            ("[1]", None),
            ("", None),
            (r#""17""#, Some(17)),
            (r#""-17""#, Some(-17)),
            (r#""\u0031""#, Some(1)),
            (r#""017""#, None),
            (r#""+1""#, None),
            (r#"" 1""#, None),
            (r#""""#, None),
            (r#""-""#, None),
            (r#""1.0""#, None),
            (r#""9223372036854775808""#, None),
        ];
        for (raw, expected) in rows {
            assert_eq!(integer(raw.as_bytes()), *expected, "{raw}");
        }
    }

    #[test]
    fn keys_are_equal_by_what_they_decode_to() {
        let rows = [
            (r#""event_id""#, r#""\u0065vent_id""#, true),
            (r#""\ud800""#, r#""\uD800""#, true),
            (r#""\ud800""#, r#""\ud801""#, false),
            (r#""\ud800""#, r#""\ufffd""#, false),
            (r#""\ud83c\udf88""#, r#""🎈""#, true),
            (r#""a""#, r#""A""#, false),
        ];
        for (left, right, equal) in rows {
            let order = compare_keys(left.as_bytes(), right.as_bytes());
            assert_eq!(order.is_eq(), equal, "{left} {right}");
        }
    }

    proptest! {
        #[test]
        fn every_text_survives_encoding(text in any::<String>()) {
            let raw = serde_json::to_vec(&text).unwrap();
            prop_assert_eq!(decode_string(&raw), Some(Cow::Borrowed(text.as_str())));
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            let escaped = format!("\"{escaped}\"");
            prop_assert_eq!(decode_string(escaped.as_bytes()), Some(Cow::Borrowed(text.as_str())));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), Just(b'u'), any::<u8>()], 0..40)) {
            decode_string(&bytes);
            decode_key(&bytes);
            integer(&bytes);
        }
    }
}
