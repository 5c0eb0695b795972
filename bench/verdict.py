"""Compares a peer's output with the events that were expected, and prints the difference as JSON.

Usage: verdict.py ndjson|parquet EXPECTED.ndjson OUTPUT_FOLDER

`altered` counts events with another value somewhere, `respelled` those with the same values in
another spelling. A process of its own, as it takes memory; it prints counts and no content.
"""

import collections
import json
import re
import sys
from pathlib import Path

TEXTS = ["event_id", "cid", "org_id", "event_type", "domain", "timestamp"]
INTEGERS = ["schema_version", "arrival_epoch"]
COLUMNS = [*TEXTS, *INTEGERS, "data"]


def output_files(folder, extension):
    """Without files and folders that begin with `_`, which Parquet readers skip as well."""
    for path in sorted(folder.rglob(f"*.{extension}")):
        if not any(part.startswith("_") for part in path.relative_to(folder).parts):
            yield path


def number(text):
    """The same for 12.50 and 12.5, and for 12.00 and 12, but not for integers that a float can't hold."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def value_of(text):
    """A hashable value, the same for all spellings of it; the text itself if it is not JSON."""
    try:
        return json.dumps(json.loads(text, parse_float=number), sort_keys=True)
    except ValueError:
        return text


def difference(expected, found):
    """Counts of lost and invented events, for two counters of what identifies one."""
    return (expected - found).total(), (found - expected).total()


def compare_ndjson(truth, folder):
    expected = collections.Counter(truth)
    found = collections.Counter(
        line for path in output_files(folder, "ndjson") for line in path.read_bytes().splitlines())
    not_verbatim, foreign = expected - found, found - expected
    lost, invented = difference(
        collections.Counter(map(value_of, not_verbatim.elements())),
        collections.Counter(value_of(line.decode(errors="replace")) for line in foreign.elements()))
    return {"lost": lost, "invented": invented, "altered": 0, "respelled": not_verbatim.total() - lost}


def expected_integer(value):
    is_spelled_as_text = isinstance(value, str) and re.fullmatch(r"-?(0|[1-9][0-9]*)", value)
    return int(value) if is_spelled_as_text else value


def row_difference(line, row):
    """Whether the row has other values than the event, or the same in another spelling."""
    event = json.loads(line, parse_float=number)
    scalars = [event.get(name) for name in TEXTS] + [expected_integer(event.get(name)) for name in INTEGERS]
    *found, found_data = row
    data = event.get("data")
    if scalars != found or (data is None) != (found_data is None):
        return "altered"
    if data is None or isinstance(data, str):
        return None if found_data == data else "altered"
    if re.sub("[\r\n]", "", found_data) in line:
        return None
    return "respelled" if value_of(found_data) == json.dumps(data, sort_keys=True) else "altered"


def compare_parquet(truth, folder):
    import pyarrow.parquet

    # An event that was sent twice is the same both times, so its id is enough to find it.
    lines = {json.loads(line)["event_id"]: line.decode() for line in truth}
    ids_expected = collections.Counter(json.loads(line)["event_id"] for line in truth)
    ids_found, differences = collections.Counter(), collections.Counter()
    for path in output_files(folder, "parquet"):
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(columns=COLUMNS):
            for row in zip(*(batch.column(name).to_pylist() for name in COLUMNS)):
                ids_found[row[0]] += 1
                if row[0] in lines:
                    differences[row_difference(lines[row[0]], row)] += 1
    lost, invented = difference(ids_expected, ids_found)
    return {"lost": lost, "invented": invented, "altered": differences["altered"], "respelled": differences["respelled"]}


def main():
    output_format, expected, folder = sys.argv[1:]
    truth = Path(expected).read_bytes().splitlines()
    compare = {"ndjson": compare_ndjson, "parquet": compare_parquet}[output_format]
    print(json.dumps({"events": len(truth), **compare(truth, Path(folder))}))


if __name__ == "__main__":
    main()
