//! The location of a backup or a recovery: a folder or a bucket.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use event_recovery_aws::BucketUrl;

/// A folder, or a bucket and a prefix in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    Folder(PathBuf),
    Bucket(BucketUrl),
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if BucketUrl::is_meant_by(text) {
            let url: Result<BucketUrl, _> = text.parse();
            return url.map(Self::Bucket).map_err(|error| error.to_string());
        }
        match text.is_empty() {
            true => Err("it is empty".to_owned()),
            false => Ok(Self::Folder(text.into())),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(formatter, "{}", path.display()),
            Self::Bucket(url) => url.fmt(formatter),
        }
    }
}

impl Location {
    /// The place of a key below it.
    pub(crate) fn place(&self, key: &str) -> String {
        match self {
            Self::Folder(path) => path.join(key).display().to_string(),
            Self::Bucket(url) => url.place(key),
        }
    }

    /// Its URL, if it is a bucket.
    pub(crate) fn bucket_url(&self) -> Option<String> {
        match self {
            Self::Folder(_) => None,
            Self::Bucket(url) => Some(url.to_string()),
        }
    }

    /// Whether it is inside the other one, or equal to it. Of folders only the file system can tell.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bucket(one), Self::Bucket(other)) => one.is_within(other),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_told_from_a_folder() {
        let location = |text: &str| text.parse::<Location>();
        assert_eq!(location("a/b"), Ok(Location::Folder("a/b".into())));
        assert_eq!(location("s3:b"), Ok(Location::Folder("s3:b".into())));
        let bucket = Location::Bucket(BucketUrl::new("b", "p"));
        assert_eq!(location("s3://b/p/"), Ok(bucket));
        for text in ["", "s3://", "s3://b//"] {
            assert!(location(text).is_err(), "{text:?}");
        }
    }
}
