//! The pipeline's storage, queues and notifications on AWS.
//!
//! This is the only crate that names the AWS SDK. A [`Bucket`] implements every storage trait of
//! the pipeline, a [`Queue`] both queues; [`session`] and [`assume`] make the credentials that their
//! clients use. `Deployment`, of the feature `deployment`, is what the command line asks about a stack.

mod bucket;
mod bucket_url;
#[cfg(feature = "targets")]
mod bus_target;
#[cfg(feature = "deployment")]
mod deployment;
mod endpoint;
mod failure;
mod multipart;
mod notification;
mod object_reader;
mod part_memory;
#[cfg(feature = "targets")]
mod queue_target;
mod queues;
mod request_id;
mod session;
mod side;
mod signing_key;
#[cfg(feature = "targets")]
mod stream_target;
#[cfg(feature = "targets")]
mod target;
#[cfg(feature = "targets")]
mod topic_target;

use crate::endpoint::NameEndpoint;

pub use aws_config::SdkConfig;
pub use bucket::{Bucket, Encryption};
pub use bucket_url::{BucketUrl, BucketUrlError};
#[cfg(feature = "targets")]
pub use bus_target::BusTarget;
#[cfg(feature = "deployment")]
pub use deployment::{Deployment, DeploymentError, InvocationError};
pub use notification::{Topic, TopicError};
#[cfg(feature = "targets")]
pub use queue_target::QueueTarget;
pub use queues::{Message, Queue};
pub use session::{
    AssumedRole, SOURCE_KMS_KEYS_MAX, SessionSettings, assume, caller_arn, session,
    source_session_policy,
};
pub use side::Side;
pub use signing_key::SigningKey;
#[cfg(feature = "targets")]
pub use stream_target::StreamTarget;
#[cfg(feature = "targets")]
pub use topic_target::TopicTarget;

/// A client of S3. `path_style` for endpoints that have no name for each bucket.
pub fn s3_client(config: &SdkConfig) -> aws_sdk_s3::Client {
    // Emulators and private endpoints answer to one host name only.
    let path_style = config.endpoint_url().is_some();
    let settings = aws_sdk_s3::config::Builder::from(config)
        .force_path_style(path_style)
        .interceptor(NameEndpoint);
    aws_sdk_s3::Client::from_conf(settings.build())
}

/// A client of SQS.
pub fn sqs_client(config: &SdkConfig) -> aws_sdk_sqs::Client {
    let settings = aws_sdk_sqs::config::Builder::from(config).interceptor(NameEndpoint);
    aws_sdk_sqs::Client::from_conf(settings.build())
}

/// A client of SNS.
pub fn sns_client(config: &SdkConfig) -> aws_sdk_sns::Client {
    let settings = aws_sdk_sns::config::Builder::from(config).interceptor(NameEndpoint);
    aws_sdk_sns::Client::from_conf(settings.build())
}
