//! Events by their domain and type.

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

/// Events written, by domain and type. What does not look like the name of one, and what comes after the first
/// [`KINDS_MAX`] pairs, is counted under `other`.
pub type Kinds = BTreeMap<String, BTreeMap<String, u64>>;

/// Most pairs of domain and type that are told apart.
pub const KINDS_MAX: usize = 500;

/// The longest name that is kept, in bytes. The documented ones have up to 40.
const NAME_BYTES_MAX: usize = 64;

/// Most digits in a row. A longer number is no part of a name, but may be that of a person or a card.
const DIGITS_MAX: usize = 4;

/// The name of all others.
const OTHER: &str = "other";

/// Kinds that are compared with the next event before anything is looked up. An object has events of some dozen.
const SLOTS: usize = 128;

/// Adds `more` to `kinds`.
pub(crate) fn add_kinds(kinds: &mut Kinds, more: &Kinds) {
    for (domain, types) in more {
        for (event_type, events) in types {
            add(kinds, domain, event_type, *events);
        }
    }
}

/// The sum over all kinds.
pub(crate) fn events_of(kinds: &Kinds) -> u64 {
    kinds.values().flat_map(BTreeMap::values).sum()
}

fn add(kinds: &mut Kinds, domain: &str, event_type: &str, events: u64) {
    let known = kinds
        .get_mut(domain)
        .and_then(|types| types.get_mut(event_type));
    if let Some(known) = known {
        *known += events;
        return;
    }
    let others = kinds
        .get(OTHER)
        .is_some_and(|types| types.contains_key(OTHER));
    let told_apart = kinds.values().map(BTreeMap::len).sum::<usize>() - usize::from(others);
    let (domain, event_type) = match told_apart < KINDS_MAX {
        true => (domain, event_type),
        false => (OTHER, OTHER),
    };
    let types = kinds.entry(domain.to_owned()).or_default();
    *types.entry(event_type.to_owned()).or_default() += events;
}

/// Counts the events of one object by the tokens of their domain and type, which are decoded once for many events.
#[derive(Debug, Default)]
pub(crate) struct KindCounter {
    slots: Vec<Slot>,
    kinds: Kinds,
    others: u64,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    domain: Vec<u8>,
    event_type: Vec<u8>,
    events: u64,
}

impl KindCounter {
    /// Counts an event with these JSON tokens.
    pub(crate) fn count(&mut self, domain: Option<&[u8]>, event_type: Option<&[u8]>) {
        let (domain, event_type) = (domain.unwrap_or_default(), event_type.unwrap_or_default());
        // Longer ones are no names, and need not be kept.
        if domain.len().max(event_type.len()) > NAME_BYTES_MAX + 2 {
            self.others += 1;
            return;
        }
        if self.slots.is_empty() {
            self.slots = vec![Slot::default(); SLOTS];
        }
        let hash = FixedState::default().hash_one((domain, event_type));
        let slot = &mut self.slots[hash as usize % SLOTS];
        if slot.domain != domain || slot.event_type != event_type {
            slot.move_to(&mut self.kinds);
            domain.clone_into(&mut slot.domain);
            event_type.clone_into(&mut slot.event_type);
        }
        slot.events += 1;
    }

    pub(crate) fn into_kinds(mut self) -> Kinds {
        for slot in &mut self.slots {
            slot.move_to(&mut self.kinds);
        }
        if self.others > 0 {
            add(&mut self.kinds, OTHER, OTHER, self.others);
        }
        self.kinds
    }
}

impl Slot {
    fn move_to(&mut self, kinds: &mut Kinds) {
        let events = std::mem::take(&mut self.events);
        if events > 0 {
            add(kinds, name(&self.domain), name(&self.event_type), events);
        }
    }
}

/// The name that a JSON token is, if it is one: letters, digits and a few signs, beginning with a letter.
fn name(token: &[u8]) -> &str {
    let inner = token
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .and_then(|inner| std::str::from_utf8(inner).ok());
    inner.filter(|inner| is_name(inner)).unwrap_or(OTHER)
}

fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    let mut digits = 0;
    let has_number = text.bytes().any(|byte| {
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        digits > DIGITS_MAX
    });
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(is_plain)
        && !has_number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count<'a>(tokens: impl IntoIterator<Item = (&'a str, &'a str)>) -> Kinds {
        let mut counter = KindCounter::default();
        for (domain, event_type) in tokens {
            counter.count(Some(domain.as_bytes()), Some(event_type.as_bytes()));
        }
        counter.into_kinds()
    }

    fn kinds<const N: usize>(kinds: [(&str, &str, u64); N]) -> Kinds {
        let mut all = Kinds::new();
        for (domain, event_type, events) in kinds {
            all.entry(domain.to_owned())
                .or_default()
                .insert(event_type.to_owned(), events);
        }
        all
    }

    #[test]
    fn events_are_counted_by_domain_and_type_in_whatever_order() {
        let found = count([
            ("\"account\"", "\"account-update-1\""),
            ("\"card\"", "\"card-block\""),
            ("\"account\"", "\"account-update-1\""),
            ("\"account\"", "\"account-close\""),
        ]);
        let expected = kinds([
            ("account", "account-update-1", 2),
            ("account", "account-close", 1),
            ("card", "card-block", 1),
        ]);
        assert_eq!(found, expected);
        assert_eq!(KindCounter::default().into_kinds(), Kinds::new());
    }

    #[test]
    fn what_does_not_look_like_a_name_is_never_named() {
        let long = format!("\"{}\"", "a".repeat(NAME_BYTES_MAX + 1));
        for odd in [
            "7",
            "\"\"",
            "null",
            "{\"a\":1}",
            "\"Ada Lovelace\"",
            "\"ada@example.com\"",
            "\"card-4111111111111111\"",
            "\"1-a\"",
            "\"caf\\u00e9\"",
            "\"café\"",
            "\"",
            &long,
        ] {
            let found = count([(odd, "\"t\"")]);
            assert!(found.keys().eq(["other"]), "{odd}: {found:?}");
        }
        let mut counter = KindCounter::default();
        counter.count(None, Some(b"\"t\""));
        assert_eq!(counter.into_kinds(), kinds([("other", "t", 1)]));
    }

    #[test]
    fn only_so_many_kinds_are_told_apart_and_none_is_lost() {
        let tokens: Vec<String> = (0..KINDS_MAX + 90)
            .map(|number| format!("\"t-{number}\""))
            .collect();
        let twice = tokens.iter().chain(&tokens);
        let mut found = count(twice.map(|token| ("\"d\"", token.as_str())));
        assert_eq!(events_of(&found), 2 * tokens.len() as u64);
        assert_eq!(found["d"].len(), KINDS_MAX);
        assert_eq!(found[OTHER][OTHER], 2 * 90);
        let more = found.clone();
        add_kinds(&mut found, &more);
        add_kinds(&mut found, &kinds([("x", "y", 5)]));
        assert_eq!(events_of(&found), 4 * tokens.len() as u64 + 5);
        assert_eq!(found[OTHER][OTHER], 4 * 90 + 5);
    }
}
