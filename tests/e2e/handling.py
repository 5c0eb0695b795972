"""Runs that a person handles from the command line: listed, cancelled, resumed, and with a loss accepted."""

import gzip
import hashlib
import json

import truth
from stack import ORG_ID, SOURCE_BUCKET, check, wait_until
from world import program


def runs_are_handled(world, stack):
    """A cancelled run begins nothing more and says so; it resumes from its own ledger, in the stack and on one machine; an
    object that is gone is named until its loss is accepted, and counts again once it is recovered."""
    run_id = "handled"
    s3 = world.account.client("s3")
    of_stack = ["--stack", stack.name, "--execution-id", run_id, "--json"]
    listed = s3.list_objects_v2(Bucket=SOURCE_BUCKET, Prefix="main_stream/2024/04/01/")["Contents"]
    gone = [entry["Key"] for entry in listed if entry["Size"] > 1000][5]
    content = s3.get_object(Bucket=SOURCE_BUCKET, Key=gone)["Body"].read()
    stack.pause_worker(True)
    try:
        planned = stack.plan(run_id, format="ndjson")["objects"]["planned"]
        found = {found["execution_id"]: found for found in program(world, "list", "--stack", stack.name, "--json")}
        check(found[run_id]["state"] == "not_audited" and found[run_id]["age_secs"] < 600, f"{found[run_id]}")
        report = program(world, "cancel", *of_stack, codes=(3,))
        check(report["verdict"] == "incomplete" and report["reasons"][0].startswith("cancelled at "), f"{report['reasons']}")
        check(stack.record(run_id, "cancelled.json")["cancelled_by"].startswith("arn:"), "nobody cancelled it")
        stack.pause_worker(False)
        wait_until(lambda: stack.depth("TaskQueue") == 0, 120, "tasks of a cancelled run are not acknowledged")
        check(not stack.receipts(run_id), "a cancelled run went on")
        refused, failed = stack.invoke("Planner", stack_request(stack, run_id))
        check(failed and "was cancelled" in refused["errorMessage"], f"{refused}")
        notification = stack.await_notification(run_id)
        check(notification["verdict"] == "incomplete", f"{notification}")
        s3.delete_object(Bucket=SOURCE_BUCKET, Key=gone)
        report = program(world, "resume", *of_stack, codes=(3,))
        counts = report["objects"]
        check(counts["done"] == planned - 1 and counts["failed"] == 1, f"{counts}")
        accepted = program(world, "accept-loss", *of_stack, "--key", gone, "--reason", "deleted by the test", codes=(3,))
        counts = accepted["objects"]
        check(counts["lost"] == 1 and counts["failed"] == 0, f"{counts}")
        check(accepted["verdict"] == "needs_look" and accepted["losses"][0]["key"] == gone, f"{accepted['losses']}")
        check(accepted["losses"][0]["accepted_by"].startswith("arn:"), "nobody accepted the loss")
        again = program(world, "report", *of_stack, codes=(3,))
        check(again["losses"] == accepted["losses"], f"{again['losses']}")
    finally:
        stack.pause_worker(False)
        s3.put_object(Bucket=SOURCE_BUCKET, Key=gone, Body=content)
    salvaged_in_the_stack(world, stack)
    # The same content has the same etag.
    report = program(
        world, "resume", "--destination", f"s3://{stack.bucket}/{stack.prefix}".rstrip("/"), "--execution-id", run_id,
        "--source", f"s3://{SOURCE_BUCKET}", "--source-role-arn", stack.parameters["SourceRoleArn"],
        "--external-id", stack.parameters["SourceExternalId"], "--key", gone, "--json", codes=(3,))
    check(report["objects"]["done"] == planned and report["objects"]["lost"] == 0, f"{report['objects']}")
    truth.check_ndjson(stack, run_id, world.truth)
    truth.check_balance(report)


def salvaged_in_the_stack(world, stack):
    """The events before the damage of an object are recovered by the stack's own worker."""
    run_id, hour = "salvaged", "main_stream/2024/04/02/00/"
    s3 = world.account.client("s3")
    key = hour + "damaged.gz"
    whole, cut = (gzip.compress(event_of(number)) for number in (1, 2))
    s3.put_object(Bucket=SOURCE_BUCKET, Key=key, Body=whole + cut[:-12])
    try:
        stack.plan(run_id, start="2024-04-02T00:00:00Z", end="2024-04-02T01:00:00Z", window="publish", format="ndjson")
        stack.await_notification(run_id)
        of_stack = ["--stack", stack.name, "--execution-id", run_id, "--json"]
        report = program(world, "salvage", *of_stack, "--key", key, codes=(3,))
        check(report["objects"]["salvaged"] == 1 and report["objects"]["failed"] == 0, f"{report['objects']}")
        check(report["verdict"] == "needs_look" and report["events"]["written"] == 1, f"{report['reasons']}")
        truth.check_balance(report)
        watched = program(world, "status", *of_stack, "--watch", codes=(3,))
        check(watched["salvage"] == report["salvage"], f"{watched['salvage']}")
        again = program(world, "salvage", *of_stack, "--key", key, codes=(3,))
        check(again["salvage"] == report["salvage"], f"{again['salvage']}")
    finally:
        s3.delete_object(Bucket=SOURCE_BUCKET, Key=key)


def event_of(number):
    """An event that compresses badly, so that a cut leaves a part of it."""
    data = hashlib.sha512(b"%d" % number).hexdigest()
    return json.dumps({"event_id": str(number), "org_id": ORG_ID, "data": data}).encode()


def stack_request(stack, run_id):
    """What the run was asked for."""
    request = stack.record(run_id, "request.json")["request"]
    return {"org_id": request["org_id"], "start": request["start"], "end": request["end"],
            "window": request["window"]["kind"], "format": "ndjson", "execution_id": run_id}
