//! Events by the org that they are of.

use std::collections::BTreeMap;

use event_recovery_format::is_org_id;

/// Events written, by their org id in lower case. What does not look like an org id, and what comes after the first
/// [`ORGS_MAX`] ids, is counted under `other`.
pub type Orgs = BTreeMap<String, u64>;

/// Most org ids that are told apart.
pub const ORGS_MAX: usize = 64;

/// The name of all others.
pub(crate) const OTHER: &str = "other";

/// Bytes of an org id.
const ORG_ID_BYTES: usize = 39;

/// Adds `more` to `orgs`.
pub(crate) fn add_orgs(orgs: &mut Orgs, more: &Orgs) {
    for (org, events) in more {
        add(orgs, org, *events);
    }
}

fn add(orgs: &mut Orgs, org: &str, events: u64) {
    let is_free = orgs.len() - usize::from(orgs.contains_key(OTHER)) < ORGS_MAX;
    let name = match orgs.contains_key(org) || is_free {
        true => org,
        false => OTHER,
    };
    *orgs.entry(name.to_owned()).or_default() += events;
}

/// Counts the events of one object. Most have the org id of the event before, which is then only compared.
#[derive(Debug, Default)]
pub(crate) struct OrgCounter {
    /// As the events have it; empty for what is not an org id.
    last: String,
    of_last: u64,
    orgs: Orgs,
}

impl OrgCounter {
    /// Counts an event with this org id.
    pub(crate) fn count(&mut self, org_id: Option<&str>) {
        // Longer ones are no org ids, and need not be kept.
        let org_id = org_id
            .filter(|id| id.len() == ORG_ID_BYTES)
            .unwrap_or_default();
        if org_id != self.last {
            self.add_last();
            org_id.clone_into(&mut self.last);
        }
        self.of_last += 1;
    }

    fn add_last(&mut self) {
        let events = std::mem::take(&mut self.of_last);
        if events > 0 {
            match is_org_id(&self.last) {
                true => add(&mut self.orgs, &self.last.to_ascii_lowercase(), events),
                false => add(&mut self.orgs, OTHER, events),
            }
        }
    }

    pub(crate) fn into_orgs(mut self) -> Orgs {
        self.add_last();
        self.orgs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(number: usize) -> String {
        format!("tn-{number:08x}-f4f0-464d-b4c6-a14e2dc6f4be")
    }

    fn count<'a>(ids: impl IntoIterator<Item = Option<&'a str>>) -> Orgs {
        let mut counter = OrgCounter::default();
        ids.into_iter().for_each(|id| counter.count(id));
        counter.into_orgs()
    }

    #[test]
    fn events_are_counted_by_org_in_whatever_order_and_case() {
        let (a, b) = (org(10), org(11));
        let upper = a.to_uppercase();
        let found = count([&*a, &*a, &*b, &*upper, &*b].map(Some));
        assert_eq!(found, Orgs::from([(a, 3), (b, 2)]));
        assert_eq!(count([]), Orgs::new());
    }

    #[test]
    fn what_is_not_an_org_id_is_never_named() {
        let secret = "x".repeat(ORG_ID_BYTES);
        let long = "y".repeat(1000);
        let found = count([None, Some(""), Some(&secret), Some(&long)]);
        assert_eq!(found, Orgs::from([(OTHER.to_owned(), 4)]));
    }

    #[test]
    fn only_so_many_orgs_are_told_apart() {
        let ids: Vec<String> = (0..ORGS_MAX + 6).map(org).collect();
        let mut found = count(ids.iter().map(|id| Some(id.as_str())));
        assert_eq!((found.len(), found[OTHER]), (ORGS_MAX + 1, 6));
        let sum = |orgs: &Orgs| orgs.values().sum::<u64>();
        let more = found.clone();
        add_orgs(&mut found, &more);
        add_orgs(&mut found, &Orgs::from([(org(9999), 5)]));
        assert_eq!((found.len(), found[OTHER]), (ORGS_MAX + 1, 17));
        assert_eq!(sum(&found), 2 * sum(&more) + 5);
    }
}
