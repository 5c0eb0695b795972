//! A buffered reader that can peek at more than one byte: `BufRead` promises no more than that.

use std::io::{self, BufRead, Read};

/// Size of the buffer, and of one read from the source.
const INPUT_BYTES: usize = 64 * 1024;

/// Reads from a source through a buffer of [`INPUT_BYTES`].
pub(crate) struct Input<R> {
    source: R,
    buffer: Box<[u8]>,
    /// The range of the buffer that has been read from the source and not consumed.
    start: usize,
    end: usize,
    /// Bytes that were consumed so far.
    consumed: u64,
}

impl<R: Read> Input<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; INPUT_BYTES].into(),
            start: 0,
            end: 0,
            consumed: 0,
        }
    }

    /// Bytes of the source that were consumed so far.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// The next `length` bytes without consuming them, fewer only at the end of the source. At most
    /// [`INPUT_BYTES`].
    pub(crate) fn peek(&mut self, length: usize) -> io::Result<&[u8]> {
        let length = length.min(self.buffer.len());
        if self.start + length > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < length {
            match self.source.read(&mut self.buffer[self.end..])? {
                0 => break,
                read_bytes => self.end += read_bytes,
            }
        }
        let end = self.end.min(self.start + length);
        Ok(&self.buffer[self.start..end])
    }
}

impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.end = self.source.read(&mut self.buffer)?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, length: usize) {
        let start = self.end.min(self.start + length);
        self.consumed += (start - self.start) as u64;
        self.start = start;
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Large reads bypass the buffer, as in `BufReader`: a plain object is not copied.
        if self.start == self.end && buffer.len() >= self.buffer.len() {
            let read_bytes = self.source.read(buffer)?;
            self.consumed += read_bytes as u64;
            return Ok(read_bytes);
        }
        let read_bytes = self.fill_buf()?.read(buffer)?;
        self.consume(read_bytes);
        Ok(read_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Yields at most so many bytes a read.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(self.1);
            self.0.read(&mut buffer[..length])
        }
    }

    #[test]
    fn a_look_ahead_loses_nothing_wherever_the_buffer_ends() {
        let content: Vec<u8> = (0..2 * INPUT_BYTES + 7)
            .map(|at| (at % 251) as u8)
            .collect();
        for piece in [1000, INPUT_BYTES - 1, INPUT_BYTES, usize::MAX] {
            let mut input = Input::new(Pieces(&content, piece));
            let mut at = 0;
            for step in [INPUT_BYTES - 3, 2, 1, 5, INPUT_BYTES - 1, 1, 1, 1]
                .into_iter()
                .cycle()
            {
                let expected = &content[at..content.len().min(at + 4)];
                assert_eq!(input.peek(4).unwrap(), expected, "at {at}");
                if expected.is_empty() {
                    break;
                }
                let mut read = Vec::new();
                input
                    .by_ref()
                    .take(step as u64)
                    .read_to_end(&mut read)
                    .unwrap();
                assert!(read == content[at..content.len().min(at + step)], "at {at}");
                at += read.len();
            }
        }
    }
}
