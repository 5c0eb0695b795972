//! The frozen task list of an hour, `tasks/<hour>.jsonl`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::hour_prefix::HourPrefix;
use crate::backup::unexpected::Unexpected;
use crate::ledger::{LedgerError, check_version, parse, seal};
use crate::storage::{ListedObject, Records};

/// The frozen task list of one hour: the first line of its file, then one object per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourTasks {
    /// The first line.
    pub head: HourHead,
    /// The planned objects in the order of their keys.
    pub objects: Vec<ListedObject>,
}

/// The counts of one hour prefix, as the planner found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourHead {
    /// [`LEDGER_VERSION`](crate::LEDGER_VERSION).
    pub version: u32,
    /// The hour.
    pub hour: HourPrefix,
    /// When the listing began; every object that was there at this time is in the list. Lists of versions 1
    /// and 2 do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_at: Option<DateTime<Utc>>,
    /// Objects under the prefix: pruned and planned ones. In a late list, those that no earlier list of the
    /// hour counts.
    pub listed: u64,
    /// Objects that can't hold events of the window, going by the time in their names.
    pub pruned: u64,
    /// Objects to recover.
    pub planned: u64,
    /// Planned objects whose names do not follow the pattern.
    pub foreign_names: u64,
    /// Bytes of the planned objects, as stored.
    pub bytes: u64,
    /// Entries under the prefix whose names can't be keys.
    #[serde(default, skip_serializing_if = "Unexpected::is_empty")]
    pub unexpected: Unexpected,
}

impl HourTasks {
    /// The file's content.
    ///
    /// # Errors
    ///
    /// None in practice: these types always serialise.
    pub fn to_jsonl(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(&self.head)?;
        for object in &self.objects {
            bytes.push(b'\n');
            serde_json::to_writer(&mut bytes, object)?;
        }
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the file's content.
    ///
    /// # Errors
    ///
    /// Anything that [`to_jsonl`](Self::to_jsonl) does not write, including a list that is cut short.
    pub fn from_jsonl(key: &str, bytes: &[u8]) -> Result<Self, LedgerError> {
        let mut lines = bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let head: HourHead = parse(key, lines.next().unwrap_or_default())?;
        check_version(key, head.version)?;
        let objects: Vec<ListedObject> = lines
            .map(|line| parse(key, line))
            .collect::<Result<_, _>>()?;
        if objects.len() as u64 != head.planned || head.listed != head.pruned + head.planned {
            return Err(LedgerError::Invalid {
                key: key.to_owned(),
                detail: "its counts do not agree with its lines".to_owned(),
            });
        }
        Ok(Self { head, objects })
    }
}

/// The task list of an hour, as the ledger holds it.
pub(crate) struct FrozenHour {
    pub(crate) tasks: HourTasks,
    /// Of the list's bytes.
    pub(crate) digest: String,
}

/// Reads a frozen hour.
pub(crate) async fn read_hour(
    ledger: &(impl Records + ?Sized),
    key: &str,
) -> Result<Option<FrozenHour>, LedgerError> {
    let Some(record) = ledger.find(key).await? else {
        return Ok(None);
    };
    Ok(Some(FrozenHour {
        tasks: HourTasks::from_jsonl(key, &record.bytes)?,
        digest: seal::digest(&record.bytes),
    }))
}
