"""How many requests a clean run makes, counted at the proxy."""

import collections
import shutil

from stack import PROJECT, check, run, upload

HOURS, OBJECTS_PER_HOUR = 2, 6
REQUESTS_OF_A_POLL = 13
WINDOW = {"start": "2024-06-01T00:00:00Z", "end": "2024-06-01T02:00:00Z"}


def costs_what_it_says(report, mine, sources, run_id):
    """The report's requests are those that were counted, within a tenth and one look of the auditor."""
    said = report["cost"]["requests"]
    methods = collections.Counter()
    for (method, _, status), count in mine.items():
        if status < 400:
            methods[method] += count
    said_all = said["destination_get"] + said["destination_list"] + said["destination_put"] + said["source_get"]
    counted = methods["GET"] + methods["PUT"] + methods["POST"] + sum(sources.values())
    print(f"e2e:   {run_id}: {counted} requests counted ({dict(methods)}), {said_all} said ({said})", flush=True)
    # How often the auditor looks whether the run has ended depends on the moment; here that is a tenth of all requests.
    check(abs(said_all - counted) <= counted / 10 + REQUESTS_OF_A_POLL, f"{said_all} requests are said, {counted} were counted: {mine}")


def requests_of_a_clean_run(world, stack):
    """An object of a clean run costs one GET, one PUT for each output and one for its receipt, and no request of the
    run is denied."""
    run_id = "counted"
    backup = PROJECT / "target/e2e/counted"
    shutil.rmtree(backup, ignore_errors=True)
    run([PROJECT / "target/debug/event-recovery", "sample", backup, "--start", "2024-06-01T00", "--hours", str(HOURS),
         "--objects-per-hour", str(OBJECTS_PER_HOUR), "--object-bytes", "64KiB"])
    upload(world.account.client("s3"), backup)
    mark = world.proxy.mark()
    objects = stack.plan(run_id, format="ndjson", **WINDOW)["objects"]["planned"]
    check(objects == HOURS * OBJECTS_PER_HOUR, f"{objects} objects are planned")
    notification = stack.await_notification(run_id)
    check(notification["verdict"] == "complete", f"{notification}")
    report = stack.record(run_id, "report.json")
    sources = world.proxy.counts(mark, "/main_stream/2024/06/01/")
    mine = world.proxy.counts(mark, f"/_recovery/{run_id}/") + world.proxy.counts(mark, f"/execution_id={run_id}/")
    check(sources == {("GET", "source", 200): objects}, f"the source was asked {sources}")
    check(report["output"]["files"] == objects, f"each object has one output: {report['output']}")
    expected = {("PUT", "output", 200): objects, ("PUT", "receipt", 200): objects}
    found = {key: count for key, count in mine.items() if key[0] != "GET" and key[1] in ("output", "receipt")}
    check(found == expected, f"{found}")
    # Receipts are read by the auditor alone.
    check(mine["GET", "receipt", 200] <= objects, f"{mine}")
    denied = [answer for answer in world.proxy.since(mark)
              if answer.status == 403 and (run_id in answer.path or "2024" in answer.path)]
    named = collections.Counter((answer.method, answer.kind) for answer in denied)
    check(not denied, f"denied requests: {dict(named)}")
    total = sum(mine.values()) + sum(sources.values())
    costs_what_it_says(report, mine, sources, run_id)
    print(f"e2e:   {objects} objects, {total} requests, none denied", flush=True)


# Name, day, objects per hour, bytes of each, format.
SHAPES = [
    ("few-large", "2024-07-01", 4, "4MiB", "parquet"),
    ("many-small", "2024-07-02", 150, "16KiB", "ndjson"),
    ("both", "2024-07-03", 40, "200KiB", "parquet"),
]


def forecast_is_right(world, stack):
    """What a dry run forecasts is what the run then takes: requests, counted at the proxy, and bytes."""
    for name, day, objects_per_hour, object_bytes, format_ in SHAPES:
        run_id, backup = f"forecast-{name}", PROJECT / f"target/e2e/{name}"
        shutil.rmtree(backup, ignore_errors=True)
        run([PROJECT / "target/debug/event-recovery", "sample", backup, "--start", f"{day}T00", "--hours", "2",
             "--objects-per-hour", str(objects_per_hour), "--object-bytes", object_bytes])
        upload(world.account.client("s3"), backup)
        window = {"start": f"{day}T00:00:00Z", "end": f"{day}T02:00:00Z", "format": format_}
        forecast = stack.plan(run_id, dry_run=True, **window)["forecast"]
        mark = world.proxy.mark()
        stack.plan(run_id, **window)
        stack.await_notification(run_id)
        actual = stack.record(run_id, "report.json")["cost"]
        mine = world.proxy.counts(mark, f"/_recovery/{run_id}/") + world.proxy.counts(mark, f"/execution_id={run_id}/")
        mine += world.proxy.counts(mark, f"/main_stream/{day.replace('-', '/')}/")
        counted = sum(count for (method, _, status), count in mine.items() if status < 400 and method != "DELETE")
        kinds = ("destination_get", "destination_list", "destination_put", "source_get")
        said = sum(forecast["requests"][kind] for kind in kinds)
        usd = [cost["micro_usd"]["total"] / 1e6 for cost in (forecast, actual)]
        print(f"e2e:   {name}: S3 requests {said} forecast, {counted} counted; bytes {forecast['bytes_read']:,} forecast, "
              f"{actual['bytes_read']:,} read; GB-seconds {forecast['lambda_gb_seconds']} forecast, "
              f"{actual['lambda_gb_seconds']} by the report; USD {usd[0]:.6f} forecast, {usd[1]:.6f} by the report", flush=True)
        # As often as the auditor happens to look, besides.
        check(abs(said - counted) <= counted / 10 + REQUESTS_OF_A_POLL, f"{name}: {said} forecast, {counted} counted: {mine}")
        check(forecast["bytes_read"] == actual["bytes_read"], f"{forecast['bytes_read']} {actual['bytes_read']}")
