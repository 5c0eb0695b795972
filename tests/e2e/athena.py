"""The example for Athena in the documents, as it stands there, reads every run."""

import re
import time

from stack import PROJECT, Failed, check

QUERY_SECS_MAX = 120


def example():
    """The statements of the example, without comments."""
    text = re.search(r"```sql\n(-- Athena.*?)```", (PROJECT / "docs/deployment.md").read_text(), re.S).group(1)
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return [statement.strip() for statement in "\n".join(lines).split(";") if statement.strip()]


def database_of(name):
    return name.replace("-", "_")


def reads_every_run(world, stack, expected):
    """`expected` has the number of events of each run in Parquet, by its execution id."""
    database = database_of(world.name)
    world.account.client("glue").create_database(DatabaseInput={"Name": database})
    create, repair, select = example()
    where = f"{stack.bucket}/{stack.prefix}".rstrip("/") if world.account.is_aws else copy(world, stack, expected)
    query(world, database, create.replace("BUCKET/PREFIX", where))
    if world.account.is_aws:
        query(world, database, repair)
    runs = ", ".join(f"'{run_id}'" for run_id in expected)
    rows = query(world, database, "SELECT execution_id, count(*) FROM recovered "
                 f"WHERE execution_id IN ({runs}) GROUP BY 1")
    found = {run_id: int(count) for run_id, count in rows}
    check(found == expected, f"Athena counts {found} events, and not {expected}")
    first = next(iter(expected))
    rows = query(world, database, select.replace("my-first-day", first))
    check(sum(int(count) for _, count in rows) == expected[first], f"the example's query counts {rows}")


def copy(world, stack, runs):
    """A prefix with these runs alone: the emulator finds partitions by itself, without MSCK REPAIR TABLE, but also
    reads those that a query leaves out, of which some are NDJSON."""
    s3, bucket = world.account.client("s3"), f"{world.name}-artifacts"
    for run_id in runs:
        for key in stack.keys(f"execution_id={run_id}/"):
            s3.put_object(Bucket=bucket, Key=f"runs/{key.removeprefix(stack.prefix)}", Body=stack.read(key))
    return f"{bucket}/runs"


def query(world, database, sql):
    """The rows of a query's result, without the header."""
    client = world.account.client("athena")
    query_id = client.start_query_execution(
        QueryString=sql, QueryExecutionContext={"Database": database},
        ResultConfiguration={"OutputLocation": f"s3://{world.name}-artifacts/athena/"})["QueryExecutionId"]
    deadline = time.monotonic() + QUERY_SECS_MAX
    while time.monotonic() < deadline:
        status = client.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]["Status"]
        if status["State"] == "SUCCEEDED":
            pages = client.get_paginator("get_query_results").paginate(QueryExecutionId=query_id)
            rows = [[column.get("VarCharValue") for column in row["Data"]]
                    for page in pages for row in page["ResultSet"]["Rows"]]
            return rows[1:]
        check(status["State"] in ("QUEUED", "RUNNING"), f"{sql}: {status.get('StateChangeReason')}")
        time.sleep(0.5)
    raise Failed(f"{sql}: not finished after {QUERY_SECS_MAX} s")
