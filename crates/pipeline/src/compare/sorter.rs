//! Sorts more ids than fit into memory: sorted stretches of them are written to files, which are then merged.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// The ids of one stretch in bytes, with what belongs to them.
const STRETCH_BYTES: usize = 160 * 1024 * 1024;
/// Ids of one stretch at most: each takes 4 bytes more.
const STRETCH_IDS: usize = 16 * 1024 * 1024;
/// What is read or written at a time of each file.
const FILE_BYTES: usize = 256 * 1024;

/// An id with a payload of fixed length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Keyed {
    bytes: Vec<u8>,
    id_bytes: usize,
}

impl Keyed {
    pub(crate) fn id(&self) -> &[u8] {
        &self.bytes[..self.id_bytes]
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[self.id_bytes..]
    }
}

impl Ord for Keyed {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_id = self.id().cmp(other.id());
        by_id.then_with(|| self.payload().cmp(other.payload()))
    }
}

impl PartialOrd for Keyed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Takes ids in any order.
pub(crate) struct Sorter {
    folder: PathBuf,
    payload_bytes: usize,
    stretch_bytes: usize,
    /// For each id its length in four bytes, itself, and its payload.
    arena: Vec<u8>,
    starts: Vec<u32>,
    files: Vec<File>,
}

impl Sorter {
    /// Files are created in the folder, without a name where the system allows that.
    pub(crate) fn new(folder: &Path, payload_bytes: usize) -> Self {
        Self::with_stretch(folder, payload_bytes, STRETCH_BYTES)
    }

    fn with_stretch(folder: &Path, payload_bytes: usize, stretch_bytes: usize) -> Self {
        Self {
            folder: folder.to_owned(),
            payload_bytes,
            stretch_bytes,
            arena: Vec::new(),
            starts: Vec::new(),
            files: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, id: &[u8], payload: &[u8]) -> io::Result<()> {
        debug_assert_eq!(payload.len(), self.payload_bytes);
        let length = u32::try_from(id.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "an id has 4 GiB"))?;
        let more = 4 + id.len() + self.payload_bytes;
        let is_full =
            self.arena.len() + more > self.stretch_bytes || self.starts.len() >= STRETCH_IDS;
        if is_full && !self.starts.is_empty() {
            self.spill()?;
        }
        // Below the largest stretch, or the only id of it.
        self.starts.push(self.arena.len() as u32);
        self.arena.extend_from_slice(&length.to_le_bytes());
        self.arena.extend_from_slice(id);
        self.arena.extend_from_slice(payload);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        let arena = &self.arena;
        let payload_bytes = self.payload_bytes;
        let keyed = |start: u32| {
            let start = start as usize;
            let id_bytes = length_at(arena, start);
            let id = start + 4;
            (
                &arena[id..id + id_bytes],
                &arena[id + id_bytes..id + id_bytes + payload_bytes],
            )
        };
        self.starts
            .sort_unstable_by(|one, other| keyed(*one).cmp(&keyed(*other)));
        let mut writer = BufWriter::with_capacity(FILE_BYTES, tempfile::tempfile_in(&self.folder)?);
        for start in &self.starts {
            let start = *start as usize;
            let end = start + 4 + length_at(arena, start) + payload_bytes;
            writer.write_all(&arena[start..end])?;
        }
        let mut file = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.files.push(file);
        self.arena.clear();
        self.starts.clear();
        Ok(())
    }

    /// The ids in the order of their bytes, those that are equal by their payloads.
    pub(crate) fn sorted(mut self) -> io::Result<Sorted> {
        if !self.starts.is_empty() {
            self.spill()?;
        }
        let mut sorted = Sorted {
            payload_bytes: self.payload_bytes,
            readers: Vec::new(),
            heap: BinaryHeap::new(),
            spare: Keyed::default(),
        };
        for file in self.files {
            sorted
                .readers
                .push(BufReader::with_capacity(FILE_BYTES, file));
            sorted.refill(sorted.readers.len() - 1)?;
        }
        Ok(sorted)
    }
}

fn length_at(arena: &[u8], start: usize) -> usize {
    let bytes: [u8; 4] = arena[start..start + 4].try_into().unwrap_or_default();
    u32::from_le_bytes(bytes) as usize
}

/// All ids in order.
pub(crate) struct Sorted {
    payload_bytes: usize,
    readers: Vec<BufReader<File>>,
    heap: BinaryHeap<Reverse<(Keyed, usize)>>,
    /// The memory of the id that was given last.
    spare: Keyed,
}

impl Sorted {
    /// Replaces `current` by the next id. Returns whether there is one.
    pub(crate) fn next_into(&mut self, current: &mut Keyed) -> io::Result<bool> {
        let Some(Reverse((keyed, from))) = self.heap.pop() else {
            return Ok(false);
        };
        self.spare = std::mem::replace(current, keyed);
        self.refill(from)?;
        Ok(true)
    }

    fn refill(&mut self, from: usize) -> io::Result<()> {
        let mut length = [0; 4];
        let reader = &mut self.readers[from];
        match reader.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let mut keyed = std::mem::take(&mut self.spare);
        keyed.id_bytes = u32::from_le_bytes(length) as usize;
        keyed.bytes.resize(keyed.id_bytes + self.payload_bytes, 0);
        reader.read_exact(&mut keyed.bytes)?;
        self.heap.push(Reverse((keyed, from)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort(ids: &[(Vec<u8>, u8)], stretch_bytes: usize) -> Vec<(Vec<u8>, u8)> {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::with_stretch(folder.path(), 1, stretch_bytes);
        for (id, payload) in ids {
            sorter.push(id, &[*payload]).unwrap();
        }
        let mut sorted = sorter.sorted().unwrap();
        let mut found = Vec::new();
        let mut current = Keyed::default();
        while sorted.next_into(&mut current).unwrap() {
            found.push((current.id().to_vec(), current.payload()[0]));
        }
        found
    }

    #[test]
    fn ids_of_any_bytes_are_sorted_whatever_fits_into_memory() {
        let ids: Vec<(Vec<u8>, u8)> = (0_u32..2000)
            .map(|number| {
                let mixed = number.wrapping_mul(2_654_435_761);
                let length = mixed as usize % 9;
                (
                    mixed.to_be_bytes().repeat(3)[..length].to_vec(),
                    (mixed >> 7) as u8,
                )
            })
            .collect();
        let mut expected = ids.clone();
        expected.sort();
        for stretch_bytes in [1, 20, 300, 1 << 20] {
            assert!(sort(&ids, stretch_bytes) == expected, "{stretch_bytes}");
        }
        assert_eq!(sort(&[], 10), []);
    }
}
