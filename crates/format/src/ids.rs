//! Reads event ids from files of a consumer: lines of text, a column of CSV, or a column of Parquet.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};

use parquet::basic::Type as PhysicalType;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field as Value;
use parquet::schema::types::Type;

use crate::decode::{DecodeLimits, decode_reader};

/// The longest id in bytes. An event has at most 16 MiB, so that no longer one can be equal to its id.
pub const ID_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How a file holds ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdFormat {
    /// One id a line. A line that begins with a quotation mark is a JSON string.
    Text,
    /// Comma-separated values with a header.
    Csv,
    /// Parquet.
    Parquet,
}

impl IdFormat {
    /// The format of a file with this name: CSV and Parquet by their extensions, also with that of a compression, and text
    /// otherwise.
    pub fn of_name(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let plain = name
            .strip_suffix(".gz")
            .or_else(|| name.strip_suffix(".zst"))
            .unwrap_or(&name);
        if plain.ends_with(".csv") {
            Self::Csv
        } else if name.ends_with(".parquet") {
            Self::Parquet
        } else {
            Self::Text
        }
    }
}

/// Why ids could not be read.
#[derive(Debug, thiserror::Error)]
pub enum IdsError {
    /// The file could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is not an id.
    #[error("line {line} {problem}")]
    Line {
        /// From 1.
        line: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is no such column.
    #[error("there is no column `{0}`")]
    NoColumn(String),
    /// The column's values are not text.
    #[error("the column `{0}` holds something else than text")]
    NotText(String),
    /// The file is not valid in its format.
    #[error("it is no valid {format}: {detail}")]
    Invalid {
        /// CSV or Parquet.
        format: &'static str,
        /// What is wrong.
        detail: String,
    },
}

/// Reads lines of text or CSV, which may be compressed by gzip or zstd. `take` gets each id that is not empty.
///
/// # Errors
///
/// See [`IdsError`]. Errors of the reader stay what they are.
pub fn read_ids(
    format: IdFormat,
    reader: impl Read,
    column: &str,
    take: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), IdsError> {
    let limits = DecodeLimits {
        decoded_bytes_max: u64::MAX,
    };
    let reader = decode_reader(reader, limits).map_err(io::Error::from)?;
    match format {
        IdFormat::Csv => of_csv(reader, column, take),
        IdFormat::Text | IdFormat::Parquet => of_lines(reader, take),
    }
}

fn of_lines(
    reader: impl Read,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), IdsError> {
    let mut reader = BufReader::with_capacity(256 * 1024, reader);
    let mut bytes = Vec::new();
    let mut line = 0;
    loop {
        bytes.clear();
        let most = ID_BYTES_MAX as u64 + 2;
        if (&mut reader).take(most).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        line += 1;
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.len() > ID_BYTES_MAX {
            let problem = "is longer than an id can be";
            return Err(IdsError::Line { line, problem });
        }
        match text.first() {
            None => {}
            Some(b'"') => {
                let id: String = serde_json::from_slice(text).map_err(|_| IdsError::Line {
                    line,
                    problem: "begins with a quotation mark and is no JSON string",
                })?;
                if !id.is_empty() {
                    take(id.as_bytes())?;
                }
            }
            Some(_) => take(text)?,
        }
    }
}

fn of_csv(
    reader: impl Read,
    column: &str,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), IdsError> {
    let invalid = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(error) => IdsError::Io(error),
        csv::ErrorKind::UnequalLengths { pos, .. } => IdsError::Line {
            line: pos.map_or(0, |place| place.line()),
            problem: "has another number of fields than the header",
        },
        _ => IdsError::Invalid {
            format: "CSV",
            detail: "a record can't be read".to_owned(),
        },
    };
    let mut reader = csv::ReaderBuilder::new().from_reader(reader);
    let headers = reader.byte_headers().map_err(invalid)?;
    let without_mark = |name: &[u8], index: usize| match index {
        0 => name.strip_prefix(b"\xef\xbb\xbf").unwrap_or(name).to_vec(),
        _ => name.to_vec(),
    };
    let mut names = headers.iter().enumerate();
    let index = names
        .find(|(index, name)| without_mark(name, *index) == column.as_bytes())
        .map(|(index, _)| index)
        .ok_or_else(|| IdsError::NoColumn(column.to_owned()))?;
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(invalid)? {
        match record.get(index) {
            None | Some([]) => {}
            Some(id) => take(id)?,
        }
    }
    Ok(())
}

/// Reads a column of a Parquet file. `take` gets each id that is neither null nor empty.
///
/// # Errors
///
/// See [`IdsError`].
pub fn read_parquet_ids(
    file: File,
    column: &str,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), IdsError> {
    let invalid = |error: parquet::errors::ParquetError| IdsError::Invalid {
        format: "Parquet file",
        detail: error.to_string(),
    };
    let reader = SerializedFileReader::new(file).map_err(invalid)?;
    let schema = reader.metadata().file_metadata().schema();
    let field = schema
        .get_fields()
        .iter()
        .find(|field| field.name() == column);
    let field = field.ok_or_else(|| IdsError::NoColumn(column.to_owned()))?;
    let is_text = field.is_primitive() && field.get_physical_type() == PhysicalType::BYTE_ARRAY;
    if !is_text {
        return Err(IdsError::NotText(column.to_owned()));
    }
    let projection = Type::group_type_builder(schema.name())
        .with_fields(vec![field.clone()])
        .build()
        .map_err(invalid)?;
    for row in reader.get_row_iter(Some(projection)).map_err(invalid)? {
        for (_, value) in row.map_err(invalid)?.get_column_iter() {
            match value {
                Value::Null => {}
                Value::Str(id) if id.is_empty() => {}
                Value::Str(id) => take(id.as_bytes())?,
                Value::Bytes(id) => take(id.data())?,
                _ => return Err(IdsError::NotText(column.to_owned())),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: IdFormat, bytes: &[u8], column: &str) -> Result<Vec<String>, String> {
        let mut ids = Vec::new();
        let take = |id: &[u8]| {
            ids.push(String::from_utf8_lossy(id).into_owned());
            Ok(())
        };
        read_ids(format, bytes, column, take).map_err(|error| error.to_string())?;
        Ok(ids)
    }

    #[test]
    fn lines_are_ids_of_any_form() {
        let text = b"a\r\n\nb c\n\"d\\n\\\"e\"\n{\"x\":1}\n\xff\nlast";
        let ids = read(IdFormat::Text, text, "").unwrap();
        assert_eq!(ids, ["a", "b c", "d\n\"e", "{\"x\":1}", "\u{fffd}", "last"]);
        assert_eq!(read(IdFormat::Text, b"", "").unwrap(), [""; 0]);
        let error = read(IdFormat::Text, b"a\n\"b", "").unwrap_err();
        assert!(error.starts_with("line 2 begins with"), "{error}");
    }

    #[test]
    fn a_column_of_csv_is_found_by_its_name() {
        let text = b"\xef\xbb\xbfevent_id,at\n\"a,\"\"1\n\",2024\n,2025\nb,\n";
        assert_eq!(
            read(IdFormat::Csv, text, "event_id").unwrap(),
            ["a,\"1\n", "b"]
        );
        assert_eq!(read(IdFormat::Csv, text, "at").unwrap(), ["2024", "2025"]);
        let error = read(IdFormat::Csv, text, "id").unwrap_err();
        assert_eq!(error, "there is no column `id`");
        let error = read(IdFormat::Csv, b"a,b\n1\n", "a").unwrap_err();
        assert!(error.contains("another number of fields"), "{error}");
    }

    #[test]
    fn formats_are_told_by_names() {
        for (name, format) in [
            ("ids.CSV", IdFormat::Csv),
            ("a/ids.csv.gz", IdFormat::Csv),
            ("part-0.zstd.parquet", IdFormat::Parquet),
            ("ids.txt.zst", IdFormat::Text),
            ("ids", IdFormat::Text),
        ] {
            assert_eq!(IdFormat::of_name(name), format, "{name}");
        }
    }
}
