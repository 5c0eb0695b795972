//! The events of the benchmarks, and the functions that they measure: splitting and writing in memory.

use std::convert::Infallible;
use std::io::Write;

use event_recovery_format::{
    Envelope, EnvelopeRule, EnvelopeScratch, EventWriter, OrgRule, OutputFormat,
};
use event_recovery_splitter::{Event, Item, Limits, Splitter};

const CHUNK_BYTES: usize = 1024 * 1024;

/// Events of 0.4 to 8 KB with strings, numbers and nesting like the platform's. `description` is the JSON content of
/// most strings, with its escapes.
pub(crate) fn events(count: usize, description: &str) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(move |number| {
        let details: Vec<String> = (0..number % 23 * 3)
            .map(|key| {
                format!(
                    r#"{{"key":{key},"description":"{description}","amount":{}.25}}"#,
                    key * 7
                )
            })
            .collect();
        let mut event = Vec::new();
        write!(
            event,
            r#"{{"event_id":"{number:032x}","cid":"{number:032x}","org_id":"TN-1","domain":"account","event_type":"status-change-2","schema_version":2,"timestamp":"2024-04-01T00:00:00.{:03}Z","arrival_epoch":{},"data":{{"account_id":{number},"details":[{}]}}}}"#,
            number % 1000,
            1_711_929_600_000_u64 + number as u64,
            details.join(",")
        )
        .unwrap();
        event
    })
}

pub(crate) fn split(stream: &[u8], mut on_event: impl FnMut(Event<'_>)) -> u64 {
    let rule = EnvelopeRule {
        orgs: OrgRule::OneOf(vec!["tn-1".to_owned()]),
    };
    let mut splitter = Splitter::new(Limits::default(), |object: &[u8]| rule.matches(object));
    let mut take = |item: Item<'_>| {
        if let Item::Event(event) = item {
            on_event(event);
        }
        Ok::<_, Infallible>(())
    };
    for chunk in stream.chunks(CHUNK_BYTES) {
        let Ok(()) = splitter.push(chunk, &mut take);
    }
    let Ok(totals) = splitter.finish(&mut take);
    totals.events
}

/// Returns the number of events.
pub(crate) fn split_only(stream: &[u8]) -> u64 {
    let mut bytes = 0;
    let events = split(stream, |event| bytes += event.bytes.len());
    std::hint::black_box(bytes);
    events
}

/// Overwrites `file` and returns the number of events.
pub(crate) fn write(stream: &[u8], format: OutputFormat, file: &mut Vec<u8>) -> u64 {
    file.clear();
    let mut scratch = EnvelopeScratch::default();
    let mut writer = EventWriter::open(format, file).unwrap();
    split(stream, |event| {
        writer.write(&Envelope::of(event, &mut scratch)).unwrap()
    });
    let rows = writer.rows();
    std::hint::black_box(writer.finish().unwrap());
    rows
}
