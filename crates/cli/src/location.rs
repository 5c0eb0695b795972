//! Where a backup or a recovery lies: in a folder or in a bucket.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A folder, or a bucket and a prefix in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    Folder(PathBuf),
    Bucket {
        name: String,
        /// Without slashes at its ends.
        prefix: String,
    },
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(rest) = text.strip_prefix("s3://") else {
            return match text.is_empty() {
                true => Err("it is empty".to_owned()),
                false => Ok(Self::Folder(text.into())),
            };
        };
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_root = prefix.is_empty();
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let is_plain = |part: &str| !matches!(part, "" | "." | "..");
        if name.is_empty() {
            return Err(
                "it names no bucket; it accepts `s3://BUCKET` or `s3://BUCKET/PREFIX`".to_owned(),
            );
        }
        if !is_root && !prefix.split('/').all(is_plain) {
            return Err("its prefix has an empty, `.` or `..` part".to_owned());
        }
        Ok(Self::Bucket {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(formatter, "{}", path.display()),
            Self::Bucket { name, prefix } if prefix.is_empty() => write!(formatter, "s3://{name}"),
            Self::Bucket { name, prefix } => write!(formatter, "s3://{name}/{prefix}"),
        }
    }
}

impl Location {
    /// The place of a key below it.
    pub(crate) fn place(&self, key: &str) -> String {
        match self {
            Self::Folder(path) => path.join(key).display().to_string(),
            Self::Bucket { .. } => format!("{self}/{key}"),
        }
    }

    /// Whether it lies in the other one, or is it.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Bucket { name, prefix },
                Self::Bucket {
                    name: other_name,
                    prefix: other_prefix,
                },
            ) => {
                let slashed = |prefix: &str| match prefix {
                    "" => String::new(),
                    prefix => format!("{prefix}/"),
                };
                name == other_name && slashed(prefix).starts_with(&slashed(other_prefix))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Location {
        text.parse().unwrap()
    }

    #[test]
    fn a_bucket_is_told_from_a_folder() {
        assert_eq!(location("a/b"), Location::Folder("a/b".into()));
        for (text, shown, place) in [
            ("s3://b", "s3://b", "s3://b/k"),
            ("s3://b/", "s3://b", "s3://b/k"),
            ("s3://b/p/q/", "s3://b/p/q", "s3://b/p/q/k"),
        ] {
            assert_eq!(location(text).to_string(), shown);
            assert_eq!(location(text).place("k"), place);
        }
        for text in ["", "s3://", "s3:///p", "s3://b//", "s3://b/p/../q"] {
            assert!(text.parse::<Location>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_prefix_lies_within_another_by_its_parts() {
        let within = |one: &str, other: &str| location(one).is_within(&location(other));
        assert!(within("s3://b/p/q", "s3://b/p"));
        assert!(within("s3://b/p", "s3://b"));
        assert!(within("s3://b/p", "s3://b/p"));
        assert!(!within("s3://b/pq", "s3://b/p"));
        assert!(!within("s3://b", "s3://b/p"));
        assert!(!within("s3://c/p", "s3://b"));
    }
}
