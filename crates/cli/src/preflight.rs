//! `event-recovery preflight`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::Utc;
use event_recovery_aws::{
    Bucket, BucketUrl, Deployment, InvocationError, SdkConfig, Topic, caller_arn, s3_client,
    sns_client,
};
use event_recovery_pipeline::{
    BucketReach, Check, Destination, ExecutionId, LocalFolder, Need, OrgId, Outcome, Party, Reach,
    Writer, check_destination, check_source,
};
use serde::Serialize;
use serde_json::json;

use crate::arguments::PreflightArguments;
use crate::common_arguments::AwsArguments;
use crate::failure::{Failure, NEEDS_A_LOOK};
use crate::folders::check_source as check_source_folder;
use crate::location::Location;
use crate::runtime;
use crate::storage::{aws_session, source_session};

/// What the stack says of itself.
const STACK_OUTPUTS: [&str; 4] = [
    "PlannerFunctionName",
    "WorkerFunctionName",
    "AuditorFunctionName",
    "NotificationTopicArn",
];
/// The fewest concurrent invocations that the account should have for the workers of one run.
const CONCURRENCY_LEAST: u64 = 20;

/// What was tried, and the worst of it.
#[derive(Serialize)]
struct Preflight {
    outcome: Outcome,
    checks: Vec<Check>,
}

pub(crate) fn preflight(arguments: &PreflightArguments) -> Result<ExitCode, Failure> {
    let id = probe_id()?;
    let checks = runtime::block_on(async {
        match (
            &arguments.stack,
            &arguments.org_id,
            &arguments.source,
            &arguments.destination,
        ) {
            (Some(stack), ..) => of_stack(stack, &arguments.aws, &id).await,
            (None, Some(org_id), Some(source), Some(destination)) => {
                let org_id = OrgId::parse(org_id)
                    .map_err(|error| Failure::usage(format!("`--org-id`: {error}")))?;
                of_this_machine(arguments, &org_id, source, destination, &id).await
            }
            _ => Err(Failure::usage(
                "neither `--stack` nor `--org-id`, `--source` and `--destination` are given",
            )),
        }
    })?;
    let has = |outcome| checks.iter().any(|check| check.outcome == outcome);
    let outcome = match (has(Outcome::Missing), has(Outcome::CannotTell)) {
        (true, _) => Outcome::Missing,
        (false, true) => Outcome::CannotTell,
        (false, false) => Outcome::Works,
    };
    let preflight = Preflight { outcome, checks };
    let output = arguments.output.output();
    output.show("the checks", &preflight, || summary(&preflight))?;
    Ok(match outcome {
        Outcome::Works => ExitCode::SUCCESS,
        Outcome::Missing | Outcome::CannotTell => ExitCode::from(NEEDS_A_LOOK),
    })
}

/// Names the folders of a run that does not exist, so that nothing of a run is touched.
fn probe_id() -> Result<ExecutionId, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = now.unwrap_or_default().as_nanos();
    Ok(ExecutionId::parse(&format!(
        "preflight-{nanos:x}-{:x}",
        std::process::id()
    ))?)
}

fn summary(preflight: &Preflight) -> String {
    let mut lines = Vec::new();
    for check in &preflight.checks {
        let outcome = match check.outcome {
            Outcome::Works => "works",
            Outcome::Missing => "missing",
            Outcome::CannotTell => "cannot tell",
        };
        lines.push(format!(
            "{outcome:<12} {:<8} {:<30} {}",
            check.by, check.name, check.detail
        ));
        for need in &check.needs {
            lines.push(format!(
                "             the {} can mend it: `{}` on `{}`, in {}",
                need.side.as_str(),
                need.action,
                need.resource,
                need.belongs_to
            ));
            lines.extend(
                need.statement
                    .iter()
                    .map(|statement| format!("               {statement}")),
            );
        }
    }
    let count = |outcome| {
        let checks = preflight.checks.iter();
        checks.filter(|check| check.outcome == outcome).count()
    };
    lines.push(format!(
        "{} work, {} are missing, {} cannot be told",
        count(Outcome::Works),
        count(Outcome::Missing),
        count(Outcome::CannotTell)
    ));
    lines.join("\n")
}

async fn of_this_machine(
    arguments: &PreflightArguments,
    org_id: &OrgId,
    source: &Location,
    destination: &Location,
    id: &ExecutionId,
) -> Result<Vec<Check>, Failure> {
    let mut checks = Vec::new();
    let mut principal = None;
    let buckets = [source, destination];
    if buckets
        .iter()
        .any(|place| matches!(place, Location::Bucket(_)))
    {
        let config = aws_session(&arguments.aws).await;
        principal = caller_arn(&config).await;
        checks.push(match &principal {
            Some(principal) => Check::works("identity", format!("you are `{principal}`")),
            None => Check::missing(
                "identity",
                "AWS does not know you: check credentials, profile and region",
                Vec::new(),
            ),
        });
    }
    checks.extend(source_checks(arguments, org_id, source, principal.clone()).await);
    match destination {
        Location::Folder(path) => checks.extend(folder_checks(path, id).await),
        Location::Bucket(url) => {
            let config = aws_session(&arguments.aws).await;
            let bucket = Bucket::new(s3_client(&config), url.bucket(), url.prefix());
            let reach = bucket_reach(Party::Customer, url, principal, &[], None);
            checks.push(region_check("destination_region", &bucket, &config).await);
            checks.push(encryption_check(&bucket).await);
            let bucket = Arc::new(bucket);
            checks.extend(
                check_destination(bucket, Writer::Everything, id, &reach, Utc::now()).await,
            );
        }
    }
    Ok(checks)
}

async fn source_checks(
    arguments: &PreflightArguments,
    org_id: &OrgId,
    source: &Location,
    principal: Option<String>,
) -> Vec<Check> {
    match source {
        Location::Folder(path) => match check_source_folder(path) {
            Ok(path) => {
                let reach = Reach::folder(Party::Customer, path.display().to_string());
                check_source(&LocalFolder::new(&path, &path), org_id, &reach).await
            }
            Err(failure) => vec![Check::missing("source_list", failure.told(), Vec::new())],
        },
        Location::Bucket(url) => {
            let config = source_session(url, &arguments.aws, &arguments.access).await;
            let bucket = Bucket::new(s3_client(&config), url.bucket(), url.prefix()).as_source();
            let roles: Vec<String> = arguments.access.source_role_arn.iter().cloned().collect();
            let external_id = arguments.access.external_id.clone();
            let reach = bucket_reach(Party::Platform, url, principal, &roles, external_id);
            let mut checks = check_source(&bucket, org_id, &reach).await;
            // It would only repeat why the source can't be listed.
            if checks.iter().all(|check| check.outcome != Outcome::Missing) {
                checks.push(region_check("source_region", &bucket, &config).await);
            }
            checks
        }
    }
}

/// Tries in a folder of its own what a run does in the folder: it may not be there yet, and stays as it is.
async fn folder_checks(path: &Path, id: &ExecutionId) -> Vec<Check> {
    let existing = existing_ancestor(path);
    let scratch = tempfile::Builder::new()
        .prefix(".event-recovery-preflight-")
        .tempdir_in(&existing);
    let scratch = match scratch {
        Ok(scratch) => scratch,
        Err(error) => {
            let need = Need {
                side: Party::Customer,
                action: "write".to_owned(),
                resource: existing.display().to_string(),
                belongs_to: "the folder's permissions".to_owned(),
                statement: None,
            };
            let detail = format!("could not write to `{}`: {error}", existing.display());
            return vec![Check::missing("destination_write", detail, vec![need])];
        }
    };
    let root = scratch.path();
    let folder: Arc<dyn Destination> = Arc::new(LocalFolder::new(root, root.join("staging")));
    let reach = Reach::folder(Party::Customer, path.display().to_string());
    check_destination(folder, Writer::Everything, id, &reach, Utc::now()).await
}

fn existing_ancestor(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = absolute.ancestors().find(|path| path.exists());
    existing.unwrap_or(&absolute).to_owned()
}

fn bucket_reach(
    owner: Party,
    url: &BucketUrl,
    principal: Option<String>,
    roles: &[String],
    external_id: Option<String>,
) -> Reach {
    let arn = principal.as_ref().or(roles.first());
    let partition = arn.and_then(|arn| arn.split(':').nth(1));
    Reach {
        owner,
        place: url.to_string(),
        bucket: Some(BucketReach {
            partition: partition.unwrap_or("aws").to_owned(),
            name: url.bucket().to_owned(),
            prefix: url.prefix().trim_matches('/').to_owned(),
            principal,
            roles: roles.to_vec(),
            external_id,
            kms_key_arns: Vec::new(),
            expected_owner: None,
        }),
    }
}

/// Whether requests go to the bucket's own region: others are refused, or cost more.
async fn region_check(name: &str, bucket: &Bucket, config: &SdkConfig) -> Check {
    let ours = config.region().map(|region| region.as_ref().to_owned());
    match (bucket.region().await, ours) {
        (Ok(Some(theirs)), Some(ours)) if theirs == ours => {
            Check::works(name, format!("the bucket is in `{theirs}`"))
        }
        (Ok(Some(theirs)), ours) => Check::missing(
            name,
            format!(
                "the bucket is in `{theirs}`, and requests go to `{}`: give its region",
                ours.unwrap_or_default()
            ),
            Vec::new(),
        ),
        (Ok(None), _) => Check::cannot_tell(name, "the service does not say where the bucket is"),
        (Err(error), _) => Check::cannot_tell(name, error.to_string()),
    }
}

async fn encryption_check(bucket: &Bucket) -> Check {
    let name = "destination_encryption";
    match bucket.default_encryption().await {
        Ok(Some(how)) => Check::works(name, format!("the bucket encrypts with {how}")),
        Ok(None) => Check::cannot_tell(name, "the bucket does not say how it encrypts"),
        Err(error) => Check::cannot_tell(name, error.to_string()),
    }
}

/// Has each function of the stack try, with its own role, what it needs.
async fn of_stack(
    stack: &str,
    aws: &AwsArguments,
    id: &ExecutionId,
) -> Result<Vec<Check>, Failure> {
    let config = aws_session(aws).await;
    let deployment = Deployment::new(&config, stack);
    let [planner, worker, auditor, topic] =
        deployment.outputs(STACK_OUTPUTS).await.map_err(|error| {
            Failure::from(error)
                .or_hint("`--stack` takes the name of the deployed stack, `--region` its region")
        })?;
    let principal = caller_arn(&config).await;
    let mut checks = Vec::new();
    for (who, function) in [
        ("planner", planner),
        ("worker", worker),
        ("auditor", auditor),
    ] {
        let payload = json!({ "preflight": id.as_str() });
        let answered: Result<Vec<Check>, _> = deployment.ask(&function, &payload).await;
        match answered {
            Ok(found) => checks.extend(found),
            Err(error) => checks.push(uninvoked(&error, &function, principal.as_deref()).by(who)),
        }
    }
    checks.push(subscription_check(&config, &topic).await);
    checks.push(concurrency_check(&deployment).await);
    Ok(checks)
}

fn uninvoked(error: &InvocationError, function: &str, principal: Option<&str>) -> Check {
    let name = "invocation";
    let detail = match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    };
    let InvocationError::TurnedDown { .. } = error else {
        return Check::missing(
            name,
            format!("{detail}; look at the function's log"),
            Vec::new(),
        );
    };
    let action = "lambda:InvokeFunction";
    let resource = format!("arn:aws:lambda:*:*:function:{function}");
    let need = Need {
        side: Party::Customer,
        action: action.to_owned(),
        resource: function.to_owned(),
        belongs_to: format!("the policy of `{}`", principal.unwrap_or("whoever calls")),
        statement: Some(json!({"Effect": "Allow", "Action": action, "Resource": resource})),
    };
    Check::missing(name, detail, vec![need])
}

/// A topic that nobody hears is of no use on a bad day.
async fn subscription_check(config: &SdkConfig, topic: &str) -> Check {
    let name = "subscription";
    match Topic::new(sns_client(config), topic).subscriptions().await {
        Ok((0, pending)) => Check::missing(
            name,
            format!(
                "nobody hears of verdicts and alarms: {pending} subscriptions of `{topic}` wait to be confirmed, and none is"
            ),
            Vec::new(),
        ),
        Ok((confirmed, 0)) => {
            Check::works(name, format!("{confirmed} subscriptions are confirmed"))
        }
        Ok((confirmed, pending)) => Check::cannot_tell(
            name,
            format!(
                "{confirmed} subscriptions are confirmed; {pending} wait for that: have their owners look into their mail"
            ),
        ),
        Err(error) => Check::cannot_tell(
            name,
            format!("{error}; `sns:GetTopicAttributes` on the topic allows you to look"),
        ),
    }
}

async fn concurrency_check(deployment: &Deployment) -> Check {
    let name = "concurrency";
    match deployment.concurrency().await {
        Ok(limit) if limit >= CONCURRENCY_LEAST => Check::works(
            name,
            format!("the account may run {limit} invocations at a time"),
        ),
        Ok(limit) => Check::missing(
            name,
            format!(
                "the account may run only {limit} invocations at a time: have the quota `Concurrent executions` of Lambda raised, or runs take long"
            ),
            Vec::new(),
        ),
        Err(error) => Check::cannot_tell(
            name,
            format!("{error}; `lambda:GetAccountSettings` allows you to look"),
        ),
    }
}
