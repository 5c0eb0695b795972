//! Lists everything below a folder. No entry can prevent the others from being listed.
//!
//! Links are followed. What can't be opened is listed like a file, without a size, and fails when it
//! is opened, by its name: a link that leads nowhere or in a circle, a FIFO, a folder that must not
//! be read.

use std::fs::{self, Metadata, ReadDir};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use chrono::{DateTime, Utc};

use crate::storage::{LevelPage, ListPage, ListedObject, UnreadableEntry};

/// Everything below the folder except what is below `skipped`. The folder is in `root` and may be missing.
/// Keys are relative to `root`.
///
/// # Errors
///
/// The folder itself can't be read, or a failure is transient.
pub(crate) fn list_folder(root: &Path, folder: &Path, skipped: &Path) -> io::Result<ListPage> {
    list_with(|path| fs::read_dir(path), root, folder, skipped)
}

/// What is directly in the folder, except `skipped`. The folder is in `root` and may be missing.
///
/// # Errors
///
/// The folder itself can't be read, or a failure is transient.
pub(crate) fn list_level(root: &Path, folder: &Path, skipped: &Path) -> io::Result<LevelPage> {
    list_level_with(|path| fs::read_dir(path), root, folder, skipped)
}

/// As [`list_level`], with the function that reads a folder, as in [`list_with`].
fn list_level_with(
    read_dir: impl Fn(&Path) -> io::Result<ReadDir>,
    root: &Path,
    folder: &Path,
    skipped: &Path,
) -> io::Result<LevelPage> {
    let mut listing = Listing {
        root,
        found: ListPage::default(),
    };
    let mut inside = Vec::new();
    if let Some(trail) = trail_to(root, folder)? {
        let read =
            read_dir(folder).and_then(|entries| listing.add_entries(entries, &trail, &mut inside));
        match read {
            Err(error) if !is_missing(&error) => return Err(error),
            _ => {}
        }
    }
    let mut folders = Vec::new();
    for (path, _) in inside {
        match holds_anything(&read_dir, &path, skipped) {
            Ok(false) => {}
            Ok(true) => folders.push(format!("{}/", listing.key(&path))),
            Err(error) if is_missing(&error) => {}
            Err(error) if is_transient(&error) => return Err(error),
            Err(_) => listing.add_unopenable(&path),
        }
    }
    let ListPage {
        objects,
        unreadable,
        next,
    } = listing.found;
    Ok(LevelPage {
        objects,
        folders,
        unreadable,
        next,
    })
}

/// Whether there is anything except folders below the folder and outside of `skipped`. An entry that can't
/// be read counts.
///
/// # Errors
///
/// The folder itself can't be read, or a failure is transient.
fn holds_anything(
    read_dir: impl Fn(&Path) -> io::Result<ReadDir>,
    folder: &Path,
    skipped: &Path,
) -> io::Result<bool> {
    let mut pending = vec![folder.to_owned()];
    while let Some(next) = pending.pop() {
        if next == skipped {
            continue;
        }
        let entries = match read_dir(&next) {
            Ok(entries) => entries,
            Err(error) if next == folder || is_transient(&error) => return Err(error),
            Err(error) if is_missing(&error) => continue,
            Err(_) => return Ok(true),
        };
        for entry in entries {
            let entry = entry?;
            // A link counts, wherever it leads.
            if !entry.file_type()?.is_dir() {
                return Ok(true);
            }
            pending.push(entry.path());
        }
    }
    Ok(false)
}

/// As [`list_folder`], with the function that reads a folder, so that tests can make it fail: the user who
/// runs them may be allowed to read everything.
fn list_with(
    read_dir: impl Fn(&Path) -> io::Result<ReadDir>,
    root: &Path,
    folder: &Path,
    skipped: &Path,
) -> io::Result<ListPage> {
    let mut listing = Listing {
        root,
        found: ListPage::default(),
    };
    let Some(trail) = trail_to(root, folder)? else {
        return Ok(listing.found);
    };
    let mut pending = vec![(folder.to_owned(), trail)];
    while let Some((next, trail)) = pending.pop() {
        if next == skipped {
            continue;
        }
        let read =
            read_dir(&next).and_then(|entries| listing.add_entries(entries, &trail, &mut pending));
        match read {
            Err(error) if is_missing(&error) => {}
            Err(error) if next == folder || is_transient(&error) => return Err(error),
            // The entries that were listed before the failure stay.
            Err(_) => listing.add_unopenable(&next),
            Ok(()) => {}
        }
    }
    Ok(listing.found)
}

/// The folders, without links, that hold the links on the way to a folder. A link that leads to one
/// of them, or to a folder that holds one of them, leads in a circle.
type Trail = Option<Rc<LinkHolder>>;

struct LinkHolder {
    folder: PathBuf,
    before: Trail,
}

/// The trail through the link at the path; `None` if it leads in a circle.
fn follow(path: &Path, trail: &Trail) -> io::Result<Option<Trail>> {
    let holder = path.parent().unwrap_or(path);
    let followed = Rc::new(LinkHolder {
        folder: fs::canonicalize(holder)?,
        before: trail.clone(),
    });
    let target = fs::canonicalize(path)?;
    let mut next = Some(&followed);
    while let Some(holder) = next {
        if holder.folder.starts_with(&target) {
            return Ok(None);
        }
        next = holder.before.as_ref();
    }
    Ok(Some(Some(followed)))
}

/// The trail from the root to the folder; `None` if a listing from the root on would not get there.
fn trail_to(root: &Path, folder: &Path) -> io::Result<Option<Trail>> {
    let mut trail = None;
    let mut path = root.to_owned();
    for name in folder.strip_prefix(root).unwrap_or(Path::new("")) {
        path.push(name);
        let is_link = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata.is_symlink(),
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if !is_link {
            continue;
        }
        match follow(&path, &trail) {
            Ok(Some(followed)) => trail = followed,
            Ok(None) => return Ok(None),
            // Listed like a file, below the folder that holds it.
            Err(error) if !is_transient(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(trail))
}

struct Listing<'a> {
    root: &'a Path,
    found: ListPage,
}

impl Listing<'_> {
    /// Lists the files of one folder, and adds its folders to those that are pending.
    fn add_entries(
        &mut self,
        entries: ReadDir,
        trail: &Trail,
        pending: &mut Vec<(PathBuf, Trail)>,
    ) -> io::Result<()> {
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if path.to_str().is_none() {
                self.add_unreadable(&path);
                continue;
            }
            let Ok(metadata) = fs::metadata(&path) else {
                self.add_unopenable(&path);
                continue;
            };
            if !metadata.is_dir() {
                self.add(&path, &metadata);
            } else if !entry.file_type()?.is_symlink() {
                pending.push((path, trail.clone()));
            } else if let Ok(Some(followed)) = follow(&path, trail) {
                pending.push((path, followed));
            } else {
                self.add_unopenable(&path);
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, metadata: &Metadata) {
        if !metadata.is_file() {
            return self.add_unopenable(path);
        }
        self.found.objects.push(ListedObject {
            key: self.key(path),
            size: metadata.len(),
            etag: etag(metadata),
            last_modified: modified(metadata),
        });
    }

    /// Lists an entry that is not a regular file, unless it has been removed meanwhile.
    fn add_unopenable(&mut self, path: &Path) {
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if is_missing(&error) => return,
            metadata => metadata.ok(),
        };
        let last_modified = metadata.as_ref().map_or(DateTime::UNIX_EPOCH, modified);
        self.found.objects.push(ListedObject {
            key: self.key(path),
            size: 0,
            // No file has such an etag: a file that takes the place counts as changed since it was planned.
            etag: format!("no-file-{}", last_modified.timestamp()),
            last_modified,
        });
    }

    fn add_unreadable(&mut self, path: &Path) {
        let relative = path.strip_prefix(self.root).unwrap_or(path);
        self.found.unreadable.push(UnreadableEntry {
            name: printable(relative),
            reason: "its name is not UTF-8, so that no key can name it".to_owned(),
        });
    }

    fn key(&self, path: &Path) -> String {
        let relative = path.strip_prefix(self.root).unwrap_or(path);
        relative.to_string_lossy().into_owned()
    }
}

/// The path with everything escaped that can't be shown, part by part.
pub(crate) fn printable(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || character == '\\' {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02X}"));
        }
    }
    text
}

fn modified(metadata: &Metadata) -> DateTime<Utc> {
    metadata
        .modified()
        .map_or(DateTime::UNIX_EPOCH, DateTime::from)
}

/// Size and time of the last change stand in for the content.
pub(crate) fn etag(metadata: &Metadata) -> String {
    let modified = modified(metadata);
    let (secs, nanos) = (modified.timestamp(), modified.timestamp_subsec_nanos());
    format!("{}-{secs}.{nanos:09}", metadata.len())
}

pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Whether the process or the machine has run out of a resource. Such a failure is transient, and says
/// nothing about the entry.
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::Interrupted
            | Kind::TimedOut
            | Kind::WouldBlock
            | Kind::ResourceBusy
            | Kind::OutOfMemory
    ) || is_out_of_files(error)
}

#[cfg(unix)]
fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(not(unix))]
fn is_out_of_files(_error: &io::Error) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_must_not_be_read_is_listed_by_its_name_and_the_rest_with_it() {
        let root = tempfile::tempdir().unwrap();
        for name in ["hour/a", "hour/closed/b", "hour/closed/in/c", "hour/open/d"] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let list = |closed: &str, kind: io::ErrorKind| {
            let closed = root.path().join(closed);
            let read_dir = |path: &Path| match path == closed {
                true => Err(io::Error::from(kind)),
                false => fs::read_dir(path),
            };
            let folder = root.path().join("hour");
            list_with(read_dir, root.path(), &folder, Path::new("none")).map(|page| {
                let mut keys: Vec<(String, u64)> = page
                    .objects
                    .into_iter()
                    .map(|object| (object.key, object.size))
                    .collect();
                keys.sort();
                keys
            })
        };
        let listed = list("hour/closed", io::ErrorKind::PermissionDenied).unwrap();
        let expected = [("hour/a", 6), ("hour/closed", 0), ("hour/open/d", 11)];
        assert_eq!(
            listed,
            expected.map(|(key, size)| (key.to_owned(), size)),
            "a closed folder"
        );
        // An hour that can't be read must not count as empty, and a transient failure must not leave
        // anything out of a plan.
        assert!(list("hour", io::ErrorKind::PermissionDenied).is_err());
        assert!(list("hour/closed", io::ErrorKind::Interrupted).is_err());
    }

    #[test]
    fn a_level_names_a_folder_that_must_not_be_read_and_keeps_one_that_holds_such_a_folder() {
        let root = tempfile::tempdir().unwrap();
        for name in ["day/00/closed/a", "day/7/b", "day/empty/in"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let list = |closed: &[&str], kind: io::ErrorKind| {
            let read_dir = |path: &Path| match closed.iter().any(|name| path.ends_with(name)) {
                true => Err(io::Error::from(kind)),
                false => fs::read_dir(path),
            };
            let folder = root.path().join("day");
            list_level_with(read_dir, root.path(), &folder, Path::new("none")).map(|page| {
                let objects = page.objects.into_iter().map(|object| object.key);
                (objects.collect::<Vec<_>>(), page.folders)
            })
        };
        let denied = io::ErrorKind::PermissionDenied;
        // An hour is its objects' place also if one of them can't be read.
        let (objects, folders) = list(&["00/closed", "day/7"], denied).unwrap();
        assert_eq!(
            (objects, folders),
            (vec!["day/7".to_owned()], vec!["day/00/".to_owned()])
        );
        assert_eq!(list(&[], denied).unwrap(), (Vec::new(), Vec::new()));
        assert!(list(&["day"], denied).is_err());
        assert!(list(&["00/closed"], io::ErrorKind::Interrupted).is_err());
    }

    #[test]
    fn a_name_that_no_key_can_hold_is_shown_with_its_bytes() {
        assert_eq!(printable(Path::new("a/é\n\\")), "a/é\\n\\\\");
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            let path = Path::new(std::ffi::OsStr::from_bytes(b"a\xFF/\xC3b"));
            assert_eq!(printable(path), "a\\xFF/\\xC3b");
        }
    }
}
