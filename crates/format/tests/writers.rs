//! Both formats, written and read back by other libraries.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Write};

use arrow_array::{Array, Int64Array, RecordBatch, StringArray};
use event_recovery_format::{
    DecodeLimits, Envelope, EnvelopeScratch, EventWriter, NdjsonCompression, OutputFormat,
    ParquetCompression, decode_reader,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Encoding;
use parquet::file::metadata::ParquetMetaData;
use proptest::prelude::*;
use serde_json::Value;

const FORMATS: [OutputFormat; 6] = [
    OutputFormat::Ndjson(NdjsonCompression::None),
    OutputFormat::Ndjson(NdjsonCompression::Gzip),
    OutputFormat::Ndjson(NdjsonCompression::Zstd),
    OutputFormat::Parquet(ParquetCompression::None),
    OutputFormat::Parquet(ParquetCompression::Snappy),
    OutputFormat::Parquet(ParquetCompression::Zstd),
];

const COLUMNS: [&str; 10] = [
    "event_id",
    "cid",
    "org_id",
    "event_type",
    "domain",
    "schema_version",
    "arrival_epoch",
    "timestamp",
    "data",
    "extra_fields",
];

fn written<E: AsRef<[u8]>>(format: OutputFormat, events: &[E]) -> Vec<u8> {
    let mut writer = EventWriter::open(format, Vec::new()).unwrap();
    let mut scratch = EnvelopeScratch::default();
    for event in events {
        let envelope = Envelope::read(event.as_ref(), &mut scratch);
        writer.write(&envelope).unwrap();
    }
    assert_eq!(writer.rows(), events.len() as u64);
    writer.finish().unwrap()
}

/// The ten columns of every row as text, integers in decimal.
fn read_parquet(file: &[u8]) -> (Vec<Vec<Option<String>>>, ParquetMetaData) {
    let mut temporary: File = tempfile::tempfile().unwrap();
    temporary.write_all(file).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(temporary).unwrap();
    let metadata = builder.metadata().as_ref().clone();
    let mut rows = Vec::new();
    for batch in builder.build().unwrap() {
        let batch: RecordBatch = batch.unwrap();
        let schema = batch.schema();
        let names: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        assert_eq!(names, COLUMNS);
        for row in 0..batch.num_rows() {
            rows.push(
                batch
                    .columns()
                    .iter()
                    .map(|column| cell(column, row))
                    .collect(),
            );
        }
    }
    (rows, metadata)
}

fn cell(column: &dyn Array, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    let any = column.as_any();
    if let Some(integers) = any.downcast_ref::<Int64Array>() {
        return Some(integers.value(row).to_string());
    }
    let texts = any.downcast_ref::<StringArray>().unwrap();
    Some(texts.value(row).to_owned())
}

fn read_ndjson(file: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut reader = decode_reader(file, DecodeLimits::default()).unwrap();
    reader.read_to_end(&mut lines).unwrap();
    lines
}

/// Name and text of the columns that are not null.
type FilledColumns<'a> = &'a [(&'a str, &'a str)];

/// Asserts the columns that one event fills, and that NDJSON has the event's own bytes.
fn assert_columns(name: &str, event: &str, expected: FilledColumns) {
    let format = OutputFormat::Ndjson(NdjsonCompression::None);
    let line = written(format, &[event]);
    assert_eq!(line, format!("{event}\n").into_bytes(), "{name}");

    let (rows, _) = read_parquet(&written(OutputFormat::default(), &[event]));
    let found: Vec<(&str, &str)> = COLUMNS
        .iter()
        .zip(&rows[0])
        .filter_map(|(column, value)| Some((*column, value.as_deref()?)))
        .collect();
    assert_eq!(found, expected, "{name}");
}

#[test]
fn every_kind_of_value_reaches_its_column_or_the_extra_fields() {
    let rows: &[(&str, &str, FilledColumns)] = &[
        ("an empty object", "{}", &[]),
        (
            "a whole envelope",
            concat!(
                r#"{"event_id":"e","cid":"c","org_id":"TN-1","event_type":"t-1","domain":"d","schema_version":1,"#,
                r#""arrival_epoch":1563649380000,"timestamp":"2019-07-20T19:03:00.000Z","data":{"a" : [1]}}"#,
            ),
            &[
                ("event_id", "e"),
                ("cid", "c"),
                ("org_id", "TN-1"),
                ("event_type", "t-1"),
                ("domain", "d"),
                ("schema_version", "1"),
                ("arrival_epoch", "1563649380000"),
                ("timestamp", "2019-07-20T19:03:00.000Z"),
                ("data", r#"{"a" : [1]}"#),
            ],
        ),
        (
            "escapes",
            r#"{"event_id":"\u0061\n\"\\\/🎈\ud83c\udf88}{"}"#,
            &[("event_id", "a\n\"\\/🎈🎈}{")],
        ),
        (
            "version as string",
            r#"{"schema_version":"2"}"#,
            &[("schema_version", "2")],
        ),
        (
            "version as number",
            r#"{"schema_version":-2}"#,
            &[("schema_version", "-2")],
        ),
        (
            "version as float",
            r#"{"schema_version":1.0}"#,
            &[("extra_fields", r#"{"schema_version":1.0}"#)],
        ),
        (
            "version with an exponent",
            r#"{"schema_version":1e2}"#,
            &[("extra_fields", r#"{"schema_version":1e2}"#)],
        ),
        (
            "a huge version",
            r#"{"schema_version":123456789012345678901234567890}"#,
            &[(
                "extra_fields",
                r#"{"schema_version":123456789012345678901234567890}"#,
            )],
        ),
        (
            "version as a text",
            r#"{"schema_version":"02"}"#,
            &[("extra_fields", r#"{"schema_version":"02"}"#)],
        ),
        ("version null", r#"{"schema_version":null}"#, &[]),
        (
            "an integer that no double holds",
            r#"{"arrival_epoch":9007199254740993,"data":{"n":9007199254740993.00000000000000001},"x":0.10000000000000000000001}"#,
            &[
                ("arrival_epoch", "9007199254740993"),
                ("data", r#"{"n":9007199254740993.00000000000000001}"#),
                ("extra_fields", r#"{"x":0.10000000000000000000001}"#),
            ],
        ),
        (
            "data as string",
            r#"{"data":"{\"a\":1}"}"#,
            &[("data", r#"{"a":1}"#)],
        ),
        (
            "data as array",
            r#"{"data":[1, {}]}"#,
            &[("data", "[1, {}]")],
        ),
        ("data as number", r#"{"data":-0.0}"#, &[("data", "-0.0")]),
        ("data as true", r#"{"data":true}"#, &[("data", "true")]),
        ("data null", r#"{"data":null}"#, &[]),
        (
            "data with a lone surrogate inside",
            r#"{"data":{"a":"\ud800"}}"#,
            &[("data", r#"{"a":"\ud800"}"#)],
        ),
        (
            "data as a lone surrogate",
            r#"{"data":"\ud800"}"#,
            &[("extra_fields", r#"{"data":"\ud800"}"#)],
        ),
        (
            "texts of other types",
            r#"{"event_id":1,"cid":{},"org_id":[],"event_type":true,"domain":"\udc00","timestamp":0}"#,
            &[(
                "extra_fields",
                r#"{"event_id":1,"cid":{},"org_id":[],"event_type":true,"domain":"\udc00","timestamp":0}"#,
            )],
        ),
        (
            "duplicate keys",
            r#"{"cid":"a","x":1,"cid":"b","x":2}"#,
            &[
                ("cid", "b"),
                (
                    "extra_fields",
                    r#"{"x":2,"$duplicates":{"cid":["a"],"x":[1]}}"#,
                ),
            ],
        ),
        (
            "escaped keys",
            r#"{"\u0063id":"a","\u0078":1}"#,
            &[("cid", "a"), ("extra_fields", r#"{"\u0078":1}"#)],
        ),
        (
            "a lone surrogate as key",
            r#"{"\ud800":1}"#,
            &[("extra_fields", r#"{"\ud800":1}"#)],
        ),
    ];
    for (name, event, expected) in rows {
        assert_columns(name, event, expected);
    }
}

#[test]
fn the_same_events_give_the_same_bytes() {
    let events: Vec<String> = (0..3000).map(sample_event).collect();
    for format in FORMATS {
        assert!(
            written(format, &events) == written(format, &events),
            "{format:?}"
        );
    }
}

#[test]
fn every_format_keeps_every_event_in_order() {
    let events: Vec<String> = (0..3000).map(sample_event).collect();
    for format in FORMATS {
        let file = written(format, &events);
        match format {
            OutputFormat::Ndjson(_) => {
                let lines = events.join("\n") + "\n";
                assert!(read_ndjson(&file) == lines.as_bytes(), "{format:?}");
            }
            OutputFormat::Parquet(_) => {
                let (rows, _) = read_parquet(&file);
                assert_eq!(rows.len(), events.len());
                for (index, row) in rows.iter().enumerate() {
                    assert_eq!(row[0], Some(format!("e-{index}")), "{format:?}");
                }
            }
        }
    }
}

#[test]
fn a_file_without_events_is_valid() {
    for format in FORMATS {
        let file = written::<&str>(format, &[]);
        match format {
            OutputFormat::Ndjson(_) => assert!(read_ndjson(&file).is_empty(), "{format:?}"),
            OutputFormat::Parquet(_) => assert!(read_parquet(&file).0.is_empty(), "{format:?}"),
        }
    }
}

#[test]
fn line_breaks_between_tokens_leave_ndjson_and_stay_in_columns() {
    let event = "{\r\n \"data\" : {\n\"a\":1\n},\r\"x\":[\n]\n}";
    let line = written(OutputFormat::Ndjson(NdjsonCompression::None), &[event]);
    assert_eq!(line, b"{ \"data\" : {\"a\":1},\"x\":[]}\n");
    let (rows, _) = read_parquet(&written(OutputFormat::default(), &[event]));
    assert_eq!(rows[0][8].as_deref(), Some("{\n\"a\":1\n}"));
    assert_eq!(rows[0][9].as_deref(), Some("{\"x\":[\n]}"));
}

#[test]
fn columns_are_encoded_as_documented() {
    let events: Vec<String> = (0..3000).map(sample_event).collect();
    let (_, metadata) = read_parquet(&written(OutputFormat::default(), &events));
    for column in metadata.row_group(0).columns() {
        let name = column.column_path().string();
        let has_dictionary = column.dictionary_page_offset().is_some();
        let repeats = ["org_id", "event_type", "domain", "schema_version"];
        assert_eq!(has_dictionary, repeats.contains(&name.as_str()), "{name}");
        let without_statistics = ["cid", "data", "extra_fields"];
        let has_range = column
            .statistics()
            .is_some_and(|found| found.min_bytes_opt().is_some());
        assert_eq!(
            has_range,
            !without_statistics.contains(&name.as_str()),
            "{name}"
        );
        let is_delta = column
            .encodings()
            .any(|found| found == Encoding::DELTA_BINARY_PACKED);
        assert_eq!(is_delta, name == "arrival_epoch", "{name}");
    }
}

/// A sink that counts and hashes bytes.
#[derive(Default)]
struct Digest {
    bytes: u64,
    hasher: DefaultHasher,
}

impl Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        self.hasher.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_waits_in_memory_is_bounded_and_row_groups_are_always_the_same() {
    const BOUND: usize = 48 * 1024 * 1024;
    // Random text does not compress, so that the encoded pages reach their bound.
    let mut state = 1_u64;
    let mut noise = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        format!("{:016x}", state ^ state >> 31)
    };
    let data: Vec<String> = (0..64)
        .map(|_| (0..4096).map(|_| noise()).collect())
        .collect();
    let write_all = |format| {
        let mut writer = EventWriter::open(format, Digest::default()).unwrap();
        let mut scratch = EnvelopeScratch::default();
        for index in 0..2000 {
            let event = format!(
                "{{\"event_id\":\"{index}\",\"data\":\"{}\"}}",
                data[index % 64]
            );
            let envelope = Envelope::read(event.as_bytes(), &mut scratch);
            writer.write(&envelope).unwrap();
            assert!(
                writer.buffered_bytes() < BOUND,
                "{}",
                writer.buffered_bytes()
            );
        }
        let digest = writer.finish().unwrap();
        (digest.bytes, digest.hasher.finish())
    };
    for format in [
        OutputFormat::default(),
        OutputFormat::Parquet(ParquetCompression::None),
    ] {
        let (bytes, hash) = write_all(format);
        assert!(bytes > 10 * 1024 * 1024);
        assert_eq!(write_all(format), (bytes, hash), "{format:?}");
    }
}

#[test]
fn flushing_hands_over_what_parquet_holds_and_loses_nothing() {
    for format in FORMATS {
        let mut writer = EventWriter::open(format, Vec::new()).unwrap();
        let mut scratch = EnvelopeScratch::default();
        for index in 0..3 {
            writer.flush_buffered().unwrap();
            let event = sample_event(index);
            let envelope = Envelope::read(event.as_bytes(), &mut scratch);
            writer.write(&envelope).unwrap();
            writer.flush_buffered().unwrap();
            if let OutputFormat::Parquet(_) = format {
                assert_eq!(writer.buffered_bytes(), 0);
            }
        }
        let file = writer.finish().unwrap();
        match format {
            OutputFormat::Parquet(_) => assert_eq!(read_parquet(&file).0.len(), 3),
            OutputFormat::Ndjson(_) => {
                let lines = read_ndjson(&file);
                assert_eq!(lines.iter().filter(|&&byte| byte == b'\n').count(), 3);
            }
        }
    }
}

#[test]
fn extreme_events_are_written_like_others() {
    let many_keys: String = (0..1_000_000)
        .map(|index| format!(",\"k{index}\":{index}"))
        .collect();
    let many_keys = format!("{{\"event_id\":\"many\"{many_keys}}}");
    let large = format!(
        "{{\"event_id\":\"large\",\"data\":\"{}\"}}",
        "x".repeat(16 << 20)
    );
    let depth = 100_000;
    let deep = format!("{{\"data\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let events = [
        many_keys.as_str(),
        &large,
        &deep,
        "{\"event_id\":\"small\"}",
    ];
    let (rows, _) = read_parquet(&written(OutputFormat::default(), &events));
    let lengths: Vec<usize> = rows
        .iter()
        .map(|row| {
            row.iter()
                .map(|cell| cell.as_deref().map_or(0, str::len))
                .sum()
        })
        .collect();
    let expected: [usize; 4] = [
        many_keys.len() - "\"event_id\":\"\",".len(),
        "large".len() + (16 << 20),
        2 * depth,
        5,
    ];
    assert_eq!(lengths, expected);
    let lines = written(OutputFormat::Ndjson(NdjsonCompression::Zstd), &events);
    assert!(read_ndjson(&lines) == (events.join("\n") + "\n").as_bytes());
}

#[test]
fn a_failing_sink_is_reported_as_itself() {
    struct Fails {
        bytes_left: usize,
    }
    impl Write for Fails {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.len() > self.bytes_left {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "no space"));
            }
            self.bytes_left -= bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for format in FORMATS {
        for bytes_left in [0, 3, 300] {
            let result = EventWriter::open(format, Fails { bytes_left }).and_then(|mut writer| {
                let mut scratch = EnvelopeScratch::default();
                for index in 0..5000 {
                    let event = sample_event(index);
                    writer.write(&Envelope::read(event.as_bytes(), &mut scratch))?;
                }
                writer.finish().map(|_| ())
            });
            let error = result.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{format:?}");
            assert_eq!(error.to_string(), "no space", "{format:?}");
        }
    }
}

#[test]
fn text_that_is_not_utf_8_is_refused_by_parquet_without_quoting_it() {
    for event in [
        &b"{\"cid\":\"secret\xFF\"}"[..],
        b"{\"data\":{\"secret\":\"\xFF\"}}",
    ] {
        let mut writer = EventWriter::open(OutputFormat::default(), Vec::new()).unwrap();
        let mut scratch = EnvelopeScratch::default();
        let error = writer
            .write(&Envelope::read(event, &mut scratch))
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(!error.to_string().contains("secret"));
    }
}

fn sample_event(index: usize) -> String {
    format!(
        concat!(
            r#"{{"event_id":"e-{index}","cid":"c-{index}","org_id":"TN-1","event_type":"t-{kind}","#,
            r#""domain":"d-{kind}","schema_version":{kind},"arrival_epoch":{epoch},"#,
            r#""timestamp":"2019-07-20T19:03:00.{index:06}Z","data":{{"n":{index}}},"x":[{index}]}}"#,
        ),
        index = index,
        kind = index % 3,
        epoch = 1_563_649_380_000_usize + index,
    )
}

fn any_event() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::collection::vec(any::<String>(), 0..3).prop_map(Value::from),
        prop::collection::btree_map(any::<String>(), any::<String>(), 0..3)
            .prop_map(|map| map.into_iter().collect()),
    ];
    let key = prop_oneof![
        prop::sample::select(&COLUMNS[..]).prop_map(str::to_owned),
        any::<String>()
    ];
    prop::collection::btree_map(key, value, 0..12).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn an_ndjson_line_parses_to_the_event(event in any_event(), pretty in any::<bool>()) {
        let text = if pretty {
            serde_json::to_string_pretty(&event).unwrap()
        } else {
            event.to_string()
        };
        let line = written(OutputFormat::Ndjson(NdjsonCompression::None), &[&text]);
        prop_assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        let parsed: Value = serde_json::from_slice(&line).unwrap();
        prop_assert_eq!(parsed, serde_json::from_str::<Value>(&text).unwrap());
    }

    #[test]
    fn a_parquet_row_holds_every_value_of_the_event(event in any_event()) {
        let text = event.to_string();
        let event: Value = serde_json::from_str(&text).unwrap();
        let (rows, _) = read_parquet(&written(OutputFormat::default(), &[&text]));
        let extra: Value = rows[0][9].as_deref().map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        for (key, value) in event.as_object().unwrap() {
            let column = COLUMNS[..9].iter().position(|name| name == key);
            match (column.and_then(|column| rows[0][column].as_ref()), value) {
                (Some(cell), Value::String(text)) => prop_assert_eq!(cell, text),
                (Some(cell), value) => prop_assert_eq!(&serde_json::from_str::<Value>(cell).unwrap(), value),
                (None, Value::Null) if column.is_some() => prop_assert!(extra.get(key).is_none()),
                (None, value) if key != "$duplicates" => prop_assert_eq!(extra.get(key), Some(value)),
                (None, _) => {}
            }
        }
    }
}
