//! Objects between the hours of a range, which no hour's listing finds.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

use crate::backup::hour_prefix::HourPrefix;
use crate::storage::listing::{list_level_pages, list_pages};
use crate::storage::{ListObjects, ListedObject, StorageError, UnreadableEntry};

/// Objects under a day of the range that belong to none of its hours: directly in the day's folder, in a
/// folder that is not an hour's, such as `7/`, or in the place of a folder. Also entries under the hours or
/// next to them whose names can't be keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unexpected {
    /// How many.
    pub objects: u64,
    /// The first of them, at most [`Unexpected::NAMED_MAX`].
    pub named: Vec<String>,
}

impl Unexpected {
    /// Most entries of [`named`](Self::named).
    pub const NAMED_MAX: usize = 20;

    pub(crate) fn add(&mut self, name: &str) {
        self.objects += 1;
        if self.named.len() < Self::NAMED_MAX {
            self.named.push(name.to_owned());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.objects == 0
    }

    /// Adds the findings of another listing.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.objects += other.objects;
        let free = Self::NAMED_MAX.saturating_sub(self.named.len());
        self.named.extend(other.named.iter().take(free).cloned());
    }

    pub(crate) fn add_unreadable(&mut self, entries: &[UnreadableEntry]) {
        entries.iter().for_each(|entry| self.add(&entry.name));
    }

    fn add_object(&mut self, object: &ListedObject) {
        if !is_folder_marker(object) {
            self.add(&object.key);
        }
    }

    /// Lists the days of the hours, but not the hours themselves.
    ///
    /// # Errors
    ///
    /// The first of a listing.
    pub(crate) async fn find_beside(
        &mut self,
        source: &dyn ListObjects,
        hours: &[HourPrefix],
    ) -> Result<(), StorageError> {
        let days: BTreeSet<String> = hours.iter().map(|hour| hour.day_key()).collect();
        for day in &days {
            self.look_through(source, day).await?;
        }
        Ok(())
    }

    async fn look_through(
        &mut self,
        source: &dyn ListObjects,
        day: &str,
    ) -> Result<(), StorageError> {
        // Without the slash, so that an object in the place of the day's folder is listed too.
        let in_its_place = day.trim_end_matches('/');
        let mut pages = list_level_pages(source, in_its_place);
        while let Some(page) = pages.try_next().await? {
            let objects = page.objects.iter();
            objects
                .filter(|object| object.key == in_its_place)
                .for_each(|object| self.add_object(object));
        }
        let mut folders = BTreeSet::new();
        let mut pages = list_level_pages(source, day);
        while let Some(page) = pages.try_next().await? {
            page.objects
                .iter()
                .for_each(|object| self.add_object(object));
            self.add_unreadable(&page.unreadable);
            folders.extend(page.folders);
        }
        folders.retain(|folder| HourPrefix::of_key(folder).is_none());
        for folder in folders {
            let mut pages = list_pages(source, &folder);
            while let Some(page) = pages.try_next().await? {
                page.objects
                    .iter()
                    .for_each(|object| self.add_object(object));
                self.add_unreadable(&page.unreadable);
            }
        }
        Ok(())
    }
}

/// Consoles mark folders with empty objects whose keys end with a slash.
pub(crate) fn is_folder_marker(object: &ListedObject) -> bool {
    object.size == 0 && object.key.ends_with('/')
}
