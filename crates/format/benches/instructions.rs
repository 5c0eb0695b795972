//! Counts the instructions of splitting and writing in memory with callgrind.
//!
//! `make bench-gate` runs it and compares the counts with `bench/instructions.json`.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

mod support;

use event_recovery_format::{NdjsonCompression, OutputFormat, ParquetCompression};
use event_recovery_splitter::Instructions;
use gungraun::{
    Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use support::{events, split_only, write};

const EVENTS: usize = 690;
/// Every tenth event of the torn stream is torn.
const TORN_EVERY: usize = 10;
const CLEAN: &str = "a plain text of the length that such texts have";
/// Braces, escapes, other scripts, and JSON inside of the string.
const HARD: &str = r#"}{ \"a\" \\ \u00e9\n é 日本 😀 {\"b\":[{\"c\":\"}\\\"\"}]}"#;

/// A stream with the number of its intact events.
struct Stream {
    bytes: Vec<u8>,
    intact: u64,
}

fn clean() -> Stream {
    whole(CLEAN)
}

fn hard() -> Stream {
    whole(HARD)
}

fn whole(description: &str) -> Stream {
    assert_instructions();
    Stream {
        bytes: events(EVENTS, description).flatten().collect(),
        intact: EVENTS as u64,
    }
}

fn torn() -> Stream {
    assert_instructions();
    let mut stream = Stream {
        bytes: Vec::new(),
        intact: 0,
    };
    for (number, mut event) in events(EVENTS, HARD).enumerate() {
        if number % TORN_EVERY == 0 {
            tear(&mut event, number / TORN_EVERY);
        } else {
            stream.intact += 1;
        }
        stream.bytes.append(&mut event);
    }
    stream
}

/// In turns cuts off the end and sets a byte that is not UTF-8, at places spread over the event.
fn tear(event: &mut Vec<u8>, number: usize) {
    let place = event.len() * (1 + number % 7) / 8;
    if number.is_multiple_of(2) {
        event.truncate(place);
    } else {
        event[place] = 0xff;
    }
}

/// Panics if the splitter ignores the variable, so that counts are not recorded under a wrong name.
fn assert_instructions() {
    if let Ok(wanted) = std::env::var(Instructions::VARIABLE) {
        assert_eq!(Instructions::preferred().as_str(), wanted);
    }
}

fn check(stream: &Stream, events: u64) {
    assert_eq!(events, stream.intact);
}

#[library_benchmark]
#[bench::clean(clean())]
#[bench::hard(hard())]
#[bench::torn(torn())]
fn split(stream: Stream) -> Stream {
    check(&stream, split_only(&stream.bytes));
    stream
}

#[library_benchmark]
#[bench::clean(clean())]
#[bench::hard(hard())]
#[bench::torn(torn())]
fn ndjson(stream: Stream) -> Stream {
    let format = OutputFormat::Ndjson(NdjsonCompression::None);
    check(
        &stream,
        write(
            &stream.bytes,
            format,
            &mut Vec::with_capacity(stream.bytes.len()),
        ),
    );
    stream
}

#[library_benchmark]
#[bench::clean(clean())]
#[bench::hard(hard())]
#[bench::torn(torn())]
fn parquet(stream: Stream) -> Stream {
    let format = OutputFormat::Parquet(ParquetCompression::None);
    check(
        &stream,
        write(
            &stream.bytes,
            format,
            &mut Vec::with_capacity(stream.bytes.len()),
        ),
    );
    stream
}

#[library_benchmark]
#[bench::clean(clean())]
#[bench::hard(hard())]
#[bench::torn(torn())]
fn parquet_zstd(stream: Stream) -> Stream {
    let format = OutputFormat::Parquet(ParquetCompression::Zstd);
    check(
        &stream,
        write(
            &stream.bytes,
            format,
            &mut Vec::with_capacity(stream.bytes.len()),
        ),
    );
    stream
}

library_benchmark_group!(
    name = recover,
    benchmarks = [split, ndjson, parquet, parquet_zstd]
);
main!(
    config = LibraryBenchmarkConfig::default()
        .pass_through_env(Instructions::VARIABLE)
        .tool(Callgrind::with_args(["cache-sim=no"])),
    library_benchmark_groups = recover
);
