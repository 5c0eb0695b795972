//! `s3://BUCKET/PREFIX`: how people and tools write a location in S3.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

const SCHEME: &str = "s3://";

/// A bucket, or a prefix of one, as a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketUrl {
    bucket: String,
    /// Without slashes at its ends; empty for the whole bucket.
    prefix: String,
}

/// An invalid bucket URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BucketUrlError {
    /// It begins with something else than `s3://`.
    #[error("it does not begin with `s3://`")]
    OtherScheme,
    /// There is nothing between the scheme and the first slash.
    #[error("it names no bucket; it accepts `s3://BUCKET` or `s3://BUCKET/PREFIX`")]
    NoBucket,
    /// Tools that treat keys as paths would resolve such a prefix to another one.
    #[error("its prefix has an empty, `.` or `..` part")]
    NotPlain,
}

impl BucketUrl {
    /// The URL of a bucket and a prefix that are known already. Slashes around the prefix do not count.
    pub fn new(bucket: impl Into<String>, prefix: &str) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: prefix.trim_matches('/').to_owned(),
        }
    }

    /// Whether the text is meant as such a URL, and not as a path.
    pub fn is_meant_by(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// The bucket's name, which is not validated.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The prefix without slashes at its ends; empty for the whole bucket.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The URL of a key below it.
    pub fn place(&self, key: &str) -> String {
        format!("{self}/{key}")
    }

    /// Whether it is inside the other one, or equal to it.
    pub fn is_within(&self, other: &Self) -> bool {
        let slashed = |prefix: &str| match prefix {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        self.bucket == other.bucket && slashed(&self.prefix).starts_with(&slashed(&other.prefix))
    }
}

impl FromStr for BucketUrl {
    type Err = BucketUrlError;

    fn from_str(text: &str) -> Result<Self, BucketUrlError> {
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or(BucketUrlError::OtherScheme)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(BucketUrlError::NoBucket);
        }
        let is_root = prefix.is_empty();
        // One slash at the end is optional, two are an empty part.
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let is_plain = |part: &str| !matches!(part, "" | "." | "..");
        if !is_root && !prefix.split('/').all(is_plain) {
            return Err(BucketUrlError::NotPlain);
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bucket, prefix } = self;
        match prefix.as_str() {
            "" => write!(formatter, "{SCHEME}{bucket}"),
            prefix => write!(formatter, "{SCHEME}{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> BucketUrl {
        text.parse().unwrap()
    }

    #[test]
    fn a_url_is_read_and_written_with_or_without_a_prefix() {
        for (text, shown, place) in [
            ("s3://b", "s3://b", "s3://b/k"),
            ("s3://b/", "s3://b", "s3://b/k"),
            ("s3://b/p/q/", "s3://b/p/q", "s3://b/p/q/k"),
        ] {
            assert_eq!(url(text).to_string(), shown);
            assert_eq!(url(text).place("k"), place);
        }
        assert_eq!(BucketUrl::new("b", "p/q/"), url("s3://b/p/q"));
        assert_eq!(BucketUrl::new("b", ""), url("s3://b"));
        for text in ["", "b/p", "s3://", "s3:///p", "s3://b//", "s3://b/p/../q"] {
            assert!(text.parse::<BucketUrl>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_prefix_lies_within_another_by_its_parts() {
        let within = |one: &str, other: &str| url(one).is_within(&url(other));
        assert!(within("s3://b/p/q", "s3://b/p"));
        assert!(within("s3://b/p", "s3://b"));
        assert!(within("s3://b/p", "s3://b/p"));
        assert!(!within("s3://b/pq", "s3://b/p"));
        assert!(!within("s3://b", "s3://b/p"));
        assert!(!within("s3://c/p", "s3://b"));
    }
}
