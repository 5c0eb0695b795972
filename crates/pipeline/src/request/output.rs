//! How requests and records write an [`OutputFormat`]: as two fields, `format` and `compression`.
//!
//! Not every compression goes with every format. The two exist apart from each other only in a request
//! as written; after its resolution everything holds an [`OutputFormat`], which can't hold a pair that
//! has no writer.

use event_recovery_format::{NdjsonCompression, OutputFormat, ParquetCompression};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::request::error::{RequestError, any_of, quoted};

/// The field `format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The platform's columns, and one for everything else.
    #[default]
    Parquet,
    /// The event's own bytes, one event per line.
    Ndjson,
}

/// The field `compression`. NDJSON compresses whole files, Parquet the pages inside of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// For both formats.
    None,
    /// For NDJSON.
    Gzip,
    /// Zstandard, for both formats.
    Zstd,
    /// For Parquet.
    Snappy,
}

impl Format {
    /// Every format, the default first.
    pub const ALL: [Self; 2] = [Self::Parquet, Self::Ndjson];

    /// The format of an output.
    pub fn of(output: OutputFormat) -> Self {
        match output {
            OutputFormat::Parquet(_) => Self::Parquet,
            OutputFormat::Ndjson(_) => Self::Ndjson,
        }
    }

    /// The format as requests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Ndjson => "ndjson",
        }
    }

    /// The format with each compression that goes with it, its default first.
    fn outputs(self) -> [OutputFormat; 3] {
        match self {
            Self::Parquet => [
                ParquetCompression::Zstd,
                ParquetCompression::Snappy,
                ParquetCompression::None,
            ]
            .map(OutputFormat::Parquet),
            Self::Ndjson => [
                NdjsonCompression::None,
                NdjsonCompression::Gzip,
                NdjsonCompression::Zstd,
            ]
            .map(OutputFormat::Ndjson),
        }
    }

    /// The compressions that go with the format, its default first.
    pub(crate) fn compressions(self) -> [Compression; 3] {
        self.outputs().map(Compression::of)
    }

    fn with(self, compression: Compression) -> Option<OutputFormat> {
        let mut outputs = self.outputs().into_iter();
        outputs.find(|output| Compression::of(*output) == compression)
    }
}

impl Compression {
    /// Every compression.
    pub(crate) const ALL: [Self; 4] = [Self::None, Self::Gzip, Self::Zstd, Self::Snappy];

    /// The compression of an output.
    pub fn of(output: OutputFormat) -> Self {
        match output {
            OutputFormat::Ndjson(NdjsonCompression::None)
            | OutputFormat::Parquet(ParquetCompression::None) => Self::None,
            OutputFormat::Ndjson(NdjsonCompression::Gzip) => Self::Gzip,
            OutputFormat::Ndjson(NdjsonCompression::Zstd)
            | OutputFormat::Parquet(ParquetCompression::Zstd) => Self::Zstd,
            OutputFormat::Parquet(ParquetCompression::Snappy) => Self::Snappy,
        }
    }

    /// The compression as requests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
        }
    }
}

/// The output that a request asks for; without a compression, the format's default.
///
/// # Errors
///
/// A compression that does not go with the format.
pub(crate) fn choose(
    format: Format,
    compression: Option<Compression>,
) -> Result<OutputFormat, RequestError> {
    let compressions = format.compressions();
    let compression = compression.unwrap_or(compressions[0]);
    format.with(compression).ok_or_else(|| {
        let problem = format!("does not go with the format `{}`", format.as_str());
        let refused = RequestError::new("compression", problem)
            .accepts(any_of(compressions.map(Compression::as_str)))
            .found(quoted(compression.as_str()));
        let other = Format::ALL
            .into_iter()
            .find(|other| other.with(compression).is_some());
        match other {
            Some(other) => refused.hinting(format!("it goes with the format `{}`", other.as_str())),
            None => refused,
        }
    })
}

/// The two fields as they stand in JSON.
#[derive(Serialize, Deserialize)]
pub(crate) struct OutputFields {
    pub(crate) format: Format,
    pub(crate) compression: Compression,
}

impl From<OutputFormat> for OutputFields {
    fn from(output: OutputFormat) -> Self {
        Self {
            format: Format::of(output),
            compression: Compression::of(output),
        }
    }
}

impl TryFrom<OutputFields> for OutputFormat {
    type Error = RequestError;

    fn try_from(fields: OutputFields) -> Result<Self, RequestError> {
        choose(fields.format, Some(fields.compression))
    }
}

/// For `#[serde(flatten, with = "…")]`.
pub(crate) fn serialize<S: Serializer>(
    output: &OutputFormat,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    OutputFields::from(*output).serialize(serializer)
}

/// For `#[serde(flatten, with = "…")]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<OutputFormat, D::Error> {
    let fields = OutputFields::deserialize(deserializer)?;
    fields.try_into().map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_and_a_compression_make_an_output_or_are_refused() {
        let mut refused = Vec::new();
        for format in Format::ALL {
            for compression in Compression::ALL {
                match choose(format, Some(compression)) {
                    Ok(output) => {
                        assert_eq!(Format::of(output), format);
                        assert_eq!(Compression::of(output), compression);
                    }
                    Err(error) => refused.push((format, compression, error.hint().is_some())),
                }
            }
            let default = choose(format, None).map(Compression::of);
            assert_eq!(default, Ok(format.compressions()[0]));
        }
        let expected = [
            (Format::Parquet, Compression::Gzip, true),
            (Format::Ndjson, Compression::Snappy, true),
        ];
        assert_eq!(refused, expected);
        assert_eq!(choose(Format::default(), None), Ok(OutputFormat::default()));
    }
}
