"""The roles of the functions are sufficient, and allow nothing more."""

import json
import os
import signal
import time
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

from stack import ACCOUNT, ORG_ID, PROJECT, SOURCE_BUCKET, check, run, upload

# Actions whose absence the emulator cannot show, and why. Statements with only these actions are not tried.
NOT_EXERCISED = {
    "logs:CreateLogStream": "the emulator writes logs without the function's role",
    "logs:PutLogEvents": "the emulator writes logs without the function's role",
    "xray:PutTraceSegments": "the emulator has no X-Ray daemon",
    "xray:PutTelemetryRecords": "the emulator has no X-Ray daemon",
    "sqs:ReceiveMessage": "the emulator polls for event source mappings without the function's role",
    "sqs:DeleteMessage": "the emulator polls for event source mappings without the function's role",
    "sqs:GetQueueAttributes": "the emulator polls for event source mappings without the function's role",
}
# Statements without which no invocation of the tests fails, and why.
NOT_INVOKED = {
    "Planner/KeepFailedInvocations": "only asynchronous invocations that fail three times go there",
    "Planner/EndProvisional": "only a recheck that makes a report final removes the marker",
    "Auditor/Checkpoint": "only an audit that takes longer than an invocation has a checkpoint",
}
# Actions without which no invocation fails, and why.
NOT_FATAL = {
    "sqs:ChangeMessageVisibility": "without it a message returns after its queue's visibility timeout, not after the backoff",
    "s3:AbortMultipartUpload": "an upload that can't be aborted is removed by the bucket's lifecycle rule",
}
CLEAN = {"start": "2024-05-01T00:00:00Z", "end": "2024-05-01T01:00:00Z"}
ROLES = {"Planner": "PlannerRole", "Worker": "WorkerRole", "Auditor": "AuditorRole"}


def actions(statement):
    found = statement["Action"]
    return [found] if isinstance(found, str) else found


class Probe:
    """Invokes each function in a way that uses every permission of its role."""

    def __init__(self, world, stack):
        self.world, self.stack, self.number = world, stack, 0
        self.hard_run = stack.finished_run()
        clean = PROJECT / "target/e2e/clean"
        if not clean.exists():
            run([PROJECT / "target/debug/event-recovery", "sample", clean, "--start", "2024-05-01T00",
                 "--hours", "1", "--objects-per-hour", "1", "--object-bytes", "32KiB"])
            upload(world.account.client("s3"), clean)
        self.planned = stack.plan("clean", format="ndjson", **CLEAN)
        check(stack.await_notification("clean")["verdict"] == "complete", "the clean run is not complete")
        self.clean = json.loads(self.tasks("clean", "2024-05-01T00")[0])
        torn = json.loads((world.backup / "torn.jsonl").read_text().splitlines()[0])["key"]
        hour = "-".join(torn.split("/")[1:4]) + "T" + torn.split("/")[4]
        planned = map(json.loads, self.tasks(self.hard_run, hour))
        self.torn = next(object_ for object_ in planned if object_["key"] == torn)

    def tasks(self, run_id, hour):
        return self.stack.read(f"{self.stack.prefix}_recovery/{run_id}/tasks/{hour}.jsonl").splitlines()[1:]

    def name(self):
        self.number += 1
        return f"probe-{self.number}-{int(time.time())}"

    def planner(self):
        run_id = self.name()
        # A call that succeeds removes the refusal of an earlier one.
        refused = {"version": 1, "kind": "refused", "message": "m", "hint": None, "called_at": "2024-01-01T00:00:00Z"}
        self.world.account.client("s3").put_object(
            Bucket=self.stack.bucket, Key=f"{self.stack.prefix}_recovery/{run_id}/refused.json",
            Body=json.dumps(refused))
        request = {"org_id": ORG_ID, "window": "publish", "format": "ndjson", "execution_id": run_id, **CLEAN}
        answer, failed = self.stack.invoke("Planner", request)
        return not failed and answer["tasks_queued"] == 1

    def worker(self):
        return self.work(self.clean) and self.work(self.torn)

    def work(self, backup_object):
        run_id = self.name()
        body = {
            "version": 1, "execution_id": run_id, "key": backup_object["key"], "size": backup_object["size"],
            "etag": backup_object["etag"], "format": "ndjson", "compression": "none",
            "window": {"kind": "publish", "start": CLEAN["start"], "end": CLEAN["end"],
                       "lead_secs": 900, "lag_secs": 3600},
            "filters": {"domains": [], "event_types": []},
        }
        # A worker calls the auditor again only for a run whose audit has ended.
        ledger = f"{self.stack.prefix}_recovery/{run_id}/audit.json"
        ended = {"version": 1, "number": 1, "deadline": "2024-01-01T00:00:00Z", "wait_hours": 1, "ended": True}
        s3 = self.world.account.client("s3")
        s3.put_object(Bucket=self.stack.bucket, Key=ledger, Body=json.dumps(ended))
        # Only the first delivery goes without looking for a receipt, which is absent.
        event = {"Records": [{"messageId": "m", "receiptHandle": "r", "body": json.dumps(body),
                              "attributes": {"ApproximateReceiveCount": "2"}}]}
        answer, failed = self.stack.invoke("Worker", event)
        if failed or answer["batchItemFailures"]:
            return False
        return all(receipt["state"] == "done" for receipt in self.stack.receipts(run_id).values())

    def auditor(self):
        for run_id in ["clean", self.hard_run]:
            self.number += 1
            call = {"version": 1, "execution_id": run_id, "number": int(time.time() * 1000),
                    "deadline": "2024-05-02T00:00:00Z"}
            event = {"Records": [{"messageId": "m", "receiptHandle": "r", "body": json.dumps(call),
                                  "attributes": {"ApproximateReceiveCount": "1"}}]}
            heard = len(self.stack.notifications(run_id))
            answer, failed = self.stack.invoke("Auditor", event)
            if failed or answer["batchItemFailures"]:
                return False
            told = self.stack.await_notification(run_id, number=heard + 1, secs_max=20)
            if any("could not be audited" in reason for reason in told["reasons"]):
                return False
        return True


def statements_are_needed(world, stack):
    """Each statement of each role has an invocation that fails without it, or a listed reason."""
    iam = world.account.client("iam")
    probe = Probe(world, stack)
    tried, listed = 0, []
    for function, role in ROLES.items():
        invoke = getattr(probe, function.lower())
        check(invoke(), f"{function} fails with all of its role")
        role_name = stack.resources[role]
        for policy_name in iam.list_role_policies(RoleName=role_name)["PolicyNames"]:
            document = iam.get_role_policy(RoleName=role_name, PolicyName=policy_name)["PolicyDocument"]
            statements = document["Statement"]
            for statement in statements:
                reasons = [(NOT_EXERCISED | NOT_FATAL).get(action) for action in actions(statement)]
                if all(reasons):
                    listed.append(f"{function}/{statement['Sid']}: {reasons[0]}")
                    continue
                name = f"{function}/{statement['Sid']}"
                if name in NOT_INVOKED:
                    listed.append(f"{name}: {NOT_INVOKED[name]}")
                    continue
                if statement["Effect"] != "Allow":
                    continue  # tried by `nothing_more`
                others = [other for other in statements if other is not statement]
                put_policy(iam, role_name, policy_name, document, others)
                # A warm function still holds a session of the platform's role.
                stop_warm(stack, function)
                try:
                    check(not invoke(), f"{function} does not need {statement['Sid']}")
                finally:
                    put_policy(iam, role_name, policy_name, document, statements)
                tried += 1
        check(invoke(), f"{function} fails with its role restored")
    print(f"e2e:   {tried} statements are needed; not exercised:", *listed, sep="\ne2e:     ", flush=True)


def stop_warm(stack, function):
    """Ends the function's idle processes, so that the next invocation starts cold."""
    name = f"AWS_LAMBDA_FUNCTION_NAME={stack.resources[function]}".encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            program = os.readlink(f"/proc/{pid}/exe")
        except OSError:
            continue
        if name in environment and program.endswith("/bootstrap"):
            os.kill(int(pid), signal.SIGKILL)


def put_policy(iam, role_name, policy_name, document, statements):
    iam.put_role_policy(RoleName=role_name, PolicyName=policy_name,
                        PolicyDocument=json.dumps({**document, "Statement": statements}))


def session_of(world, role_name):
    """A session of the function's role, whose trust policy is widened while it is assumed."""
    iam = world.account.client("iam")
    trust = iam.get_role(RoleName=role_name)["Role"]["AssumeRolePolicyDocument"]
    widened = {**trust, "Statement": trust["Statement"] + [{
        "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}]}
    iam.update_assume_role_policy(RoleName=role_name, PolicyDocument=json.dumps(widened))
    try:
        arn = iam.get_role(RoleName=role_name)["Role"]["Arn"]
        got = world.account.client("sts").assume_role(RoleArn=arn, RoleSessionName="tests")["Credentials"]
    finally:
        iam.update_assume_role_policy(RoleName=role_name, PolicyDocument=json.dumps(trust))
    return boto3.Session(
        aws_access_key_id=got["AccessKeyId"], aws_secret_access_key=got["SecretAccessKey"],
        aws_session_token=got["SessionToken"], region_name=world.account.session.region_name)


def nothing_more(world, stack):
    """No role reaches another bucket, prefix, queue, topic or role."""
    root = world.account
    s3, sqs, sns, iam = (root.client(service) for service in ("s3", "sqs", "sns", "iam"))
    s3.create_bucket(Bucket="someone-else")
    s3.put_object(Bucket="someone-else", Key="main_stream/secret", Body=b"x")
    elsewhere = "elsewhere/_recovery/x/request.json"
    s3.put_object(Bucket=stack.bucket, Key=elsewhere, Body=b"x")
    other_queue = sqs.create_queue(QueueName="someone-elses")["QueueUrl"]
    other_topic = sns.create_topic(Name="someone-elses")["TopicArn"]
    trust = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}]}
    other_role = iam.create_role(RoleName="someone-elses", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    run_id = stack.finished_run()
    ledger, events = f"{stack.prefix}_recovery/{run_id}/", f"{stack.prefix}execution_id={run_id}/"
    some_event_file = next(key for key in stack.keys(f"execution_id={run_id}/") if key.endswith(".ndjson"))
    some_rejected_file = stack.keys(f"_recovery/_rejected/{run_id}/")[0]
    tried = 0
    for function, role in ROLES.items():
        session = session_of(world, stack.resources[role])
        s3, sqs, sns, sts = (root.client(service, session) for service in ("s3", "sqs", "sns", "sts"))
        here = {"Bucket": stack.bucket}
        attempts = {
            "list another bucket": lambda: s3.list_objects_v2(Bucket="someone-else"),
            "read another bucket": lambda: s3.get_object(Bucket="someone-else", Key="main_stream/secret"),
            "write another bucket": lambda: s3.put_object(Bucket="someone-else", Key="x", Body=b"x"),
            "read the source without the platform's role":
                lambda: s3.get_object(Bucket=SOURCE_BUCKET, Key=self_key(root)),
            "list the source without the platform's role": lambda: s3.list_objects_v2(Bucket=SOURCE_BUCKET),
            "write the source": lambda: s3.put_object(Bucket=SOURCE_BUCKET, Key="main_stream/x", Body=b"x"),
            "list the whole destination": lambda: s3.list_objects_v2(**here),
            "list another prefix": lambda: s3.list_objects_v2(**here, Prefix="elsewhere/"),
            "read another prefix": lambda: s3.get_object(**here, Key=elsewhere),
            "write another prefix": lambda: s3.put_object(**here, Key="elsewhere/x", Body=b"x"),
            "read events": lambda: s3.get_object(**here, Key=some_event_file),
            "read rejected fragments": lambda: s3.get_object(**here, Key=some_rejected_file),
            "remove events": lambda: s3.delete_object(**here, Key=some_event_file),
            "remove the ledger": lambda: s3.delete_object(**here, Key=f"{ledger}plan.json"),
            "send to another queue": lambda: sqs.send_message(QueueUrl=other_queue, MessageBody="x"),
            "read another queue": lambda: sqs.receive_message(QueueUrl=other_queue),
            "publish to another topic": lambda: sns.publish(TopicArn=other_topic, Message="x"),
            "assume another role": lambda: sts.assume_role(RoleArn=other_role, RoleSessionName="tests"),
        }
        if function != "Worker":
            attempts["write events"] = lambda: s3.put_object(**here, Key=f"{events}x.ndjson", Body=b"x")
            attempts["read tasks"] = lambda: sqs.receive_message(QueueUrl=stack.queue_url("TaskQueue"))
        attempts |= records_of_one_function(function, s3, stack)
        if function != "Planner":
            attempts["change a plan"] = lambda: s3.put_object(
                **here, Key=f"{ledger}plan.json", Body=b"x")
            attempts["remove a refusal"] = lambda: s3.delete_object(
                **here, Key=f"{ledger}refused.json")
            attempts["queue tasks"] = lambda: sqs.send_message(
                QueueUrl=stack.queue_url("TaskQueue"), MessageBody="x")
        if function == "Auditor":
            attempts["assume the platform's role"] = lambda: sts.assume_role(
                RoleArn=f"arn:aws:iam::{ACCOUNT}:role/platform", RoleSessionName="tests",
                ExternalId=stack.parameters["SourceExternalId"])
        else:
            attempts["mark a run as complete"] = lambda: s3.delete_object(**here, Key=f"{events}_SUCCESS")
            attempts["notify"] = lambda: sns.publish(TopicArn=stack.resources["Topic"], Message="x")
        for name, attempt in attempts.items():
            check(is_denied(attempt), f"{function} may {name}")
            tried += 1
    print(f"e2e:   {tried} attempts were denied", flush=True)


def records_of_one_function(function, s3, stack):
    """What others may not do to the records that one function removes. That function may, although no invocation of
    the tests needs it (NOT_INVOKED)."""
    folder = f"{stack.prefix}_recovery"
    checkpoint = {"Bucket": stack.bucket, "Key": f"{folder}/never-run/checkpoint.json"}
    mark = {"Bucket": stack.bucket, "Key": f"{folder}/_provisional/never-run"}
    calls = {
        "Planner": {"remove the mark of a run that is not final": lambda: s3.delete_object(**mark)},
        "Auditor": {"read a checkpoint": lambda: s3.get_object(**checkpoint),
                    "remove a checkpoint": lambda: s3.delete_object(**checkpoint)},
    }
    for name, call in calls.get(function, {}).items():
        check(not is_denied(call), f"{function} may not {name}")
    if function == "Auditor":
        check(not is_denied(lambda: s3.put_object(**checkpoint, Body=b"x")), "the auditor may not keep a checkpoint")
    others = {name: call for owner, owned in calls.items() if owner != function for name, call in owned.items()}
    if function == "Planner":
        del others["read a checkpoint"]  # it reads the whole ledger
    return others


def self_key(account):
    listed = account.client("s3").list_objects_v2(Bucket=SOURCE_BUCKET, MaxKeys=1)
    return listed["Contents"][0]["Key"]


def is_denied(attempt):
    try:
        attempt()
    except ClientError as error:
        return error.response["Error"]["Code"] in (
            "AccessDenied", "AccessDeniedException", "AuthorizationError", "403")
    return False
