//! Compares two sets of names and sizes that are too large to be kept.
//!
//! What is expected is added and what is found is subtracted, in any order. Names are divided into groups by
//! the hash in their task ids. A group keeps how many names were added more than subtracted, and the sum of
//! their SHA-256 digests modulo 2^256: both are zero if and only if the two sets are the same, as far as
//! nobody searches for digests that add up. Only the names of the other groups must be looked at.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Three hexadecimal digits of a task id.
const GROUPS: usize = 4096;
/// Hexadecimal digits at the end of a task id.
const HASH_DIGITS: usize = 16;
/// A group as checkpoints have it: its count and its sum.
const GROUP_BYTES: usize = 8 + 32;

/// The difference of two sets.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Groups {
    groups: Vec<Group>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Group {
    /// Names that were added, less those that were subtracted.
    count: i64,
    /// The least significant part first.
    sum: [u64; 4],
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            groups: vec![Group::default(); GROUPS],
        }
    }
}

impl Groups {
    /// Something that is expected.
    pub(crate) fn add(&mut self, group: u16, name: &str, size: u64) {
        let digest = digest_of(name, size);
        if let Some(group) = self.groups.get_mut(usize::from(group)) {
            group.count += 1;
            let mut carry = false;
            for (part, other) in group.sum.iter_mut().zip(digest) {
                let (sum, first) = part.overflowing_add(other);
                let (sum, second) = sum.overflowing_add(u64::from(carry));
                (*part, carry) = (sum, first || second);
            }
        }
    }

    /// Something that was found.
    pub(crate) fn subtract(&mut self, group: u16, name: &str, size: u64) {
        let digest = digest_of(name, size);
        if let Some(group) = self.groups.get_mut(usize::from(group)) {
            group.count -= 1;
            let mut borrow = false;
            for (part, other) in group.sum.iter_mut().zip(digest) {
                let (rest, first) = part.overflowing_sub(other);
                let (rest, second) = rest.overflowing_sub(u64::from(borrow));
                (*part, borrow) = (rest, first || second);
            }
        }
    }

    /// The groups in which the two sets differ.
    pub(crate) fn differing(&self) -> Vec<u16> {
        (0..)
            .zip(&self.groups)
            .filter(|(_, group)| **group != Group::default())
            .map(|(number, _)| number)
            .collect()
    }
}

fn digest_of(name: &str, size: u64) -> [u64; 4] {
    let digest = Sha256::new()
        .chain_update(name.as_bytes())
        .chain_update(size.to_le_bytes())
        .finalize();
    let mut parts = [0; 4];
    for (part, bytes) in parts.iter_mut().zip(digest.chunks_exact(8)) {
        *part = bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    }
    parts
}

/// The task id that a file is named by: all of its name up to and including the hash. `None` for names that
/// no task gives.
pub(crate) fn task_of(key: &str) -> Option<&str> {
    let name = key.rsplit('/').next()?;
    let (readable, rest) = name.rsplit_once('-')?;
    let (hash, rest) = rest.split_at_checked(HASH_DIGITS)?;
    let is_hash = hash
        .bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let is_named = is_hash && (rest.is_empty() || rest.starts_with('.'));
    is_named.then_some(&name[..readable.len() + 1 + HASH_DIGITS])
}

/// The group of a task, or of a file that is named by it.
pub(crate) fn group_of(key: &str) -> Option<u16> {
    let task = task_of(key)?;
    let digits = task.get(task.len() - HASH_DIGITS..)?.get(..3)?;
    u16::from_str_radix(digits, 16).ok()
}

impl Serialize for Groups {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(GROUPS * GROUP_BYTES);
        for group in &self.groups {
            bytes.extend_from_slice(&group.count.to_le_bytes());
            for part in group.sum {
                bytes.extend_from_slice(&part.to_le_bytes());
            }
        }
        serializer.serialize_str(&BASE64.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Groups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64.decode(text).map_err(D::Error::custom)?;
        if bytes.len() != GROUPS * GROUP_BYTES {
            return Err(D::Error::custom("not as many groups as there are"));
        }
        let number = |bytes: &[u8]| {
            let bytes = bytes.try_into().unwrap_or_default();
            u64::from_le_bytes(bytes)
        };
        let groups = bytes.chunks_exact(GROUP_BYTES).map(|bytes| {
            let mut parts = bytes.chunks_exact(8).map(number);
            let count = parts.next().unwrap_or_default().cast_signed();
            let mut sum = [0; 4];
            sum.iter_mut()
                .zip(parts)
                .for_each(|(part, found)| *part = found);
            Group { count, sum }
        });
        Ok(Self {
            groups: groups.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_names_in_any_order_leave_nothing() {
        let mut groups = Groups::default();
        let names: Vec<String> = (0..1000).map(|number| format!("name {number}")).collect();
        for (size, name) in (0..).zip(&names) {
            groups.add(7, name, size);
        }
        assert_eq!(groups.differing(), [7]);
        for (size, name) in (0..).zip(&names).collect::<Vec<_>>().into_iter().rev() {
            groups.subtract(7, name, size);
        }
        assert_eq!(groups.differing(), [] as [u16; 0]);
    }

    #[test]
    fn another_size_name_or_group_is_a_difference() {
        for (group, name, size) in [(7, "a", 1), (7, "b", 0), (8, "a", 0)] {
            let mut groups = Groups::default();
            groups.add(7, "a", 0);
            groups.subtract(group, name, size);
            assert!(groups.differing().contains(&7), "{group} {name} {size}");
        }
        // One too many of each: the counts are equal.
        let mut groups = Groups::default();
        groups.add(1, "expected", 0);
        groups.subtract(1, "found", 0);
        assert_eq!(groups.differing(), [1]);
    }

    #[test]
    fn a_checkpoint_keeps_every_group() {
        let mut groups = Groups::default();
        groups.add(0, "a", 1);
        groups.subtract(4095, "b", 2);
        let json = serde_json::to_string(&groups).unwrap();
        let read: Groups = serde_json::from_str(&json).unwrap();
        assert!(read == groups);
        assert!(serde_json::from_str::<Groups>("\"AAAA\"").is_err());
    }

    #[test]
    fn files_are_grouped_by_the_hash_of_the_task_that_they_are_named_by() {
        for (key, task, group) in [
            (
                "a/b-0123456789abcdef.parquet",
                Some("b-0123456789abcdef"),
                Some(0x012),
            ),
            (
                "b.json-fff3456789abcdef.ndjson.gz",
                Some("b.json-fff3456789abcdef"),
                Some(0xfff),
            ),
            (
                "b-c-0123456789abcdef",
                Some("b-c-0123456789abcdef"),
                Some(0x012),
            ),
            (
                "-0123456789abcdef.x",
                Some("-0123456789abcdef"),
                Some(0x012),
            ),
            ("b-0123456789ABCDEF.x", None, None),
            ("b-0123456789abcde.x", None, None),
            ("b-0123456789abcdef0.x", None, None),
            ("0123456789abcdef.x", None, None),
            ("a-0123456789abcdef/b", None, None),
            ("", None, None),
            ("b-0123456789abcdé.x", None, None),
        ] {
            assert_eq!(task_of(key), task, "{key}");
            assert_eq!(group_of(key), group, "{key}");
        }
    }
}
