//! A key of KMS that signs.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::{Builder, Region};
use aws_sdk_kms::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_kms::operation::sign::SignError as KmsError;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use event_recovery_pipeline::{Sign, SignError};

use crate::endpoint::NameEndpoint;
use crate::failure::described;

/// How KMS answers a dry run that would succeed ("Testing your permissions" in the KMS developer guide).
const DRY_RUN_SUCCEEDS: &str = "DryRunOperationException";

/// A key of KMS that signs by ECDSA on P-256.
#[derive(Debug, Clone)]
pub struct SigningKey {
    client: Client,
    arn: String,
}

impl SigningKey {
    /// The key with this ARN, in the region that the ARN names.
    pub fn new(config: &SdkConfig, arn: impl Into<String>) -> Self {
        let arn = arn.into();
        let mut settings = Builder::from(config).interceptor(NameEndpoint);
        if let Some(region) = arn.split(':').nth(3).filter(|region| !region.is_empty()) {
            settings = settings.region(Region::new(region.to_owned()));
        }
        let client = Client::from_conf(settings.build());
        Self { client, arn }
    }

    /// Whether the key may be signed with, without a signature where KMS can do without.
    ///
    /// # Errors
    ///
    /// A denial, or why there was no answer.
    pub async fn may_sign(&self) -> Result<(), SignError> {
        let signed = self.request(b"preflight").dry_run(true).send().await;
        match signed {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == Some(DRY_RUN_SUCCEEDS) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn request(&self, message: &[u8]) -> aws_sdk_kms::operation::sign::builders::SignFluentBuilder {
        self.client
            .sign()
            .key_id(&self.arn)
            .message(Blob::new(message))
            .message_type(MessageType::Raw)
            .signing_algorithm(SigningAlgorithmSpec::EcdsaSha256)
    }

    fn failed(&self, error: SdkError<KmsError, HttpResponse>) -> SignError {
        let described = described(error);
        SignError::new(&self.arn, described.problem, described.is_transient)
            .under(described.circumstances)
    }
}

fn code(error: &SdkError<KmsError, HttpResponse>) -> Option<&str> {
    error.as_service_error().and_then(|error| error.code())
}

#[async_trait]
impl Sign for SigningKey {
    fn key(&self) -> &str {
        &self.arn
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signed = self.request(message).send().await;
        let signed = signed.map_err(|error| self.failed(error))?;
        let signature = signed.signature.map(Blob::into_inner);
        signature.ok_or_else(|| SignError::new(&self.arn, "KMS answered without a signature", true))
    }
}
