//! The ten Parquet columns: how an event becomes a row, and rows a batch.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field as ArrowField, Schema, SchemaRef};

use crate::envelope::{Envelope, Field};

/// The name of the tenth column.
pub(crate) const EXTRA_FIELDS: &str = "extra_fields";

/// The columns in order: the nine fields, then [`EXTRA_FIELDS`]; all nullable.
pub(crate) fn schema() -> SchemaRef {
    let fields = Field::ALL.map(|field| {
        let data_type = match field {
            Field::SchemaVersion | Field::ArrivalEpoch => DataType::Int64,
            _ => DataType::Utf8,
        };
        ArrowField::new(field.name(), data_type, true)
    });
    let extra_fields = ArrowField::new(EXTRA_FIELDS, DataType::Utf8, true);
    Arc::new(Schema::new(
        fields.into_iter().chain([extra_fields]).collect::<Vec<_>>(),
    ))
}

/// A set of the nine fields.
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

/// One event's nine columns, and what they could not hold.
pub(crate) struct Row<'a> {
    cells: [Cell<'a>; Field::ALL.len()],
    /// Fields whose value is neither missing nor null, and yet not in its column.
    pub(crate) unheld: FieldSet,
}

enum Cell<'a> {
    Null,
    Text(Cow<'a, str>),
    Integer(i64),
}

impl<'a> Row<'a> {
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

/// `None` where the field's column cannot hold its value.
fn cell<'a>(envelope: &Envelope<'a>, field: Field, raw: &'a [u8]) -> Option<Cell<'a>> {
    match field {
        Field::SchemaVersion | Field::ArrivalEpoch => envelope.integer(field).map(Cell::Integer),
        Field::Data if raw.first() != Some(&b'"') => {
            let text = simdutf8::basic::from_utf8(raw).ok()?;
            Some(Cell::Text(Cow::Borrowed(text)))
        }
        _ => envelope.text(field).map(Cell::Text),
    }
}

/// Rows that wait to become a batch.
pub(crate) struct ColumnBuilders {
    schema: SchemaRef,
    fields: [FieldBuilder; Field::ALL.len()],
    extra_fields: StringBuilder,
    rows: usize,
}

enum FieldBuilder {
    Text(StringBuilder),
    Integer(Int64Builder),
}

impl ColumnBuilders {
    pub(crate) fn new() -> Self {
        Self {
            schema: schema(),
            fields: Field::ALL.map(|field| match field {
                Field::SchemaVersion | Field::ArrivalEpoch => {
                    FieldBuilder::Integer(Int64Builder::new())
                }
                _ => FieldBuilder::Text(StringBuilder::new()),
            }),
            extra_fields: StringBuilder::new(),
            rows: 0,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Appends one row; the caller bounds the bytes, so that no column's 32-bit offsets overflow.
    pub(crate) fn append(&mut self, row: &Row<'_>, extra_fields: Option<&str>) {
        for (builder, cell) in self.fields.iter_mut().zip(&row.cells) {
            match (builder, cell) {
                (FieldBuilder::Text(builder), Cell::Text(text)) => builder.append_value(text),
                (FieldBuilder::Text(builder), _) => builder.append_null(),
                (FieldBuilder::Integer(builder), Cell::Integer(integer)) => {
                    builder.append_value(*integer);
                }
                (FieldBuilder::Integer(builder), _) => builder.append_null(),
            }
        }
        self.extra_fields.append_option(extra_fields);
        self.rows += 1;
    }

    /// Takes the rows out as one batch.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(Field::ALL.len() + 1);
        for builder in &mut self.fields {
            arrays.push(match builder {
                FieldBuilder::Text(builder) => Arc::new(builder.finish()),
                FieldBuilder::Integer(builder) => Arc::new(builder.finish()),
            });
        }
        arrays.push(Arc::new(self.extra_fields.finish()));
        self.rows = 0;
        RecordBatch::try_new(self.schema.clone(), arrays)
    }
}
