"""The preflight of a stack: everything works, and what is removed is named with its side, action and resource."""

import json

from access import ROLES, actions, put_policy
from stack import ORG_ID, SOURCE_BUCKET, check
from world import program

# The check that misses each statement of the functions' roles, and the action that it names. Statements that are not here
# are of no use to a preflight: it would leave something behind, or there is nothing yet to read.
SEEN = {
    "Planner/AssumeSourceRole": ("source_list", "sts:AssumeRole"),
    "Planner/ListLedger": ("destination_list", "s3:ListBucket"),
    "Planner/ReadLedger": ("destination_read", "s3:GetObject"),
    "Planner/WriteLedger": ("destination_write", "s3:PutObject"),
    "Planner/LiftRefusal": ("destination_remove", "s3:DeleteObject"),
    "Planner/QueueTasks": ("task_queue", "sqs:SendMessage"),
    "Planner/CallAuditor": ("audit_queue", "sqs:SendMessage"),
    "Worker/AssumeSourceRole": ("source_list", "sts:AssumeRole"),
    "Worker/ListLedger": ("destination_list", "s3:ListBucket"),
    "Worker/Receipts": ("destination_write", "s3:PutObject"),
    "Worker/WriteEvents": ("destination_upload", "s3:PutObject"),
    "Worker/WriteRejected": ("destination_upload_rejected", "s3:PutObject"),
    "Worker/CallAuditor": ("audit_queue", "sqs:SendMessage"),
    "Auditor/ListLedger": ("destination_list", "s3:ListBucket"),
    "Auditor/ListEvents": ("destination_list_events", "s3:ListBucket"),
    "Auditor/Checkpoint": ("destination_write", "s3:PutObject"),
    "Auditor/Notify": ("topic", "sns:Publish"),
}
# Without this permission, what the probe wrote can't be removed.
LEAVES_THE_PROBE = "Planner/LiftRefusal"


def preflight_names_what_is_missing(world, stack):
    """With everything in place all works; without any one statement on either side, the preflight names side, action and
    resource, and nothing is left behind."""
    before = stack.keys("")
    of_stack = ["preflight", "--stack", stack.name, "--json"]
    whole = program(world, *of_stack, codes=(0, 3))
    missing = [found for found in whole["checks"] if found["outcome"] == "missing"]
    check(not missing, f"missing although nothing is: {missing}")
    untold = {found["name"] for found in whole["checks"] if found["outcome"] == "cannot_tell"}
    check(untold <= {"source_names", "concurrency", "subscription"}, f"{untold}")
    names = {(found["by"], found["name"]) for found in whole["checks"]}
    for expected in [("planner", "source_list"), ("planner", "task_queue"), ("worker", "source_read"),
                     ("worker", "destination_upload"), ("auditor", "topic"), ("you", "subscription")]:
        check(expected in names, f"{expected} was not tried")
    on_this_machine(world, stack)
    rows = [*platform_side_removed(world, stack, of_stack), *customer_side_removed(world, stack, of_stack)]
    after = program(world, *of_stack, codes=(0, 3))
    check([found["outcome"] for found in after["checks"]] == [found["outcome"] for found in whole["checks"]],
          "not everything works again")
    check(stack.keys("") == before, "the preflight has left something behind")
    print("e2e:   removed, and what the preflight said:", *rows, sep="\ne2e:     ", flush=True)


def on_this_machine(world, stack):
    """The same with one's own access, with nothing deployed."""
    found = program(
        world, "preflight", "--org-id", ORG_ID, "--source", f"s3://{SOURCE_BUCKET}",
        "--source-role-arn", stack.parameters["SourceRoleArn"], "--external-id", stack.parameters["SourceExternalId"],
        "--destination", f"s3://{stack.bucket}/{stack.prefix}".rstrip("/"), "--json", codes=(0, 3))
    missing = [one for one in found["checks"] if one["outcome"] == "missing"]
    check(not missing, f"{missing}")
    works = {one["name"] for one in found["checks"] if one["outcome"] == "works"}
    needed = {"identity", "source_list", "source_read", "destination_list", "destination_write", "clock",
              "destination_conditional_write", "destination_upload", "destination_remove"}
    check(needed <= works, f"{needed - works}")


def platform_side_removed(world, stack, of_stack):
    """Each statement of the platform's role, and its trust in the customer."""
    iam = world.account.client("iam")
    role = stack.parameters["SourceRoleArn"].rsplit("/", 1)[1]
    document = iam.get_role_policy(RoleName=role, PolicyName="read")["PolicyDocument"]
    for statement in document["Statement"]:
        action = actions(statement)[0]
        others = [other for other in document["Statement"] if other is not statement]
        put_policy(iam, role, "read", document, others)
        try:
            found = program(world, *of_stack, codes=(3,))
        finally:
            put_policy(iam, role, "read", document, document["Statement"])
        name = {"s3:ListBucket": "source_list", "s3:GetObject": "source_read"}[action]
        need = need_of(found, "worker", name)
        check(need["side"] == "platform" and need["action"] == action, f"{action}: {need}")
        check(SOURCE_BUCKET in need["resource"], f"{need}")
        check(need["statement"]["Action"] == [action], f"{need}")
        yield row(f"platform's role: {action}", name, need)
    trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    other = json.loads(json.dumps(trust))
    other["Statement"][0]["Condition"] = {"StringEquals": {"sts:ExternalId": "another"}}
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(other))
    try:
        found = program(world, *of_stack, codes=(3,))
    finally:
        iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trust))
    needs = check_of(found, "worker", "source_list")["needs"]
    check({need["side"] for need in needs} == {"customer", "platform"}, f"{needs}")
    platform = next(need for need in needs if need["side"] == "platform")
    check(platform["action"] == "sts:AssumeRole" and platform["resource"] == stack.parameters["SourceRoleArn"], f"{platform}")
    check(platform["statement"]["Condition"]["StringEquals"]["sts:ExternalId"] == stack.parameters["SourceExternalId"],
          f"{platform}")
    yield row("platform's trust policy", "source_list", platform)


def customer_side_removed(world, stack, of_stack):
    """Each statement of the functions' roles that a preflight can see."""
    iam = world.account.client("iam")
    for function, role in ROLES.items():
        role_name = stack.resources[role]
        for policy_name in iam.list_role_policies(RoleName=role_name)["PolicyNames"]:
            document = iam.get_role_policy(RoleName=role_name, PolicyName=policy_name)["PolicyDocument"]
            statements = document["Statement"]
            for statement in statements:
                if statement["Effect"] != "Allow" or f"{function}/{statement['Sid']}" not in SEEN:
                    continue
                name, action = SEEN[f"{function}/{statement['Sid']}"]
                others = [other for other in statements if other is not statement]
                put_policy(iam, role_name, policy_name, document, others)
                try:
                    found = program(world, *of_stack, codes=(3,))
                finally:
                    put_policy(iam, role_name, policy_name, document, statements)
                need = need_of(found, function.lower(), name)
                check(need["side"] == "customer", f"{function}/{statement['Sid']}: {need}")
                check(action in need["action"], f"{function}/{statement['Sid']}: {need}")
                if f"{function}/{statement['Sid']}" == LEAVES_THE_PROBE:
                    remove_probe(world, stack)
                yield row(f"{function}/{statement['Sid']}", name, need)


def remove_probe(world, stack):
    """Removes what the check said is to be removed by hand."""
    left = [key for key in stack.keys("_recovery/preflight-")]
    check(len(left) == 1 and left[0].endswith("/refused.json"), f"{left}")
    world.account.client("s3").delete_object(Bucket=stack.bucket, Key=left[0])


def check_of(preflight, by, name):
    found = [found for found in preflight["checks"] if (found["by"], found["name"]) == (by, name)]
    check(found and found[0]["outcome"] == "missing",
          f"{by}/{name} is not missing: {found}; missing are "
          f"{[(one['by'], one['name']) for one in preflight['checks'] if one['outcome'] == 'missing']}")
    return found[0]


def need_of(preflight, by, name):
    needs = check_of(preflight, by, name)["needs"]
    check(needs, f"{by}/{name} needs nothing")
    return needs[0]


def row(removed, name, need):
    return f"{removed:<40} {name:<22} {need['side']:<9} {need['action']:<40} {need['resource']}"
