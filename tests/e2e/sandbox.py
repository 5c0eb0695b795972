"""A sandbox account on AWS: its clients, and the removal of everything that an acceptance made there."""

import contextlib
import os

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from athena import database_of
from stack import Account, say

# Names of everything begin with it and a unique suffix, so that what is left can be found by the name alone.
NAME_PREFIX = "er-acceptance-"
KEY_WAIT_DAYS = 7


class AwsAccount(Account):
    """Clients with the credentials that the AWS tools find: environment, profile, SSO, instance."""

    is_aws = True

    def __init__(self, name):
        self.session = boto3.Session()
        if not self.session.region_name:
            raise SystemExit("error: no region is configured\n  hint: set AWS_REGION")
        self.region = self.session.region_name
        self.artifacts = ["--s3-bucket", f"{name}-artifacts"]
        self.id = self.client("sts").get_caller_identity()["Account"]

    def client(self, service, session=None):
        config = Config(retries={"max_attempts": 8, "mode": "standard"}, connect_timeout=10, read_timeout=900)
        return (session or self.session).client(service, config=config)

    def environment(self):
        return {"AWS_REGION": self.region, "AWS_DEFAULT_REGION": self.region, "SAM_CLI_TELEMETRY": "0"}


def allowed_account(account):
    """Refuses to run in an account that was not named."""
    named = os.environ.get("ACCEPTANCE_ACCOUNT_ID", "")
    if named != account.id:
        raise SystemExit(
            f"error: the credentials are of account {account.id}, and ACCEPTANCE_ACCOUNT_ID is {named!r}\n"
            "  hint: set it to the id of a sandbox account; the acceptance makes and removes resources there")


def remove(account, name):
    """Removes everything whose name begins with `name`. Each kind on its own, so that one that can't be removed does
    not keep the others; returns what is left."""
    left = []
    for what, step in [("schedules", schedules), ("trail", trail), ("stack", stack), ("log groups", log_groups),
                       ("queues", queues), ("role", roles), ("tables", tables), ("buckets", buckets), ("keys", keys)]:
        try:
            left += step(account, name)
        except Exception as error:
            left.append(f"{what}: {error}")
    for what in left:
        say(f"  not removed: {what}")
    return left


def schedules(account, name):
    client = account.client("scheduler")
    for schedule in client.list_schedules(NamePrefix=f"{name}-now-")["Schedules"]:
        client.delete_schedule(Name=schedule["Name"])
    return []


def trail(account, name):
    if not account.is_aws:
        return []
    client = account.client("cloudtrail")
    for found in client.describe_trails()["trailList"]:
        if found["Name"] == name:
            client.delete_trail(Name=name)
    return []


def stack(account, name):
    client = account.client("cloudformation")
    client.delete_stack(StackName=name)
    client.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 5, "MaxAttempts": 240})
    return []


def log_groups(account, name):
    """The stack keeps them when it is deleted."""
    client = account.client("logs")
    for page in client.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            if name in group["logGroupName"]:
                client.delete_log_group(logGroupName=group["logGroupName"])
    return []


def queues(account, name):
    client = account.client("sqs")
    for url in client.list_queues(QueueNamePrefix=f"inbox-{name}").get("QueueUrls", []):
        client.delete_queue(QueueUrl=url)
    return []


def roles(account, name):
    client = account.client("iam")
    try:
        for policy in client.list_role_policies(RoleName=f"{name}-platform")["PolicyNames"]:
            client.delete_role_policy(RoleName=f"{name}-platform", PolicyName=policy)
        client.delete_role(RoleName=f"{name}-platform")
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchEntity":
            raise
    return []


def tables(account, name):
    client = account.client("glue")
    with contextlib.suppress(client.exceptions.EntityNotFoundException):
        client.delete_database(Name=database_of(name))
    return []


def buckets(account, name):
    """The destination, which the stack keeps when it is deleted, and the buckets of the acceptance."""
    client = account.client("s3")
    for bucket in client.list_buckets()["Buckets"]:
        if not bucket["Name"].startswith(name):
            continue
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket["Name"]):
            for entry in page.get("Versions", []) + page.get("DeleteMarkers", []):
                client.delete_object(Bucket=bucket["Name"], Key=entry["Key"], VersionId=entry["VersionId"])
        client.delete_bucket(Bucket=bucket["Name"])
    return []


def keys(account, name):
    client = account.client("kms")
    alias = f"alias/{name}"
    for page in client.get_paginator("list_aliases").paginate():
        for found in page["Aliases"]:
            if found["AliasName"] == alias:
                client.schedule_key_deletion(KeyId=found["TargetKeyId"], PendingWindowInDays=KEY_WAIT_DAYS)
                client.delete_alias(AliasName=alias)
    return []


def remains(account, name):
    """What still exists under that name, apart from a key that is pending deletion."""
    found = [bucket["Name"] for bucket in account.client("s3").list_buckets()["Buckets"]]
    found += [role["RoleName"] for page in account.client("iam").get_paginator("list_roles").paginate()
              for role in page["Roles"]]
    found += account.client("sqs").list_queues().get("QueueUrls", [])
    found += [function["FunctionName"] for page in account.client("lambda").get_paginator("list_functions").paginate()
              for function in page["Functions"]]
    found += [group["logGroupName"] for page in account.client("logs").get_paginator("describe_log_groups").paginate()
              for group in page["logGroups"]]
    found += [alarm["AlarmName"] for page in account.client("cloudwatch").get_paginator("describe_alarms").paginate()
              for alarm in page["MetricAlarms"]]
    found += [topic["TopicArn"] for page in account.client("sns").get_paginator("list_topics").paginate()
              for topic in page["Topics"]]
    found += [schedule["Name"] for page in account.client("scheduler").get_paginator("list_schedules").paginate()
              for schedule in page["Schedules"]]
    return [entry for entry in found if name in entry]
