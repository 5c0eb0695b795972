//! The clients of a function, built once.

use event_recovery_aws::{
    AssumedRole, Bucket, Encryption, Queue, SdkConfig, SessionSettings, Topic, assume, s3_client,
    session, sns_client, source_session_policy, sqs_client,
};

use crate::settings::{DestinationSettings, SourceSettings};

/// Builds clients from the function's own session.
pub(crate) struct Clients {
    config: SdkConfig,
}

impl Clients {
    /// Takes region, endpoint and credentials from the environment.
    pub(crate) async fn new() -> Self {
        Self {
            config: session(&SessionSettings::default()).await,
        }
    }

    /// The backup, read with the roles that are set.
    pub(crate) async fn source(&self, settings: &SourceSettings) -> Bucket {
        let customer = settings.customer_role_arn.iter().map(|arn| AssumedRole {
            role_arn: arn.clone(),
            external_id: None,
            session_policy: None,
        });
        let platform = settings.role_arn.iter().map(|arn| AssumedRole {
            role_arn: arn.clone(),
            external_id: settings.external_id.clone(),
            session_policy: Some(source_session_policy(
                arn,
                &settings.bucket,
                "",
                &settings.kms_key_arns,
            )),
        });
        let roles: Vec<AssumedRole> = customer.chain(platform).collect();
        let config = assume(&self.config, &roles, settings.region.as_deref()).await;
        Bucket::new(s3_client(&config), settings.bucket.clone(), "")
            .as_source()
            .expected_owner(settings.owner.clone())
    }

    /// The destination, read and written with the function's own role.
    pub(crate) fn destination(&self, settings: &DestinationSettings) -> Bucket {
        let encryption = match &settings.kms_key_arn {
            Some(key_arn) => Encryption::Kms {
                key_arn: key_arn.clone(),
            },
            None => Encryption::BucketDefault,
        };
        Bucket::new(
            s3_client(&self.config),
            settings.bucket.clone(),
            &settings.prefix,
        )
        .expected_owner(settings.owner.clone())
        .encryption(encryption)
    }

    pub(crate) fn queue(&self, url: String) -> Queue {
        Queue::new(sqs_client(&self.config), url)
    }

    pub(crate) fn topic(&self, arn: String) -> Topic {
        Topic::new(sns_client(&self.config), arn)
    }
}
