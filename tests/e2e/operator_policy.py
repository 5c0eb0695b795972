"""What a person on call may do with the policy that is made for them, and what they may not."""

import json
import os
import subprocess

import boto3
from botocore.exceptions import ClientError

from stack import ACCOUNT, ORG_ID, PROJECT, SOURCE_BUCKET, check
from world import PROGRAM

USER = "on-call"


def operators_handle_runs_and_read_no_content(world, stack):
    """Each command works with the operator's policy; events, rejected fragments and the backup can't be read with it, and
    rejected fragments can with the policy for their readers."""
    operator = Person(world, stack, USER, "operator.json")
    of_stack = ["--stack", stack.name]
    found = operator.program("preflight", *of_stack, "--json", codes=(0, 3))
    missing = [one for one in found["checks"] if one["outcome"] == "missing"]
    check(not missing, f"{missing}")
    check(any(one["name"] == "subscription" and one["outcome"] == "works" for one in found["checks"]), "no subscription")
    run_id = "by-the-operator"
    run = [*of_stack, "--execution-id", run_id, "--json"]
    report = operator.program(
        "start", *of_stack, "--execution-id", run_id, "--json", "--watch", "--org-id", ORG_ID, "--window", "publish",
        "--start", "2024-04-01T00:00:00Z", "--end", "2024-04-01T01:00:00Z", codes=(0, 3))
    check(report["objects"]["done"] == report["objects"]["planned"] > 0, f"{report['objects']}")
    check(any(one["execution_id"] == run_id for one in operator.program("list", *of_stack, "--json")), "not listed")
    for command in ["status", "report", "resume", "cancel", "resume", "recheck"]:
        again = operator.program(command, *run, codes=(0, 3))
        check(again["objects"] == report["objects"], f"{command}: {again['objects']}")
    operator.program("status", *run, "--watch", codes=(0, 3))
    key = json.loads(stack.read(f"{stack.prefix}_recovery/{run_id}/tasks/2024-04-01T00.jsonl").splitlines()[1])["key"]
    operator.program("salvage", *run, "--key", key, codes=(0, 3))
    operator.program("accept-loss", *run, "--key", key, "--revoke", codes=(0, 3))
    operator.program("dead-letters", *of_stack, "--json", codes=(0, 3))

    events = next(key for key in stack.keys(f"execution_id={run_id}/") if key.endswith(".parquet"))
    rejected = stack.keys(f"_recovery/_rejected/{stack.finished_run()}/")[0]
    here = {"Bucket": stack.bucket}
    denied = {
        "read events": lambda s3: s3.get_object(**here, Key=events),
        "read rejected fragments": lambda s3: s3.get_object(**here, Key=rejected),
        "write events": lambda s3: s3.put_object(**here, Key=events, Body=b"x"),
        "remove events": lambda s3: s3.delete_object(**here, Key=events),
        "change a receipt": lambda s3: s3.put_object(
            **here, Key=f"{stack.prefix}_recovery/{run_id}/receipts/x.json", Body=b"x"),
        "read the backup": lambda s3: s3.get_object(Bucket=SOURCE_BUCKET, Key=key),
    }
    for what, attempt in denied.items():
        check(operator.is_denied(attempt), f"the operator may {what}")
    reader = Person(world, stack, "reader", "rejected-fragments-reader.json")
    check(not reader.is_denied(denied["read rejected fragments"]), "the reader may not read rejected fragments")
    for what in ["read events", "write events", "read the backup"]:
        check(reader.is_denied(denied[what]), f"the reader of rejected fragments may {what}")


class Person:
    """A user of the account with one of the policies of `infra/policies/`."""

    def __init__(self, world, stack, name, policy, **values):
        self.world, self.name = world, name
        iam = world.account.client("iam")
        iam.create_user(UserName=name)
        document = (PROJECT / "infra/policies" / policy).read_text()
        for placeholder, value in [
            ("PLACEHOLDER-destination-bucket", stack.bucket), ("PLACEHOLDER-prefix/", stack.prefix),
            ("PLACEHOLDER-your-account-id", ACCOUNT), ("PLACEHOLDER-stack-name", stack.name),
            *((f"PLACEHOLDER-{what.replace('_', '-')}", value) for what, value in values.items()),
        ]:
            document = document.replace(placeholder, value)
        check("PLACEHOLDER" not in document, document)
        self.document = json.loads(document)
        self.allow(self.document["Statement"])
        self.key = iam.create_access_key(UserName=name)["AccessKey"]

    def allow(self, statements):
        document = json.dumps({**self.document, "Statement": statements})
        self.world.account.client("iam").put_user_policy(UserName=self.name, PolicyName="all", PolicyDocument=document)

    def program(self, *arguments, codes=(0,)):
        environment = {
            **os.environ, **self.world.account.environment(),
            "AWS_ACCESS_KEY_ID": self.key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": self.key["SecretAccessKey"]}
        done = subprocess.run([PROGRAM, *arguments], env=environment, capture_output=True, text=True, timeout=600)
        check(done.returncode in codes, f"{arguments}: exit {done.returncode}: {done.stderr}")
        return json.loads(done.stdout) if done.stdout else None

    def is_denied(self, attempt):
        session = boto3.Session(
            aws_access_key_id=self.key["AccessKeyId"], aws_secret_access_key=self.key["SecretAccessKey"],
            region_name=self.world.account.session.region_name)
        try:
            attempt(self.world.account.client("s3", session))
        except ClientError as error:
            return error.response["Error"]["Code"] in ("AccessDenied", "403")
        return False
