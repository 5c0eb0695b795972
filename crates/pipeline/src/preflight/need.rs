//! What is missing, on which side, and the statement that allows it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::storage::{Problem, StorageError, Subject};

/// Who can mend what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// Whoever publishes the backup.
    Platform,
    /// Whoever recovers it.
    Customer,
    /// The administrator of a key of AWS KMS.
    KeyOwner,
}

impl Party {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Customer => "customer",
            Self::KeyOwner => "key owner",
        }
    }
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Who can mend it.
    pub side: Party,
    /// The action, such as `s3:ListBucket`; of a folder, what was tried.
    pub action: String,
    /// The ARN of what it is on, or the folder.
    pub resource: String,
    /// Where the statement belongs.
    pub belongs_to: String,
    /// The statement of a policy that allows it; `None` for a folder.
    pub statement: Option<Value>,
}

/// A side of a run, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Who owns the storage.
    pub owner: Party,
    /// `None` for a folder.
    pub bucket: Option<BucketReach>,
    /// The folder, or the URL.
    pub place: String,
}

/// A bucket, and how it is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketReach {
    /// The partition of its ARN, such as `aws`.
    pub partition: String,
    /// Its name.
    pub name: String,
    /// Empty, or without a slash at its end.
    pub prefix: String,
    /// Who reaches it, before any role is assumed: an ARN.
    pub principal: Option<String>,
    /// The roles that are assumed for it, in their order.
    pub roles: Vec<String>,
    /// What the trust policy of the last role asks for.
    pub external_id: Option<String>,
    /// The keys of its objects, if they are set.
    pub kms_key_arns: Vec<String>,
    /// The account that must own it: S3 denies every request to a bucket of another.
    pub expected_owner: Option<String>,
}

impl Reach {
    /// A folder.
    pub fn folder(owner: Party, place: impl Into<String>) -> Self {
        Self {
            owner,
            bucket: None,
            place: place.into(),
        }
    }

    /// What it takes to do this, of which a request was refused.
    pub(crate) fn needs(&self, actions: &[&str], error: &StorageError) -> Vec<Need> {
        let Some(bucket) = &self.bucket else {
            return vec![Need {
                side: self.owner,
                action: error.operation.to_string(),
                resource: format!("{}/{}", self.place, error.key),
                belongs_to: "the folder's permissions".to_owned(),
                statement: None,
            }];
        };
        if !matches!(error.problem, Problem::AccessDenied(_)) {
            return Vec::new();
        }
        match error.subject() {
            Subject::Role => bucket.role_needs(),
            Subject::Key => bucket.key_needs(self.owner, actions),
            Subject::Storage => bucket.storage_needs(self.owner, actions),
        }
    }
}

impl BucketReach {
    fn arn(&self) -> String {
        format!("arn:{}:s3:::{}", self.partition, self.name)
    }

    fn last_role(&self) -> Option<&String> {
        self.roles.last()
    }

    /// Who must be allowed at the bucket.
    fn user(&self) -> String {
        let user = self.last_role().or(self.principal.as_ref());
        user.cloned()
            .unwrap_or_else(|| "ARN OF WHOEVER READS THE BUCKET".to_owned())
    }

    /// STS does not say whose policy refuses, so both statements are told.
    fn role_needs(&self) -> Vec<Need> {
        let action = "sts:AssumeRole";
        let mut needs = Vec::new();
        let mut assumer = self.principal.clone();
        for (index, role) in self.roles.iter().enumerate() {
            let is_last = index + 1 == self.roles.len();
            needs.push(Need {
                side: Party::Customer,
                action: action.to_owned(),
                resource: role.clone(),
                belongs_to: match &assumer {
                    Some(assumer) => format!("the policy of `{assumer}`"),
                    None => "the policy of whoever assumes the role".to_owned(),
                },
                statement: Some(json!({"Effect": "Allow", "Action": action, "Resource": role})),
            });
            let principal = assumer.unwrap_or_else(|| "ARN OF WHOEVER ASSUMES THE ROLE".to_owned());
            let mut trust =
                json!({"Effect": "Allow", "Action": action, "Principal": {"AWS": principal}});
            if let Some(external_id) = self.external_id.as_ref().filter(|_| is_last) {
                trust["Condition"] = json!({"StringEquals": {"sts:ExternalId": external_id}});
            }
            needs.push(Need {
                side: match is_last {
                    true => Party::Platform,
                    false => Party::Customer,
                },
                action: action.to_owned(),
                resource: role.clone(),
                belongs_to: format!("the trust policy of `{role}`"),
                statement: Some(trust),
            });
            assumer = Some(role.clone());
        }
        needs
    }

    fn storage_needs(&self, owner: Party, actions: &[&str]) -> Vec<Need> {
        let keys = match (owner, self.prefix.as_str()) {
            (Party::Platform, "") => "main_stream/*".to_owned(),
            (Party::Platform, prefix) => format!("{prefix}/main_stream/*"),
            (_, "") => "*".to_owned(),
            (_, prefix) => format!("{prefix}/*"),
        };
        let is_listing = actions.contains(&"s3:ListBucket");
        let resource = match is_listing {
            true => self.arn(),
            false => format!("{}/{keys}", self.arn()),
        };
        let mut statement = json!({"Effect": "Allow", "Action": actions, "Resource": resource});
        if is_listing && keys != "*" {
            statement["Condition"] = json!({"StringLike": {"s3:prefix": keys}});
        }
        let need = |side, belongs_to: String, statement: Value| Need {
            side,
            action: actions.join(", "),
            resource: resource.clone(),
            belongs_to,
            statement: Some(statement),
        };
        let mut of_bucket = statement.clone();
        of_bucket["Principal"] = json!({"AWS": self.user()});
        let bucket_policy = format!("the policy of the bucket `{}`", self.name);
        match (owner, self.last_role()) {
            // The role is the platform's, in the account of its bucket: one policy is enough.
            (Party::Platform, Some(role)) => {
                vec![need(owner, format!("the policy of `{role}`"), statement)]
            }
            (Party::Platform, None) => vec![
                need(owner, bucket_policy, of_bucket),
                need(
                    Party::Customer,
                    format!("the policy of `{}`", self.user()),
                    statement,
                ),
            ],
            (side, _) => vec![need(
                side,
                format!(
                    "the policy of `{}`, and of the bucket if that is in another account",
                    self.user()
                ),
                statement,
            )],
        }
    }

    fn key_needs(&self, owner: Party, actions: &[&str]) -> Vec<Need> {
        let is_writing = actions.iter().any(|action| action.contains("Put"));
        let of_key: &[&str] = match is_writing {
            true => &["kms:GenerateDataKey", "kms:Decrypt"],
            false => &["kms:Decrypt"],
        };
        let key = match self.kms_key_arns.as_slice() {
            [] => "the key of the objects".to_owned(),
            arns => arns.join(", "),
        };
        let resource = match self.kms_key_arns.as_slice() {
            [] => json!("ARN OF THE KEY"),
            arns => json!(arns),
        };
        let user = self.user();
        let need = |side, belongs_to: String, statement: Value| Need {
            side,
            action: of_key.join(", "),
            resource: key.clone(),
            belongs_to,
            statement: Some(statement),
        };
        vec![
            need(
                Party::KeyOwner,
                "the policy of the key".to_owned(),
                json!({"Effect": "Allow", "Action": of_key, "Resource": "*", "Principal": {"AWS": user}}),
            ),
            need(
                owner,
                format!("the policy of `{user}`"),
                json!({"Effect": "Allow", "Action": of_key, "Resource": resource}),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Circumstances, StorageOperation};

    fn reach(owner: Party, roles: &[&str]) -> Reach {
        Reach {
            owner,
            place: "s3://b/p".to_owned(),
            bucket: Some(BucketReach {
                partition: "aws-cn".to_owned(),
                name: "b".to_owned(),
                prefix: "p".to_owned(),
                principal: Some("arn:you".to_owned()),
                roles: roles.iter().map(|&role| role.to_owned()).collect(),
                external_id: Some("x".to_owned()),
                kms_key_arns: Vec::new(),
                expected_owner: None,
            }),
        }
    }

    fn denied(operation: StorageOperation, subject: Subject) -> StorageError {
        let problem = Problem::AccessDenied("AccessDenied".to_owned());
        StorageError::new(operation, "k", problem).under(Circumstances::default().about(subject))
    }

    fn told(needs: &[Need]) -> Vec<(Party, &str, &str)> {
        let told = needs
            .iter()
            .map(|need| (need.side, need.action.as_str(), need.resource.as_str()));
        told.collect()
    }

    #[test]
    fn each_side_is_told_its_own_statement() {
        use Party::{Customer, KeyOwner, Platform};
        let list = denied(StorageOperation::List, Subject::Storage);
        let bucket = "arn:aws-cn:s3:::b";
        let objects = "arn:aws-cn:s3:::b/p/main_stream/*";
        let of_role = reach(Platform, &["arn:customer", "arn:platform"]);
        let needs = of_role.needs(&["s3:ListBucket"], &list);
        assert_eq!(told(&needs), [(Platform, "s3:ListBucket", bucket)]);
        assert_eq!(
            needs[0].statement.as_ref().unwrap()["Condition"],
            json!({"StringLike": {"s3:prefix": "p/main_stream/*"}})
        );
        let direct = reach(Platform, &[]);
        let read = denied(StorageOperation::Read, Subject::Storage);
        let needs = direct.needs(&["s3:GetObject"], &read);
        assert_eq!(
            told(&needs),
            [
                (Platform, "s3:GetObject", objects),
                (Customer, "s3:GetObject", objects)
            ]
        );
        assert_eq!(
            needs[0].statement.as_ref().unwrap()["Principal"],
            json!({"AWS": "arn:you"})
        );
        let needs = of_role.needs(
            &["s3:ListBucket"],
            &denied(StorageOperation::List, Subject::Role),
        );
        assert_eq!(
            told(&needs),
            [
                (Customer, "sts:AssumeRole", "arn:customer"),
                (Customer, "sts:AssumeRole", "arn:customer"),
                (Customer, "sts:AssumeRole", "arn:platform"),
                (Platform, "sts:AssumeRole", "arn:platform"),
            ]
        );
        let trust = needs[3].statement.as_ref().unwrap();
        assert_eq!(trust["Principal"], json!({"AWS": "arn:customer"}));
        assert_eq!(
            trust["Condition"],
            json!({"StringEquals": {"sts:ExternalId": "x"}})
        );
        assert_eq!(needs[1].statement.as_ref().unwrap().get("Condition"), None);
        let key = denied(StorageOperation::Write, Subject::Key);
        let needs = reach(Customer, &[]).needs(&["s3:PutObject"], &key);
        let actions = "kms:GenerateDataKey, kms:Decrypt";
        let sides: Vec<_> = needs
            .iter()
            .map(|need| (need.side, need.action.as_str()))
            .collect();
        assert_eq!(sides, [(KeyOwner, actions), (Customer, actions)]);
    }
}
