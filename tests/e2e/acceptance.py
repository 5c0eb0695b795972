"""The acceptance: makes the platform's side of a backup, deploys the stack, recovers, compares with the truth,
provokes a failure, looks at everything that an operator would look at, and removes all of it.

Usage: acceptance.py [--built]                in the emulator
       acceptance.py [--built] --aws          in the sandbox account ACCEPTANCE_ACCOUNT_ID, with its credentials
       acceptance.py --aws --remove NAME      removes what an acceptance that was killed has left there
"""

import contextlib
import datetime
import json
import signal
import sys
import time
import traceback
import uuid

from botocore.exceptions import ClientError

import athena
import emulator_template
import sandbox
import truth
from emulator import Emulator
from recovery import recover_hard_sample, schedule_fires_twice
from sandbox import AwsAccount
from stack import ACCOUNT, EXTERNAL_ID, ORG_ID, PROJECT, Account, Failed, Stack, check, platform_side, say
from stack import create_bucket, wait_until
from watch import Trail, WatchingProxy
from world import WORK, build, prepare, program

# US East (N. Virginia), from the services' price pages, 2026-11.
PRICES_USD = {
    "Lambda, GB-seconds": 0.0000166667, "Lambda, invocations": 0.20 / 1e6, "S3, PUT and LIST": 0.005 / 1e3,
    "S3, GET": 0.0004 / 1e3, "SQS, requests": 0.40 / 1e6, "KMS, requests": 0.03 / 1e4,
    "CloudTrail, events of objects": 0.10 / 1e5, "KMS, key-hours": 1.0 / 730, "CloudWatch, alarm-hours": 0.10 / 730,
    "CloudWatch, metric-hours": 0.30 / 730,
}
FUNCTIONS = ("Planner", "Worker", "Auditor")


class World:
    """Where the acceptance runs: names of its own for everything, so that several can run in one account."""

    def __init__(self, account, name, watch, endpoint_url=None):
        self.account, self.name, self.watch, self.endpoint_url = account, name, watch, endpoint_url
        self.source_bucket = f"{name}-source"
        self.backup = WORK / "backup"
        self.truth = truth.expected(self.backup)
        self.began = datetime.datetime.now(datetime.timezone.utc)

    def create(self):
        # First: a trail takes minutes until it sees everything.
        self.watch.begin()
        say("creating the platform's side")
        key = self.account.client("kms").create_key(Description=self.name)["KeyMetadata"]
        self.account.client("kms").create_alias(AliasName=f"alias/{self.name}", TargetKeyId=key["KeyId"])
        role = platform_side(self.account, self.backup, self.source_bucket, f"{self.name}-platform", key["Arn"])
        parameters = {
            "OrgId": ORG_ID, "SourceBucket": self.source_bucket, "SourceRoleArn": role,
            "SourceExternalId": EXTERNAL_ID, "SourceKmsKeyArn": key["Arn"], "SourceBucketOwner": self.account.id,
            "Schedule": "1", "WorkerTimeoutSecs": "60", "TaskVisibilitySecs": "60", "AuditMinVisibilitySecs": "2",
            "LogRetentionDays": "1",
        }
        create_bucket(self.account, f"{self.name}-artifacts")
        template = PROJECT / ".aws-sam/build/template.yaml" if self.account.is_aws \
            else emulator_template.write(self.endpoint_url, parameters)
        say(f"deploying {self.name}")
        return Stack(self.account, self.name, parameters, template).deploy()

    def may_read(self, key):
        """Whether the source answers; a change of a bucket's policy takes seconds on AWS."""
        try:
            self.account.client("s3").head_object(Bucket=self.source_bucket, Key=key)
        except ClientError:
            return False
        return True


# --- What is accepted; each returns a line for the page of results ------------------------------------------------

def recovers_exactly(world, stack):
    recover_hard_sample(world, stack)
    return f"{len(world.truth):,} events as NDJSON and as Parquet, read back with json, pyarrow and DuckDB: equal"


def follows_a_run_on_the_command_line(world, stack):
    options = ["--start", "2024-04-01T00:00:00Z", "--end", "2024-04-01T06:00:00Z", "--window", "publish",
               "--format", "ndjson", "--json"]
    report = program(world, "start", "--stack", stack.name, "--org-id", ORG_ID, *options,
                     "--execution-id", "watched", "--watch", codes=(3,))
    check(report["verdict"] == "needs_look", f"{report['verdict']}")
    truth.check_ndjson(stack, "watched", world.truth)
    return f"`start --watch` followed a run to its verdict, {report['verdict']}"


def runs_on_schedule(world, stack):
    recheck = world.account.client("scheduler").get_schedule(Name=stack.resources["RecheckHourly"])
    check(json.loads(recheck["Target"]["Input"]) == {"recheck_due": True}, f"{recheck['Target']}")
    world.scheduled = schedule_fires_twice(world, stack)
    return "the schedule fired twice and recovered its window once"


def athena_reads_every_run(world, stack):
    expected = {"hard-parquet": len(world.truth), world.scheduled[0]: world.scheduled[1]}
    athena.reads_every_run(world, stack, expected)
    return f"the example of docs/deployment.md, over {len(expected)} runs"


def names_an_object_that_is_denied(world, stack):
    """The source denies one object: the run is incomplete and names it, and completes once it may be read."""
    run_id, s3 = "denied", world.account.client("s3")
    listed = s3.list_objects_v2(Bucket=world.source_bucket, Prefix="main_stream/2024/04/01/")["Contents"]
    denied = next(entry["Key"] for entry in listed if entry["Size"] > 1000)
    s3.put_bucket_policy(Bucket=world.source_bucket, Policy=json.dumps({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject",
                       "Resource": f"arn:aws:s3:::{world.source_bucket}/{denied}"}]}))
    try:
        if world.account.is_aws:
            wait_until(lambda: not world.may_read(denied), 120, "the policy of the bucket has no effect")
        stack.plan(run_id, format="ndjson")
        notification = stack.await_notification(run_id, 1800)
        check(notification["verdict"] == "incomplete", f"{notification}")
        named = [object_["key"] for object_ in notification["unrecovered"]]
        check(named == [denied], f"other objects are named: {named}")
        check("s3:GetObject" in str(notification["unrecovered"][0]), f"no hint: {notification['unrecovered'][0]}")
        truth.check_balance(stack.record(run_id, "report.json"))
    finally:
        s3.delete_bucket_policy(Bucket=world.source_bucket)
    wait_until(lambda: world.may_read(denied), 120, "the policy of the bucket is still in effect")
    world.expected_denials = [denied]
    check(stack.plan(run_id, format="ndjson")["tasks_queued"] == 1, "another number of tasks was queued again")
    check(stack.await_notification(run_id, 1800, number=2)["verdict"] == "needs_look", "not completed afterwards")
    truth.check_ndjson(stack, run_id, world.truth)
    return "the run was incomplete, named the object and the permission, and was completed under the same id"


def refuses_a_typo(world, stack):
    answer, failed = stack.invoke("Planner", {"org_id": ORG_ID, "start": "2024-04-01", "fin": "2024-04-02"})
    check(failed and "fin" in answer["errorMessage"], f"an unknown field was accepted: {answer}")
    return "an error that names the field"


def counts_what_it_did(world, stack):
    """The metrics of the functions, which the dashboard and the alarms use."""
    least = {"RunsPlanned": 4, "ScheduledRunsPlanned": 1, "TasksDone": 30, "TasksFailed": 1, "RunsNeedLook": 3,
             "RunsIncomplete": 1, "RunsComplete": 1, "EventsWritten": 3 * len(world.truth), "RejectedFragments": 1}
    found = {}

    def complete():
        found.update({name: metric(world, stack, name) for name in least})
        return all(found[name] >= value for name, value in least.items())

    # CloudWatch extracts metrics from logs within minutes.
    secs_max = 900 if world.account.is_aws else 30
    with contextlib.suppress(Failed):
        wait_until(complete, secs_max, "")
    check(complete(), f"{found}, and not at least {least}")
    return ", ".join(f"{name} {value:,.0f}" for name, value in found.items())


def metric(world, stack, name):
    """The sum of a metric over the acceptance."""
    now = datetime.datetime.now(datetime.timezone.utc)
    if world.account.is_aws:
        points = world.account.client("cloudwatch").get_metric_statistics(
            Namespace="EventRecovery", MetricName=name, Dimensions=[{"Name": "Stack", "Value": stack.name}],
            StartTime=world.began - datetime.timedelta(hours=1), EndTime=now + datetime.timedelta(minutes=5),
            Period=3600, Statistics=["Sum"])["Datapoints"]
        return sum(point["Sum"] for point in points)
    # The emulator extracts no metrics from logs: these are the lines that CloudWatch would read.
    total = 0
    for function in FUNCTIONS:
        for line in log_lines(world, stack.resources[f"{function}LogGroup"]):
            names = [entry["Name"] for directive in line.get("_aws", {}).get("CloudWatchMetrics", [])
                     for entry in directive["Metrics"]]
            total += line[name] if name in names else 0
    return total


def log_lines(world, group):
    pages = world.account.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
    for page in pages:
        for event in page["events"]:
            for text in event["message"].splitlines():
                if text.startswith("{"):
                    with contextlib.suppress(json.JSONDecodeError):
                        yield json.loads(text)


def alarms_are_quiet_and_reach_the_topic(world, stack):
    """No alarm is on after all this, and one that is set arrives at the topic."""
    client = world.account.client("cloudwatch")
    mine = [alarm for page in client.get_paginator("describe_alarms").paginate(AlarmNamePrefix=stack.name)
            for alarm in page["MetricAlarms"]]
    check(len(mine) >= 18, f"only {len(mine)} alarms")
    on = [alarm["AlarmName"] for alarm in mine if alarm["StateValue"] == "ALARM"]
    check(not on, f"in alarm: {on}")
    if world.account.is_aws:
        for alarm in mine:
            if "Metrics" in alarm:
                check_metric_math(world, alarm)
    name = stack.resources["SourceDeniedAlarm"]
    client.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test of the topic")
    wait_until(lambda: stack.notifications("") is not None and any(
        heard.get("AlarmName") == name for heard in stack.heard), 120, "the alarm did not arrive at the topic")
    states = sorted(alarm["StateValue"] for alarm in mine)
    return f"{len(mine)} alarms, none on ({states.count('OK')} OK); one that was set arrived at the topic"


def check_metric_math(world, alarm):
    """CloudWatch can evaluate the expression, also while one of its metrics has no data, and nothing breaches."""
    results = world.account.client("cloudwatch").get_metric_data(
        MetricDataQueries=alarm["Metrics"], StartTime=world.began,
        EndTime=datetime.datetime.now(datetime.timezone.utc))["MetricDataResults"]
    values = [value for result in results if result["Id"] == "breach" for value in result["Values"]]
    check(values, f"{alarm['AlarmName']} has no values: {results}")
    check(max(values) <= 0, f"{alarm['AlarmName']} would fire: {values}")


def the_dashboard_shows_the_stack(world, stack):
    client = world.account.client("cloudwatch")
    body = json.loads(client.get_dashboard(DashboardName=stack.resources["Dashboard"])["DashboardBody"])
    shown = {arn.rsplit(":", 1)[1] for widget in body["widgets"] for arn in widget["properties"].get("alarms", [])}
    exist = {alarm["AlarmName"] for page in client.get_paginator("describe_alarms").paginate(
        AlarmNamePrefix=stack.name) for alarm in page["MetricAlarms"]}
    check(shown == exist, f"alarms only on the dashboard, or not on it: {shown ^ exist}")
    text = json.dumps(body)
    check(all(stack.resources[function] in text for function in FUNCTIONS), "a function is not on it")
    return f"{len(body['widgets'])} widgets, with all {len(shown)} alarms"


def no_request_was_denied(world, stack):
    """Apart from those for the object that the acceptance itself denied."""
    world.watch.end()
    seen = world.watch.asked()
    check(seen, "no request of the functions was seen")
    others = [request for request in world.watch.refused()
              if not any(key in request for key in getattr(world, "expected_denials", []))]
    check(not others, f"{len(others)} requests were denied: {others[:5]}")
    return ", ".join(f"{count:,} × {name}" for name, count in sorted(seen.items(), key=lambda pair: -pair[1])[:8])


STEPS = [recovers_exactly, follows_a_run_on_the_command_line, runs_on_schedule, athena_reads_every_run,
         names_an_object_that_is_denied, refuses_a_typo, counts_what_it_did, alarms_are_quiet_and_reach_the_topic,
         the_dashboard_shows_the_stack, no_request_was_denied]


def amounts(world, stack):
    """What the acceptance used, as far as it can be known, by the names of `PRICES_USD`."""
    hours = (datetime.datetime.now(datetime.timezone.utc) - world.began).total_seconds() / 3600
    seen = world.watch.asked()
    found = {"KMS, key-hours": hours, "CloudWatch, alarm-hours": 18 * hours, "CloudWatch, metric-hours": 25 * hours}
    count = lambda *words: sum(n for name, n in seen.items() if any(name.startswith(word) for word in words))
    if world.account.is_aws:
        client = world.account.client("cloudwatch")
        for function in FUNCTIONS:
            sums = {}
            for name in ("Duration", "Invocations"):
                points = client.get_metric_statistics(
                    Namespace="AWS/Lambda", MetricName=name, Statistics=["Sum"], Period=3600,
                    Dimensions=[{"Name": "FunctionName", "Value": stack.resources[function]}],
                    StartTime=world.began - datetime.timedelta(hours=1),
                    EndTime=datetime.datetime.now(datetime.timezone.utc))["Datapoints"]
                sums[name] = sum(point["Sum"] for point in points)
            memory = world.account.client("lambda").get_function_configuration(
                FunctionName=stack.resources[function])["MemorySize"]
            found["Lambda, GB-seconds"] = found.get("Lambda, GB-seconds", 0) + sums["Duration"] / 1000 * memory / 1024
            found["Lambda, invocations"] = found.get("Lambda, invocations", 0) + sums["Invocations"]
        found["CloudTrail, events of objects"] = count("s3 GetObject", "s3 PutObject", "s3 HeadObject")
        found["S3, GET"], found["S3, PUT and LIST"] = count("s3 Get", "s3 Head"), count("s3 Put", "s3 List")
    else:
        found["S3, GET"] = count("s3 GET", "s3 HEAD")
        found["S3, PUT and LIST"] = count("s3 PUT", "s3 POST", "s3 LIST")
    found["KMS, requests"] = count("kms")
    found["SQS, requests"] = count("sqs")
    return found


def page(world, results, used):
    """The page of results, in Markdown."""
    place = f"AWS account {world.account.id}, {world.account.region}" if world.account.is_aws else "the emulator"
    took = datetime.datetime.now(datetime.timezone.utc) - world.began
    lines = [f"# Acceptance `{world.name}`", "", f"In {place}, {world.began:%Y-%m-%d %H:%M} UTC, "
             f"{took.total_seconds() / 60:.0f} minutes.", "", "| what | result |", "|---|---|"]
    lines += [f"| {name.replace('_', ' ')} | {line} |" for name, line in results]
    lines += ["", f"| used | amount | USD{'' if world.account.is_aws else ' on AWS'} |", "|---|---|---|"]
    cost = 0.0
    for name, amount in used.items():
        usd = amount * PRICES_USD[name]
        cost += usd
        lines.append(f"| {name} | {amount:,.2f} | {usd:.4f} |")
    lines += [f"| together | | {cost:.2f} |", "",
              "Estimated from list prices of US East (N. Virginia); what an account has for free is not subtracted."]
    if not world.account.is_aws:
        lines.append("The emulator bills nothing, and has no durations of Lambda.")
    return "\n".join(lines) + "\n"


def accept(world):
    """Runs all steps; returns whether all passed and nothing is left."""
    results, passed, used = [], True, {}
    try:
        stack = world.create()
        for step in STEPS:
            say(f"{step.__name__} ...")
            began = time.monotonic()
            try:
                results.append((step.__name__, step(world, stack)))
                say(f"{step.__name__}: ok, {time.monotonic() - began:.0f} s")
            except Exception as error:
                passed = False
                results.append((step.__name__, f"**failed**: {error}"))
                say(f"{step.__name__}: FAILED: {error}")
                if not isinstance(error, Failed):
                    traceback.print_exc()
        used = amounts(world, stack)
    except Exception as error:
        passed = False
        results.append(("set up", f"**failed**: {error}"))
        say(f"FAILED: {error}")
        if not isinstance(error, Failed):
            traceback.print_exc()
    finally:
        passed &= removed(world.account, world.name, results)
    text = page(world, results, used)
    (WORK / "acceptance.md").write_text(text)
    print(text)
    return passed


def removed(account, name, results):
    say("removing everything")
    left = sandbox.remove(account, name) + sandbox.remains(account, name)
    say(f"  left: {left}" if left else "  nothing is left")
    results.append(("everything removed", f"**no**: {left}" if left else
                    f"yes; the backup's key is deleted after {sandbox.KEY_WAIT_DAYS} days"))
    return not left


def main():
    words = sys.argv[1:]
    # `kill` ends the acceptance as Ctrl-C does: it still removes everything.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if "--remove" in words:
        name = words[words.index("--remove") + 1]
        if not name.startswith(sandbox.NAME_PREFIX):
            raise SystemExit(f"error: the name of an acceptance begins with {sandbox.NAME_PREFIX}")
        account = AwsAccount(name)
        sandbox.allowed_account(account)
        return 0 if removed(account, name, []) else 1
    name = f"{sandbox.NAME_PREFIX}{uuid.uuid4().hex[:8]}"
    if "--aws" in words:
        account = AwsAccount(name)
        sandbox.allowed_account(account)
    if "--built" not in words:
        build()
    prepare()
    if "--aws" in words:
        say(f"account {account.id}, region {account.region}; to remove it all: --aws --remove {name}")
        return 0 if accept(World(account, name, Trail(account, name))) else 1
    with Emulator(WORK) as emulator, WatchingProxy(emulator.port) as proxy:
        return 0 if accept(World(Account(emulator.url), name, proxy, f"http://127.0.0.1:{proxy.port}")) else 1


if __name__ == "__main__":
    sys.exit(main())
