//! The preflight of a function: it tries with its own role what it needs, and leaves nothing behind.

use std::sync::Arc;

use chrono::Utc;
use event_recovery_pipeline::{
    BucketReach, Check, ExecutionId, Need, Party, Reach, Writer, check_destination, check_source,
};
use serde_json::{Value, json};

use crate::clients::Clients;
use crate::settings::{
    AuditorQueues, DestinationSettings, PlannerPlaces, Settings, SettingsError, SourceSettings,
    WorkerSettings,
};

/// The field of a payload that asks for a preflight; its value names the run that does not exist in whose folders the
/// function tries to write.
const PREFLIGHT_FIELD: &str = "preflight";

/// The id of the preflight that the payload asks for.
pub fn asked_preflight(payload: &Value) -> Option<ExecutionId> {
    let id = payload.get(PREFLIGHT_FIELD)?.as_str()?;
    ExecutionId::parse(id).ok()
}

/// What the planner needs: to assume the roles, to list the backup, to write the ledger, and to send to both queues.
///
/// # Errors
///
/// Everything that is wrong with the settings.
pub async fn check_planner(
    id: &ExecutionId,
    settings: Settings,
) -> Result<Vec<Check>, SettingsError> {
    let places = PlannerPlaces::read(settings)?;
    // New clients, whose sessions know of every change to roles and policies.
    let clients = Clients::new().await;
    let principal = clients.caller().await;
    let reach = source_reach(&places.source, principal.clone());
    let source = clients.source(&places.source).await;
    let org_id = &places.settings.org_id;
    let mut checks = check_source(&source, org_id, &reach).await;
    // It only lists.
    checks.retain(|check| check.name != "source_read");
    let destination = &places.settings.destination;
    checks.extend(
        destination_checks(
            &clients,
            destination,
            principal.clone(),
            Writer::Planner,
            id,
        )
        .await,
    );
    for (name, url) in [
        ("task_queue", places.task_queue_url),
        ("audit_queue", places.audit_queue_url),
    ] {
        checks.push(queue_check(&clients, name, url, principal.as_deref()).await);
    }
    Ok(by("planner", checks))
}

/// What the worker needs: to assume the roles, to read the backup, to write events and receipts, and to call the auditor.
///
/// # Errors
///
/// Everything that is wrong with the settings.
pub async fn check_worker(
    id: &ExecutionId,
    settings: Settings,
) -> Result<Vec<Check>, SettingsError> {
    let settings = WorkerSettings::read(settings)?;
    let clients = Clients::new().await;
    let principal = clients.caller().await;
    let reach = source_reach(&settings.source, principal.clone());
    let source = clients.source(&settings.source).await;
    let mut checks = check_source(&source, &settings.org_id, &reach).await;
    checks.extend(
        destination_checks(
            &clients,
            &settings.destination,
            principal.clone(),
            Writer::Worker,
            id,
        )
        .await,
    );
    checks.push(
        queue_check(
            &clients,
            "audit_queue",
            settings.audit_queue_url,
            principal.as_deref(),
        )
        .await,
    );
    Ok(by("worker", checks))
}

/// What the auditor needs: to read and write the ledger, to sign reports and to notify people.
///
/// # Errors
///
/// Everything that is wrong with the settings.
pub async fn check_auditor(
    id: &ExecutionId,
    settings: Settings,
) -> Result<Vec<Check>, SettingsError> {
    let queues = AuditorQueues::read(settings)?;
    let clients = Clients::new().await;
    let principal = clients.caller().await;
    let destination = &queues.settings.destination;
    let writer = Writer::Auditor;
    let mut checks = destination_checks(&clients, destination, principal.clone(), writer, id).await;
    let (name, topic) = ("topic", queues.topic_arn);
    checks.push(match clients.topic(topic.clone()).may_publish().await {
        Ok(()) => Check::works(name, "notifications may be published"),
        Err(error) => Check::missing(
            name,
            error.to_string(),
            vec![allow("sns:Publish", &topic, principal.as_deref())],
        ),
    });
    if let Some(arn) = queues.signing_key_arn {
        let name = "signing_key";
        checks.push(match clients.signing_key(arn.clone()).may_sign().await {
            Ok(()) => Check::works(name, "reports may be signed"),
            Err(error) if error.is_transient() => Check::cannot_tell(name, error.to_string()),
            Err(error) => Check::missing(
                name,
                error.to_string(),
                vec![allow("kms:Sign", &arn, principal.as_deref())],
            ),
        });
    }
    Ok(by("auditor", checks))
}

fn by(who: &str, checks: Vec<Check>) -> Vec<Check> {
    checks.into_iter().map(|check| check.by(who)).collect()
}

async fn destination_checks(
    clients: &Clients,
    settings: &DestinationSettings,
    principal: Option<String>,
    writer: Writer,
    id: &ExecutionId,
) -> Vec<Check> {
    let reach = Reach {
        owner: Party::Customer,
        place: settings.url(),
        bucket: Some(BucketReach {
            partition: partition(principal.as_deref()),
            name: settings.bucket.clone(),
            prefix: settings.prefix.trim_matches('/').to_owned(),
            principal,
            roles: Vec::new(),
            external_id: None,
            kms_key_arns: settings.kms_key_arn.iter().cloned().collect(),
            expected_owner: settings.owner.clone(),
        }),
    };
    let bucket = Arc::new(clients.destination(settings));
    check_destination(bucket, writer, id, &reach, Utc::now()).await
}

async fn queue_check(clients: &Clients, name: &str, url: String, principal: Option<&str>) -> Check {
    match clients.queue(url.clone()).may_send().await {
        Ok(()) => Check::works(name, "messages may be sent"),
        Err(error) if error.is_transient() => Check::cannot_tell(name, error.to_string()),
        Err(error) => Check::missing(
            name,
            error.to_string(),
            vec![allow(
                "sqs:SendMessage",
                &queue_arn(&url, principal),
                principal,
            )],
        ),
    }
}

fn allow(action: &str, resource: &str, principal: Option<&str>) -> Need {
    let principal = principal.unwrap_or("the function's role");
    Need {
        side: Party::Customer,
        action: action.to_owned(),
        resource: resource.to_owned(),
        belongs_to: format!("the policy of `{principal}`"),
        statement: Some(json!({"Effect": "Allow", "Action": action, "Resource": resource})),
    }
}

/// The ARN of the queue with this URL, `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`; the URL where it has another form.
fn queue_arn(url: &str, principal: Option<&str>) -> String {
    let arn = || {
        let (host, path) = url.split_once("://")?.1.split_once('/')?;
        let region = host.strip_prefix("sqs.")?.split('.').next()?;
        let (account, name) = path.split_once('/')?;
        Some(format!(
            "arn:{}:sqs:{region}:{account}:{name}",
            partition(principal)
        ))
    };
    arn().unwrap_or_else(|| url.to_owned())
}

fn source_reach(settings: &SourceSettings, principal: Option<String>) -> Reach {
    let roles = settings.customer_role_arn.iter().chain(&settings.role_arn);
    Reach {
        owner: Party::Platform,
        place: format!("s3://{}", settings.bucket),
        bucket: Some(BucketReach {
            partition: partition(principal.as_deref()),
            name: settings.bucket.clone(),
            prefix: String::new(),
            principal,
            roles: roles.cloned().collect(),
            external_id: settings.external_id.clone(),
            kms_key_arns: settings.kms_key_arns.clone(),
            expected_owner: settings.owner.clone(),
        }),
    }
}

fn partition(arn: Option<&str>) -> String {
    let partition = arn.and_then(|arn| arn.split(':').nth(1));
    partition.unwrap_or("aws").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_named_by_its_arn() {
        let url = "https://sqs.sa-east-1.amazonaws.com/111122223333/tasks";
        let principal = Some("arn:aws-us-gov:sts::1:assumed-role/r/s");
        assert_eq!(
            queue_arn(url, principal),
            "arn:aws-us-gov:sqs:sa-east-1:111122223333:tasks"
        );
        assert_eq!(
            queue_arn("http://localhost:1/x/y", None),
            "http://localhost:1/x/y"
        );
    }

    #[test]
    fn only_a_preflight_is_taken_for_one() {
        let id = asked_preflight(&json!({"preflight": "preflight-1"}));
        assert_eq!(id.unwrap().as_str(), "preflight-1");
        for other in [
            json!({"Records": []}),
            json!({"preflight": "../x"}),
            json!([]),
        ] {
            assert_eq!(asked_preflight(&other), None);
        }
    }
}
