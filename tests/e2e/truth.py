"""Compares a recovery with the truth that the sample's generator wrote."""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from stack import PROJECT, check


def lines(stack, execution_id):
    """The events of a run as NDJSON, sorted."""
    found = []
    for key in stack.keys(f"execution_id={execution_id}/"):
        if key.endswith(".ndjson"):
            found += stack.read(key).splitlines()
    return sorted(found)


def expected(backup):
    return sorted((backup / "expected.ndjson").read_bytes().splitlines())


def check_ndjson(stack, execution_id, truth):
    """The run has exactly the events of the truth, each as often."""
    found, want = Counter(lines(stack, execution_id)), Counter(truth)
    invented, lost = found - want, want - found
    check(not invented, f"{execution_id}: {invented.total()} events that the truth does not have")
    check(not lost, f"{execution_id}: {lost.total()} events are missing")


def check_parquet(stack, execution_id, backup):
    with tempfile.TemporaryDirectory() as folder:
        for key in stack.keys(f"execution_id={execution_id}/"):
            if key.endswith(".parquet"):
                path = Path(folder) / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(stack.read(key))
        done = subprocess.run(
            [sys.executable, PROJECT / "tests/check_parquet.py", backup / "expected.ndjson", folder],
            capture_output=True, text=True)
        check(done.returncode == 0, f"{execution_id}: {done.stdout}{done.stderr}")


def check_balance(report):
    objects, bytes_, events = report["objects"], report["bytes"], report["events"]
    check(objects["listed"] == objects["pruned"] + objects["planned"], "listed != pruned + planned")
    parts = ("done", "salvaged", "failed", "missing", "lost")
    check(objects["planned"] == sum(objects[part] for part in parts), f"planned != {' + '.join(parts)}")
    check(bytes_["read"] == bytes_["events"] + bytes_["whitespace"] + bytes_["rejected"], "bytes do not add up")
    check(events["found"] == events["written"] + events["out_of_window"] + events["filtered_out"]
          + events["duplicates"], "events do not add up")


def check_torn(stack, execution_id, backup):
    """The rejected fragments are the torn events, by key, offset and length."""
    torn = [json.loads(line) for line in (backup / "torn.jsonl").read_text().splitlines()]
    kept = []
    for key in stack.keys(f"_recovery/_rejected/{execution_id}/"):
        kept += [json.loads(line) for line in stack.read(key).splitlines()]
    place = lambda line: (line["key"], line["offset"], line["length"])
    check(sorted(map(place, kept)) == sorted(map(place, torn)), f"{execution_id}: other fragments were rejected")
