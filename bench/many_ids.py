"""Compares a run with many ids, measures time and memory, and compares the result with DuckDB's anti-join.

Needs some 300 bytes of disk for each id.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

ORG_ID = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be"
OBJECTS = 100
# Odd, so that numbers are mixed without a repetition.
MIX = 0x9E3779B97F4A7C15F39CC0605CEDC835
MASK = (1 << 128) - 1


def event_id(number):
    text = f"{number * MIX & MASK:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def generate(folder, ids):
    """A backup with so many small events, and the ids of a consumer that has two of three and some that nobody sent."""
    hour = folder / "backup/main_stream/2024/04/01/00"
    hour.mkdir(parents=True)
    each = ids // OBJECTS
    with open(folder / "received.txt", "w") as received:
        for number in range(OBJECTS):
            found = [event_id(index) for index in range(number * each, (number + 1) * each)]
            name = hour / f"{ORG_ID}-1-2024-04-01-00-10-{number % 60:02}-{number:08x}-0000-4000-8000-000000000000"
            name.write_text("".join(f'{{"event_id":"{one}"}}' for one in found))
            received.write("".join(f"{one}\n" for index, one in enumerate(found) if index % 3))
        received.write("".join(f"unknown-{number}\n" for number in range(1000)))
    return each * OBJECTS


def timed(command):
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode not in (0, 3):
        sys.exit(f"{command[1]}: exit {done.returncode}")
    return json.loads(done.stdout), time.monotonic() - began, cpu, after.ru_maxrss // 1024


def missing_ids(recovered, comparison):
    folder = recovered / f"_recovery/many/comparisons/{comparison['comparison_id']}/missing"
    return [folder / f"{number}.ids" for number in range(1, comparison["missing_files"] + 1)]


def check_with_duckdb(folder, recovered, comparison):
    """The same by a query: the ids of the run that are not among the received ones, in their order."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET memory_limit = '8GB'")
    text = "columns = {'id': 'VARCHAR'}, header = false, delim = '\\0', quote = ''"
    began = time.monotonic()
    rows = connection.execute(f"""
        SELECT event_id FROM read_json('{recovered}/execution_id=many/**/*.ndjson', columns = {{'event_id': 'VARCHAR'}}) r
        ANTI JOIN read_csv('{folder}/received.txt', {text}) c ON r.event_id = c.id ORDER BY event_id""").fetchall()
    took = time.monotonic() - began
    ours = [line for path in missing_ids(recovered, comparison) for line in path.read_text().splitlines()]
    if ours != [row[0] for row in rows]:
        sys.exit(f"DuckDB finds {len(rows)} ids to be missing, and compare {len(ours)}, or others")
    return took


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--ids", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, default=Path("target/many-ids"))
    parser.add_argument("--duckdb", action="store_true", help="compare the result with DuckDB's")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    ids = generate(folder, arguments.ids)
    recovered = folder / "recovered"
    report, took, *_ = timed([
        arguments.binary, "run", "--org-id", ORG_ID, "--source", folder / "backup", "--destination", recovered,
        "--execution-id", "many", "--format", "ndjson", "--window", "publish", "--start", "2024-04-01T00:00:00Z",
        "--end", "2024-04-01T01:00:00Z", "--json", "--quiet"])
    if report["events"]["written"] != ids:
        sys.exit(f"{report['events']['written']} events are recovered, and {ids} were backed up")
    shutil.rmtree(folder / "backup")
    comparison, took, cpu, memory = timed([
        arguments.binary, "compare", "--destination", recovered, "--execution-id", "many", "--received",
        folder / "received.txt", "--temporary-folder", folder, "--json", "--quiet"])
    expected = sum(len(range(0, ids // OBJECTS, 3)) for _ in range(OBJECTS))
    if (comparison["missing"], comparison["unknown"]) != (expected, 1000):
        sys.exit(f"{comparison['missing']} are missing, not {expected}; {comparison['unknown']} are unknown")
    print(f"{ids:,} events, {comparison['received'] + 1000:,} received ids: {took:.0f} s, {cpu:.0f} CPU-s, {memory} MiB; "
          f"{comparison['missing']:,} missing, 1,000 unknown")
    if arguments.duckdb:
        print(f"DuckDB finds the same ids in {check_with_duckdb(folder, recovered, comparison):.0f} s")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
