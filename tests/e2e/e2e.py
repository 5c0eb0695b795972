"""The whole pipeline end to end: the real template, built and deployed by SAM into an emulator with
IAM on, against a backup whose truth is known. Called by `make e2e`; needs no AWS account and no Docker.

Usage: e2e.py [--built] [SCENARIO...]: all scenarios, or the named ones; `--built` skips the build.
No scenario depends on another one: each makes the runs that it looks at.
"""

import datetime
import json
import os
import pty
import subprocess
import sys
import threading
import time
import traceback

import access
import counting
import diagnosis
import events
import handling
import late
import operator_policy
import parameters
import preflight
import redelivery
import signing
import truth
from emulator import Emulator
from proxy import Proxy
from recovery import recover_hard_sample, schedule_fires_twice
from stack import ACCOUNT, EXTERNAL_ID, ORG_ID, PROJECT, SOURCE_BUCKET, Failed, check, platform_side, say, wait_until
from world import OBJECTS, PROGRAM, WORK, World, build, prepare, program

# Longer than a worker's timeout, so that workers fail and the queue delivers their tasks again.
OUTAGE_SECS = 12


def dry_run_writes_nothing(world, stack):
    """A dry run says what would be planned and writes and queues nothing."""
    before = stack.keys("")
    answer = stack.plan("dry", dry_run=True)
    check(answer["objects"]["planned"] >= OBJECTS and answer["tasks_queued"] == 0, f"{answer}")
    check(answer["days"][0]["date"] == "2024-04-01", f"{answer}")
    check(not [key for key in stack.keys("") if "dry" in key], "the dry run wrote something")
    refused, failed = stack.invoke("Planner", {"org_id": "tn-00000000-0000-0000-0000-000000000000",
                                               "start": "2024-04-01", "end": "2024-04-01"})
    check(failed and "org_id" in refused["errorMessage"], f"another org was served: {refused}")
    refused, failed = stack.invoke("Planner", {"org_id": ORG_ID, "start": "2024-04-01", "fin": "x"})
    check(failed and "fin" in refused["errorMessage"], f"an unknown field was accepted: {refused}")
    check(len(before) <= len(stack.keys("")), "something was removed")


def task_delivered_twice(world, stack):
    """Processing a task is idempotent, and forged tasks reach nothing."""
    run_id = "twice"
    stack.plan(run_id, format="ndjson")
    stack.await_notification(run_id)
    receipts = stack.receipts(run_id)
    key = sorted(receipts)[0]
    before = {name: stack.read(name) for name in stack.keys(f"execution_id={run_id}/")}
    request = stack.record(run_id, "request.json")["request"]
    tasks = stack.read(f"{stack.prefix}_recovery/{run_id}/tasks/2024-04-01T00.jsonl").splitlines()
    planned = next(json.loads(line) for line in tasks[1:] if json.loads(line)["key"] == key)
    window = request["window"]
    body = {
        "version": 1, "execution_id": run_id, "key": key, "size": planned["size"], "etag": planned["etag"],
        "window": {"kind": window["kind"], "start": request["start"], "end": request["end"],
                   "lead_secs": window["lead_secs"], "lag_secs": window["lag_secs"]},
        "filters": {"domains": [], "event_types": []}, "format": "ndjson", "compression": "none",
    }
    sqs = world.account.client("sqs")
    for _ in range(2):
        sqs.send_message(QueueUrl=stack.queue_url("TaskQueue"), MessageBody=json.dumps(body))
    # The second delivery, after 30 s, finds the receipt.
    wait_until(lambda: stack.depth("TaskQueue") == 0, 120, "the tasks were not acknowledged")
    check(stack.receipts(run_id) == receipts, "a receipt changed")
    after = {name: stack.read(name) for name in stack.keys(f"execution_id={run_id}/")}
    check(before == after, "the output changed")
    # Forged messages lead to no output. A key of the right form gets a failed receipt; every other forged
    # message stays in the queue and ends as a dead letter.
    outside = "main_stream/2024/04/01/00/../../../../../secret"
    for hostile in [
        {**body, "key": outside},
        {**body, "bucket": "another-bucket"},
        {**body, "version": 2},
        {**body, "execution_id": "../../elsewhere"},
    ]:
        event = {"Records": [{"messageId": "m", "receiptHandle": "r", "body": json.dumps(hostile),
                              "attributes": {"ApproximateReceiveCount": "1"}}]}
        answer, failed = stack.invoke("Worker", event)
        expected = [] if hostile["key"] == outside else [{"itemIdentifier": "m"}]
        check(not failed and answer["batchItemFailures"] == expected, f"{hostile}: {answer}")
    receipt = stack.receipts(run_id)[outside]
    check(receipt["state"] == "failed" and not receipt.get("outputs"), f"{receipt}")
    check({name for name in stack.keys("")} >= set(after), "output is gone")


def objects_that_cannot_be_read(world, stack):
    """Vanished, archived and unreadable objects end in failed receipts with hints; the task of an object
    that kills its worker at every attempt ends in the dead-letter queue; the report names them all,
    everything else is recovered, and once their causes are removed the same id completes the run."""
    run_id = "unreadable"
    s3 = world.account.client("s3")
    listed = s3.list_objects_v2(Bucket=SOURCE_BUCKET, Prefix="main_stream/2024/04/01/")["Contents"]
    gone, archived, denied, deadly = [entry["Key"] for entry in listed if entry["Size"] > 1000][3:7]
    content = {key: s3.get_object(Bucket=SOURCE_BUCKET, Key=key)["Body"].read() for key in (gone, archived)}
    killed = []

    def kill(request):
        if is_reading(request, deadly):
            request.kill_sender()
            killed.append(time.monotonic())
            return "reset"

    def restore_source():
        s3.delete_bucket_policy(Bucket=SOURCE_BUCKET)
        for key, body in content.items():
            s3.put_object(Bucket=SOURCE_BUCKET, Key=key, Body=body)
        if kill in world.proxy.rules:
            world.proxy.rules.remove(kill)

    try:
        stack.pause_worker(True)
        planned = stack.plan(run_id, format="ndjson")["objects"]["planned"]
        s3.delete_object(Bucket=SOURCE_BUCKET, Key=gone)
        s3.put_object(Bucket=SOURCE_BUCKET, Key=archived, Body=content[archived], StorageClass="GLACIER")
        s3.put_bucket_policy(Bucket=SOURCE_BUCKET, Policy=json.dumps({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject",
                           "Resource": f"arn:aws:s3:::{SOURCE_BUCKET}/{denied}"}]}))
        world.proxy.rule(kill)
        stack.pause_worker(False)
        notification = stack.await_notification(run_id, 900)
        check(len(killed) == 10, f"the worker was killed {len(killed)} times")
        check(notification["verdict"] == "incomplete", f"{notification}")
        report = stack.record(run_id, "report.json")
        truth.check_balance(report)
        check(report["objects"]["done"] == planned - 4 and report["objects"]["failed"] == 4, f"{report['objects']}")
        named = {object_["key"]: object_ for object_ in notification["unrecovered"]}
        check(set(named) == {gone, archived, denied, deadly}, f"other objects are named: {set(named)}")
        for key, word in [(gone, "gone"), (archived, "archived"), (denied, "s3:GetObject"), (deadly, "memory")]:
            words = f"{named[key]['reason']} {named[key]['hint']}"
            check(word in words, f"{word!r} is not in {words!r}")
        for key in (gone, archived, denied):
            check(stack.receipts(run_id)[key]["state"] == "failed", f"{key} has not failed")
        wait_until(lambda: stack.depth("TaskDeadLetterQueue") >= 1, 120, "no dead letter")
        program(world, "status", "--destination", f"s3://{stack.bucket}/{stack.prefix}",
                "--execution-id", run_id, "--json", codes=(3,))
    finally:
        restore_source()
    again = stack.plan(run_id, format="ndjson")
    check(again["tasks_queued"] == 4, f"{again}")
    notification = stack.await_notification(run_id, number=2)
    check(notification["verdict"] == "needs_look", f"{notification}")
    truth.check_ndjson(stack, run_id, world.truth)
    truth.check_balance(stack.record(run_id, "report.json"))


def network_fails(world, stack):
    """Refused connections, throttling, requests without an answer and truncated bodies lose nothing."""
    run_id = "faults"
    counts = {"reset": 0, "slow_down": 0, "half": 0, "stall": 0}
    # Readings of objects are counted apart, so that every kind of fault comes in turn for both.
    seen = {"reading": 0, "other": 0}
    lock = threading.Lock()

    def faults(request):
        is_data = request.path.startswith(f"/{SOURCE_BUCKET}/main_stream") or stack.bucket in request.path
        if not is_data:
            return None
        group = "reading" if is_reading(request, "main_stream") else "other"
        with lock:
            seen[group] += 1
            if seen[group] % 5 == 1:
                kind = "half" if group == "reading" else "reset"
            elif seen[group] % 5 == 3:
                kind = "slow_down"
            elif group == "reading" and counts["stall"] < 1:
                kind = "stall"
            else:
                return None
            counts[kind] += 1
            return kind

    # Planned without faults and with the worker paused, so that all tasks are still to do when faults begin.
    stack.pause_worker(True)
    stack.plan(run_id, format="ndjson")
    world.proxy.rule(faults)
    try:
        stack.pause_worker(False)
        # Only workers read objects: once both kinds of fault of readings have occurred, tasks are in progress.
        wait_until(lambda: counts["stall"] and counts["half"], 120, "no reading of an object met a fault")
        check(stack.depth("TaskQueue") > 0, "all tasks were done before the outage")
        world.proxy.down()
        say("  the endpoint refuses connections")
        time.sleep(OUTAGE_SECS)
        world.proxy.up()
        before = sum(counts.values())
        wait_until(lambda: all(counts.values()) and sum(counts.values()) >= before + 5, 180,
                   "a kind of fault was never injected, or too few faults after the outage")
    finally:
        world.proxy.rules.remove(faults)
        say(f"  faults injected: {counts}")
    notification = stack.await_notification(run_id, 900)
    check(notification["verdict"] == "needs_look", f"{notification}")
    truth.check_ndjson(stack, run_id, world.truth)
    truth.check_balance(stack.record(run_id, "report.json"))


def command_line(world, stack):
    """`start --watch` follows a run to its end, `status` reads its ledger, and `run` recovers the same
    range on this machine, from bucket to bucket. `start` invokes the planner once. If a request is refused,
    by the check or while it is planned, `start` and `status` say why."""
    options = ["--start", "2024-04-01T00:00:00Z", "--end", "2024-04-01T06:00:00Z", "--window", "publish",
               "--format", "ndjson", "--json"]
    report = program(world, "start", "--stack", stack.name, "--org-id", ORG_ID, *options,
                     "--execution-id", "watched", "--watch", codes=(3,))
    check(report["verdict"] == "needs_look", f"{report['verdict']}")
    truth.check_ndjson(stack, "watched", world.truth)
    destination = f"s3://{stack.bucket}/{stack.prefix}".rstrip("/")
    status = program(world, "status", "--destination", destination, "--execution-id", "watched",
                     "--checksums", "--json", codes=(3,))
    check(status["events"] == report["events"], "status and report differ")
    world.account.client("s3").create_bucket(Bucket="by-hand")
    report = program(
        world, "run", "--org-id", ORG_ID, "--source", f"s3://{SOURCE_BUCKET}", "--destination", "s3://by-hand/here",
        "--source-role-arn", f"arn:aws:iam::{ACCOUNT}:role/platform", "--external-id", EXTERNAL_ID,
        "--execution-id", "local", *options, codes=(3,))
    check(report["events"]["written"] == len(world.truth), f"{report['events']}")
    program(world, "start", "--stack", "there-is-none", "--org-id", ORG_ID, *options, codes=(1,))
    start = ["start", "--stack", stack.name, "--org-id", ORG_ID, *options]
    dry = program(world, *start, "--dry-run")
    check(dry["dry_run"] and dry["days"] and dry["ledger"] is None, f"{dry}")
    # Without `--watch`, the answer is the planner's own. The second time nothing is left to queue.
    for queued in (dry["objects"]["planned"], 0):
        answer = program(world, *start, "--execution-id", "unwatched")
        check(answer["tasks_queued"] == queued and answer["objects"] == dry["objects"], f"{answer}")
        stack.await_notification("unwatched")
    planning = stack.record("unwatched", "planning.json")
    check(planning["state"] == "planned" and planning["tasks_queued"] == 0, f"{planning}")
    # The check refuses another format and another org, and nothing is written.
    parquet = ["parquet" if word == "ndjson" else word for word in start]
    said = refusal(world, *parquet, "--execution-id", "unwatched")
    check("`format` differs" in said, said)
    another = [word.replace(ORG_ID, ORG_ID.replace("3", "4")) for word in start]
    said = refusal(world, *another, "--execution-id", "other")
    check("org_id" in said and not stack.keys("_recovery/other/"), said)
    # What a person limits is refused before anything is queued, and what costs more than a limit is asked for.
    for option, limit, word in (("objects", "8", "8 objects"), ("bytes", "1MB", "1000000 bytes"), ("usd", "0.000001", "cost")):
        run_id = f"limited-{option}"
        said = refusal(world, *start, f"--max-{option}", limit, "--execution-id", run_id)
        check(word in said and not stack.keys(f"_recovery/{run_id}/receipts/"), said)
    for answer, code in (("n", 130), ("y", 0)):
        told = answered(world, answer, *start, "--execution-id", "asked", "--confirm-above-usd", "0")
        check(told[0] == code and "start it? [y/N]" in told[1], f"{told}")
        check(bool(stack.keys("_recovery/asked/")) == (answer == "y"), f"{answer}: {stack.keys('_recovery/asked/')}")
    # Planning refuses a run with too many objects, which the check can't know.
    functions, planner = world.account.client("lambda"), stack.resources["Planner"]
    environment = functions.get_function_configuration(FunctionName=planner)["Environment"]
    functions.update_function_configuration(
        FunctionName=planner, Environment={"Variables": {**environment["Variables"], "OBJECTS_MAX": "8"}})
    access.stop_warm(stack, "Planner")
    status = ["status", "--destination", destination, "--execution-id", "refused"]
    try:
        for command in ([*start, "--execution-id", "refused"], status):
            said = refusal(world, *command)
            check("more than 8 objects" in said and "hint: nothing was queued" in said, said)
    finally:
        # The emulator retries the planner twice within three seconds, with the old settings, and keeps the process
        # that it starts for that. Without this pause, later invocations would reach that process.
        time.sleep(5)
        functions.update_function_configuration(FunctionName=planner, Environment=environment)
    program(world, *start, "--execution-id", "refused", "--watch", codes=(3,))
    truth.check_ndjson(stack, "refused", world.truth)
    program(world, *status, codes=(3,))


def acceptance_needs_its_account(world, stack):
    """`make acceptance ACCOUNT=aws` makes nothing in an account that was not named."""
    before = world.account.client("s3").list_buckets()["Buckets"]
    for named in ({}, {"ACCEPTANCE_ACCOUNT_ID": "111122223333"}):
        done = subprocess.run(
            [sys.executable, PROJECT / "tests/e2e/acceptance.py", "--built", "--aws"], capture_output=True, text=True,
            env={**os.environ, **world.account.environment(), **named}, timeout=60)
        check(done.returncode == 1 and "ACCEPTANCE_ACCOUNT_ID" in done.stderr, f"{done.returncode}: {done.stderr}")
    check(world.account.client("s3").list_buckets()["Buckets"] == before, "a bucket was made")


def refusal(world, *arguments):
    """What the command line writes to stderr when it exits with 1."""
    done = subprocess.run(
        [PROGRAM, *arguments], env={**os.environ, **world.account.environment()},
        capture_output=True, text=True, timeout=600)
    check(done.returncode == 1 and not done.stdout, f"{arguments}: exit {done.returncode}: {done.stderr}")
    return done.stderr


def answered(world, answer, *arguments):
    """The exit code and the words of a command on a terminal whose question is answered."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, *arguments], env={**os.environ, **world.account.environment()},
        stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    said = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # On Linux, the end of a terminal.
            break
        if not part:
            break
        said += part
    os.close(ours)
    return process.wait(timeout=600), said.decode()


def is_reading(request, key_part):
    return request.method == "GET" and key_part in request.path and "list-type" not in request.path


def signing_key(world):
    key = world.account.client("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    return key["KeyMetadata"]["Arn"]


# In this order; each runs on the stack named beside it.
SCENARIOS = [
    (recover_hard_sample, "recovery"), (dry_run_writes_nothing, "recovery"), (task_delivered_twice, "recovery"),
    (command_line, "recovery"), (schedule_fires_twice, "drill"), (events.each_event, "recovery"),
    (counting.requests_of_a_clean_run, "recovery"), (counting.forecast_is_right, "recovery"), (signing.reports_are_signed, "drill"),
    (access.statements_are_needed, "recovery"), (access.nothing_more, "recovery"),
    (preflight.preflight_names_what_is_missing, "recovery"), (handling.runs_are_handled, "recovery"),
    (operator_policy.operators_handle_runs_and_read_no_content, "recovery"), (objects_that_cannot_be_read, "drill"), (network_fails, "recovery"),
    (late.objects_that_come_late, "late"), (parameters.parameters_reach_the_functions, "shapes"),
    (redelivery.events_are_given_back, "drill"), (acceptance_needs_its_account, "recovery"),
]
STACKS = {"recovery": {"DestinationPrefix": "events/recovered"}, "drill": {"Schedule": "1"},
          "late": {"Schedule": "1", "Format": "ndjson"}, "shapes": parameters.GIVEN}


def main():
    wanted = [word for word in sys.argv[1:] if word != "--built"]
    names = [scenario.__name__ for scenario, _ in SCENARIOS]
    unknown = [word for word in wanted if word not in names]
    if unknown:
        say(f"no scenario is called {unknown}; there are {' '.join(names)}")
        return 2
    scenarios = [(scenario, stack) for scenario, stack in SCENARIOS if not wanted or scenario.__name__ in wanted]
    if "--built" not in sys.argv:
        build()
    prepare()
    failures = 0
    with Emulator(WORK) as emulator, Proxy(emulator.port) as proxy:
        world = World(emulator, proxy)
        platform_side(world.account, world.backup)
        STACKS["drill"]["SigningKeyArn"] = signing_key(world)
        needed = [name for name in STACKS if name in {stack for _, stack in scenarios}]
        say(f"deploying {' and '.join(needed)}")
        stacks = {name: world.stack(name, **STACKS[name]).deploy() for name in needed}
        for scenario, stack_name in scenarios:
            name, stack = scenario.__name__, stacks[stack_name]
            began, began_at = time.monotonic(), datetime.datetime.now(datetime.timezone.utc)
            say(f"{name} ...")
            try:
                scenario(world, stack)
                say(f"{name}: ok, {time.monotonic() - began:.0f} s")
            except Exception as error:
                failures += 1
                say(f"{name}: FAILED: {error}")
                if not isinstance(error, Failed):
                    traceback.print_exc()
                diagnosis.show(WORK / "emulator.log", stack, began_at)
    say(f"{failures} scenarios failed; logs are in {WORK}" if failures else "all scenarios passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
