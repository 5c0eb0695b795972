//! A bucket, or a prefix of one, as a storage.

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, EncodingType, Object, ServerSideEncryption};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use event_recovery_pipeline::{
    Circumstances, LevelPage, ListObjects, ListPage, ListedObject, Precondition, Problem, Record,
    Records, StorageError, StorageOperation, Written,
};
use percent_encoding::percent_decode_str;
use tokio::runtime::Handle;

use crate::failure::{storage_error, stream_error};
use crate::part_memory::PartMemory;
use crate::request_id;
use crate::side::Side;

/// A bucket as a storage. Keys are relative to the prefix.
#[derive(Debug, Clone)]
pub struct Bucket {
    pub(crate) client: Client,
    pub(crate) name: String,
    /// Empty, or ends with a slash.
    pub(crate) prefix: String,
    /// The account that must own the bucket.
    pub(crate) expected_owner: Option<String>,
    pub(crate) encryption: Encryption,
    pub(crate) side: Side,
    /// Where blocking readers and writers run their requests.
    pub(crate) runtime: Handle,
    pub(crate) part_memory: PartMemory,
}

/// How objects are encrypted that are written to a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Encryption {
    /// As the bucket does by default.
    #[default]
    BucketDefault,
    /// With this key of AWS KMS.
    Kms {
        /// Its ARN.
        key_arn: String,
    },
}

/// The fields of a request that writes; `None` where the bucket's default applies.
#[derive(Debug, Default)]
pub(crate) struct RequestedEncryption {
    pub(crate) algorithm: Option<ServerSideEncryption>,
    pub(crate) kms_key: Option<String>,
    pub(crate) bucket_key: Option<bool>,
}

impl Bucket {
    /// The bucket, or the prefix of it, as a destination. Takes the runtime that it is called in.
    pub fn new(client: Client, name: impl Into<String>, prefix: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        Self {
            client,
            name: name.into(),
            prefix: if prefix.is_empty() {
                String::new()
            } else {
                format!("{prefix}/")
            },
            expected_owner: None,
            encryption: Encryption::default(),
            side: Side::default(),
            runtime: Handle::current(),
            part_memory: PartMemory::default(),
        }
    }

    /// Hints speak of the source.
    #[must_use]
    pub fn as_source(mut self) -> Self {
        self.side = Side::Source;
        self
    }

    /// Only works with the bucket while this account owns it.
    #[must_use]
    pub fn expected_owner(mut self, account: Option<String>) -> Self {
        self.expected_owner = account;
        self
    }

    /// Encrypts what is written that way.
    #[must_use]
    pub fn encryption(mut self, encryption: Encryption) -> Self {
        self.encryption = encryption;
        self
    }

    /// The region that the bucket is in; `None` where the service does not say.
    ///
    /// # Errors
    ///
    /// S3's.
    pub async fn region(&self) -> Result<Option<String>, StorageError> {
        let head = self.client.head_bucket().bucket(&self.name).send().await;
        let head =
            head.map_err(|error| storage_error(self.side, StorageOperation::List, "", error))?;
        Ok(head.bucket_region)
    }

    /// How the bucket encrypts what is written without saying how; `None` where it does not say.
    ///
    /// # Errors
    ///
    /// S3's.
    pub async fn default_encryption(&self) -> Result<Option<String>, StorageError> {
        let encryption = self.client.get_bucket_encryption().bucket(&self.name);
        let encryption = encryption
            .send()
            .await
            .map_err(|error| storage_error(self.side, StorageOperation::Read, "", error))?;
        let rules = encryption
            .server_side_encryption_configuration
            .map(|configuration| configuration.rules)
            .unwrap_or_default();
        let rule = rules.into_iter().next();
        let default = rule.and_then(|rule| rule.apply_server_side_encryption_by_default);
        Ok(default.map(|default| match default.kms_master_key_id {
            Some(key) => format!("{} and the key `{key}`", default.sse_algorithm.as_str()),
            None => default.sse_algorithm.as_str().to_owned(),
        }))
    }

    pub(crate) fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// How a request asks for the encryption of what it writes. With a key of AWS KMS it also asks for a bucket key,
    /// whatever the bucket's default: without one, every object costs a request to KMS.
    pub(crate) fn sse(&self) -> RequestedEncryption {
        match &self.encryption {
            Encryption::BucketDefault => RequestedEncryption::default(),
            Encryption::Kms { key_arn } => RequestedEncryption {
                algorithm: Some(ServerSideEncryption::AwsKms),
                kms_key: Some(key_arn.clone()),
                bucket_key: Some(true),
            },
        }
    }

    async fn list(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        next: Option<&str>,
    ) -> Result<LevelPage, StorageError> {
        check_key(StorageOperation::List, prefix)?;
        let page = self
            .client
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(self.full_key(prefix))
            .set_delimiter(delimiter.map(str::to_owned))
            // Keys may hold characters that XML can't.
            .encoding_type(EncodingType::Url)
            .set_continuation_token(next.map(str::to_owned))
            .set_expected_bucket_owner(self.expected_owner.clone())
            .send()
            .await
            .map_err(|error| storage_error(self.side, StorageOperation::List, prefix, error))?;
        let request_id = request_id::of_answer(&page);
        let incomplete = || {
            let problem = "the answer lacks a key, a size or its continuation token";
            let problem = Problem::Permanent(problem.to_owned());
            StorageError::new(StorageOperation::List, prefix, problem)
                .under(Circumstances::new(None, request_id.clone()))
        };
        let next = page.next_continuation_token;
        // Taken for the last page, it would lose the objects of all further ones.
        if page.is_truncated == Some(true) && next.is_none() {
            return Err(incomplete());
        }
        let objects = page.contents.unwrap_or_default().into_iter();
        let objects: Option<Vec<ListedObject>> =
            objects.map(|object| self.listed(object)).collect();
        let folders = page.common_prefixes.unwrap_or_default().into_iter();
        let folders: Option<Vec<String>> = folders
            .map(|folder| self.decoded_key(&folder.prefix?))
            .collect();
        Ok(LevelPage {
            objects: objects.ok_or_else(incomplete)?,
            folders: folders.ok_or_else(incomplete)?,
            unreadable: Vec::new(),
            next: next.filter(|_| page.is_truncated == Some(true)),
        })
    }

    /// A key of a listing without the bucket's prefix.
    fn decoded_key(&self, encoded: &str) -> Option<String> {
        // As in HTML forms, where a plus stands for a space.
        let encoded = encoded.replace('+', " ");
        let key = percent_decode_str(&encoded).decode_utf8().ok()?;
        Some(key.strip_prefix(&self.prefix)?.to_owned())
    }

    fn listed(&self, object: Object) -> Option<ListedObject> {
        let key = self.decoded_key(&object.key?)?;
        let modified = object
            .last_modified
            .map(|time| (time.secs(), time.subsec_nanos()));
        Some(ListedObject {
            key,
            size: object.size.and_then(|size| u64::try_from(size).ok())?,
            etag: object.e_tag.unwrap_or_default(),
            last_modified: modified
                .and_then(|(secs, nanos)| DateTime::<Utc>::from_timestamp(secs, nanos))
                .unwrap_or_default(),
        })
    }
}

#[async_trait]
impl ListObjects for Bucket {
    async fn list_page(&self, prefix: &str, next: Option<&str>) -> Result<ListPage, StorageError> {
        let page = self.list(prefix, None, next).await?;
        Ok(ListPage {
            objects: page.objects,
            unreadable: page.unreadable,
            next: page.next,
        })
    }

    async fn list_level(
        &self,
        prefix: &str,
        next: Option<&str>,
    ) -> Result<LevelPage, StorageError> {
        self.list(prefix, Some("/"), next).await
    }
}

#[async_trait]
impl Records for Bucket {
    async fn get(&self, key: &str) -> Result<Option<Record>, StorageError> {
        check_key(StorageOperation::Read, key)?;
        let got = self
            .client
            .get_object()
            .bucket(&self.name)
            .key(self.full_key(key))
            .set_expected_bucket_owner(self.expected_owner.clone())
            .send()
            .await;
        let object = match got {
            Ok(object) => object,
            Err(error) => {
                let error = storage_error(self.side, StorageOperation::Read, key, error);
                return match error.problem {
                    Problem::Gone => Ok(None),
                    // Without permission to list the whole bucket, S3 answers "denied" for what is not
                    // there. A listing of the permitted part tells which of the two it is.
                    Problem::AccessDenied(_) if self.is_absent(key).await => Ok(None),
                    _ => Err(error),
                };
            }
        };
        let request_id = request_id::of_answer(&object);
        let etag = object.e_tag.unwrap_or_default();
        let bytes = object.body.collect().await;
        let bytes = bytes.map_err(|error| stream_error(key, error, request_id))?;
        Ok(Some(Record {
            bytes: bytes.to_vec(),
            etag,
        }))
    }

    /// To a role that may not list the whole bucket, S3 answers the reading of what is absent with "denied". Security
    /// tools report such answers, so what is often absent is looked for in a listing of its key first.
    async fn find(&self, key: &str) -> Result<Option<Record>, StorageError> {
        match self.list_page(key, None).await {
            Ok(page) if page.objects.iter().all(|object| object.key != key) => Ok(None),
            Err(error) if error.is_transient() => Err(error),
            // Whoever may not list may be allowed to read.
            _ => self.get(key).await,
        }
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        self.put_object(key, bytes.into(), None).await
    }

    async fn put_if(
        &self,
        key: &str,
        bytes: Vec<u8>,
        precondition: Precondition,
    ) -> Result<Written, StorageError> {
        match self.put_object(key, bytes.into(), Some(precondition)).await {
            Ok(()) => Ok(Written::Yes),
            // An `If-Match` on an object that is gone answers "not found".
            Err(error) if matches!(error.problem, Problem::Changed | Problem::Gone) => {
                tracing::debug!(key, "another writer was first");
                Ok(Written::PreconditionFailed)
            }
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        check_key(StorageOperation::Remove, key)?;
        self.client
            .delete_object()
            .bucket(&self.name)
            .key(self.full_key(key))
            .set_expected_bucket_owner(self.expected_owner.clone())
            .send()
            .await
            .map(drop)
            .map_err(|error| storage_error(self.side, StorageOperation::Remove, key, error))
    }
}

impl Bucket {
    async fn is_absent(&self, key: &str) -> bool {
        match self.list_page(key, None).await {
            Ok(page) => page.objects.iter().all(|object| object.key != key),
            Err(_) => false,
        }
    }

    pub(crate) async fn put_object(
        &self,
        key: &str,
        bytes: Bytes,
        precondition: Option<Precondition>,
    ) -> Result<(), StorageError> {
        check_key(StorageOperation::Write, key)?;
        let encryption = self.sse();
        let mut put = self
            .client
            .put_object()
            .bucket(&self.name)
            .key(self.full_key(key))
            .set_expected_bucket_owner(self.expected_owner.clone())
            .set_server_side_encryption(encryption.algorithm)
            .set_ssekms_key_id(encryption.kms_key)
            .set_bucket_key_enabled(encryption.bucket_key)
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .body(ByteStream::from(bytes));
        put = match precondition {
            None => put,
            Some(Precondition::Absent) => put.if_none_match("*"),
            Some(Precondition::Unchanged(etag)) => put.if_match(etag),
        };
        // S3 verifies the checksum, and TLS protects the transfer: a SHA-256 would only cost time.
        put.customize()
            .disable_payload_signing()
            .send()
            .await
            .map(drop)
            .map_err(|error| storage_error(self.side, StorageOperation::Write, key, error))
    }
}

/// Refuses keys that tools which treat keys as paths would resolve to another key.
pub(crate) fn check_key(operation: StorageOperation, key: &str) -> Result<(), StorageError> {
    let mut parts = key.strip_suffix('/').unwrap_or(key).split('/');
    if key.is_empty() || parts.all(|part| !matches!(part, "" | "." | "..")) {
        return Ok(());
    }
    let problem = Problem::Permanent("the key has an empty, `.` or `..` part".to_owned());
    Err(StorageError::new(operation, key, problem))
}
