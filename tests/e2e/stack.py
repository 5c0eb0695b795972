"""Stacks of the real template in the emulator, and the platform's side of them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import boto3
from botocore.config import Config

from emulator import REGION, ROOT

PROJECT = Path(__file__).resolve().parents[2]
ORG_ID = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be"
SOURCE_BUCKET = f"pismo-dataplatform-{ORG_ID}"
EXTERNAL_ID = "external-id-of-the-tests"
ACCOUNT = "000000000000"


class Failed(Exception):
    """A check failed."""


def check(condition, message):
    if not condition:
        raise Failed(message)


def say(text):
    print(f"e2e: {text}", file=sys.stderr, flush=True)


def wait_until(condition, secs_max, message):
    deadline = time.monotonic() + secs_max
    while not condition():
        check(time.monotonic() < deadline, message)
        time.sleep(0.5)


def run(command, environment=None, **options):
    """Runs a command, and shows its output if it fails."""
    done = subprocess.run(
        command, cwd=PROJECT, text=True, capture_output=True,
        env={**os.environ, **(environment or {})}, **options,
    )
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done


class Account:
    """Clients with the emulator's root credentials, past the proxy."""

    is_aws = False
    id = ACCOUNT
    region = REGION
    # Where SAM uploads the functions: a bucket that it makes.
    artifacts = ["--resolve-s3"]

    def __init__(self, url):
        self.url = url
        self.session = boto3.Session(
            aws_access_key_id=ROOT["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=ROOT["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
        )

    def client(self, service, session=None):
        config = Config(
            s3={"addressing_style": "path"}, retries={"max_attempts": 5, "mode": "standard"},
            connect_timeout=10, read_timeout=900, max_pool_connections=32,
        )
        return (session or self.session).client(service, endpoint_url=self.url, config=config)

    def environment(self):
        """For command-line programs."""
        return {
            **ROOT, "AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url, "SAM_CLI_TELEMETRY": "0",
        }


def platform_side(account, backup, bucket=SOURCE_BUCKET, role_name="platform", key_arn=None):
    """Creates the platform's bucket with the backup in it, and its role for the customer; returns the role's ARN."""
    s3, iam = account.client("s3"), account.client("iam")
    create_bucket(account, bucket)
    if key_arn:
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [{
            "BucketKeyEnabled": True,
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key_arn}}]})
    upload(s3, backup, bucket)
    trust = {
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {"AWS": f"arn:aws:iam::{account.id}:root"},
            "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
        }],
    }
    permissions = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}"},
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"},
        ],
    }
    if key_arn:
        permissions["Statement"].append({"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key_arn})
    role = iam.create_role(RoleName=role_name, AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName=role_name, PolicyName="read", PolicyDocument=json.dumps(permissions))
    return role["Role"]["Arn"]


def create_bucket(account, name):
    # us-east-1 is the region that may not be named.
    where = {} if account.region == "us-east-1" else {
        "CreateBucketConfiguration": {"LocationConstraint": account.region}}
    account.client("s3").create_bucket(Bucket=name, **where)


def upload(s3, backup, bucket=SOURCE_BUCKET):
    for path in sorted((backup / "main_stream").rglob("*")):
        if path.is_file():
            s3.put_object(Bucket=bucket, Key=str(path.relative_to(backup)), Body=path.read_bytes())


class Stack:
    """One deployment of the template."""

    def __init__(self, account, name, parameters, template):
        self.account, self.name, self.parameters, self.template = account, name, parameters, template
        self.outputs = {}
        self.finished = False

    def deploy(self):
        overrides = [f"{key}={value}" for key, value in self.parameters.items()]
        run(
            [tool("sam"), "deploy", "--template-file", self.template,
             "--stack-name", self.name, *self.account.artifacts, "--capabilities", "CAPABILITY_IAM",
             "--no-confirm-changeset", "--no-progressbar", "--region", self.account.region,
             "--config-env", "none", "--parameter-overrides", *overrides],
            self.account.environment(),
        )
        stack = self.account.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"][0]
        self.outputs = {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}
        resources = self.account.client("cloudformation").describe_stack_resources(StackName=self.name)
        self.resources = {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in resources["StackResources"]}
        self.listen()
        return self

    def listen(self):
        """Subscribes a queue to the stack's notifications."""
        sqs, sns = self.account.client("sqs"), self.account.client("sns")
        self.inbox = sqs.create_queue(QueueName=f"inbox-{self.name}")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=self.inbox, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        topic = self.resources["Topic"]
        policy = {"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
            "Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": topic}}}]}
        sqs.set_queue_attributes(QueueUrl=self.inbox, Attributes={"Policy": json.dumps(policy)})
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
        self.heard = []

    def notifications(self, execution_id):
        sqs = self.account.client("sqs")
        while True:
            batch = sqs.receive_message(QueueUrl=self.inbox, MaxNumberOfMessages=10).get("Messages", [])
            for message in batch:
                self.heard.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=self.inbox, ReceiptHandle=message["ReceiptHandle"])
            if not batch:
                break
        return [heard for heard in self.heard if heard.get("execution_id") == execution_id]

    def await_notification(self, execution_id, secs_max=180, number=1):
        deadline = time.monotonic() + secs_max
        while time.monotonic() < deadline:
            found = self.notifications(execution_id)
            if len(found) >= number:
                return found[number - 1]
            time.sleep(0.5)
        raise Failed(f"{self.name}: no notification {number} of {execution_id} after {secs_max} s")

    def invoke(self, function, payload):
        """Invokes one of the functions; returns its answer and whether it is an error."""
        answer = self.account.client("lambda").invoke(
            FunctionName=self.resources[function], Payload=json.dumps(payload))
        body = json.loads(answer["Payload"].read() or b"null")
        return body, "FunctionError" in answer

    def plan(self, execution_id, **fields):
        request = {
            "org_id": ORG_ID, "start": "2024-04-01T00:00:00Z", "end": "2024-04-01T06:00:00Z",
            "window": "publish", "execution_id": execution_id, **fields,
        }
        answer, failed = self.invoke("Planner", request)
        check(not failed, f"the planner failed: {answer}")
        return answer

    def finished_run(self):
        """The id of a run of the hard backup that has been audited; made on the first call."""
        run_id = "finished"
        if not self.finished:
            self.plan(run_id, format="ndjson")
            self.await_notification(run_id)
            self.finished = True
        return run_id

    @property
    def bucket(self):
        return self.outputs["DestinationBucketName"]

    @property
    def prefix(self):
        prefix = self.parameters.get("DestinationPrefix", "")
        return f"{prefix}/" if prefix else ""

    def keys(self, prefix, since=None):
        """The keys below the destination's prefix, or those of them that were written since a time."""
        s3 = self.account.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
        entries = [entry for page in pages for entry in page.get("Contents", [])]
        # Times in a listing are full seconds.
        return [entry["Key"] for entry in entries
                if since is None or entry["LastModified"] >= since.replace(microsecond=0)]

    def read(self, key):
        return self.account.client("s3").get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def record(self, execution_id, name):
        return json.loads(self.read(f"{self.prefix}_recovery/{execution_id}/{name}"))

    def receipts(self, execution_id):
        keys = self.keys(f"_recovery/{execution_id}/receipts/")
        return {receipt["key"]: receipt for receipt in (json.loads(self.read(key)) for key in keys)}

    def pause_worker(self, is_paused):
        client = self.account.client("lambda")
        mappings = client.list_event_source_mappings(FunctionName=self.resources["Worker"])["EventSourceMappings"]
        client.update_event_source_mapping(UUID=mappings[0]["UUID"], Enabled=not is_paused)

    def queue_url(self, name):
        return self.resources[name]

    def depth(self, name):
        attributes = self.account.client("sqs").get_queue_attributes(
            QueueUrl=self.queue_url(name),
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"])["Attributes"]
        return sum(map(int, attributes.values()))


def tool(name):
    return str(PROJECT / ".venv/bin" / name)
