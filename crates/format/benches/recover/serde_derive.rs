//! The obvious implementation as a baseline: serde's derive, the payload as a `RawValue`, and the Parquet writer with
//! its defaults.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde::Deserialize;
use serde_json::value::RawValue;

const BATCH_ROWS: usize = 1024;

#[derive(Deserialize)]
struct Event<'a> {
    event_id: Option<String>,
    cid: Option<String>,
    org_id: Option<String>,
    event_type: Option<String>,
    domain: Option<String>,
    schema_version: Option<i64>,
    arrival_epoch: Option<i64>,
    timestamp: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Overwrites `file` and returns the number of events.
pub(crate) fn write(stream: &[u8], compression: Compression, file: &mut Vec<u8>) -> u64 {
    file.clear();
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .build();
    let mut writer = ArrowWriter::try_new(file, schema(), Some(properties)).unwrap();
    let text = std::str::from_utf8(stream).unwrap();
    let mut events = serde_json::Deserializer::from_str(text).into_iter::<Event<'_>>();
    let mut written = 0;
    loop {
        let batch: Vec<Event<'_>> = events
            .by_ref()
            .take(BATCH_ROWS)
            .map(Result::unwrap)
            .collect();
        if batch.is_empty() {
            break;
        }
        written += batch.len() as u64;
        writer.write(&record_batch(&batch)).unwrap();
    }
    std::hint::black_box(writer.into_inner().unwrap());
    written
}

fn schema() -> SchemaRef {
    let texts = [
        "event_id",
        "cid",
        "org_id",
        "event_type",
        "domain",
        "timestamp",
        "data",
    ];
    let texts = texts.map(|name| Field::new(name, DataType::Utf8, true));
    let integers = ["schema_version", "arrival_epoch"];
    let integers = integers.map(|name| Field::new(name, DataType::Int64, true));
    Arc::new(Schema::new(
        texts.into_iter().chain(integers).collect::<Vec<_>>(),
    ))
}

fn record_batch(events: &[Event<'_>]) -> RecordBatch {
    let mut texts: [StringBuilder; 7] = Default::default();
    let mut integers: [Int64Builder; 2] = Default::default();
    for event in events {
        let values = [
            event.event_id.as_deref(),
            event.cid.as_deref(),
            event.org_id.as_deref(),
            event.event_type.as_deref(),
            event.domain.as_deref(),
            event.timestamp.as_deref(),
            event.data.map(RawValue::get),
        ];
        for (builder, value) in texts.iter_mut().zip(values) {
            builder.append_option(value);
        }
        for (builder, value) in integers
            .iter_mut()
            .zip([event.schema_version, event.arrival_epoch])
        {
            builder.append_option(value);
        }
    }
    let texts = texts
        .iter_mut()
        .map(|builder| Arc::new(builder.finish()) as ArrayRef);
    let integers = integers
        .iter_mut()
        .map(|builder| Arc::new(builder.finish()) as ArrayRef);
    RecordBatch::try_new(schema(), texts.chain(integers).collect()).unwrap()
}
