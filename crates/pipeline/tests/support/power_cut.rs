//! A file system whose power fails: what is not durable by then is lost, or half of it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use event_recovery_pipeline::{FileSystem, NewFile, OperatingSystem, WholeFileSystem};

/// Writes to the file system of the operating system, and records what of it is durable. After so many calls all further
/// ones fail.
#[derive(Debug, Clone)]
pub(crate) struct PowerCut {
    disk: Arc<Mutex<Disk>>,
    /// Whether everything can be flushed at once.
    is_whole: bool,
}

#[derive(Debug, Default)]
struct Disk {
    calls: u32,
    calls_max: u32,
    /// The content of each file, and whether it is durable.
    files: Vec<(Vec<u8>, bool)>,
    names: HashMap<PathBuf, usize>,
    /// Changes of names that are not durable, in their order.
    pending: Vec<Change>,
    durable: BTreeMap<PathBuf, usize>,
    durable_folders: BTreeSet<PathBuf>,
}

#[derive(Debug, Clone)]
enum Change {
    Folder(PathBuf),
    Named(PathBuf, usize),
    Removed(PathBuf),
}

impl Change {
    fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Named(path, _) | Self::Removed(path) => path,
        }
    }
}

/// Numbers that look random (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

impl PowerCut {
    pub(crate) fn after(calls_max: u32, is_whole: bool) -> Self {
        let disk = Disk {
            calls_max,
            ..Disk::default()
        };
        Self {
            disk: Arc::new(Mutex::new(disk)),
            is_whole,
        }
    }

    pub(crate) fn calls(&self) -> u32 {
        self.disk.lock().unwrap().calls
    }

    fn call<T>(&self, change: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk.lock().unwrap();
        disk.calls += 1;
        match disk.calls > disk.calls_max {
            true => Err(io::Error::other("the power is off")),
            false => change(&mut disk),
        }
    }

    /// Writes what is there once the power is back: all that is durable below `from`, and of the rest whatever chance
    /// has it.
    pub(crate) fn restore(&self, from: &Path, to: &Path, random: &mut Random) {
        let mut disk = self.disk.lock().unwrap();
        for change in std::mem::take(&mut disk.pending) {
            if random.below(2) == 0 {
                disk.apply(change);
            }
        }
        for (path, &file) in &disk.durable {
            let Ok(inside) = path.strip_prefix(from) else {
                continue;
            };
            let mut parents = path.ancestors().skip(1).take_while(|path| *path != from);
            if !parents.all(|parent| disk.durable_folders.contains(parent)) {
                continue;
            }
            let (content, is_durable) = &disk.files[file];
            let mut content = content.clone();
            if !is_durable {
                match random.below(4) {
                    0 => content.clear(),
                    1 => content.fill(0),
                    2 => content.truncate(random.below(1 + content.len() as u64) as usize),
                    _ => {}
                }
            }
            let path = to.join(inside);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
}

impl Disk {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Folder(path) => drop(self.durable_folders.insert(path)),
            Change::Named(path, file) => drop(self.durable.insert(path, file)),
            Change::Removed(path) => drop(self.durable.remove(&path)),
        }
    }

    fn apply_all(&mut self, is_applied: impl Fn(&Change) -> bool) {
        let (applied, pending) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(is_applied);
        self.pending = pending;
        for change in applied {
            let change: Change = change;
            self.apply(change);
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        let file = self.names.remove(from).expect("it was created");
        self.names.insert(to.to_owned(), file);
        self.pending.push(Change::Removed(from.to_owned()));
        self.pending.push(Change::Named(to.to_owned(), file));
    }
}

struct CutFile {
    file: Box<dyn NewFile>,
    path: PathBuf,
    cut: PowerCut,
}

impl Write for CutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl NewFile for CutFile {
    fn finish(self: Box<Self>) -> io::Result<()> {
        let Self { file, path, cut } = *self;
        cut.call(|disk| {
            file.finish()?;
            let number = disk.files.len();
            disk.files.push((fs::read(&path)?, false));
            disk.names.insert(path.clone(), number);
            disk.pending.push(Change::Named(path, number));
            Ok(())
        })
    }

    fn finish_as(&mut self, path: &Path) -> io::Result<bool> {
        let Self { file, cut, .. } = self;
        cut.call(|disk| {
            let is_there = file.finish_as(path)?;
            if is_there {
                let number = disk.files.len();
                disk.files.push((fs::read(path)?, false));
                disk.names.insert(path.to_owned(), number);
                disk.pending.push(Change::Named(path.to_owned(), number));
            }
            Ok(is_there)
        })
    }
}

impl FileSystem for PowerCut {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        Ok(Box::new(CutFile {
            file: OperatingSystem.create(path)?,
            path: path.to_owned(),
            cut: self.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|disk| {
            OperatingSystem.rename(from, to)?;
            disk.rename(from, to);
            Ok(())
        })
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|disk| {
            OperatingSystem.rename_new(from, to)?;
            disk.rename(from, to);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(|disk| {
            OperatingSystem.remove(path)?;
            disk.names.remove(path);
            disk.pending.push(Change::Removed(path.to_owned()));
            Ok(())
        })
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.call(|disk| {
            OperatingSystem.create_folder(path)?;
            disk.pending.push(Change::Folder(path.to_owned()));
            Ok(())
        })
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.call(|disk| {
            let file = disk.names[path];
            disk.files[file].1 = true;
            Ok(())
        })
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.call(|disk| {
            disk.apply_all(|change| change.path().parent() == Some(path));
            Ok(())
        })
    }

    fn open_whole(&self, _folder: &Path) -> io::Result<Option<Box<dyn WholeFileSystem>>> {
        Ok(match self.is_whole {
            true => Some(Box::new(self.clone())),
            false => None,
        })
    }
}

impl WholeFileSystem for PowerCut {
    fn sync(&self) -> io::Result<()> {
        self.call(|disk| {
            disk.files
                .iter_mut()
                .for_each(|(_, is_durable)| *is_durable = true);
            disk.apply_all(|_| true);
            Ok(())
        })
    }
}
