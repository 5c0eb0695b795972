"""Parameters of the template reach the functions, roles and alarms that they are for."""

from stack import ORG_ID, Failed, check

SECOND_TOPIC = "arn:aws:sns:us-east-1:111122223333:operations"
KEYS = [f"arn:aws:kms:us-east-1:111122223333:key/{name}" for name in ("newer", "older")]
LINKED = [ORG_ID.replace("3", digit) for digit in "45"]
# Without the platform's role, the worker's own role reads the backup, and its policy is the template's.
GIVEN = {
    "SourceRoleArn": None, "SourceExternalId": None, "SourceBucket": "arn:aws-cn:s3:::a-backup",
    "SourceKmsKeyArn": ",".join(KEYS), "LinkedOrgIds": ",".join(LINKED), "AlarmTopicArn": SECOND_TOPIC,
    "LateAllowanceHours": "168", "BytesMax": "100000000000000", "NotifyEmptyWindows": "true",
    "Schedule": "24", "LagSecs": "86400", "ScheduleSettleHours": "36",
}
ENVIRONMENT = {
    "Planner": {"LATE_ALLOWANCE_HOURS": "168", "BYTES_MAX": "100000000000000", "LAG_SECS": "86400",
                "SCHEDULE_SETTLE_HOURS": "36", "SOURCE_BUCKET": "a-backup", "SOURCE_KMS_KEY_ARN": ",".join(KEYS)},
    "Worker": {"LINKED_ORG_IDS": ",".join(LINKED), "SOURCE_BUCKET": "a-backup", "SOURCE_KMS_KEY_ARN": ",".join(KEYS)},
    "Auditor": {"NOTIFY_EMPTY_WINDOWS": "true"},
}
# What the template refuses, and the word that says why.
REFUSED = [
    ({"LagSecs": "7200"}, "ScheduleSettleHours"),
    ({"LagSecs": "86400", "ScheduleSettleHours": "24"}, "ScheduleSettleHours"),
    ({"LagSecs": "5400"}, "AllowedValues"), ({"BytesMax": "1"}, "BytesMax"), ({"LinkedOrgIds": "tn-1"}, "LinkedOrgIds"),
]


def parameters_reach_the_functions(world, stack):
    """Each parameter has its effect, and combinations that can't work are refused before anything is made."""
    functions = world.account.client("lambda")
    for function, wanted in ENVIRONMENT.items():
        found = functions.get_function_configuration(FunctionName=stack.resources[function])["Environment"]["Variables"]
        differs = {name: (found.get(name), value) for name, value in wanted.items() if found.get(name) != value}
        check(not differs, f"{function}: {differs}")
    document = world.account.client("iam").get_role_policy(
        RoleName=stack.resources["WorkerRole"], PolicyName="worker")["PolicyDocument"]
    statements = {statement["Sid"]: statement for statement in document["Statement"]}
    check(statements["DecryptBackup"]["Resource"] == KEYS, f"{statements['DecryptBackup']}")
    check(statements["ListBackup"]["Resource"] == "arn:aws:s3:::a-backup", f"{statements['ListBackup']}")
    alarms = world.account.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=stack.name)
    alarms = [alarm for page in alarms for alarm in page["MetricAlarms"]]
    check(len(alarms) == 18, f"{len(alarms)} alarms")
    for alarm in alarms:
        check(alarm["AlarmActions"] == [stack.resources["Topic"], SECOND_TOPIC], f"{alarm['AlarmName']}: {alarm}")
        check(alarm["StateValue"] == "INSUFFICIENT_DATA", f"{alarm['AlarmName']} is {alarm['StateValue']} at once")
    for number, (parameters, word) in enumerate(REFUSED):
        try:
            world.stack(f"refused-{number}", Schedule="1", **parameters).deploy()
        except Failed as refused:
            check(word in str(refused), f"{parameters}: {refused}")
        else:
            raise Failed(f"{parameters} were accepted")
