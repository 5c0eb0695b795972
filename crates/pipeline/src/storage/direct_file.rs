//! A new file that is written past the page cache, where its file system can do so.
//!
//! Recovered events are written once and not read again by this program. Kept in the page cache they
//! would cost half of the kernel's time, and push out what other programs have there.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::storage::file_system::NewFile;

/// What is written at a time, in bytes: large enough that the device's latency does not count.
const BLOCK_BYTES: usize = 1024 * 1024;
/// Less than this is kept in memory until it is complete, and then written at once. Not a whole block: memory that grows
/// step by step, file after file, is more than twice as much as the allocator gives back.
const SMALL_BYTES_MAX: usize = 128 * 1024;
/// The alignment that Linux may require of addresses and lengths: the largest logical block size.
const ALIGNMENT: usize = 4096;

/// A file that is written from its beginning to its end. After an error it must not be used.
///
/// It is created when it is no longer small, or when it is finished. Until then it holds what has been written, and from
/// then on one block.
pub(crate) struct DirectFile {
    path: PathBuf,
    content: Content,
}

enum Content {
    /// Less than [`SMALL_BYTES_MAX`]. Written as any program would: a small file is gone from the page cache with the next flush.
    Small(Vec<u8>),
    Large(LargeFile),
}

impl DirectFile {
    /// A file at `path`, which must not exist yet.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            content: Content::Small(Vec::new()),
        }
    }
}

impl Write for DirectFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let small = match &mut self.content {
            Content::Large(file) => return file.write(bytes),
            Content::Small(small) => small,
        };
        if small.len() + bytes.len() < SMALL_BYTES_MAX {
            small.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        let mut file = LargeFile::create(&self.path)?;
        file.write_all(small)?;
        let written = file.write(bytes)?;
        self.content = Content::Large(file);
        Ok(written)
    }

    /// Nothing to do: half a block can't be written.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewFile for DirectFile {
    fn finish(self: Box<Self>) -> io::Result<()> {
        match self.content {
            Content::Large(file) => file.finish(),
            Content::Small(small) => File::create_new(&self.path)?.write_all(&small),
        }
    }

    fn finish_as(&mut self, path: &Path) -> io::Result<bool> {
        match &self.content {
            Content::Large(_) => Ok(false),
            Content::Small(small) => create_at_once(path, small),
        }
    }
}

/// Creates a file that has no name before it is complete. It takes half of the time of one that is renamed.
#[cfg(target_os = "linux")]
fn create_at_once(path: &Path, content: &[u8]) -> io::Result<bool> {
    use std::os::fd::AsRawFd;

    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
    use rustix::io::Errno;

    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file = match openat(CWD, folder, flags, Mode::from_raw_mode(0o666)) {
        // A kernel or a file system that does not know it.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => return Ok(false),
        opened => File::from(opened?),
    };
    file.write_all(content)?;
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    match linkat(CWD, &*unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Err(io::ErrorKind::AlreadyExists.into()),
        // Such as where `/proc` is not mounted.
        Err(_) => Ok(false),
    }
}

#[cfg(not(target_os = "linux"))]
fn create_at_once(_path: &Path, _content: &[u8]) -> io::Result<bool> {
    Ok(false)
}

/// A file of at least one block.
struct LargeFile {
    file: File,
    path: PathBuf,
    is_direct: bool,
    block: Block,
    /// Bytes of the file that precede the block.
    position: u64,
}

impl LargeFile {
    fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let mut new = Self {
            file,
            path: path.to_owned(),
            is_direct: false,
            block: Block::new(),
            position: 0,
        };
        // Some file systems don't support it; the file then stays as it was opened.
        if let Ok(file) = open_direct(path) {
            new.file = file;
            new.is_direct = true;
        }
        Ok(new)
    }

    /// Writes the last block.
    fn finish(mut self) -> io::Result<()> {
        let length = self.position + self.block.bytes().len() as u64;
        self.block.pad_to_alignment();
        self.write_block()?;
        self.file.set_len(length)
    }

    fn write_block(&mut self) -> io::Result<()> {
        let mut rest = self.block.bytes();
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.position += written as u64;
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The file system requires another alignment, for instance after a short write, or only now
                // reports that it does not support this.
                Err(error) if self.is_direct && is_refusal(&error) => {
                    self.file = OpenOptions::new().write(true).open(&self.path)?;
                    self.file.seek(SeekFrom::Start(self.position))?;
                    self.is_direct = false;
                }
                Err(error) => return Err(error),
            }
        }
        self.block.clear();
        Ok(())
    }
}

impl Write for LargeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.room() == 0 {
            self.write_block()?;
        }
        let length = bytes.len().min(self.block.room());
        self.block.push(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_path: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Up to [`BLOCK_BYTES`] that begin at an aligned address.
struct Block {
    /// Never grows beyond its capacity, so that it stays where it is.
    memory: Vec<u8>,
    start: usize,
}

impl Block {
    fn new() -> Self {
        let mut memory: Vec<u8> = Vec::with_capacity(BLOCK_BYTES + ALIGNMENT);
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        memory.resize(start, 0);
        Self { memory, start }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    fn room(&self) -> usize {
        BLOCK_BYTES - self.bytes().len()
    }

    fn push(&mut self, bytes: &[u8]) {
        self.memory.extend_from_slice(bytes);
    }

    fn pad_to_alignment(&mut self) {
        let length = self.bytes().len().next_multiple_of(ALIGNMENT);
        self.memory.resize(self.start + length, 0);
    }

    fn clear(&mut self) {
        self.memory.truncate(self.start);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 31 % 251) as u8).collect()
    }

    fn written(folder: &Path, content: &[u8], piece: usize) -> Vec<u8> {
        let path = folder.join("file");
        let mut file = Box::new(DirectFile::new(&path));
        for piece in content.chunks(piece) {
            file.write_all(piece).unwrap();
        }
        file.finish().unwrap();
        let found = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        found
    }

    #[test]
    fn every_byte_arrives_around_blocks_and_alignments() {
        let folder = tempfile::tempdir().unwrap();
        for edge in [0, ALIGNMENT, BLOCK_BYTES, 3 * BLOCK_BYTES] {
            for length in [edge.saturating_sub(1), edge, edge + 1] {
                let content = content(length);
                for piece in [1000, BLOCK_BYTES - 1, 4 * BLOCK_BYTES] {
                    let found = written(folder.path(), &content, piece);
                    assert!(found == content, "{length} in pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn a_file_system_that_refuses_is_written_to_as_any_program_would() {
        let content = content(2 * BLOCK_BYTES + 100);
        let in_memory = Path::new("/dev/shm");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("misaligned");
        let mut file = LargeFile::create(&path).unwrap();
        // The kernel refuses addresses that are not aligned.
        file.block.start += 1;
        file.block.memory.resize(file.block.start, 0);
        file.write_all(&content).unwrap();
        file.finish().unwrap();
        assert!(fs::read(&path).unwrap() == content);
        if in_memory.is_dir() {
            let folder = tempfile::tempdir_in(in_memory).unwrap();
            assert!(written(folder.path(), &content, 1000) == content);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_small_file_is_there_at_once_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let new = |length| {
            let mut file = DirectFile::new(&folder.path().join("staged"));
            file.write_all(&content(length)).unwrap();
            file
        };
        let missing = folder.path().join("missing/file");
        let error = new(10).finish_as(&missing).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(new(10).finish_as(&path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), content(10));
        let error = new(20).finish_as(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), content(10));
        let large = new(BLOCK_BYTES).finish_as(&folder.path().join("large"));
        assert!(!large.unwrap(), "it would have to be written again");
        fs::remove_file(folder.path().join("staged")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_there_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "other").unwrap();
        for content in [content(10), content(BLOCK_BYTES)] {
            let mut file = Box::new(DirectFile::new(&path));
            let written = file.write_all(&content).and_then(|()| file.finish());
            assert!(written.is_err());
            assert_eq!(fs::read(&path).unwrap(), b"other");
        }
    }
}
