//! Credentials and clients: one session for each role and region.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::SharedCredentialsProvider;
use serde_json::json;

/// What CloudTrail shows as the session's name on the platform's side.
const SESSION_NAME: &str = "event-recovery";
/// The longest session that role chaining allows ("Role chaining" in the IAM user guide).
const SESSION_SECS: Duration = Duration::from_secs(3600);
/// How often the SDK sends a request before it returns the error.
const REQUEST_ATTEMPTS_MAX: u32 = 5;
/// How long the answer to one request may take to begin. A part of 8 MiB needs 1.1 Mbit/s.
const ATTEMPT_SECS_MAX: Duration = Duration::from_secs(60);

/// Most keys of AWS KMS in a session policy, which may have 2,048 characters.
pub const SOURCE_KMS_KEYS_MAX: usize = 15;

/// How AWS is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionSettings {
    /// The profile of the AWS configuration files, or that of the environment.
    pub profile: Option<String>,
    /// The region, or that of the environment.
    pub region: Option<String>,
    /// Another endpoint, for emulators.
    pub endpoint_url: Option<String>,
}

/// A role to assume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AssumedRole {
    /// Its ARN.
    pub role_arn: String,
    /// What its trust policy asks for.
    pub external_id: Option<String>,
    /// A policy that narrows the session, as JSON.
    pub session_policy: Option<String>,
}

/// A session with the credentials of the environment.
pub async fn session(settings: &SessionSettings) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::standard().with_max_attempts(REQUEST_ATTEMPTS_MAX))
        .timeout_config(
            TimeoutConfig::builder()
                .operation_attempt_timeout(ATTEMPT_SECS_MAX)
                .build(),
        );
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint_url) = &settings.endpoint_url {
        loader = loader.endpoint_url(endpoint_url);
    }
    loader.load().await
}

/// A session with the last of the roles, each assumed through the one before, for requests to
/// `region`. It lasts one hour and refreshes on its own.
pub async fn assume(base: &SdkConfig, roles: &[AssumedRole], region: Option<&str>) -> SdkConfig {
    let mut config = base.clone();
    for role in roles {
        let mut provider = AssumeRoleProvider::builder(&role.role_arn)
            .session_name(SESSION_NAME)
            .session_length(SESSION_SECS)
            .configure(&config);
        if let Some(external_id) = &role.external_id {
            provider = provider.external_id(external_id);
        }
        if let Some(policy) = &role.session_policy {
            provider = provider.policy(policy);
        }
        let credentials = SharedCredentialsProvider::new(provider.build().await);
        config = config
            .into_builder()
            .credentials_provider(credentials)
            .build();
    }
    match region {
        Some(region) => config
            .into_builder()
            .region(Region::new(region.to_owned()))
            .build(),
        None => config,
    }
}

/// The session policy for reading backups, which allows only listing and reading, whatever the role allows.
/// `kms_key_arns` are the keys of the objects: the bucket's, and those that it had before; none for any key.
/// STS takes 2,048 characters ("AssumeRole" in its API reference).
pub fn source_session_policy(
    role_arn: &str,
    bucket: &str,
    prefix: &str,
    kms_key_arns: &[String],
) -> String {
    // The bucket is in the role's partition, such as `aws` or `aws-cn`.
    let partition = role_arn.split(':').nth(1).unwrap_or("aws");
    let bucket_arn = format!("arn:{partition}:s3:::{bucket}");
    let keys = match prefix {
        "" => "main_stream/*".to_owned(),
        prefix => format!("{prefix}/main_stream/*"),
    };
    let keys_of_kms = match kms_key_arns {
        [] => json!("*"),
        arns => json!(arns),
    };
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket_arn,
            "Condition": {"StringLike": {"s3:prefix": keys}}},
        {"Effect": "Allow", "Action": "s3:GetObject",
            "Resource": format!("{bucket_arn}/{keys}")},
        {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": keys_of_kms},
    ]})
    .to_string()
}

/// The ARN of whoever the session's credentials belong to. `None` where AWS does not say.
pub async fn caller_arn(config: &SdkConfig) -> Option<String> {
    let client = aws_sdk_sts::Client::new(config);
    let identity = client.get_caller_identity().send().await.ok()?;
    identity.arn
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_session_of_the_source_may_list_and_read_the_backup_alone() {
        let policy =
            source_session_policy("arn:aws-cn:iam::1:role/r", "b", "p", &["key".to_owned()]);
        let policy: Value = serde_json::from_str(&policy).unwrap();
        let statements = policy["Statement"].as_array().unwrap();
        let granted: Vec<_> = statements
            .iter()
            .map(|statement| {
                let text = |field: &str| statement[field].as_str().map(str::to_owned);
                let keys = statement["Resource"][0].as_str();
                let resource = text("Resource").or(keys.map(str::to_owned));
                (text("Action").unwrap(), resource.unwrap())
            })
            .collect();
        let expected = [
            ("s3:ListBucket", "arn:aws-cn:s3:::b"),
            ("s3:GetObject", "arn:aws-cn:s3:::b/p/main_stream/*"),
            ("kms:Decrypt", "key"),
        ];
        assert_eq!(granted, expected.map(|(a, r)| (a.to_owned(), r.to_owned())));
    }

    #[test]
    fn the_policy_fits_with_as_many_keys_as_may_be_set() {
        let arn =
            |n: usize| format!("arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-{n:032x}");
        let keys: Vec<String> = (0..SOURCE_KMS_KEYS_MAX).map(arn).collect();
        let (bucket, prefix) = ("b".repeat(63), "p".repeat(64));
        let role = "arn:aws-us-gov:iam::123456789012:role/reader";
        let policy = source_session_policy(role, &bucket, &prefix, &keys);
        assert!(policy.chars().count() <= 2048, "{}", policy.len());
        let policy: Value = serde_json::from_str(&policy).unwrap();
        assert_eq!(policy["Statement"][2]["Resource"], serde_json::json!(keys));
    }
}
