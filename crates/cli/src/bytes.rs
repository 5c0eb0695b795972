//! Numbers as people write and read them.

/// Reads a size such as `65536`, `512KiB`, `1MiB` or `10MB`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("accepts bytes such as `65536`, `512KiB`, `1MiB` or `10MB`".to_owned()),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "accepts bytes such as `65536`, `512KiB`, `1MiB` or `10MB`".to_owned())?;
    number
        .checked_mul(unit)
        .ok_or_else(|| "is too large".to_owned())
}

/// Reads US dollars such as `5` or `0.25`, as millionths.
pub(crate) fn parse_dollars(text: &str) -> Result<u64, String> {
    let accepts = || "accepts US dollars such as `5` or `0.25`".to_owned();
    let (whole, cents) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || cents.len() > 6 || !is_number(whole) || !is_number(cents) {
        return Err(accepts());
    }
    let whole: u64 = whole.parse().map_err(|_| accepts())?;
    let millionths: u64 = format!("{cents:0<6}").parse().map_err(|_| accepts())?;
    whole
        .checked_mul(1_000_000)
        .and_then(|micro_usd| micro_usd.checked_add(millionths))
        .ok_or_else(|| "is too large".to_owned())
}

/// A count with its thousands set apart: `139,172`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in the largest unit that leaves at least 1: `1.4 GB`.
pub(crate) fn size(bytes: u64) -> String {
    for (unit, name) in [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")] {
        if bytes >= unit {
            return format!("{:.1} {name}", bytes as f64 / unit as f64);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("65536", Ok(65_536)),
            ("512KiB", Ok(524_288)),
            ("1MiB", Ok(1_048_576)),
            ("10MB", Ok(10_000_000)),
            ("2GiB", Ok(2_147_483_648)),
        ] {
            assert_eq!(parse_bytes(text), expected, "{text}");
        }
        for text in [
            "",
            "MiB",
            "1 MiB",
            "-1",
            "1.5MiB",
            "1mib",
            "99999999999999GiB",
        ] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0, 999, 1_500, 2_000_000].map(size),
            ["0 bytes", "999 bytes", "1.5 kB", "2.0 MB"]
        );
    }

    #[test]
    fn dollars_are_read_to_the_millionth() {
        for (text, expected) in [("5", 5_000_000), ("0.25", 250_000), ("1.000001", 1_000_001)] {
            assert_eq!(parse_dollars(text), Ok(expected));
        }
        for wrong in [
            "",
            ".5",
            "-1",
            "1e3",
            "$5",
            "1.0000001",
            "99999999999999999999",
        ] {
            assert!(parse_dollars(wrong).is_err(), "{wrong}");
        }
    }
}
