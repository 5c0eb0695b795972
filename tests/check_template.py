"""Checks of the template that need no AWS and no emulator: TLS, rules, alarms, metrics and policies. Run by
`make validate`.
"""

import itertools
import json
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import yaml

import cloudformation
import cloudwatch
from cloudwatch import Point

PROJECT = Path(__file__).resolve().parents[1]
TEMPLATE = cloudformation.load(PROJECT / "template.yaml")
RESOURCES = TEMPLATE["Resources"]
DAY = 24 * 60
# What the notification of a run says. An alarm about it would be a second message for the same thing.
VERDICTS = {"RunsComplete", "RunsNeedLook", "RunsIncomplete", "RunsRefused", "RunsOverdue", "TasksFailed",
            "RejectedFragments"}


def of_type(name):
    return {logical: resource for logical, resource in RESOURCES.items() if resource["Type"] == name}


def alarms():
    return {name: resource["Properties"] for name, resource in of_type("AWS::CloudWatch::Alarm").items()}


def metrics(alarm):
    return [metric for _, metric, _, _ in cloudwatch.metrics(alarm)]


# --- TLS ------------------------------------------------------------------------------------------------------

def every_bucket_queue_and_topic_asks_for_tls_whatever_the_parameters():
    wanted = {**of_type("AWS::S3::Bucket"), **of_type("AWS::SQS::Queue"), **of_type("AWS::SNS::Topic")}
    asked = {}
    for name, resource in RESOURCES.items():
        properties = resource.get("Properties", {})
        for statement in properties.get("PolicyDocument", {}).get("Statement", []):
            if "aws:SecureTransport" in str(statement.get("Condition")):
                assert statement["Effect"] == "Deny" and statement["Principal"] == "*", f"{name}: {statement}"
                subject, = properties.get("Queues") or properties.get("Topics") or [properties["Bucket"]]
                # The policy exists whenever its subject does.
                asked[subject["Ref"]] = resource.get("Condition")
    assert asked == {name: resource.get("Condition") for name, resource in wanted.items()}, asked


def the_template_has_no_switch_for_tests():
    text = (PROJECT / "template.yaml").read_text()
    assert "AWS_ENDPOINT" not in text, "the template sets an endpoint"
    assert not [name for name in TEMPLATE["Parameters"] if "endpoint" in name.lower()]


# --- Rules ----------------------------------------------------------------------------------------------------

def a_lead_and_lag_longer_than_the_settle_time_are_refused():
    parameters = TEMPLATE["Parameters"]
    values = [parameters[name]["AllowedValues"] for name in ("LeadSecs", "LagSecs", "ScheduleSettleHours", "Schedule")]
    tried = 0
    for lead, lag, settle, schedule in itertools.product(*values):
        given = {"LeadSecs": lead, "LagSecs": lag, "ScheduleSettleHours": settle, "Schedule": schedule}
        fits = schedule == "off" or int(lead) + int(lag) <= int(settle) * 3600
        assert bool(cloudformation.broken_rules(TEMPLATE, given)) != fits, f"{given}"
        tried += 1
    assert tried == 6 * 9 * 10 * 5


def the_defaults_break_no_rule():
    assert not cloudformation.broken_rules(TEMPLATE, {"OrgId": "tn-x"})


def every_parameter_is_in_a_group_and_used():
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(TEMPLATE["Parameters"]), set(grouped) ^ set(TEMPLATE["Parameters"])
    used = json.dumps([TEMPLATE[part] for part in ("Rules", "Conditions", "Globals", "Resources")], default=str)
    for name in TEMPLATE["Parameters"]:
        assert f'"Ref": "{name}"' in used or f"${{{name}}}" in used, f"{name} is not used"


# --- Alarms ---------------------------------------------------------------------------------------------------

def the_configuration_reference_is_that_of_the_template():
    sys.path.insert(0, str(PROJECT / "scripts"))
    import configuration

    written = (PROJECT / "docs/configuration.md").read_text()
    assert written == configuration.reference(), "write docs/configuration.md anew, as it says itself"


def every_alarm_publishes_to_both_topics():
    both = [{"Ref": "Topic"},
            {"Fn::If": ["HasAlarmTopic", {"Ref": "AlarmTopicArn"}, {"Ref": "AWS::NoValue"}]}]
    for name, alarm in alarms().items():
        assert alarm["AlarmActions"] == both, f"{name}: {alarm['AlarmActions']}"
        assert alarm.get("InsufficientDataActions", both) == both, f"{name}"


def no_alarm_repeats_what_a_notification_says():
    for name, alarm in alarms().items():
        repeated = {metric["MetricName"] for metric in metrics(alarm)} & VERDICTS
        assert not repeated, f"{name} watches {repeated}"


def every_alarm_is_on_the_dashboard():
    body = json.dumps(RESOURCES["Dashboard"]["Properties"]["DashboardBody"])
    for name in alarms():
        assert f"${{{name}.Arn}}" in body, f"{name} is not on the dashboard"
    for metric in VERDICTS:
        assert f'{metric}\\"' in body, f"{metric} is not on the dashboard"


def every_metric_of_ours_is_one_that_a_function_reports():
    code = "".join(path.read_text() for path in (PROJECT / "crates/lambda/src").rglob("*.rs"))
    body = json.dumps(RESOURCES["Dashboard"]["Properties"]["DashboardBody"])
    named = {metric for metric in re.findall(r'\[\\"EventRecovery\\", \\"(\w+)\\"', body)}
    assert len(named) > 15, named
    for alarm in alarms().values():
        named |= {metric["MetricName"] for metric in metrics(alarm) if metric["Namespace"] == "EventRecovery"}
    absent = sorted(name for name in named if f'"{name}"' not in code)
    assert not absent, f"no function reports {', '.join(absent)}"


def at(metric, *minutes, value=1.0, late=1, of=""):
    return [Point(metric, minute, value, late, of) for minute in minutes]


def every(metric, minutes, end, value=1.0, begin=20, of=""):
    return at(metric, *range(begin, end, minutes), value=value, of=of)


HEALTHY = [point for metric, value in [("ChecksDone", 1), ("RunsNotEnded", 0), ("ScheduledRunsMissing", 0),
                                       ("PlannerErrorsExpected", 0)]
           for point in every(metric, 60, 2 * DAY, value)]
HEALTHY += every("Errors", 60, 2 * DAY, 0)
# What happens in two days, and which alarms then send how many messages; all others send none.
TIMELINES = {
    "nothing at all, as on a stack that was just deployed and never runs": ([], {}),
    "a healthy stack": (HEALTHY, {}),
    "the first check comes a day after the deployment": (every("ChecksDone", 60, 2 * DAY, begin=DAY), {}),
    "a run that needs a look": (HEALTHY + at("RunsNeedLook", 700) + at("TasksFailed", 690), {}),
    "a refused request":
        (HEALTHY + at("Errors", 700, of="Planner") + at("PlannerErrorsExpected", 700), {}),
    "a planner that stopped cleanly after 14 minutes":
        (HEALTHY + at("Errors", 700, late=16, of="Planner") + at("PlannerErrorsExpected", 700, late=15), {}),
    "a planner that crashed after 14 minutes":
        (HEALTHY + at("Errors", 700, late=16, of="Planner"), {"PlannerErrorsAlarm": 1}),
    "a refused request and a crash at the same minute":
        (HEALTHY + at("Errors", 700, 700, of="Planner") + at("PlannerErrorsExpected", 700), {"PlannerErrorsAlarm": 1}),
    "a worker that ran out of time": (HEALTHY + at("Errors", 700, late=15, of="Worker"), {"WorkerErrorsAlarm": 1}),
    "an auditor that ran out of time": (HEALTHY + at("Errors", 700, late=15, of="Auditor"), {"AuditorErrorsAlarm": 1}),
    "an audit that fails for three hours":
        (HEALTHY + at("AuditsFailed", *range(700, 880, 16)), {"AuditsFailedAlarm": 1}),
    "a topic that denies notifications for an hour":
        (HEALTHY + at("NotificationsFailed", *range(700, 760, 5)), {"NotificationsFailedAlarm": 1}),
    "a key that denies signatures for an hour":
        (HEALTHY + at("SignaturesFailed", *range(700, 760, 5)), {"SignaturesFailedAlarm": 1}),
    "a source that denies everything for an hour":
        (HEALTHY + at("SourceDenied", *range(700, 760, 5)), {"SourceDeniedAlarm": 1}),
    "a disabled mapping of the worker":
        (HEALTHY + every("ApproximateNumberOfMessagesVisible", 1, 900, 9, begin=700, of="'TaskQueue'"),
         {"TasksNotReceivedAlarm": 1}),
    "a disabled mapping of the auditor":
        (HEALTHY + every("ApproximateNumberOfMessagesVisible", 1, 900, 1, begin=700, of="'AuditQueue'")
         + every("NumberOfMessagesReceived", 1, 900, 0, begin=700, of="'AuditQueue'"), {"AuditsNotReceivedAlarm": 1}),
    "workers that are all busy for as long as an invocation may last":
        (HEALTHY + every("ApproximateNumberOfMessagesVisible", 1, 900, 9, begin=700, of="'TaskQueue'")
         + every("NumberOfMessagesReceived", 15, 900, 4, begin=700, of="'TaskQueue'"), {}),
    "an auditor that polls an unfinished run":
        (HEALTHY + every("ApproximateNumberOfMessagesVisible", 5, 2000, 1, begin=700, of="'AuditQueue'")
         + every("NumberOfMessagesReceived", 5, 2000, 1, begin=701, of="'AuditQueue'"), {}),
    "dead letters that stay until they are purged":
        (HEALTHY + every("ApproximateNumberOfMessagesVisible", 1, 1700, 2, begin=700, of="'TaskDeadLetterQueue'"),
         {"TaskDeadLetterQueueAlarm": 1}),
    "a scheduled run that never came":
        (HEALTHY + at("ScheduledRunsMissing", 740, 800), {"ScheduledRunsMissingAlarm": 1}),
    "a run that never ended": (HEALTHY + at("RunsNotEnded", *range(740, 1300, 60)), {"RunsNotEndedAlarm": 1}),
    "checks that stop": (every("ChecksDone", 60, DAY), {"ChecksSilentAlarm": 1}),
    "one check that fails": ([point for point in HEALTHY if point.at != 740], {}),
}


def alarms_send_one_message_for_what_happened_and_none_for_anything_else():
    known = {}
    for (case, (points, wanted)), aligned in itertools.product(TIMELINES.items(), (True, False)):
        for name, alarm in alarms().items():
            mine = tuple(point for point in points if any(cloudwatch.belongs(m, point) for m in metrics(alarm)))
            # Most alarms see the same in most cases.
            key = (name, mine, aligned)
            if key not in known:
                known[key] = cloudwatch.messages(alarm, mine, 2 * DAY, aligned)
            assert len(known[key]) == wanted.get(name, 0), f"{case}: {name} sends {known[key]} ({aligned=})"


def nobody_hears_of_a_silent_check_after_more_than_five_hours():
    last = max(point.at for point in TIMELINES["checks that stop"][0])
    for aligned in (True, False):
        (minute, state), = cloudwatch.messages(
            alarms()["ChecksSilentAlarm"], TIMELINES["checks that stop"][0], 2 * DAY, aligned)
        assert state == "INSUFFICIENT_DATA" and 180 <= minute - last <= 300, minute - last


# --- Policies and payloads ------------------------------------------------------------------------------------

def policy(role):
    """The statements of a function's role, without their conditions on parameters."""
    for entry in RESOURCES[role]["Properties"]["Policies"]:
        if entry.get("PolicyName") == role.removesuffix("Role").lower():
            for statement in entry["PolicyDocument"]["Statement"]:
                yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def listed(value):
    return value if isinstance(value, list) else [value]


def the_policy_for_a_bucket_of_another_account_allows_what_the_roles_allow():
    document = json.loads((PROJECT / "infra/policies/destination-bucket-policy.json").read_text())
    for role in ("PlannerRole", "WorkerRole", "AuditorRole"):
        ours, theirs = set(), set()
        for statement in policy(role):
            for action, resource in itertools.product(listed(statement["Action"]), listed(statement["Resource"])):
                place = resource["Fn::Sub"][0] if isinstance(resource, dict) and "Fn::Sub" in resource else ""
                of_destination = isinstance(resource, dict) and "RecoveredBucket" in json.dumps(resource)
                if statement["Effect"] == "Allow" and action.startswith("s3:") and of_destination:
                    path = place.split("${Prefix}")[1] if "${Prefix}" in place else listing(statement)
                    ours.add((action, path))
        for statement in document["Statement"]:
            principals = statement["Condition"].get("ArnLike", {}).get("aws:PrincipalArn", [])
            if not any(f"-{role}-" in principal for principal in principals):
                continue
            for action, resource in itertools.product(listed(statement["Action"]), listed(statement["Resource"])):
                path = resource.split("PLACEHOLDER-prefix/")[1] if "PLACEHOLDER-prefix/" in resource \
                    else statement["Condition"]["StringLike"]["s3:prefix"].split("PLACEHOLDER-prefix/")[1]
                theirs.add((action, path))
        assert ours == theirs, f"{role}: {ours ^ theirs}"


def listing(statement):
    return statement["Condition"]["StringLike"]["s3:prefix"]["Fn::Sub"][0].removeprefix("${Prefix}")


def the_schedules_send_what_the_payloads_show():
    inputs = {name: json.loads(resource["Properties"]["Target"]["Input"])
              for name, resource in of_type("AWS::Scheduler::Schedule").items()}
    payload = lambda name: json.loads((PROJECT / f"infra/events/{name}.json").read_text())
    assert inputs["RecheckHourly"] == payload("planner-recheck-due")
    assert inputs["RecoverySchedule"].keys() == payload("planner-schedule").keys()


def logs_are_kept_when_the_stack_is_deleted():
    groups = of_type("AWS::Logs::LogGroup")
    assert len(groups) == 3
    for name, group in groups.items():
        assert group["DeletionPolicy"] == group["UpdateReplacePolicy"] == "Retain", f"{name} is not evidence for long"


def subnets_of_other_accounts_can_be_used():
    for role in ("PlannerRole", "WorkerRole", "AuditorRole"):
        vpc = next(entry["Fn::If"][1] for entry in RESOURCES[role]["Properties"]["Policies"] if "Fn::If" in entry)
        statements = {statement["Sid"]: statement for statement in vpc["PolicyDocument"]["Statement"]}
        assert statements["NetworkInterfaces"]["Resource"] == {
            "Fn::Sub": "arn:${AWS::Partition}:ec2:${AWS::Region}:*:*/*"}, f"{role}: {statements}"
        assert statements["NotForTheCode"]["Effect"] == "Deny", role


def names_of_buckets_have_arns_in_every_partition():
    pattern = re.compile(TEMPLATE["Parameters"]["SourceBucket"]["AllowedPattern"])
    for arn in ("a-bucket", "arn:aws:s3:::a-bucket", "arn:aws-cn:s3:::a-bucket", "arn:aws-us-gov:s3:::a-bucket", ""):
        assert pattern.match(arn), arn
    for other in ("arn:aws-xx:s3:::a-bucket", "s3://a-bucket", "arn:aws:s3:::a/b"):
        assert not pattern.match(other), other
    written = json.dumps(RESOURCES, default=str)
    assert "arn:aws:iam" not in written and not re.search(r'"arn:aws:(?!s3:::")', written), "an ARN of one partition"


def a_build_for_arm64_deploys_arm64():
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder)
        (built / "template.yaml").write_text(yaml.safe_dump(TEMPLATE))
        header = lambda machine: b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little")

        def build(*machines):
            for function, machine in zip(("Planner", "Worker", "Auditor"), machines):
                (built / function).mkdir(exist_ok=True)
                (built / function / "bootstrap").write_bytes(header(machine))

        def command(architecture):
            return subprocess.run([sys.executable, PROJECT / "scripts/set-architecture.py", architecture, folder],
                                  capture_output=True).returncode

        for machines, architecture in [((0xB7, 0xB7, 0xB7), "arm64"), ((0x3E, 0x3E, 0x3E), "x86_64")]:
            build(*machines)
            assert command(architecture) == 0
            parameter = yaml.safe_load((built / "template.yaml").read_text())["Parameters"]["Architecture"]
            assert parameter["Default"] == architecture and parameter["AllowedValues"] == [architecture], parameter
            assert command({"arm64": "x86_64", "x86_64": "arm64"}[architecture]) != 0, "another build was accepted"
        build(0x3E, 0xB7, 0x3E)
        assert command("x86_64") != 0, "a mixed build was accepted"
    # Every function has the one parameter, and `make deploy` deploys what `make build` has set.
    assert TEMPLATE["Globals"]["Function"]["Architectures"] == [{"Ref": "Architecture"}]
    functions = of_type("AWS::Serverless::Function")
    assert not [name for name, function in functions.items() if "Architectures" in function["Properties"]]
    commands = subprocess.run(["make", "-n", "deploy", "ARCHITECTURE=arm64"], cwd=PROJECT, text=True,
                              capture_output=True, check=True).stdout
    order = [commands.index(part) for part in
             ("sam build --parameter-overrides Architecture=arm64", "set-architecture.py arm64", "sam deploy")]
    assert order == sorted(order), commands
    assert "Architecture=" not in commands.split("sam deploy")[1], "`sam deploy` is told another one"


CHECKS = [value for name, value in list(globals().items())
          if callable(value) and getattr(value, "__module__", "") == "__main__" and name.count("_") >= 4]


def main():
    failed = 0
    for check in CHECKS:
        try:
            check()
        except Exception as error:
            failed += 1
            print(f"{check.__name__}: {error}", file=sys.stderr)
            if not isinstance(error, AssertionError):
                traceback.print_exc()
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks of the template hold", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
