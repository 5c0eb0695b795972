//! Opens the storage at a location.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use event_recovery_aws::{
    AssumedRole, Bucket, BucketUrl, SdkConfig, SessionSettings, assume, s3_client, session,
    source_session_policy,
};
use event_recovery_pipeline::{
    Destination, ExecutionId, FolderLock, FolderLockError, Ledger, LocalFolder, Source,
};

use crate::common_arguments::{AccessArguments, AwsArguments};
use crate::failure::Failure;
use crate::folders::{check_destination, check_source};
use crate::location::Location;

/// Source and destination of a run, checked before anything is written.
pub(crate) struct Places {
    source: Place,
    destination: Place,
}

enum Place {
    Folder(PathBuf),
    Bucket(Bucket),
}

/// A session as the arguments and the environment say.
pub(crate) async fn aws_session(aws: &AwsArguments) -> SdkConfig {
    session(&SessionSettings {
        profile: aws.profile.clone(),
        region: aws.region.clone(),
        endpoint_url: aws.endpoint_url.clone(),
    })
    .await
}

impl Places {
    /// Whether neither is a bucket.
    pub(crate) fn are_folders(&self) -> bool {
        [&self.source, &self.destination]
            .iter()
            .all(|place| matches!(place, Place::Folder(_)))
    }

    pub(crate) async fn check(
        source: &Location,
        destination: &Location,
        aws: &AwsArguments,
        access: &AccessArguments,
    ) -> Result<Self, Failure> {
        if destination.is_within(source) {
            return Err(Failure::usage(format!(
                "the destination `{destination}` lies inside of the source `{source}`"
            ))
            .hint("choose a destination outside of the backup, which stays as it is"));
        }
        let source = match source {
            Location::Folder(path) => Place::Folder(check_source(path)?),
            Location::Bucket(url) => {
                let config = source_session(url, aws, access).await;
                let bucket = Bucket::new(s3_client(&config), url.bucket(), url.prefix());
                Place::Bucket(bucket.as_source())
            }
        };
        let destination = match destination {
            Location::Folder(path) => {
                let outside_of = match &source {
                    Place::Folder(source) => Some(source.as_path()),
                    Place::Bucket(_) => None,
                };
                Place::Folder(check_destination(path, outside_of)?)
            }
            Location::Bucket(url) => {
                let client = s3_client(&aws_session(aws).await);
                Place::Bucket(Bucket::new(client, url.bucket(), url.prefix()))
            }
        };
        Ok(Self {
            source,
            destination,
        })
    }

    pub(crate) fn source(&self) -> Arc<dyn Source> {
        match &self.source {
            // It is only read, so nothing is staged.
            Place::Folder(path) => Arc::new(LocalFolder::new(path, path)),
            Place::Bucket(bucket) => Arc::new(bucket.clone()),
        }
    }

    /// The destination, locked for this process where it is a folder.
    pub(crate) fn hold_destination(&self, execution_id: &ExecutionId) -> Result<Held, Failure> {
        match &self.destination {
            Place::Folder(path) => {
                let folder = Ledger::new(execution_id.clone()).folder();
                let lock = FolderLock::take(path, &folder).map_err(|error| match error {
                    FolderLockError::Held { .. } => Failure::could_not_run(format!(
                        "another process is carrying out the run `{execution_id}`"
                    ))
                    .hint("wait for it, or choose another `--execution-id`"),
                    FolderLockError::Unwritable { .. } => Failure::could_not_run(error.to_string())
                        .hint("`--destination` takes a folder that you may write to"),
                })?;
                Ok(Held {
                    storage: Arc::new(lock.storage()),
                    _lock: Some(lock),
                })
            }
            // Two processes may carry out one run there: what they write is the same.
            Place::Bucket(bucket) => Ok(Held {
                storage: Arc::new(bucket.clone()),
                _lock: None,
            }),
        }
    }
}

/// A destination while it is held.
pub(crate) struct Held {
    pub(crate) storage: Arc<dyn Destination>,
    _lock: Option<FolderLock>,
}

pub(crate) async fn source_session(
    url: &BucketUrl,
    aws: &AwsArguments,
    access: &AccessArguments,
) -> SdkConfig {
    let roles: Vec<AssumedRole> = access
        .source_role_arn
        .iter()
        .map(|role_arn| AssumedRole {
            role_arn: role_arn.clone(),
            external_id: access.external_id.clone(),
            session_policy: Some(source_session_policy(
                role_arn,
                url.bucket(),
                url.prefix(),
                &[],
            )),
        })
        .collect();
    assume(
        &aws_session(aws).await,
        &roles,
        access.source_region.as_deref(),
    )
    .await
}

/// A recovery that is only read.
pub(crate) enum Recovered {
    Folder(LocalFolder),
    Bucket(Bucket),
}

impl Recovered {
    pub(crate) async fn open(location: &Location, aws: &AwsArguments) -> Self {
        match location {
            // Nothing is written, so nothing is staged.
            Location::Folder(path) => Self::Folder(LocalFolder::new(path, Path::new(path))),
            Location::Bucket(url) => {
                let client = s3_client(&aws_session(aws).await);
                Self::Bucket(Bucket::new(client, url.bucket(), url.prefix()))
            }
        }
    }
}
