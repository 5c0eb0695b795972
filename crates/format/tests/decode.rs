//! Decoding of objects that are whole, cut off, damaged, or of unsupported formats.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{self, Read, Write};
use std::mem::discriminant;

use event_recovery_format::{
    DecodeError, DecodeLimits, SourceCompression, decode_reader, salvage_reader,
};
use flate2::write::GzEncoder;

const TEXT: &[u8] = b"{\"event_id\":\"1\",\"data\":{\"a\":[1,2,3]}}{\"event_id\":\"2\"}";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn skippable_frame(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_le_bytes();
    [&[0x5A, 0x2A, 0x4D, 0x18], &length[..], content].concat()
}

/// Yields one byte a read, with `Interrupted` before each.
struct Trickle<'a>(&'a [u8], bool);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

fn decode(object: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let read = |reader: &mut dyn Read| {
        let mut decoded = Vec::new();
        decode_reader(reader, DecodeLimits::default())?.read_to_end(&mut decoded)?;
        Ok::<_, DecodeError>(decoded)
    };
    let at_once = read(&mut &object[..]);
    let trickled = read(&mut Trickle(object, false));
    match (&at_once, &trickled) {
        (Ok(left), Ok(right)) => assert_eq!(left, right),
        // The number of bytes decoded before the error depends on the size of the reads.
        (Err(left), Err(right)) => assert_eq!(discriminant(left), discriminant(right)),
        _ => panic!("{at_once:?} at once, {trickled:?} byte by byte"),
    }
    at_once
}

#[test]
fn whole_objects_decode_whatever_they_are_made_of() {
    let twice = [TEXT, TEXT].concat();
    let rows: &[(&str, Vec<u8>, &[u8])] = &[
        ("empty", vec![], b""),
        ("one byte", b"{".to_vec(), b"{"),
        ("one byte of gzip's mark", vec![0x1F], &[0x1F]),
        ("plain", TEXT.to_vec(), TEXT),
        ("gzip", gzip(TEXT), TEXT),
        ("gzip of nothing", gzip(b""), b""),
        (
            "gzip members",
            [gzip(TEXT), gzip(b""), gzip(TEXT)].concat(),
            &twice,
        ),
        (
            "gzip with zero padding",
            [gzip(TEXT), vec![0; 100_000]].concat(),
            TEXT,
        ),
        ("zstd", zstd(TEXT), TEXT),
        ("zstd of nothing", zstd(b""), b""),
        (
            "zstd frames",
            [zstd(TEXT), zstd(b""), zstd(TEXT)].concat(),
            &twice,
        ),
        (
            "zstd with skippable frames",
            [
                skippable_frame(b"x"),
                zstd(TEXT),
                skippable_frame(b""),
                zstd(TEXT),
            ]
            .concat(),
            &twice,
        ),
    ];
    for (name, object, expected) in rows {
        assert_eq!(decode(object).unwrap(), *expected, "{name}");
    }
}

/// The parts of an object, each with the number of times that the text is decoded by its end.
type Parts<'a> = &'a [(&'a [u8], usize)];

#[test]
fn an_object_cut_anywhere_is_an_error_except_between_members() {
    let part = b"{\"event_id\":\"1\",\"data\":\"some text of its own\"}";
    let [gzip_part, zstd_part] = [gzip(part), zstd(part)];
    let skipped = skippable_frame(b"some content");
    let objects: &[(&str, SourceCompression, Parts)] = &[
        (
            "gzip",
            SourceCompression::Gzip,
            &[(&gzip_part, 1), (&gzip_part, 2), (&gzip_part, 3)],
        ),
        (
            "zstd",
            SourceCompression::Zstd,
            &[(&zstd_part, 1), (&skipped, 1), (&zstd_part, 2)],
        ),
    ];
    for (name, expected_compression, parts) in objects {
        let object: Vec<u8> = parts
            .iter()
            .flat_map(|(bytes, _)| *bytes)
            .copied()
            .collect();
        let mut ends = Vec::new();
        for (bytes, texts) in *parts {
            ends.push((ends.last().map_or(0, |(end, _)| *end) + bytes.len(), *texts));
        }
        // An object shorter than the magic number is taken for a plain one.
        let shortest = if *name == "gzip" { 2 } else { 4 };
        for cut in shortest..=object.len() {
            let result = decode(&object[..cut]);
            match (ends.iter().find(|(end, _)| *end == cut), result) {
                (Some((_, texts)), Ok(decoded)) => {
                    assert_eq!(decoded, part.repeat(*texts), "{name} at {cut}");
                }
                (None, Err(DecodeError::Truncated { compression, .. })) => {
                    assert_eq!(compression, *expected_compression, "{name} at {cut}");
                }
                (_, other) => panic!("{name} at {cut}: {other:?}"),
            }
        }
    }
}

#[test]
fn damaged_objects_are_corrupt() {
    let flipped = |mut object: Vec<u8>, from_end: usize| {
        let at = object.len() - from_end;
        object[at] ^= 1;
        object
    };
    let rows: &[(&str, Vec<u8>)] = &[
        ("gzip checksum", flipped(gzip(TEXT), 8)),
        ("gzip length", flipped(gzip(TEXT), 4)),
        (
            "checksum of the first of two members",
            [flipped(gzip(TEXT), 8), gzip(TEXT)].concat(),
        ),
        (
            "gzip method",
            [0x1F, 0x8B, 7].iter().chain(&[0; 40]).copied().collect(),
        ),
        (
            "text after gzip",
            [gzip(TEXT), b"{\"event_id\":\"1\"}".to_vec()].concat(),
        ),
        (
            "data after zero padding",
            [gzip(TEXT), vec![0; 70_000], vec![1]].concat(),
        ),
        (
            "a member after zero padding",
            [gzip(TEXT), vec![0], gzip(TEXT)].concat(),
        ),
        ("zstd checksum", flipped(zstd(TEXT), 1)),
        (
            "text after zstd",
            [zstd(TEXT), b"{\"event_id\":\"1\"}".to_vec()].concat(),
        ),
        ("zeros after zstd", [zstd(TEXT), vec![0; 64]].concat()),
    ];
    for (name, object) in rows {
        let error = decode(object).unwrap_err();
        assert!(
            matches!(error, DecodeError::Corrupt { .. }),
            "{name}: {error:?}"
        );
        assert!(!error.to_string().contains("event_id"), "{name}: {error}");
    }
}

#[test]
fn something_else_after_the_data_is_said_the_same_whatever_its_length() {
    for (name, object) in [("gzip", gzip(TEXT)), ("zstd", zstd(TEXT))] {
        let decoded_bytes = TEXT.len();
        let expected = format!(
            "{name} data are corrupt after {decoded_bytes} decoded bytes: what follows is not {name}"
        );
        let foreign = b"{\"event_id\":\"3\"}\n";
        for tail in [
            &foreign.repeat(4000)[..],
            b"x",
            b"\xFF\xFF",
            // The first bytes of a magic number, followed by others.
            b"\x1F\x00",
            b"\x28\xB5\x2F\x00",
            b"\x50\x2A\x4D",
        ] {
            for length in [1, 2, 3, 4, 5, 8, 9, 10, 17, 18, 19, 1000, usize::MAX] {
                let tail = &tail[..tail.len().min(length)];
                // The tail may be the beginning of a magic number that is cut off.
                let is_mark = [&b"\x1F\x8B"[..], b"\x28\xB5\x2F\xFD", b"\x50\x2A\x4D\x18"]
                    .iter()
                    .any(|mark| mark.starts_with(tail));
                if !is_mark {
                    let error = decode(&[&object[..], tail].concat()).unwrap_err();
                    assert_eq!(error.to_string(), expected, "{name}, {} bytes", tail.len());
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_never_changes_what_comes_out_unnoticed() {
    for (name, object) in [("gzip", gzip(TEXT)), ("zstd", zstd(TEXT))] {
        for bit in 32..object.len() * 8 {
            let mut damaged = object.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(decoded) = decode(&damaged) {
                assert_eq!(decoded, TEXT, "{name}, bit {bit}");
            }
        }
    }
}

#[test]
fn foreign_formats_are_named_and_refused() {
    let rows: &[(&[u8], &str)] = &[
        (b"PK\x03\x04\x14\0\0\0\x08\0\0\0", "zip"),
        (b"BZh91AY&SY\0\0", "bzip2"),
        (b"\xFD7zXZ\0\0\x04\xE6\xD6\xB4F", "xz"),
        (b"\x04\x22\x4D\x18\x64\x40\xA7", "lz4"),
        (b"\xFF\x06\0\0sNaPpY\0\0", "snappy"),
        (b"\x82SNAPPY\0\0\0\0\x01", "snappy"),
        // A frame header alone: no single segment, a window of 2^31 bytes.
        (
            b"\x28\xB5\x2F\xFD\x00\xA8\x01\0\0\0\0\0\0",
            "zstd with a window above 128 MiB",
        ),
    ];
    for (object, expected) in rows {
        match decode(object) {
            Err(DecodeError::Unsupported { format }) => assert_eq!(format, *expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn an_object_may_decode_to_the_limit_and_no_further() {
    let zeros = vec![0x20; 1 << 20];
    for object in [zeros.clone(), gzip(&zeros), zstd(&zeros)] {
        for (decoded_bytes_max, fits) in [(1 << 20, true), ((1 << 20) - 1, false), (0, false)] {
            let limits = DecodeLimits { decoded_bytes_max };
            let mut reader = decode_reader(&object[..], limits).unwrap();
            let result = io::copy(&mut reader, &mut io::sink());
            assert!(reader.decoded_bytes() <= decoded_bytes_max);
            match result {
                Ok(decoded_bytes) => assert!(fits && decoded_bytes == 1 << 20),
                Err(error) => {
                    let error = DecodeError::from_io(&error).unwrap();
                    assert!(
                        !fits && matches!(error, DecodeError::TooLarge { .. }),
                        "{error}"
                    );
                }
            }
        }
    }
}

/// Everything that can be salvaged, how much of it is intact, and how much of the object was decoded.
fn salvage(object: &[u8]) -> (Vec<u8>, u64, u64) {
    let mut reader = salvage_reader(object, DecodeLimits::default()).unwrap();
    let mut decoded = Vec::new();
    let error = reader.read_to_end(&mut decoded).unwrap_err();
    assert!(matches!(
        DecodeError::from(error),
        DecodeError::Corrupt { .. } | DecodeError::Truncated { .. }
    ));
    assert_eq!(reader.decoded_bytes(), decoded.len() as u64);
    (decoded, reader.intact_bytes(), reader.stored_bytes())
}

#[test]
fn what_precedes_damage_is_salvaged_to_the_last_byte() {
    let content: Vec<u8> = (0..400_000_u32)
        .flat_map(|n| (n / 7).to_le_bytes())
        .collect();
    let (first, second) = content.split_at(500_001);
    for encode in [gzip, zstd] {
        let (head, tail) = (encode(first), encode(second));
        // The first byte after a member or frame is damaged, then every later part of the second.
        for at in [4, tail.len() / 3, tail.len() / 2, tail.len() - 20] {
            let mut object = [head.clone(), tail.clone()].concat();
            for byte in &mut object[head.len() + at..] {
                *byte = 0xFF;
            }
            let (decoded, intact, stored) = salvage(&object);
            let same = decoded
                .iter()
                .zip(&content)
                .take_while(|(one, other)| one == other);
            let same = same.count();
            assert!(same >= first.len(), "{at}: {same}");
            // A decoder notices damage late, and not by more than a block of zstd.
            assert!(
                decoded.len() - same <= 128 * 1024,
                "{at}: {} {same}",
                decoded.len()
            );
            assert_eq!(intact, first.len() as u64, "{at}");
            assert!(stored >= head.len() as u64 && stored <= object.len() as u64);

            let mut cut = [head.clone(), tail.clone()].concat();
            cut.truncate(head.len() + at);
            let (decoded, intact, stored) = salvage(&cut);
            assert!(content.starts_with(&decoded) && decoded.len() >= first.len());
            assert_eq!(intact, first.len() as u64);
            assert!(stored <= cut.len() as u64);
        }
    }
}

#[test]
fn a_small_object_is_salvaged_up_to_the_block_that_is_damaged() {
    // Blocks of one frame, each with events of its own.
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    let mut ends = Vec::new();
    for n in 0..5 {
        encoder
            .write_all(format!("{{\"event_id\":\"{n}\"}}").as_bytes())
            .unwrap();
        encoder.flush().unwrap();
        ends.push(encoder.get_ref().len());
    }
    let mut object = encoder.finish().unwrap();
    // The fourth block is of the reserved type.
    object[ends[2]] |= 0b110;
    let (decoded, intact, stored) = salvage(&object);
    assert_eq!(
        decoded,
        br#"{"event_id":"0"}{"event_id":"1"}{"event_id":"2"}"#
    );
    assert_eq!(intact, 0);
    assert!(stored >= ends[2] as u64);

    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut ends = Vec::new();
    for n in 0..5 {
        encoder
            .write_all(format!("{{\"event_id\":\"{n}\"}}").as_bytes())
            .unwrap();
        encoder.flush().unwrap();
        ends.push(encoder.get_ref().len());
    }
    let mut object = encoder.finish().unwrap();
    object[ends[2]] |= 0b110;
    let (decoded, intact, _) = salvage(&object);
    assert_eq!(
        decoded,
        br#"{"event_id":"0"}{"event_id":"1"}{"event_id":"2"}"#
    );
    assert_eq!(intact, 0);
}

#[test]
fn a_failing_source_is_told_from_bad_data() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            // The same kind as that of a decoder whose data are cut off.
            Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "connection lost",
            ))
        }
    }
    for object in [TEXT.to_vec(), gzip(TEXT), zstd(TEXT), vec![]] {
        for cut in [object.len() / 2, object.len()] {
            let mut decoded = Vec::new();
            let result = decode_reader(object[..cut].chain(Fails), DecodeLimits::default())
                .and_then(|mut reader| Ok(reader.read_to_end(&mut decoded)?));
            match result {
                Err(DecodeError::Source(error)) => assert_eq!(error.to_string(), "connection lost"),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_failed_reader_stays_failed_and_an_ended_one_ended() {
    let mut buffer = [0; 1024];
    let truncated = &gzip(TEXT)[..30];
    let mut reader = decode_reader(truncated, DecodeLimits::default()).unwrap();
    assert_eq!(reader.compression(), SourceCompression::Gzip);
    while reader.read(&mut buffer).is_ok() {}
    let error = reader.read(&mut buffer).unwrap_err();
    assert!(matches!(error.into(), DecodeError::AfterFailure));

    let mut reader = decode_reader(TEXT, DecodeLimits::default()).unwrap();
    assert_eq!(reader.read(&mut []).unwrap(), 0);
    assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), TEXT.len());
    assert_eq!(reader.read(&mut buffer).unwrap(), 0);
}
