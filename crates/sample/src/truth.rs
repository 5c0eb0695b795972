//! The sorted list of all intact events, by an external merge sort in bounded memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Bytes of lines that are sorted in memory. More lines are sorted in runs, which are merged from temporary files.
const RUN_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Temporary files that are merged at a time.
const RUNS_MAX: usize = 128;

/// Collects lines, and writes them sorted by their bytes.
pub(crate) struct SortedLines {
    target: PathBuf,
    lines: Vec<Vec<u8>>,
    bytes: usize,
    runs: Vec<PathBuf>,
    runs_named: usize,
    run_bytes_max: usize,
}

impl SortedLines {
    pub(crate) fn new(target: PathBuf) -> Self {
        Self {
            target,
            lines: Vec::new(),
            bytes: 0,
            runs: Vec::new(),
            runs_named: 0,
            run_bytes_max: RUN_BYTES_MAX,
        }
    }

    /// Adds the event as a line, without the line breaks between its tokens.
    pub(crate) fn add(&mut self, event: &[u8]) -> io::Result<()> {
        let line: Vec<u8> = event
            .iter()
            .copied()
            .filter(|byte| !b"\n\r".contains(byte))
            .collect();
        self.bytes += line.len();
        self.lines.push(line);
        if self.bytes >= self.run_bytes_max {
            let run = self.next_run();
            self.write_lines(&run)?;
            self.runs.push(run);
            if self.runs.len() >= RUNS_MAX {
                let merged = self.next_run();
                self.merge_runs(&merged)?;
                self.runs.push(merged);
            }
        }
        Ok(())
    }

    fn next_run(&mut self) -> PathBuf {
        self.runs_named += 1;
        self.target
            .with_extension(format!("run-{}", self.runs_named))
    }

    fn merge_runs(&mut self, target: &Path) -> io::Result<()> {
        merge(&self.runs, target)?;
        self.runs.drain(..).try_for_each(fs::remove_file)
    }

    fn write_lines(&mut self, path: &Path) -> io::Result<()> {
        self.lines.sort_unstable();
        let mut file = BufWriter::new(File::create(path)?);
        for line in self.lines.drain(..) {
            file.write_all(&line)?;
            file.write_all(b"\n")?;
        }
        self.bytes = 0;
        file.flush()
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        let target = self.target.clone();
        if self.runs.is_empty() {
            return self.write_lines(&target);
        }
        let last = self.next_run();
        self.write_lines(&last)?;
        self.runs.push(last);
        self.merge_runs(&target)
    }
}

fn merge(runs: &[PathBuf], target: &Path) -> io::Result<()> {
    let mut readers = Vec::new();
    let mut heads = BinaryHeap::new();
    for (index, run) in runs.iter().enumerate() {
        let mut reader = BufReader::new(File::open(run)?);
        if let Some(line) = next_line(&mut reader)? {
            heads.push(Reverse((line, index)));
        }
        readers.push(reader);
    }
    let mut file = BufWriter::new(File::create(target)?);
    while let Some(Reverse((line, index))) = heads.pop() {
        file.write_all(&line)?;
        file.write_all(b"\n")?;
        if let Some(line) = next_line(&mut readers[index])? {
            heads.push(Reverse((line, index)));
        }
    }
    file.flush()
}

/// The line without its line break, which must not be compared with the bytes of a longer line.
fn next_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_runs_than_may_be_open_give_the_same_as_sorting_all_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("expected.ndjson");
        let mut sorted = SortedLines::new(target.clone());
        sorted.run_bytes_max = 1;
        let mut lines: Vec<String> = (0..3 * RUNS_MAX as u64)
            .map(|number| (number * 7919 % 1000).to_string())
            .collect();
        for line in &lines {
            sorted.add(line.as_bytes()).unwrap();
            assert!(sorted.runs.len() < RUNS_MAX);
        }
        sorted.finish().unwrap();
        lines.sort_unstable();
        let written = fs::read_to_string(&target).unwrap();
        assert!(written.lines().eq(lines.iter().map(String::as_str)));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
