//! The formats in which events are written.

/// How a file of events is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputFormat {
    /// One event a line, in its own bytes.
    Ndjson(NdjsonCompression),
    /// Ten columns, one event a row.
    Parquet(ParquetCompression),
}

/// Compression of a whole NDJSON file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NdjsonCompression {
    /// Plain text.
    #[default]
    None,
    /// One gzip member.
    Gzip,
    /// One zstd frame with a checksum.
    Zstd,
}

/// Compression of the pages inside a Parquet file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ParquetCompression {
    /// The smallest files.
    #[default]
    Zstd,
    /// For readers that know no zstd.
    Snappy,
    /// Plain pages.
    None,
}

impl OutputFormat {
    /// The ending of a file's name, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Ndjson(NdjsonCompression::None) => "ndjson",
            Self::Ndjson(NdjsonCompression::Gzip) => "ndjson.gz",
            Self::Ndjson(NdjsonCompression::Zstd) => "ndjson.zst",
            Self::Parquet(_) => "parquet",
        }
    }
}

impl Default for OutputFormat {
    fn default() -> Self {
        Self::Parquet(ParquetCompression::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_names_what_a_reader_must_undo() {
        let rows = [
            (OutputFormat::Ndjson(NdjsonCompression::None), "ndjson"),
            (OutputFormat::Ndjson(NdjsonCompression::Gzip), "ndjson.gz"),
            (OutputFormat::Ndjson(NdjsonCompression::Zstd), "ndjson.zst"),
            (OutputFormat::default(), "parquet"),
        ];
        for (format, extension) in rows {
            assert_eq!(format.extension(), extension);
        }
    }
}
