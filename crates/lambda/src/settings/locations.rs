//! The buckets that a function reaches.

use event_recovery_aws::{BucketUrl, SOURCE_KMS_KEYS_MAX};
use event_recovery_pipeline::OrgId;

use super::Settings;

/// The bucket of the backup, and how it is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SourceSettings {
    pub(crate) bucket: String,
    /// `None` where it is the function's.
    pub(crate) region: Option<String>,
    /// The customer's own role, assumed first.
    pub(crate) customer_role_arn: Option<String>,
    /// The platform's role.
    pub(crate) role_arn: Option<String>,
    pub(crate) external_id: Option<String>,
    /// The keys of the backup's objects; none where any key may be used.
    pub(crate) kms_key_arns: Vec<String>,
    /// The account that must own the bucket.
    pub(crate) owner: Option<String>,
}

/// Where events and the ledger go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DestinationSettings {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) kms_key_arn: Option<String>,
    /// The account that must own the bucket.
    pub(crate) owner: Option<String>,
}

impl SourceSettings {
    /// `None` where nothing names the bucket, which then is among the problems.
    pub(super) fn read(settings: &mut Settings, org_id: Option<&OrgId>) -> Option<Self> {
        let kms_key_arns = kms_key_arns(settings);
        let bucket = settings
            .optional("SOURCE_BUCKET")
            .map(|name| bucket_name(&name).to_owned())
            .or_else(|| Some(org_id?.bucket()))?;
        Some(Self {
            bucket,
            region: settings.optional("SOURCE_REGION"),
            customer_role_arn: settings.optional("CUSTOMER_ROLE_ARN"),
            role_arn: settings.optional("SOURCE_ROLE_ARN"),
            external_id: settings.optional("SOURCE_EXTERNAL_ID"),
            kms_key_arns: kms_key_arns?,
            owner: settings.optional("SOURCE_BUCKET_OWNER"),
        })
    }
}

impl DestinationSettings {
    pub(super) fn read(settings: &mut Settings) -> Option<Self> {
        Some(Self {
            bucket: settings.required("DESTINATION_BUCKET")?,
            prefix: settings.optional("DESTINATION_PREFIX").unwrap_or_default(),
            kms_key_arn: settings.optional("DESTINATION_KMS_KEY_ARN"),
            owner: settings.optional("DESTINATION_BUCKET_OWNER"),
        })
    }

    /// The destination as people and tools write it, without a slash at its end.
    pub(crate) fn url(&self) -> String {
        BucketUrl::new(&*self.bucket, &self.prefix).to_string()
    }

    /// The URL of a key of the pipeline.
    pub(crate) fn place(&self, key: &str) -> String {
        BucketUrl::new(&*self.bucket, &self.prefix).place(key)
    }
}

/// The keys of the backup, separated by commas. `None` if they are invalid, which then is among the problems.
fn kms_key_arns(settings: &mut Settings) -> Option<Vec<String>> {
    let name = "SOURCE_KMS_KEY_ARN";
    let text = settings.optional(name).unwrap_or_default();
    let arns: Vec<String> = text
        .split(',')
        .map(|arn| arn.trim().to_owned())
        .filter(|arn| !arn.is_empty())
        .collect();
    if arns.len() > SOURCE_KMS_KEYS_MAX || arns.iter().any(|arn| !arn.starts_with("arn:")) {
        let accepts = format_args!("up to {SOURCE_KMS_KEYS_MAX} ARNs, separated by commas");
        settings.invalid(name, &text, accepts);
        return None;
    }
    Some(arns)
}

/// The bucket's name, also of its ARN.
fn bucket_name(name_or_arn: &str) -> &str {
    match name_or_arn.starts_with("arn:") {
        true => name_or_arn.rsplit(':').next().unwrap_or(name_or_arn),
        false => name_or_arn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_known_by_its_name_or_its_arn() {
        assert_eq!(bucket_name("a-bucket"), "a-bucket");
        assert_eq!(bucket_name("arn:aws:s3:::a-bucket"), "a-bucket");
        assert_eq!(bucket_name("arn:aws-cn:s3:::a-bucket"), "a-bucket");
    }

    #[test]
    fn several_keys_of_the_backup_are_separated_by_commas() {
        let read = |value: String| {
            let mut settings = Settings::from_values(move |name| match name {
                "SOURCE_BUCKET" => Some("b".to_owned()),
                _ => Some(value.clone()).filter(|_| name == "SOURCE_KMS_KEY_ARN"),
            });
            let source = SourceSettings::read(&mut settings, None);
            source
                .map(|source| source.kms_key_arns)
                .ok_or_else(|| settings.error().to_string())
        };
        assert_eq!(read(String::new()), Ok(Vec::new()));
        let two = ["arn:aws:kms:r:1:key/a", "arn:aws-cn:kms:r:1:key/b"].map(str::to_owned);
        assert_eq!(read(two.join(", ")), Ok(two.to_vec()));
        for wrong in ["alias/a".to_owned(), vec!["arn:x"; 16].join(",")] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("`SOURCE_KMS_KEY_ARN` is invalid"), "{error}");
        }
    }

    #[test]
    fn a_place_is_written_as_a_url_of_the_bucket() {
        let mut destination = DestinationSettings {
            bucket: "b".to_owned(),
            prefix: String::new(),
            kms_key_arn: None,
            owner: None,
        };
        assert_eq!(destination.place("_recovery/x"), "s3://b/_recovery/x");
        destination.prefix = "a/b/".to_owned();
        assert_eq!(destination.place("_recovery/x"), "s3://b/a/b/_recovery/x");
    }
}
