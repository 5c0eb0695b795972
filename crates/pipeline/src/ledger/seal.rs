//! The seal of a record: a digest of its own bytes, which shows whether the record was changed.
//!
//! It guards against accidents and careless edits. A record that is changed and sealed anew is detected by
//! the digests that other records hold of it: the plan's of the task lists, the audit's of plan, receipts
//! and report.

use sha2::{Digest as _, Sha256};

/// The first version of the ledger whose records are all sealed.
pub(crate) const SEALED_SINCE_VERSION: u32 = 2;

/// What stands between a record's last member and its digest.
const MEMBER: &[u8] = b",\n  \"digest\": \"";
const END: &[u8] = b"\"\n}\n";

/// Whether a record is as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    /// The digest matches.
    Intact,
    /// The digest does not match, or is missing from a record that must have one.
    Broken,
    /// An earlier version of this software wrote it, without a seal.
    Absent,
}

/// The SHA-256 of the bytes, as records write it.
pub fn digest(bytes: &[u8]) -> String {
    let mut sum = DigestSum::default();
    sum.update(bytes);
    sum.finish()
}

/// The [`digest`] of bytes that come in parts.
#[derive(Clone, Default)]
pub(crate) struct DigestSum(Sha256);

impl DigestSum {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> String {
        let mut text = "sha256:".to_owned();
        for byte in self.0.finalize() {
            text.push_str(&format!("{byte:02x}"));
        }
        text
    }
}

/// Adds the digest to a JSON object as serde_json indents it, as the last member and in a new last
/// line; any other text stays as it is.
pub(crate) fn seal(mut json: Vec<u8>) -> Vec<u8> {
    let Some(length) = json.strip_suffix(b"\n}\n").map(<[u8]>::len) else {
        return json;
    };
    json.truncate(length);
    let digest = digest(&json);
    json.extend_from_slice(MEMBER);
    json.extend_from_slice(digest.as_bytes());
    json.extend_from_slice(END);
    json
}

/// Checks the seal of a record that says it is of this version of the ledger.
pub(crate) fn check(bytes: &[u8], version: u32) -> Seal {
    let sealed = bytes.strip_suffix(END).and_then(|rest| {
        let digest_length = digest(b"").len();
        let (rest, found) = rest.split_at_checked(rest.len().checked_sub(digest_length)?)?;
        Some((rest.strip_suffix(MEMBER)?, found))
    });
    match sealed {
        Some((content, found)) if digest(content).as_bytes() == found => Seal::Intact,
        Some(_) => Seal::Broken,
        None if version < SEALED_SINCE_VERSION => Seal::Absent,
        None => Seal::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_record_is_intact_until_any_byte_of_it_changes() {
        let record = serde_json::json!({"version": 2, "key": "a", "list": [1, 2]});
        let json = serde_json::to_string_pretty(&record).unwrap();
        let sealed = seal(format!("{json}\n").into_bytes());
        let value: serde_json::Value = serde_json::from_slice(&sealed).unwrap();
        assert_eq!(value["list"], record["list"]);
        assert_eq!(check(&sealed, 2), Seal::Intact);
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(check(&changed, 2), Seal::Broken, "byte {index}");
            assert_ne!(check(&changed[..index], 2), Seal::Intact);
        }
    }

    #[test]
    fn a_record_without_a_seal_is_known_by_its_version() {
        let record = br#"{"version": 1}"#;
        assert_eq!(check(record, 1), Seal::Absent);
        assert_eq!(check(record, 2), Seal::Broken);
        assert_eq!(check(b"", 2), Seal::Broken);
    }
}
