//! Opens files for reading, regular ones alone.
//!
//! Opening a FIFO waits until a process writes to it, and reading a device may never end. Both can be where
//! a file is expected, and must not block a whole run.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// Why a file was not opened.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// The file system's own error.
    Io(io::Error),
    /// Something else than a regular file, as the end of a sentence that begins with "it is".
    Irregular(&'static str),
}

impl From<io::Error> for NotOpened {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Opens the file at the path, or what links there lead to, if it is a regular file. Never waits
/// for another process.
pub(crate) fn open_regular(path: &Path) -> Result<(File, Metadata), NotOpened> {
    // Checked before the open, since opening alone can make a device act, and after it, since something
    // else may have taken the file's place.
    check_regular(path, &metadata(path)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    never_wait(&mut options);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    check_regular(path, &metadata)?;
    Ok((file, metadata))
}

/// The metadata of what links lead to.
fn metadata(path: &Path) -> Result<Metadata, NotOpened> {
    fs::metadata(path).map_err(|error| {
        let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        match error.kind() {
            io::ErrorKind::NotFound if is_link => {
                NotOpened::Irregular("a link to something that is not there")
            }
            _ if is_link && is_loop(&error) => {
                NotOpened::Irregular("a link that leads back to itself")
            }
            _ => NotOpened::Io(error),
        }
    })
}

fn check_regular(path: &Path, metadata: &Metadata) -> Result<(), NotOpened> {
    if metadata.is_file() {
        return Ok(());
    }
    if metadata.is_dir() {
        // A folder is listed like a file if it can't be read, and the reason is what counts then.
        fs::read_dir(path)?;
        let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        let what = if is_link {
            "a link to a folder that leads back to the link"
        } else {
            "a folder"
        };
        return Err(NotOpened::Irregular(what));
    }
    Err(NotOpened::Irregular(kind(metadata.file_type())))
}

#[cfg(unix)]
fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ELOOP)
}

#[cfg(not(unix))]
fn is_loop(_error: &io::Error) -> bool {
    false
}

#[cfg(unix)]
fn never_wait(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    // Neither flag changes how a regular file is read; a terminal must not become ours.
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
}

#[cfg(not(unix))]
fn never_wait(_options: &mut OpenOptions) {}

#[cfg(unix)]
fn kind(file_type: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kinds = [
        (file_type.is_fifo(), "a FIFO"),
        (file_type.is_socket(), "a socket"),
        (file_type.is_char_device(), "a character device"),
        (file_type.is_block_device(), "a block device"),
    ];
    let found = kinds.into_iter().find(|(is_it, _)| *is_it);
    found.map_or("of a kind that is not known", |(_, kind)| kind)
}

#[cfg(not(unix))]
fn kind(_file_type: FileType) -> &'static str {
    "of a kind that is not known"
}
