//! JSON tokens, written by hand so that their spelling is exact.

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

/// The text as a JSON string with the fewest escapes.
pub(crate) fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// JSON strings on which tools fail that match characters instead of following the grammar.
pub(crate) const TRICKY: [&str; 12] = [
    r#""}{""#,
    r#""a}{b {\"event\":\"}{\"} }""#,
    r#""{\"type\":\"note\",\"body\":\"}\\\"{\"}""#,
    r#""ends with a backslash \\""#,
    r#""\\\"}{\\\"""#,
    r#""[[[{{{""#,
    r#""]}]}\",\"event_id\":\"no\"""#,
    r#""caf\u00e9 \ud83d\ude00 \/path\/ \b\f\t""#,
    r#""line one\nline two\r\n\u0000 end""#,
    r#""José Ñandú – “quoted” 😀 日本語""#,
    r#""""#,
    "\"\u{2028}\u{2029}\u{feff}\u{7f}\"",
];

pub(crate) fn uuid(rng: &mut ChaCha8Rng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}

pub(crate) fn pick<'a>(choices: &[&'a str], rng: &mut ChaCha8Rng) -> &'a str {
    choices.choose(rng).copied().unwrap_or_default()
}

/// A number with two decimals, trailing zeros included: a parser that respells it loses them.
pub(crate) fn amount(rng: &mut ChaCha8Rng) -> String {
    format!(
        "{}.{:02}",
        rng.random_range(0..5_000),
        rng.random_range(0..100)
    )
}

pub(crate) fn words(count: usize, rng: &mut ChaCha8Rng) -> String {
    const WORDS: [&str; 16] = [
        "merchant",
        "purchase",
        "approved",
        "São Paulo",
        "café",
        "limit",
        "installment",
        "fee",
        "refund",
        "Zürich",
        "transfer",
        "card",
        "monthly",
        "statement",
        "señal",
        "ok",
    ];
    let words: Vec<&str> = (0..count).map(|_| pick(&WORDS, rng)).collect();
    words.join(" ")
}
