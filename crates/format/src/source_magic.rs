//! Magic numbers at the beginning of an object.

/// The length of the longest magic number below, in bytes.
pub(crate) const MAGIC_BYTES_MAX: usize = 10;

/// The format of an object by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Magic {
    Plain,
    Gzip,
    Zstd,
    /// Recognised by name but not supported, so that it is not taken for a plain object full of damage.
    Unsupported(&'static str),
}

impl Magic {
    pub(crate) fn of(head: &[u8]) -> Self {
        if head.starts_with(&[0x1F, 0x8B]) {
            return Self::Gzip;
        }
        // A zstd frame, or a skippable one (RFC 8878 section 3.1.2).
        if let [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] = head {
            return Self::Zstd;
        }
        let is_bzip2 = matches!(head, [b'B', b'Z', b'h', b'1'..=b'9', ..])
            && (head[4..].starts_with(BZIP2_BLOCK) || head[4..].starts_with(BZIP2_END));
        if is_bzip2 {
            return Self::Unsupported("bzip2");
        }
        let unsupported = UNSUPPORTED.iter().find(|(mark, _)| head.starts_with(mark));
        unsupported.map_or(Self::Plain, |(_, format)| Self::Unsupported(format))
    }
}

const BZIP2_BLOCK: &[u8] = &[0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
const BZIP2_END: &[u8] = &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90];

const UNSUPPORTED: &[(&[u8], &str)] = &[
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08", "zip"),
    (b"\xFF\x06\x00\x00sNaPpY", "snappy"),
    (b"\x82SNAPPY\x00", "snappy"),
    (b"\xFD7zXZ\x00", "xz"),
    (b"\x04\x22\x4D\x18", "lz4"),
    (b"\x02\x21\x4C\x18", "lz4"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_fits_in_the_head() {
        assert!(
            UNSUPPORTED
                .iter()
                .all(|(mark, _)| mark.len() <= MAGIC_BYTES_MAX)
        );
        assert_eq!(4 + BZIP2_BLOCK.len(), MAGIC_BYTES_MAX);
    }

    #[test]
    fn text_that_begins_like_a_mark_is_plain() {
        for head in [
            &b"BZh9 is"[..],
            b"BZh",
            b"PK",
            b"\xFF\x06\x00\x00sNaPp",
            b"\x1F",
            b"(",
            b"",
            b"{\"event_id",
        ] {
            assert_eq!(Magic::of(head), Magic::Plain, "{head:?}");
        }
    }
}
