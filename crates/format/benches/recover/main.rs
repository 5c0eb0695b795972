//! Splitting and writing in memory on one core, as ratios to serde_json in the same run.
//!
//! `make bench` runs it. The rows are measured in turns, and the result is the median of the rounds, so that a busy
//! machine slows all alike. All rows write to the same memory, so that none pays for page faults.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark"
)]

mod serde_derive;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use event_recovery_format::{NdjsonCompression, OutputFormat, ParquetCompression};
use event_recovery_splitter::Instructions;
use parquet::basic::{Compression, ZstdLevel};
use serde_json::value::RawValue;
use support::{events, split, split_only, write};

const EVENTS: usize = 20_000;
const ROUNDS: usize = 11;
const DESCRIPTION: &str = r#"a \"quoted\" café }{ text"#;

/// Reads the stream, may write to the memory, and returns the number of events.
type Subject<'a> = &'a dyn Fn(&[u8], &mut Vec<u8>) -> u64;

/// A measured function, and the index of the row that its ratio refers to.
struct Row<'a> {
    name: &'static str,
    subject: Subject<'a>,
    baseline: usize,
}

fn main() {
    let stream: Vec<u8> = events(EVENTS, DESCRIPTION).flatten().collect();
    let ours = |format| move |stream: &[u8], file: &mut Vec<u8>| write(stream, format, file);
    let ndjson = ours(OutputFormat::Ndjson(NdjsonCompression::None));
    let parquet = ours(OutputFormat::Parquet(ParquetCompression::None));
    let parquet_zstd = ours(OutputFormat::Parquet(ParquetCompression::Zstd));
    let derived = |compression| {
        move |stream: &[u8], file: &mut Vec<u8>| serde_derive::write(stream, compression, file)
    };
    let with_defaults = derived(Compression::UNCOMPRESSED);
    let with_zstd = derived(Compression::ZSTD(ZstdLevel::default()));
    let row = |name, subject, baseline| Row {
        name,
        subject,
        baseline,
    };
    let rows = [
        row(
            "serde_json RawValue stream",
            &|stream, _| raw_values(stream),
            0,
        ),
        row(
            "ours: ends of objects, structure checked",
            &|stream, _| ends(stream),
            0,
        ),
        row(
            "ours: split, fully validated",
            &|stream, _| split_only(stream),
            0,
        ),
        row("serde_json RawValue stream and copy", &raw_value_lines, 3),
        row("ours: split, validated, and copy", &split_lines, 3),
        row("ours: to NDJSON, fully validated", &ndjson, 3),
        row("serde derive, Parquet writer's defaults", &with_defaults, 6),
        row("ours: to Parquet, uncompressed as well", &parquet, 6),
        row("serde derive, defaults but for zstd", &with_zstd, 8),
        row("ours: to Parquet, zstd", &parquet_zstd, 8),
    ];
    let times = measure(&rows, &stream);
    let megabytes = stream.len() as f64 / 1e6;
    println!(
        "{EVENTS} events, {megabytes:.0} MB, one core, {}: median of {ROUNDS} rounds, and of each round's ratio",
        Instructions::preferred()
    );
    for (row, own) in rows.iter().zip(&times) {
        let speed = median(own.iter().map(|time| megabytes / time.as_secs_f64()));
        let baseline = times[row.baseline].iter();
        let ratio = median(
            baseline
                .zip(own)
                .map(|(baseline, own)| baseline.as_secs_f64() / own.as_secs_f64()),
        );
        println!("{:<42}{speed:>8.0} MB/s{ratio:>8.2} x", row.name);
    }
}

fn measure(rows: &[Row<'_>], stream: &[u8]) -> Vec<Vec<Duration>> {
    let mut file = vec![1; stream.len() * 2];
    let mut times = vec![Vec::new(); rows.len()];
    for _ in 0..ROUNDS {
        for (row, times) in rows.iter().zip(&mut times) {
            let start = Instant::now();
            let events = (row.subject)(stream, &mut file);
            times.push(start.elapsed());
            assert_eq!(events, EVENTS as u64, "{}", row.name);
        }
    }
    times
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn raw_values(stream: &[u8]) -> u64 {
    let text = std::str::from_utf8(stream).unwrap();
    let values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    values.map(Result::unwrap).count() as u64
}

fn raw_value_lines(stream: &[u8], file: &mut Vec<u8>) -> u64 {
    file.clear();
    let text = std::str::from_utf8(stream).unwrap();
    let mut events = 0;
    for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        file.extend_from_slice(value.unwrap().get().as_bytes());
        file.push(b'\n');
        events += 1;
    }
    events
}

fn split_lines(stream: &[u8], file: &mut Vec<u8>) -> u64 {
    file.clear();
    split(stream, |event| {
        file.extend_from_slice(event.bytes);
        file.push(b'\n');
    })
}

fn ends(stream: &[u8]) -> u64 {
    Instructions::preferred().object_ends(stream).len() as u64
}
