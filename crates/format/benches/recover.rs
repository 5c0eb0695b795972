//! Splitting and writing in memory on one core, as ratios to serde_json in the same run.
//!
//! `make bench` runs it. Rounds go in turns, and the median counts, so that a busy machine slows
//! all alike.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a benchmark"
)]

use std::convert::Infallible;
use std::io::Write;
use std::time::{Duration, Instant};

use event_recovery_format::{
    Envelope, EnvelopeScratch, EventWriter, NdjsonCompression, OutputFormat, ParquetCompression,
};
use event_recovery_splitter::{Item, Limits, Splitter};
use serde_json::value::RawValue;

const EVENTS: usize = 20_000;
const ROUNDS: usize = 7;
const CHUNK_BYTES: usize = 1024 * 1024;

/// Events of 0.4 to 8 KB with strings, numbers and nesting like the platform's.
fn stream() -> Vec<u8> {
    let mut stream = Vec::new();
    for number in 0..EVENTS {
        let details: Vec<String> = (0..number % 23 * 3)
            .map(|key| {
                format!(
                    r#"{{"key":{key},"description":"a \"quoted\" café }}{{ text","amount":{}.25}}"#,
                    key * 7
                )
            })
            .collect();
        write!(
            stream,
            r#"{{"event_id":"{number:032x}","cid":"{number:032x}","org_id":"TN-1","domain":"account","event_type":"status-change-2","schema_version":2,"timestamp":"2024-04-01T00:00:00.{:03}Z","arrival_epoch":{},"data":{{"account_id":{number},"details":[{}]}}}}"#,
            number % 1000,
            1_711_929_600_000_u64 + number as u64,
            details.join(",")
        )
        .unwrap();
    }
    stream
}

fn split(stream: &[u8], mut on_event: impl FnMut(&[u8])) -> u64 {
    let mut splitter = Splitter::new(Limits::default(), |_: &[u8]| true);
    let mut take = |item: Item<'_>| {
        if let Item::Event(event) = item {
            on_event(event.bytes);
        }
        Ok::<_, Infallible>(())
    };
    for chunk in stream.chunks(CHUNK_BYTES) {
        let Ok(()) = splitter.push(chunk, &mut take);
    }
    let Ok(totals) = splitter.finish(&mut take);
    totals.events
}

fn serde_json_copy(stream: &[u8]) -> u64 {
    let text = std::str::from_utf8(stream).unwrap();
    let mut lines = Vec::with_capacity(stream.len() + EVENTS);
    let mut events = 0;
    for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        lines.extend_from_slice(value.unwrap().get().as_bytes());
        lines.push(b'\n');
        events += 1;
    }
    std::hint::black_box(&lines);
    events
}

fn split_only(stream: &[u8]) -> u64 {
    let mut bytes = 0;
    let events = split(stream, |event| bytes += event.len());
    std::hint::black_box(bytes);
    events
}

fn write(stream: &[u8], format: OutputFormat) -> u64 {
    let mut scratch = EnvelopeScratch::default();
    let mut writer = EventWriter::open(format, Vec::with_capacity(stream.len())).unwrap();
    split(stream, |event| {
        writer.write(&Envelope::read(event, &mut scratch)).unwrap()
    });
    let rows = writer.rows();
    std::hint::black_box(writer.finish().unwrap());
    rows
}

/// Returns how many events it found.
type Subject<'a> = &'a dyn Fn(&[u8]) -> u64;

fn main() {
    let stream = stream();
    let subjects: [(&str, Subject<'_>); 5] = [
        ("serde_json RawValue stream and copy", &serde_json_copy),
        ("split, validated", &split_only),
        ("to NDJSON", &|stream| {
            write(stream, OutputFormat::Ndjson(NdjsonCompression::None))
        }),
        ("to Parquet, uncompressed", &|stream| {
            write(stream, OutputFormat::Parquet(ParquetCompression::None))
        }),
        ("to Parquet, zstd", &|stream| {
            write(stream, OutputFormat::Parquet(ParquetCompression::Zstd))
        }),
    ];
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); subjects.len()];
    for _ in 0..ROUNDS {
        for ((name, subject), times) in subjects.iter().zip(&mut times) {
            let start = Instant::now();
            let events = subject(&stream);
            times.push(start.elapsed());
            assert_eq!(events, EVENTS as u64, "{name}");
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[ROUNDS / 2]
    };
    let medians: Vec<Duration> = times.iter_mut().map(median).collect();
    println!(
        "{} events, {:.0} MB, median of {ROUNDS} rounds",
        EVENTS,
        stream.len() as f64 / 1e6
    );
    for ((name, _), time) in subjects.iter().zip(&medians) {
        let megabytes = stream.len() as f64 / 1e6 / time.as_secs_f64();
        let ratio = medians[0].as_secs_f64() / time.as_secs_f64();
        println!("{name:<38}{megabytes:>8.0} MB/s{ratio:>8.2} x");
    }
}
