//! The files of a comparison: ids in the order of their bytes, one a line.

use serde::Serialize;

use crate::backup::source_key::TaskId;
use crate::compare::record::ComparisonId;
use crate::ledger::Ledger;
use crate::storage::{Records, StorageError};

/// The size of one file of ids, in bytes.
const FILE_BYTES: usize = 8 * 1024 * 1024;

/// An id that occurs more than once in the run.
#[derive(Serialize)]
pub(crate) struct Repeated<'a> {
    pub(crate) id: &'a str,
    pub(crate) events: u64,
    /// With so many different bytes.
    pub(crate) contents: u64,
}

#[derive(Serialize)]
struct WithoutId<'a> {
    task: &'a str,
    /// In the output of the task, from 0.
    position: u64,
}

/// How many files were written.
pub(crate) struct FileCounts {
    pub(crate) id: ComparisonId,
    pub(crate) missing: u64,
    pub(crate) unknown: u64,
    pub(crate) repeated: u64,
    pub(crate) positions: u64,
}

/// Writes the files of one comparison.
pub(crate) struct IdFiles<'a> {
    records: &'a dyn Records,
    id: ComparisonId,
    missing: Numbered,
    unknown: Numbered,
    repeated: Numbered,
    positions: Numbered,
}

/// One kind of files, numbered from 1.
struct Numbered {
    prefix: String,
    extension: &'static str,
    bytes: Vec<u8>,
    files: u64,
}

impl Numbered {
    async fn line(&mut self, records: &dyn Records, line: &[u8]) -> Result<(), StorageError> {
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
        match self.bytes.len() >= FILE_BYTES {
            true => self.flush(records).await,
            false => Ok(()),
        }
    }

    async fn flush(&mut self, records: &dyn Records) -> Result<(), StorageError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        self.files += 1;
        let key = format!("{}{}.{}", self.prefix, self.files, self.extension);
        records.put(&key, std::mem::take(&mut self.bytes)).await
    }
}

impl<'a> IdFiles<'a> {
    pub(crate) fn new(records: &'a dyn Records, ledger: &Ledger, id: ComparisonId) -> Self {
        let numbered = |folder: &str, extension| Numbered {
            prefix: format!("{}{folder}/", ledger.comparison_prefix(&id)),
            extension,
            bytes: Vec::new(),
            files: 0,
        };
        Self {
            records,
            missing: numbered("missing", "ids"),
            unknown: numbered("unknown", "ids"),
            repeated: numbered("repeated", "jsonl"),
            positions: numbered("missing", "positions"),
            id,
        }
    }

    pub(crate) async fn missing(&mut self, id: &[u8]) -> Result<(), StorageError> {
        self.missing.line(self.records, &line_of(id)).await
    }

    pub(crate) async fn unknown(&mut self, id: &[u8]) -> Result<(), StorageError> {
        self.unknown.line(self.records, &line_of(id)).await
    }

    pub(crate) async fn repeated(&mut self, repeated: &Repeated<'_>) -> Result<(), StorageError> {
        let line = serde_json::to_vec(repeated).unwrap_or_default();
        self.repeated.line(self.records, &line).await
    }

    pub(crate) async fn without_id(
        &mut self,
        task: &TaskId,
        position: u64,
    ) -> Result<(), StorageError> {
        let task = task.as_str();
        let line = serde_json::to_vec(&WithoutId { task, position }).unwrap_or_default();
        self.positions.line(self.records, &line).await
    }

    pub(crate) async fn finish(mut self) -> Result<FileCounts, StorageError> {
        for kind in [
            &mut self.missing,
            &mut self.unknown,
            &mut self.repeated,
            &mut self.positions,
        ] {
            kind.flush(self.records).await?;
        }
        Ok(FileCounts {
            id: self.id,
            missing: self.missing.files,
            unknown: self.unknown.files,
            repeated: self.repeated.files,
            positions: self.positions.files,
        })
    }
}

/// The id as a line: bare, or as a JSON string where that could be misread.
fn line_of(id: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(id) {
        Ok(text) if is_misread(text) => serde_json::to_vec(text).unwrap_or_else(|_| id.to_vec()),
        _ => id.to_vec(),
    }
}

fn is_misread(id: &str) -> bool {
    id.starts_with('"')
        || id.is_empty()
        || id.contains(|character: char| character.is_control() || character.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::line_of;

    #[test]
    fn an_id_that_could_be_misread_is_a_json_string() {
        for (id, line) in [
            ("a-1", "a-1"),
            ("é", "é"),
            ("{\"a\":1}", "{\"a\":1}"),
            ("a b", "\"a b\""),
            ("\"a", "\"\\\"a\""),
            ("a\nb", "\"a\\nb\""),
            ("", "\"\""),
        ] {
            assert_eq!(line_of(id.as_bytes()), line.as_bytes(), "{id:?}");
        }
    }
}
