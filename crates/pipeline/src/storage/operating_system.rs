//! The file system of the operating system, as a folder's storage writes to it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::storage::direct_file::DirectFile;
use crate::storage::file_system::{FileSystem, NewFile, WholeFileSystem};

/// The file system of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OperatingSystem;

impl FileSystem for OperatingSystem {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        Ok(Box::new(DirectFile::new(path)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        rename_new(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        // Elsewhere a file must be open for writing to be flushed.
        let file = match cfg!(unix) {
            true => File::open(path)?,
            false => File::options().write(true).open(path)?,
        };
        file.sync_all()
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        // Windows has no such call, and keeps names in its journal.
        match cfg!(unix) {
            true => File::open(path)?.sync_all(),
            false => Ok(()),
        }
    }

    fn open_whole(&self, folder: &Path) -> io::Result<Option<Box<dyn WholeFileSystem>>> {
        open_whole(folder)
    }
}

/// In one call where the system has one; a link and a removal are two.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system has it.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            renamed => return Ok(renamed?),
        }
    }
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

#[cfg(target_os = "linux")]
fn open_whole(folder: &Path) -> io::Result<Option<Box<dyn WholeFileSystem>>> {
    use rustix::fs::fstatfs;

    let folder = File::open(folder)?;
    let is_known = WHOLE.contains(&fstatfs(&folder)?.f_type);
    if !is_known || !reports_errors_of_syncs() {
        return Ok(None);
    }
    Ok(Some(Box::new(Mounted(folder))))
}

#[cfg(not(target_os = "linux"))]
fn open_whole(_folder: &Path) -> io::Result<Option<Box<dyn WholeFileSystem>>> {
    Ok(None)
}

/// The file systems whose `syncfs` is known to do all that `fsync` does for each file: those of a local disk. Of one
/// that is elsewhere, or on top of another one, that is not certain.
#[cfg(target_os = "linux")]
const WHOLE: [rustix::fs::FsWord; 4] = [
    libc::EXT4_SUPER_MAGIC as rustix::fs::FsWord,
    libc::XFS_SUPER_MAGIC as rustix::fs::FsWord,
    libc::BTRFS_SUPER_MAGIC as rustix::fs::FsWord,
    libc::TMPFS_MAGIC as rustix::fs::FsWord,
];

/// Whether the kernel is Linux 5.8 or newer: before, `syncfs` kept it to itself if something could not be written
/// (syncfs(2)).
#[cfg(target_os = "linux")]
fn reports_errors_of_syncs() -> bool {
    let name = rustix::system::uname();
    is_at_least(name.release().to_str().unwrap_or_default(), (5, 8))
}

#[cfg(target_os = "linux")]
fn is_at_least(release: &str, least: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    match (next(), next()) {
        (Some(major), Some(minor)) => (major, minor) >= least,
        _ => false,
    }
}

/// A mounted file system, by a folder in it. Kept open, so that each call tells what has gone wrong since the one before.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Mounted(File);

#[cfg(target_os = "linux")]
impl WholeFileSystem for Mounted {
    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_name_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("new"), "new").unwrap();
        fs::write(path("old"), "old").unwrap();
        let error = OperatingSystem.rename_new(&path("new"), &path("old"));
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(path("old")).unwrap(), b"old");
        OperatingSystem
            .rename_new(&path("new"), &path("other"))
            .unwrap();
        assert_eq!(fs::read(path("other")).unwrap(), b"new");
        assert!(!path("new").exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn old_kernels_are_told_from_new_ones() {
        for (release, is_new) in [
            ("5.8.0", true),
            ("5.7.19", false),
            ("6.1.0-18-amd64", true),
            ("4.18.0-553.el8_10.x86_64", false),
            ("5.10.225-213.878.amzn2.x86_64", true),
            ("", false),
            ("next", false),
        ] {
            assert_eq!(is_at_least(release, (5, 8)), is_new, "{release}");
        }
    }
}
