//! The ledger of a run, to be read and written without the run's source.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_recovery_aws::{Bucket, BucketUrl, Deployment, SdkConfig, caller_arn, s3_client};
use event_recovery_pipeline::{
    ExecutionId, FolderLock, FolderLockError, Ledger, LedgerStorage, LocalFolder, RunStorage,
};

use crate::common_arguments::AwsArguments;
use crate::failure::Failure;
use crate::handling_arguments::LedgerArguments;
use crate::known_run::request_of;
use crate::location::Location;
use crate::storage::aws_session;

/// The output of a stack that names its destination.
const DESTINATION_OUTPUT: &str = "Destination";
/// The time between two attempts at a lock.
const LOCK_PAUSE: Duration = Duration::from_millis(500);

/// The ledger of one run that is known.
pub(crate) struct LedgerPlace {
    pub(crate) location: Location,
    pub(crate) ledger: Ledger,
    place: Place,
}

enum Place {
    Folder(PathBuf),
    Bucket {
        bucket: Bucket,
        config: Box<SdkConfig>,
    },
}

/// A ledger while no other process of this machine carries out its run.
pub(crate) struct HeldLedger {
    pub(crate) storage: Box<dyn LedgerStorage>,
    _lock: Option<FolderLock>,
}

impl LedgerPlace {
    /// Opens the ledger. The run must be known.
    pub(crate) async fn open(arguments: &LedgerArguments) -> Result<Self, Failure> {
        let execution_id = ExecutionId::parse(&arguments.execution_id)?;
        let location =
            location_of(&arguments.stack, &arguments.destination, &arguments.aws).await?;
        let place = match &location {
            Location::Folder(path) => Place::Folder(path.clone()),
            Location::Bucket(url) => {
                let config = aws_session(&arguments.aws).await;
                let bucket = Bucket::new(s3_client(&config), url.bucket(), url.prefix());
                let config = Box::new(config);
                Place::Bucket { bucket, config }
            }
        };
        let ledger = Ledger::new(execution_id.clone());
        let opened = Self {
            location,
            ledger,
            place,
        };
        request_of(&*opened.storage(), &execution_id).await?;
        Ok(opened)
    }

    /// The ledger, which another process may use at the same time.
    pub(crate) fn storage(&self) -> Box<dyn LedgerStorage> {
        match &self.place {
            Place::Folder(path) => {
                let staging = path.join(self.ledger.folder()).join("staging");
                Box::new(LocalFolder::new(path, staging))
            }
            Place::Bucket { bucket, .. } => Box::new(bucket.clone()),
        }
    }

    /// The same, whose events are read, too.
    pub(crate) fn run_storage(&self) -> Arc<dyn RunStorage> {
        match &self.place {
            Place::Folder(path) => {
                let staging = path.join(self.ledger.folder()).join("staging");
                Arc::new(LocalFolder::new(path, staging))
            }
            Place::Bucket { bucket, .. } => Arc::new(bucket.clone()),
        }
    }

    /// The ARN of whoever calls, where AWS knows it.
    pub(crate) async fn caller(&self) -> Option<String> {
        match &self.place {
            Place::Folder(_) => None,
            Place::Bucket { config, .. } => caller_arn(config).await,
        }
    }

    /// Waits until no other process of this machine carries out the run, at most so long; `None` if one still does.
    pub(crate) async fn hold(&self, at_most: Duration) -> Result<Option<HeldLedger>, Failure> {
        let Place::Folder(path) = &self.place else {
            return Ok(Some(HeldLedger {
                storage: self.storage(),
                _lock: None,
            }));
        };
        let until = Instant::now() + at_most;
        loop {
            match FolderLock::take(path, &self.ledger.folder()) {
                Ok(lock) => {
                    return Ok(Some(HeldLedger {
                        storage: Box::new(lock.storage()),
                        _lock: Some(lock),
                    }));
                }
                Err(FolderLockError::Held { .. }) if Instant::now() < until => {
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                Err(FolderLockError::Held { .. }) => return Ok(None),
                Err(error @ FolderLockError::Unwritable { .. }) => {
                    return Err(Failure::could_not_run(error.to_string())
                        .hint("`--destination` takes a folder that you may write to"));
                }
            }
        }
    }
}

/// The destination that the arguments name.
pub(crate) async fn location_of(
    stack: &Option<String>,
    destination: &Option<Location>,
    aws: &AwsArguments,
) -> Result<Location, Failure> {
    match (stack, destination) {
        (_, Some(destination)) => Ok(destination.clone()),
        (Some(stack), None) => {
            let config = aws_session(aws).await;
            let deployment = Deployment::new(&config, stack);
            let [url] = deployment
                .outputs([DESTINATION_OUTPUT])
                .await
                .map_err(|error| {
                    Failure::from(error).or_hint(
                        "`--stack` takes the name of the deployed stack, `--region` its region",
                    )
                })?;
            let parsed = url.parse::<BucketUrl>();
            parsed.map(Location::Bucket).map_err(|error| {
                Failure::could_not_run(format!(
                    "the stack's destination `{url}` is not in a bucket: {error}"
                ))
            })
        }
        (None, None) => Err(Failure::usage(
            "neither `--destination` nor `--stack` is given",
        )),
    }
}
