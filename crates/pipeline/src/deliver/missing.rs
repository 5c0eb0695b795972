//! What a comparison found to be missing, in memory.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use crate::compare::record::{Comparison, ComparisonId};
use crate::deliver::error::DeliverError;
use crate::ledger::{Ledger, LedgerError, read_record};
use crate::storage::Records;

/// Most ids that a delivery keeps in memory: about a gigabyte of UUIDs.
pub const MISSING_IDS_MAX: u64 = 20_000_000;

/// The events that a consumer lacks.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    /// All ids one after the other, in the order of their bytes.
    ids: Vec<u8>,
    /// Where each begins.
    starts: Vec<u64>,
    /// Events without an id, by task.
    positions: HashMap<String, HashSet<u64>>,
    /// Of what the run had written.
    pub(crate) outputs: String,
}

#[derive(Deserialize)]
struct WithoutId {
    task: String,
    position: u64,
}

impl Missing {
    pub(crate) async fn read<R: Records + ?Sized>(
        records: &R,
        ledger: &Ledger,
        id: &ComparisonId,
    ) -> Result<Self, DeliverError> {
        let key = ledger.comparison_key(id);
        let Some((comparison, _)) = read_record::<Comparison>(records, &key).await? else {
            return Err(DeliverError::UnknownComparison(id.clone()));
        };
        if comparison.missing > MISSING_IDS_MAX {
            return Err(DeliverError::TooManyMissing {
                missing: comparison.missing,
            });
        }
        let mut missing = Self {
            outputs: comparison.outputs.clone(),
            ..Self::default()
        };
        let prefix = ledger.comparison_prefix(id);
        for number in 1..=comparison.missing_files {
            let key = format!("{prefix}missing/{number}.ids");
            for line in lines(&read(records, &key).await?) {
                missing.starts.push(missing.ids.len() as u64);
                match line.first() {
                    Some(b'"') => {
                        let id: String = serde_json::from_slice(line).map_err(|_| invalid(&key))?;
                        missing.ids.extend_from_slice(id.as_bytes());
                    }
                    _ => missing.ids.extend_from_slice(line),
                }
            }
        }
        let found = missing.starts.len() as u64;
        missing.starts.push(missing.ids.len() as u64);
        if found != comparison.missing {
            return Err(invalid(&format!("{prefix}missing/")).into());
        }
        for number in 1..=comparison.positions_files {
            let key = format!("{prefix}missing/{number}.positions");
            for line in lines(&read(records, &key).await?) {
                let place: WithoutId = serde_json::from_slice(line).map_err(|_| invalid(&key))?;
                let positions = missing.positions.entry(place.task).or_default();
                positions.insert(place.position);
            }
        }
        Ok(missing)
    }

    pub(crate) fn has(&self, id: Option<&str>, task: &str, position: u64) -> bool {
        let Some(id) = id else {
            let positions = self.positions.get(task);
            return positions.is_some_and(|positions| positions.contains(&position));
        };
        let count = self.starts.len().saturating_sub(1);
        let at = |index: usize| {
            let (start, end) = (self.starts[index] as usize, self.starts[index + 1] as usize);
            &self.ids[start..end]
        };
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            match at(middle).cmp(id.as_bytes()) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        false
    }
}

async fn read<R: Records + ?Sized>(records: &R, key: &str) -> Result<Vec<u8>, LedgerError> {
    let record = records.get(key).await?;
    record
        .map(|record| record.bytes)
        .ok_or_else(|| invalid(key))
}

fn invalid(key: &str) -> LedgerError {
    LedgerError::Invalid {
        key: key.to_owned(),
        detail: "it is not what the comparison wrote; compare again".to_owned(),
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.filter(|line| !line.is_empty())
}
