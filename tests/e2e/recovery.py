"""The main scenarios, which run in the emulator and, by `make acceptance ACCOUNT=aws`, on AWS."""

import datetime
import shutil
import time

import truth
from stack import check, run, say, upload
from world import PROGRAM, WORK


def recover_hard_sample(world, stack):
    """A hard backup is recovered exactly, as NDJSON and as Parquet, and the report balances."""
    for form in ["ndjson", "parquet"]:
        run_id = f"hard-{form}"
        answer = stack.plan(run_id, format=form)
        check(answer["tasks_queued"] == answer["objects"]["planned"], f"not all queued: {answer}")
        notification = stack.await_notification(run_id)
        check(notification["verdict"] == "needs_look", f"the sample has torn events: {notification}")
        report = stack.record(run_id, "report.json")
        check(report["verdict"] == notification["verdict"], "report and notification differ")
        truth.check_balance(report)
        check(report["objects"]["done"] == answer["objects"]["planned"], "not all objects are done")
        check(report["events"]["written"] == len(world.truth), "another number of events")
        truth.check_torn(stack, run_id, world.backup)
        if form == "ndjson":
            truth.check_ndjson(stack, run_id, world.truth)
        else:
            truth.check_parquet(stack, run_id, world.backup)
        check(not stack.keys(f"execution_id={run_id}/_SUCCESS"), "marked as complete")
        again = stack.plan(run_id, format=form)
        check(again["tasks_queued"] == 0, "a repeated invocation queued tasks")
        time.sleep(3)
        check(len(stack.notifications(run_id)) == 1, "more than one notification")
    say(f"  {len(world.truth)} events, twice, equal to the truth")


def schedule_fires_twice(world, stack):
    """A schedule that fires twice recovers its window once; returns the run's id and how many events it has."""
    # The emulator fires at once, AWS within a minute of the time.
    fires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=60 if world.account.is_aws else 1)
    # What the schedule recovers then: an interval of one hour that ended two hours before, when it had settled.
    hour = fires.replace(minute=0, second=0, microsecond=0) - datetime.timedelta(hours=3)
    recent = WORK / "recent"
    shutil.rmtree(recent, ignore_errors=True)
    run([PROGRAM, "sample", recent, "--hours", "1", "--objects-per-hour", "4", "--object-bytes", "64KiB",
         "--start", hour.strftime("%Y-%m-%dT%H")])
    upload(world.account.client("s3"), recent, world.source_bucket)
    scheduler = world.account.client("scheduler")
    target = dict(scheduler.get_schedule(Name=stack.resources["RecoverySchedule"])["Target"])
    check("<aws.scheduler.scheduled-time>" in target["Input"], "the input lacks the scheduled time")
    if not world.account.is_aws:
        # The emulator does not fill in the scheduled time.
        target["Input"] = target["Input"].replace(
            "<aws.scheduler.scheduled-time>", fires.strftime("%Y-%m-%dT%H:%M:%SZ"))
    for number in range(2):
        scheduler.create_schedule(
            Name=f"{stack.name}-now-{number}", FlexibleTimeWindow={"Mode": "OFF"}, Target=target,
            ActionAfterCompletion="DELETE",
            ScheduleExpression=f"at({fires.strftime('%Y-%m-%dT%H:%M:%S')})")
    prefix = hour.strftime("%Y%m%dT%H0000Z-")
    deadline = time.monotonic() + (300 if world.account.is_aws else 120)
    found = []
    while time.monotonic() < deadline and not found:
        time.sleep(1)
        stack.notifications("")
        found = [heard for heard in stack.heard if heard.get("execution_id", "").startswith(prefix)]
    check(found, "the schedule did not recover its window")
    time.sleep(3)
    runs = {key.split("_recovery/")[1].split("/")[0] for key in stack.keys(f"_recovery/{prefix}")}
    check(len(runs) == 1, f"the schedule made the runs {runs}")
    run_id = runs.pop()
    check(len(stack.notifications(run_id)) == 1, "more than one notification")
    check(found[0]["verdict"] == "complete", f"{found[0]}")
    check(stack.keys(f"execution_id={run_id}/_SUCCESS"), "no _SUCCESS")
    report = stack.record(run_id, "report.json")
    truth.check_balance(report)
    check(report["events"]["written"] == len(truth.expected(recent)), "another number of events")
    return run_id, report["events"]["written"]
