//! Writes an object of any size in parts; nothing is visible before the last one.

use std::io::{self, Write};
use std::sync::mpsc;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use event_recovery_pipeline::{
    CreateObject, Precondition, Problem, StagedObject, StorageError, StorageOperation, Written,
};
use tokio::task::block_in_place;

use crate::bucket::{Bucket, check_key};
use crate::failure::storage_error;
use crate::part_memory::PART_BYTES;

/// The longest wait for the abort of an upload.
const ABORT_WAIT_MAX: Duration = Duration::from_secs(10);

impl CreateObject for Bucket {
    fn create(&self, key: &str) -> Result<Box<dyn StagedObject>, StorageError> {
        check_key(StorageOperation::Write, key)?;
        Ok(Box::new(MultipartUpload::new(self.clone(), key.to_owned())))
    }
}

/// The memory of a body. Nothing is copied, since the request is over and holds no reference to the body any more.
fn emptied(body: Bytes) -> Vec<u8> {
    let mut memory = Vec::from(body);
    memory.clear();
    memory
}

/// An object being written. Holds up to one part in memory; an object of a single part is written with one
/// request.
pub(crate) struct MultipartUpload {
    bucket: Bucket,
    key: String,
    /// Taken from the bucket's part memory with the first byte.
    pending: Vec<u8>,
    upload: Option<Upload>,
}

struct Upload {
    id: String,
    parts: Vec<CompletedPart>,
}

impl MultipartUpload {
    pub(crate) fn new(bucket: Bucket, key: String) -> Self {
        Self {
            bucket,
            key,
            pending: Vec::new(),
            upload: None,
        }
    }

    async fn upload_pending(&mut self) -> Result<(), StorageError> {
        if self.upload.is_none() {
            self.upload = Some(self.begin().await?);
        }
        let Some(upload) = &mut self.upload else {
            return Ok(());
        };
        let number = i32::try_from(upload.parts.len() + 1).unwrap_or(i32::MAX);
        let body = Bytes::from(std::mem::take(&mut self.pending));
        let part = self
            .bucket
            .client
            .upload_part()
            .bucket(&self.bucket.name)
            .key(self.bucket.full_key(&self.key))
            .upload_id(&upload.id)
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .set_expected_bucket_owner(self.bucket.expected_owner.clone())
            .body(ByteStream::from(body.clone()))
            .customize()
            .disable_payload_signing()
            .send()
            .await
            .map_err(|error| {
                storage_error(self.bucket.side, StorageOperation::Write, &self.key, error)
            })?;
        self.pending = emptied(body);
        upload.parts.push(
            CompletedPart::builder()
                .part_number(number)
                .set_e_tag(part.e_tag)
                .set_checksum_crc64_nvme(part.checksum_crc64_nvme)
                .build(),
        );
        Ok(())
    }

    async fn begin(&self) -> Result<Upload, StorageError> {
        let encryption = self.bucket.sse();
        let created = self
            .bucket
            .client
            .create_multipart_upload()
            .bucket(&self.bucket.name)
            .key(self.bucket.full_key(&self.key))
            .set_expected_bucket_owner(self.bucket.expected_owner.clone())
            .set_server_side_encryption(encryption.algorithm)
            .set_ssekms_key_id(encryption.kms_key)
            .set_bucket_key_enabled(encryption.bucket_key)
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .checksum_type(ChecksumType::FullObject)
            .send()
            .await
            .map_err(|error| {
                storage_error(self.bucket.side, StorageOperation::Write, &self.key, error)
            })?;
        let id = created.upload_id.ok_or_else(|| {
            let problem = Problem::Transient("the answer lacks an upload id".to_owned());
            StorageError::new(StorageOperation::Write, &self.key, problem)
        })?;
        Ok(Upload {
            id,
            parts: Vec::new(),
        })
    }

    /// The only precondition of an upload is that nothing is there.
    async fn complete(&mut self, precondition: Option<Precondition>) -> Result<(), StorageError> {
        if self.upload.is_none() {
            let body = Bytes::from(std::mem::take(&mut self.pending));
            let put = self
                .bucket
                .put_object(&self.key, body.clone(), precondition);
            put.await?;
            self.pending = emptied(body);
            return Ok(());
        }
        if !self.pending.is_empty() {
            self.upload_pending().await?;
        }
        let Some(upload) = &self.upload else {
            return Ok(());
        };
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(upload.parts.clone()))
            .build();
        self.bucket
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket.name)
            .key(self.bucket.full_key(&self.key))
            .upload_id(&upload.id)
            .multipart_upload(parts)
            .checksum_type(ChecksumType::FullObject)
            .set_if_none_match(precondition.map(|_| "*".to_owned()))
            .set_expected_bucket_owner(self.bucket.expected_owner.clone())
            .send()
            .await
            .map_err(|error| {
                storage_error(self.bucket.side, StorageOperation::Write, &self.key, error)
            })?;
        self.upload = None;
        Ok(())
    }
}

impl Write for MultipartUpload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pending.capacity() == 0 {
            self.pending = self.bucket.part_memory.take();
        }
        let length = bytes.len().min(PART_BYTES - self.pending.len());
        self.pending.extend_from_slice(&bytes[..length]);
        if self.pending.len() == PART_BYTES {
            let runtime = self.bucket.runtime.clone();
            block_in_place(|| runtime.block_on(self.upload_pending())).map_err(io::Error::other)?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StagedObject for MultipartUpload {
    /// Uploads the last part, which may have any size, so that only the request remains that completes the
    /// upload.
    fn seal(&mut self) -> Result<(), StorageError> {
        if !self.pending.is_empty() {
            let runtime = self.bucket.runtime.clone();
            block_in_place(|| runtime.block_on(self.upload_pending()))?;
        }
        let memory = std::mem::take(&mut self.pending);
        self.bucket.part_memory.give_back(memory);
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<(), StorageError> {
        let runtime = self.bucket.runtime.clone();
        block_in_place(|| runtime.block_on(self.complete(None)))
    }

    fn commit_first(mut self: Box<Self>) -> Result<Written, StorageError> {
        let runtime = self.bucket.runtime.clone();
        let completed =
            block_in_place(|| runtime.block_on(self.complete(Some(Precondition::Absent))));
        match completed {
            Ok(()) => Ok(Written::Yes),
            Err(error) if matches!(error.problem, Problem::Changed) => {
                Ok(Written::PreconditionFailed)
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for MultipartUpload {
    fn drop(&mut self) {
        self.bucket
            .part_memory
            .give_back(std::mem::take(&mut self.pending));
        let Some(upload) = self.upload.take() else {
            return;
        };
        let abort = self
            .bucket
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket.name)
            .key(self.bucket.full_key(&self.key))
            .upload_id(upload.id)
            .set_expected_bucket_owner(self.bucket.expected_owner.clone());
        // Waits without the help of this runtime, which may be about to end. The bucket's rule for
        // incomplete uploads removes what can't be aborted now.
        let (ended, end) = mpsc::channel();
        self.bucket.runtime.spawn(async move {
            let aborted = abort.send().await.is_ok();
            ended.send(aborted)
        });
        let _ = block_in_place(|| end.recv_timeout(ABORT_WAIT_MAX));
    }
}
