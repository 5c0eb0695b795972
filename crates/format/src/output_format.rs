//! Output formats and their compressions.

/// The format of a file of events. Parquet with zstd by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputFormat {
    /// One event per line, in its own bytes; the compression is that of the whole file.
    Ndjson(NdjsonCompression),
    /// One event per row, in ten columns; the compression is that of the pages inside.
    Parquet(ParquetCompression),
}

/// Compression of a whole NDJSON file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NdjsonCompression {
    /// Plain text.
    #[default]
    None,
    /// One gzip member, level 6.
    Gzip,
    /// One zstd frame with a checksum, level 3.
    Zstd,
}

/// Compression of the pages inside a Parquet file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ParquetCompression {
    /// zstd level 1: the smallest files of the three.
    #[default]
    Zstd,
    /// For readers without zstd.
    Snappy,
    /// Uncompressed pages.
    None,
}

impl OutputFormat {
    /// The extension of a file's name, without the leading dot. Parquet has the same for all compressions, which its
    /// readers find in the file.
    ///
    /// ```
    /// use event_recovery_format::{NdjsonCompression, OutputFormat};
    ///
    /// assert_eq!(OutputFormat::Ndjson(NdjsonCompression::Zstd).extension(), "ndjson.zst");
    /// assert_eq!(OutputFormat::default().extension(), "parquet");
    /// ```
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
