//! The clients of a function, built once.

use event_recovery_aws::{
    AssumedRole, Bucket, Encryption, Queue, SdkConfig, SessionSettings, SigningKey, Topic, assume,
    caller_arn, s3_client, session, sns_client, source_session_policy, sqs_client,
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

    /// The ARN of the function's session.
    pub(crate) async fn caller(&self) -> Option<String> {
        caller_arn(&self.config).await.map(role_of_session)
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

    pub(crate) fn signing_key(&self, arn: String) -> SigningKey {
        SigningKey::new(&self.config, arn)
    }

    pub(crate) fn topic(&self, arn: String) -> Topic {
        Topic::new(sns_client(&self.config), arn)
    }
}

/// The ARN of the role that the session is of, as policies name it. A session has no path, so a role with one is named without
/// it.
fn role_of_session(arn: String) -> String {
    let role = || {
        let (account, session) = arn.split_once(":assumed-role/")?;
        let account = account.replacen(":sts:", ":iam:", 1);
        let (role, _) = session.rsplit_once('/')?;
        Some(format!("{account}:role/{role}"))
    };
    role().unwrap_or(arn)
}

#[cfg(test)]
mod tests {
    use super::role_of_session;

    #[test]
    fn a_session_is_named_by_its_role() {
        let session = "arn:aws:sts::1:assumed-role/stack-Worker/name".to_owned();
        assert_eq!(role_of_session(session), "arn:aws:iam::1:role/stack-Worker");
        let user = "arn:aws:iam::1:user/ada".to_owned();
        assert_eq!(role_of_session(user.clone()), user);
    }
}
