//! Why a request is refused.

use thiserror::Error;

use crate::backup::org_id::excerpt;

/// A refused request: one field, what is wrong with it and what it accepts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{field}` {problem}; it accepts {accepts}{}", value_last(.found.as_deref()))]
pub struct RequestError {
    /// The field's name, or `request` for the request as a whole.
    pub field: String,
    /// What is wrong, as the end of a sentence that begins with the field.
    pub problem: String,
    /// What the field accepts.
    pub accepts: String,
    /// What was found, quoted and cut; `None` when nothing was.
    pub found: Option<String>,
    pub(crate) hint: Option<String>,
}

impl RequestError {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
            accepts: String::new(),
            found: None,
            hint: None,
        }
    }

    pub(crate) fn accepts(mut self, accepts: impl Into<String>) -> Self {
        self.accepts = accepts.into();
        self
    }

    pub(crate) fn found(mut self, found: String) -> Self {
        self.found = Some(found);
        self
    }

    pub(crate) fn hinting(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What may help, to be shown on a line of its own.
    pub fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

fn value_last(found: Option<&str>) -> String {
    found.map(|found| format!(": {found}")).unwrap_or_default()
}

pub(crate) fn quoted(found: &str) -> String {
    format!("{:?}", excerpt(found))
}

/// `` `a`, `b` or `c` ``.
pub(crate) fn any_of(names: impl IntoIterator<Item = &'static str>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_as_a_sentence_with_the_value_last() {
        let error = RequestError::new("format", "is not one of its values")
            .accepts(any_of(["parquet", "ndjson"]));
        assert_eq!(
            error.to_string(),
            "`format` is not one of its values; it accepts `parquet` or `ndjson`"
        );
        assert_eq!(
            error.found(quoted("c\nsv")).to_string(),
            r#"`format` is not one of its values; it accepts `parquet` or `ndjson`: "c\nsv""#
        );
    }

    #[test]
    fn names_are_listed_as_one_reads_them() {
        let rows: [(&[&'static str], &str); 4] = [
            (&[], ""),
            (&["a"], "`a`"),
            (&["a", "b"], "`a` or `b`"),
            (&["a", "b", "c"], "`a`, `b` or `c`"),
        ];
        for (names, expected) in rows {
            assert_eq!(any_of(names.iter().copied()), expected);
        }
    }
}
