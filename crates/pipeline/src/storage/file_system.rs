//! What a folder's storage asks of the file system when it writes.

use std::fmt::Debug;
use std::io::{self, Write};
use std::path::Path;

/// Writes files, and makes them durable. Tests have one that loses what is not durable.
///
/// Nothing is durable before one of the three functions that say so has returned.
pub trait FileSystem: Debug + Send + Sync {
    /// Begins a file, which must not exist yet.
    ///
    /// # Errors
    ///
    /// The file system's, perhaps only when the file is written or finished.
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>>;
    /// Gives a file another name, in place of what has that name.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file another name, which nothing has.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists), and the file system's.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates a folder, whose parent must exist.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes the content of a file durable.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Opens the file system that the folder is in, if it can make durable all at once that was written to it.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn open_whole(&self, folder: &Path) -> io::Result<Option<Box<dyn WholeFileSystem>>>;
}

/// A file that is being written. Dropped, it stays as it is.
pub trait NewFile: Write + Send {
    /// Writes what is buffered. The file is complete then, and not yet durable.
    ///
    /// # Errors
    ///
    /// The file system's.
    fn finish(self: Box<Self>) -> io::Result<()>;
    /// As [`finish`](Self::finish), and gives the file this name, which nothing has, in place of the one that it was
    /// created with. Returns whether that is possible; otherwise, and after an error, nothing has happened.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists), [`NotFound`](io::ErrorKind::NotFound) without the folder, and
    /// the file system's.
    fn finish_as(&mut self, path: &Path) -> io::Result<bool> {
        let _ = path;
        Ok(false)
    }
}

/// A file system that makes everything durable at once.
pub trait WholeFileSystem: Debug + Send + Sync {
    /// Makes durable all that was written before this call, content and names.
    ///
    /// # Errors
    ///
    /// The file system's; also if something could not be written since the call before.
    fn sync(&self) -> io::Result<()>;
}
