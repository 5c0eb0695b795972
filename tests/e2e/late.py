"""Objects that arrive hours late: the planner's clock is set forward, and its rechecks find them."""

import datetime
import json
import re
import shutil
import time
import urllib.parse

import access
import truth
from stack import SOURCE_BUCKET, check, run, wait_until
from world import PROGRAM, WORK, program

# When an object comes, in hours after the end of its hour.
LATE_HOURS = (3, 10, 23)
# What a recheck writes and sends that finds objects, in this order; its process is killed before each.
STEPS = {
    "late list": r"PUT .*/tasks/.*\.late-\d+\.jsonl$",
    "late plan": r"PUT .*/plan\.late-\d+\.json$",
    "record": r"PUT .*/recheck\.json$",
    "call": r"PUT .*/audit\.json$",
    "message": r"sqs",
    "queued": r"PUT .*/tasks/.*\.queued$",
}


def objects_that_come_late(world, stack):
    """Objects that come 3, 10 and 23 hours after their hour has ended end in the run of their hour once. Its report is
    provisional until its hours were listed after the late allowance. A recheck that is killed anywhere resumes. Hours
    whose scheduled runs never came are named."""
    # A day ahead of the real clock, so that the planner's clock can be set to every time that the test needs.
    now = datetime.datetime.now(datetime.timezone.utc)
    hour = now.replace(minute=0, second=0, microsecond=0) + datetime.timedelta(hours=24)
    end = hour + datetime.timedelta(hours=1)
    backup = WORK / "late"
    shutil.rmtree(backup, ignore_errors=True)
    run([PROGRAM, "sample", backup, "--hours", "1", "--objects-per-hour", "6", "--object-bytes", "64KiB",
         "--start", hour.strftime("%Y-%m-%dT%H")])
    s3 = world.account.client("s3")
    objects = {str(path.relative_to(backup)): path.read_bytes()
               for path in sorted((backup / "main_stream").rglob("*")) if path.is_file()}
    late = dict(zip(LATE_HOURS, list(objects)[-len(LATE_HOURS):]))
    for key in objects.keys() - late.values():
        s3.put_object(Bucket=SOURCE_BUCKET, Key=key, Body=objects[key])

    def at(hours):
        set_clock(world, stack, end + datetime.timedelta(hours=hours))

    def check_due():
        answer, failed = stack.invoke("Planner", {"recheck_due": True})
        check(not failed, f"the check failed: {answer}")
        # The schedule itself may have begun another run meanwhile.
        answer["rechecked"] = [found for found in answer["rechecked"] if found["execution_id"] == run_id]
        return answer

    run_id = None
    # The schedule itself may have begun a run by the real clock.
    s3.delete_object(Bucket=stack.bucket, Key=f"{stack.prefix}_recovery/_schedule.json")
    at(2.1)
    check(check_due()["missed_windows"] == [], "a schedule that has just begun has missed something")
    # As EventBridge invokes it two hours after the window's end.
    scheduled = (end + datetime.timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    planned, failed = stack.invoke("Planner", {"scheduled_time": scheduled})
    check(not failed and planned["objects"]["planned"] == 3, f"{planned}")
    run_id = planned["execution_id"]
    notification = stack.await_notification(run_id)
    check(notification["verdict"] == "complete" and notification["final"] is False, f"{notification}")
    mark = json.loads(stack.read(f"{stack.prefix}execution_id={run_id}/_SUCCESS"))
    check(mark["final"] is False, f"{mark}")

    at(3)
    s3.put_object(Bucket=SOURCE_BUCKET, Key=late[3], Body=objects[late[3]])
    check(check_due()["rechecked"] == [], "a recheck came before it was due")
    at(6.1)
    answer = check_due()
    check([found["late_objects"] for found in answer["rechecked"]] == [1], f"{answer}")
    # Of the windows after the run's, those that ended two hours before, and an hour of grace, have no run.
    missed = [window["start"] for window in answer["missed_windows"]]
    check(missed == [(end + datetime.timedelta(hours=n)).strftime("%Y-%m-%dT%H:%M:%SZ") for n in range(3)], f"{missed}")
    notification = stack.await_notification(run_id, number=2)
    check(notification["verdict"] == "complete" and notification["late"]["objects"] == 1, f"{notification}")
    report = stack.record(run_id, "report.json")
    check((report["final"], report["objects"]["done"]) == (False, 4), f"{report}")

    at(10)
    s3.put_object(Bucket=SOURCE_BUCKET, Key=late[10], Body=objects[late[10]])
    at(23)
    s3.put_object(Bucket=SOURCE_BUCKET, Key=late[23], Body=objects[late[23]])
    check(check_due()["rechecked"] == [], "a recheck came before the late allowance had passed")
    at(25.1)
    killed = kill_rechecks(world, stack)
    check(killed == list(STEPS), f"a recheck was killed only before {killed}")
    # What the killed rechecks left is completed by the next check.
    deadline = time.monotonic() + 120
    report = stack.record(run_id, "report.json")
    while not (report["final"] and report["objects"]["done"] == 6):
        check(time.monotonic() < deadline, f"the run is not final, or an object is missing: {report}")
        check_due()
        time.sleep(5)
        report = stack.record(run_id, "report.json")
    truth.check_balance(report)
    check(report["verdict"] == "complete" and report["late"]["objects"] == 3, f"{report}")
    check(report["final_after"] == (end + datetime.timedelta(hours=25)).strftime("%Y-%m-%dT%H:%M:%SZ"), f"{report}")
    truth.check_ndjson(stack, run_id, truth.expected(backup))
    stack.await_notification(run_id, number=3)
    wait_until(lambda: (check_due(), not stack.keys(f"_recovery/_provisional/{run_id}"))[1], 60, "it is still marked")
    check(check_due()["rechecked"] == [], "a run that is final was rechecked")

    # A person may recheck a run that is final: nothing is found, and nobody is notified.
    told = len(stack.notifications(run_id))
    options = ["recheck", "--stack", stack.name, "--execution-id", run_id, "--json"]
    again = program(world, *options)
    check(again["final"] and again["objects"] == report["objects"], f"{again}")
    # Later than the late allowance, too, an object that is there is recovered, by the stack or on this machine.
    key, body = next(iter(objects.items()))
    for number, command in enumerate([options, [
            "recheck", "--destination", f"s3://{stack.bucket}/{stack.prefix}".rstrip("/"), "--execution-id", run_id,
            "--source-role-arn", stack.parameters["SourceRoleArn"],
            "--external-id", stack.parameters["SourceExternalId"], "--json"]]):
        s3.put_object(Bucket=SOURCE_BUCKET, Key=f"{key.rpartition('/')[0]}/very-late-{number}", Body=body)
        found = program(world, *command, codes=(3,))
        check(found["late"]["objects"] == 4 + number and found["objects"]["done"] == 7 + number, f"{found}")
        check(found["verdict"] == "needs_look", f"a foreign name needs a look: {found}")
    wait_until(lambda: any(heard["late"]["objects"] == 4 for heard in stack.notifications(run_id)[told:]), 60,
               "nobody was notified of what came very late")


def set_clock(world, stack, time_):
    """Sets the planner's clock. Only behind the emulator's endpoint it can be set."""
    ahead = round((time_ - datetime.datetime.now(datetime.timezone.utc)).total_seconds())
    check(ahead >= 0, "the clock can only be set forward")
    functions, name = world.account.client("lambda"), stack.resources["Planner"]
    environment = functions.get_function_configuration(FunctionName=name)["Environment"]
    environment["Variables"]["CLOCK_AHEAD_SECS"] = str(ahead)
    functions.update_function_configuration(FunctionName=name, Environment=environment)
    access.stop_warm(stack, "Planner")


def kill_rechecks(world, stack):
    """Has the planner check its runs, and kills it before each step in turn; returns the steps at which it was."""
    killed = []
    for step in STEPS:
        reached = []

        def kill(request, step=step, reached=reached):
            if not reached and is_step(request, STEPS[step]):
                reached.append(step)
                request.kill_sender()
                return "reset"

        world.proxy.rule(kill)
        try:
            stack.invoke("Planner", {"recheck_due": True})
        finally:
            world.proxy.rules.remove(kill)
        killed += reached
        # A process that was killed is replaced at the next invocation.
        access.stop_warm(stack, "Planner")
        time.sleep(0.5)
    return killed


def is_step(request, pattern):
    path = urllib.parse.unquote(request.path.partition("?")[0])
    return re.search(pattern, "sqs" if request.service == "sqs" else f"{request.method} {path}")
