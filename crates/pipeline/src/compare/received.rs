//! The ids that a consumer has.

use std::fs::File;
use std::io::{self, Seek as _};
use std::path::Path;
use std::sync::Arc;

use event_recovery_format::{IdFormat, IdsError, read_ids, read_parquet_ids};

use crate::compare::error::CompareError;
use crate::storage::{ListedObject, Source, StorageError};

/// A file with ids.
#[derive(Clone)]
pub struct ReceivedFile {
    /// Where it is.
    pub storage: Arc<dyn Source>,
    /// The file.
    pub object: ListedObject,
    /// How people call it.
    pub name: String,
}

/// Reads the ids of a file. Returns how many there are.
pub(crate) fn read_received(
    file: &ReceivedFile,
    column: &str,
    folder: &Path,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<u64, CompareError> {
    let mut ids = 0;
    let mut take = |id: &[u8]| {
        ids += 1;
        take(id)
    };
    let object = &file.object;
    let reader = file.storage.open_here(&object.key, &object.etag);
    let mut reader = reader.map_err(|error| unreadable(file, error))?;
    let read = match IdFormat::of_name(&file.name) {
        // It is read from its end.
        IdFormat::Parquet => spooled(&mut reader, folder)
            .map_err(IdsError::Io)
            .and_then(|spooled| read_parquet_ids(spooled, column, &mut take)),
        format => read_ids(format, reader, column, &mut take),
    };
    match read {
        Ok(()) => Ok(ids),
        Err(IdsError::Io(error)) => match error.downcast::<StorageError>() {
            Ok(error) => Err(unreadable(file, error)),
            Err(error) => Err(CompareError::Received {
                name: file.name.clone(),
                problem: error.to_string(),
            }),
        },
        Err(error) => Err(CompareError::Received {
            name: file.name.clone(),
            problem: error.to_string(),
        }),
    }
}

fn unreadable(file: &ReceivedFile, error: StorageError) -> CompareError {
    CompareError::ReceivedStorage {
        name: file.name.clone(),
        error,
    }
}

fn spooled(reader: &mut impl io::Read, folder: &Path) -> io::Result<File> {
    let mut file = tempfile::tempfile_in(folder)?;
    io::copy(reader, &mut file)?;
    file.rewind()?;
    Ok(file)
}
