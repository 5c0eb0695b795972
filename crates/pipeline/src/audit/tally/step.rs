//! How far an audit has come.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::storage::listing::Cursor;

/// The steps of an audit in their order, each with how far it has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub(crate) enum Step {
    /// Counts receipts, to find out whether all tasks may have ended. Only while the run is waited for.
    Count {
        /// Receipts so far.
        receipts: u64,
        /// In the listing of the receipts.
        cursor: Cursor,
    },
    /// Reads task lists and receipts.
    Hours {
        /// Hours of the window that are added to the sums.
        done: u64,
    },
    /// Subtracts the receipts that are there.
    Receipts {
        /// In their listing.
        cursor: Cursor,
    },
    /// Finds the receipts by which the two differ.
    NameReceipts {
        /// In their listing.
        cursor: Cursor,
    },
    /// Compares with what the newest audit saw. Only where nothing is written.
    EarlierAudit,
    /// Subtracts the files that are there.
    Files {
        /// In their listings.
        place: Place,
    },
    /// Finds the files by which the two differ.
    NameFiles {
        /// Of the groups that differ: the files that receipts name and that were not found yet, with their
        /// sizes.
        expected: BTreeMap<String, u64>,
        /// In their listings.
        place: Place,
    },
    /// Everything is compared.
    Ended,
}

/// A place in the listings of the files of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Listings that have ended: that of the events, that of the rejected fragments.
    pub(super) listings_done: usize,
    pub(super) cursor: Cursor,
}

impl Place {
    /// The beginning of the next listing.
    pub(super) fn next(&self) -> Self {
        Self {
            listings_done: self.listings_done + 1,
            cursor: Cursor::default(),
        }
    }
}
