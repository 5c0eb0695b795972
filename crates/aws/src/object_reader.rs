//! Reads an object as a stream, and resumes it where a broken connection left it.

use std::io::{self, Read};

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use event_recovery_pipeline::{
    Circumstances, OpenObject, Problem, RequestId, StorageError, StorageOperation,
};
use tokio::task::block_in_place;

use crate::bucket::{Bucket, check_key};
use crate::failure::{storage_error, stream_error};
use crate::request_id;

#[async_trait]
impl OpenObject for Bucket {
    async fn open(&self, key: &str, etag: &str) -> Result<Box<dyn Read + Send>, StorageError> {
        check_key(StorageOperation::Read, key)?;
        let reader = ObjectReader::open(self.clone(), key.to_owned(), etag.to_owned()).await?;
        Ok(Box::new(reader))
    }
}

/// Most times that the stream of one object is reopened without progress in between.
const RESUMES_MAX: u32 = 5;

/// A blocking reader over an object's body; reads from threads that may block.
pub(crate) struct ObjectReader {
    bucket: Bucket,
    key: String,
    etag: String,
    body: ByteStream,
    /// Of the answer that the body belongs to.
    request_id: Option<RequestId>,
    /// Bytes of the object, if the first answer said so.
    length: Option<u64>,
    /// Bytes received so far.
    position: u64,
    chunk: Bytes,
    resumes: u32,
}

impl ObjectReader {
    pub(crate) async fn open(
        bucket: Bucket,
        key: String,
        etag: String,
    ) -> Result<Self, StorageError> {
        let Answer {
            body,
            length,
            request_id,
        } = get(&bucket, &key, &etag, 0).await?;
        Ok(Self {
            bucket,
            key,
            etag,
            body,
            request_id,
            length,
            position: 0,
            chunk: Bytes::new(),
            resumes: 0,
        })
    }

    /// The next bytes; empty at the end.
    async fn next_chunk(&mut self) -> Result<Bytes, StorageError> {
        loop {
            let error = match self.body.try_next().await {
                // For a reader, no bytes would mean the end.
                Ok(Some(chunk)) if chunk.is_empty() => continue,
                Ok(Some(chunk)) => {
                    self.position += chunk.len() as u64;
                    self.resumes = 0;
                    return Ok(chunk);
                }
                Ok(None) if self.length.is_none_or(|length| self.position == length) => {
                    return Ok(Bytes::new());
                }
                Ok(None) => self.ended_early(),
                Err(error) => stream_error(&self.key, error, self.request_id.clone()),
            };
            // At the end, which is where a checksum fails, there is nothing to resume.
            let is_at_end = self.length == Some(self.position);
            if self.resumes == RESUMES_MAX || is_at_end || !error.is_transient() {
                return Err(error);
            }
            self.resumes += 1;
            tracing::debug!(
                key = self.key,
                position = self.position,
                resume = self.resumes,
                %error,
                request_id = error.request_id().map(ToString::to_string),
                "resuming the stream of an object"
            );
            // With `If-Match`, so that the rest is of the same object.
            let answer = get(&self.bucket, &self.key, &self.etag, self.position).await?;
            (self.body, self.request_id) = (answer.body, answer.request_id);
        }
    }

    fn ended_early(&self) -> StorageError {
        let problem = Problem::Transient("the stream ended early".to_owned());
        StorageError::new(StorageOperation::Read, &self.key, problem)
            .under(Circumstances::new(None, self.request_id.clone()))
    }
}

/// An object from some position on.
struct Answer {
    body: ByteStream,
    /// Bytes of the body, if the answer says so.
    length: Option<u64>,
    request_id: Option<RequestId>,
}

async fn get(
    bucket: &Bucket,
    key: &str,
    etag: &str,
    position: u64,
) -> Result<Answer, StorageError> {
    let object = bucket
        .client
        .get_object()
        .bucket(&bucket.name)
        .key(bucket.full_key(key))
        .if_match(etag)
        .set_range((position > 0).then(|| format!("bytes={position}-")))
        .set_expected_bucket_owner(bucket.expected_owner.clone())
        .send()
        .await
        .map_err(|error| storage_error(bucket.side, StorageOperation::Read, key, error))?;
    let starts_there = format!("bytes {position}-");
    let range = object.content_range.as_deref().unwrap_or_default();
    if position > 0 && !range.starts_with(&starts_there) {
        // A server that ignores the range answers from the beginning.
        let problem = Problem::Transient("the rest was answered with another range".to_owned());
        return Err(StorageError::new(StorageOperation::Read, key, problem));
    }
    Ok(Answer {
        request_id: request_id::of_answer(&object),
        length: object
            .content_length
            .and_then(|length| u64::try_from(length).ok()),
        body: object.body,
    })
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            let runtime = self.bucket.runtime.clone();
            self.chunk =
                block_in_place(|| runtime.block_on(self.next_chunk())).map_err(io::Error::other)?;
        }
        let length = buffer.len().min(self.chunk.len());
        buffer[..length].copy_from_slice(&self.chunk.split_to(length));
        Ok(length)
    }
}
