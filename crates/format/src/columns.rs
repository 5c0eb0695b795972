//! The ten Parquet columns: events to rows, rows to Arrow batches.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::Int64Builder;
use arrow_array::{ArrayRef, BinaryArray, RecordBatch};
use arrow_buffer::{Buffer, NullBufferBuilder, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, Field as ArrowField, Schema, SchemaRef};
use parquet::errors::ParquetError;

use crate::envelope::{Envelope, Field};
use crate::json_string::decode_text;

/// The tenth column: what the other nine do not hold.
pub(crate) const EXTRA_FIELDS: &str = "extra_fields";

/// The columns of the file: the nine fields in the order of [`Field::ALL`], then [`EXTRA_FIELDS`]; all nullable.
pub(crate) fn file_schema() -> SchemaRef {
    schema(DataType::Utf8)
}

/// The columns of a batch: text as `Binary`, so that Arrow does not validate UTF-8 that the splitter has validated
/// already. The file's schema still says `Utf8`.
pub(crate) fn batch_schema() -> SchemaRef {
    schema(DataType::Binary)
}

fn schema(text: DataType) -> SchemaRef {
    let fields = Field::ALL.map(|field| {
        let data_type = match field {
            Field::SchemaVersion | Field::ArrivalEpoch => DataType::Int64,
            _ => text.clone(),
        };
        ArrowField::new(field.name(), data_type, true)
    });
    let extra_fields = ArrowField::new(EXTRA_FIELDS, text.clone(), true);
    Arc::new(Schema::new(
        fields.into_iter().chain([extra_fields]).collect::<Vec<_>>(),
    ))
}

/// A set of fields, one bit for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FieldSet(u16);

impl FieldSet {
    pub(crate) fn contains(self, field: Field) -> bool {
        self.0 >> field as usize & 1 == 1
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn insert(&mut self, field: Field) {
        self.0 |= 1 << field as usize;
    }
}

/// The values of one event's nine columns, and the fields that do not fit in them.
pub(crate) struct Row<'a> {
    cells: [Cell<'a>; Field::ALL.len()],
    /// Fields whose value does not fit in its column, such as a number in a text column. Missing and null ones
    /// are not among them.
    pub(crate) unheld: FieldSet,
}

enum Cell<'a> {
    Null,
    Text(Cow<'a, [u8]>),
    Integer(i64),
}

impl<'a> Row<'a> {
    /// The event must be UTF-8: text is not validated again.
    pub(crate) fn of(envelope: &Envelope<'a>) -> Self {
        let mut unheld = FieldSet::default();
        let cells = Field::ALL.map(|field| match envelope.raw(field) {
            None | Some(b"null") => Cell::Null,
            Some(raw) => cell(envelope, field, raw).unwrap_or_else(|| {
                unheld.insert(field);
                Cell::Null
            }),
        });
        Self { cells, unheld }
    }
}

/// `None` if the field's column cannot hold the value.
fn cell<'a>(envelope: &Envelope<'a>, field: Field, raw: &'a [u8]) -> Option<Cell<'a>> {
    match field {
        Field::SchemaVersion | Field::ArrivalEpoch => envelope.integer(field).map(Cell::Integer),
        Field::Data if raw.first() != Some(&b'"') => Some(Cell::Text(Cow::Borrowed(raw))),
        _ => decode_text(raw).map(Cell::Text),
    }
}

/// Collects rows column by column, in memory that is reused from batch to batch.
pub(crate) struct ColumnBuilders {
    schema: SchemaRef,
    fields: [FieldBuilder; Field::ALL.len()],
    extra_fields: TextBuilder,
    rows: usize,
}

enum FieldBuilder {
    Text(TextBuilder),
    Integer(Int64Builder),
}

impl ColumnBuilders {
    /// The most that stays allocated between batches for the text of all columns; memory that one extreme event
    /// needed is freed.
    const BYTES_KEPT_MAX: usize = 8 * 1024 * 1024;

    pub(crate) fn new() -> Self {
        Self {
            schema: batch_schema(),
            fields: Field::ALL.map(|field| match field {
                Field::SchemaVersion | Field::ArrivalEpoch => {
                    FieldBuilder::Integer(Int64Builder::new())
                }
                _ => FieldBuilder::Text(TextBuilder::new()),
            }),
            extra_fields: TextBuilder::new(),
            rows: 0,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Appends one row. The caller bounds the bytes of a batch, so that a column's 32-bit offsets do not overflow.
    pub(crate) fn append(&mut self, row: &Row<'_>, extra_fields: Option<&str>) {
        for (builder, cell) in self.fields.iter_mut().zip(&row.cells) {
            match (builder, cell) {
                (FieldBuilder::Text(builder), Cell::Text(text)) => builder.append(Some(text)),
                (FieldBuilder::Text(builder), _) => builder.append(None),
                (FieldBuilder::Integer(builder), Cell::Integer(integer)) => {
                    builder.append_value(*integer);
                }
                (FieldBuilder::Integer(builder), _) => builder.append_null(),
            }
        }
        self.extra_fields.append(extra_fields.map(str::as_bytes));
        self.rows += 1;
    }

    /// Passes the rows to `write` as one batch, and starts the next one in the same memory.
    pub(crate) fn write_batch(
        &mut self,
        write: impl FnOnce(&RecordBatch) -> Result<(), ParquetError>,
    ) -> Result<(), ParquetError> {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(Field::ALL.len() + 1);
        let mut texts = Vec::with_capacity(Field::ALL.len() + 1);
        for builder in &mut self.fields {
            match builder {
                FieldBuilder::Text(builder) => texts.push((builder.finish()?, builder)),
                FieldBuilder::Integer(builder) => {
                    arrays.push(Arc::new(builder.finish()));
                    continue;
                }
            }
            arrays.extend(texts.last().map(|(array, _)| Arc::clone(array) as ArrayRef));
        }
        let extra_fields = self.extra_fields.finish()?;
        arrays.push(Arc::clone(&extra_fields) as ArrayRef);
        texts.push((extra_fields, &mut self.extra_fields));
        self.rows = 0;
        let batch = RecordBatch::try_new(self.schema.clone(), arrays)?;
        let written = write(&batch);
        drop(batch);
        let mut room = Self::BYTES_KEPT_MAX;
        for (array, builder) in texts {
            room -= builder.take_back(array, room);
        }
        written
    }
}

/// The text of one column. Its memory moves into an array and back: a batch has some megabytes, and allocating them
/// anew for each batch took a tenth of the time of a Parquet file.
struct TextBuilder {
    /// The start of each value and the end of the last: one more than there are values.
    offsets: Vec<i32>,
    bytes: Vec<u8>,
    nulls: NullBufferBuilder,
}

impl TextBuilder {
    /// The bound of [`ColumnBuilders::BYTES_KEPT_MAX`] for one column.
    const BYTES_KEPT_MAX: usize = 4 * 1024 * 1024;

    fn new() -> Self {
        Self {
            offsets: Vec::new(),
            bytes: Vec::new(),
            nulls: NullBufferBuilder::new(0),
        }
    }

    fn append(&mut self, text: Option<&[u8]>) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.bytes.extend_from_slice(text.unwrap_or_default());
        // Lossless: a batch has up to 4 MiB of events, or one event within `EVENT_BYTES_MAX`.
        self.offsets.push(self.bytes.len() as i32);
        self.nulls.append(text.is_some());
    }

    fn finish(&mut self) -> Result<Arc<BinaryArray>, ArrowError> {
        let offsets = OffsetBuffer::new(std::mem::take(&mut self.offsets).into());
        let bytes = Buffer::from_vec(std::mem::take(&mut self.bytes));
        let array = BinaryArray::try_new(offsets, bytes, self.nulls.finish())?;
        Ok(Arc::new(array))
    }

    /// Takes the memory back from the array, unless the array is still shared. Keeps at most `room` bytes, and
    /// returns how many.
    fn take_back(&mut self, array: Arc<BinaryArray>, room: usize) -> usize {
        let Ok(array) = Arc::try_unwrap(array) else {
            return 0;
        };
        let (offsets, bytes, _) = array.into_parts();
        self.offsets = offsets
            .into_inner()
            .into_inner()
            .into_vec()
            .unwrap_or_default();
        self.bytes = bytes.into_vec().unwrap_or_default();
        self.offsets.clear();
        self.bytes.clear();
        self.bytes.shrink_to(Self::BYTES_KEPT_MAX.min(room));
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::EnvelopeScratch;

    #[test]
    fn what_an_extreme_event_needed_is_given_back() {
        let text = "x".repeat(3 * 1024 * 1024);
        let fields = Field::ALL.map(|field| format!("\"{}\":\"{text}\"", field.name()));
        let event = format!("{{{}}}", fields.join(","));
        let mut scratch = EnvelopeScratch::default();
        let mut columns = ColumnBuilders::new();
        for _ in 0..3 {
            let envelope = Envelope::read(event.as_bytes(), &mut scratch);
            columns.append(&Row::of(&envelope), Some(&text));
            columns.write_batch(|_| Ok(())).unwrap();
            let texts = columns.fields.iter().filter_map(|builder| match builder {
                FieldBuilder::Text(builder) => Some(builder),
                FieldBuilder::Integer(_) => None,
            });
            let kept: usize = texts
                .chain([&columns.extra_fields])
                .map(|builder| builder.bytes.capacity())
                .sum();
            let bounds = text.len()..=ColumnBuilders::BYTES_KEPT_MAX;
            assert!(bounds.contains(&kept), "{kept}");
        }
    }
}
