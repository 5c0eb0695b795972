//! The checksum of files: CRC-64/NVME, which S3 computes of whole objects as well.

use std::io::{self, Write};

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of all bytes that were written to it.
pub(crate) struct Checksum(Digest);

impl Checksum {
    pub(crate) fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc64Nvme))
    }

    pub(crate) fn of(bytes: &[u8]) -> String {
        let mut checksum = Self::new();
        checksum.update(bytes);
        checksum.finish()
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In hexadecimal, as receipts write it.
    pub(crate) fn finish(&self) -> String {
        format!("{:016x}", self.0.finalize())
    }
}

impl Write for Checksum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Checksum;

    #[test]
    fn the_checksum_is_the_one_that_s3_documents() {
        // The check value of CRC-64/NVME in the catalogue of CRC algorithms.
        assert_eq!(Checksum::of(b"123456789"), "ae8b14860a799888");
    }
}
