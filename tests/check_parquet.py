"""Compares Parquet files, read by pyarrow and by DuckDB, with the sample's truth.

Usage: check_parquet.py EXPECTED.ndjson FOLDER

The files must hold exactly the events of the truth, each as often and field for field.
"""

import collections
import json
import pathlib
import re
import sys

import duckdb
import pyarrow.parquet

NINE = ["event_id", "cid", "org_id", "event_type", "domain", "schema_version", "arrival_epoch", "timestamp", "data"]
COLUMNS = NINE + ["extra_fields"]
TYPES = {name: "string" for name in COLUMNS} | {"schema_version": "int64", "arrival_epoch": "int64"}


class Number(str):
    """A number as the event spells it."""


def parse(text):
    return json.loads(text, parse_int=Number, parse_float=Number, object_pairs_hook=lambda pairs: tuple(map(tuple, pairs)))


def freeze(value):
    return tuple(map(freeze, value)) if isinstance(value, (list, tuple)) else value


def integer(value):
    if isinstance(value, str) and re.fullmatch(r"-?(0|[1-9][0-9]*)", value) and -(2**63) <= int(value) < 2**63:
        return int(value)
    return None


def expected_row(line):
    pairs = parse(line)
    fields = dict(pairs)
    assert len(fields) == len(pairs), "the sample has no duplicate keys"
    row, extra = {}, []
    for name, value in pairs:
        if name not in NINE:
            extra.append((name, value))
        elif value is None:
            row[name] = None
        elif name == "data":
            row[name] = value if type(value) is str else ("json", value)
        elif name in ("schema_version", "arrival_epoch"):
            row[name] = integer(value)
            assert row[name] is not None, "the sample's integers all fit"
        else:
            assert type(value) is str
            row[name] = value
    row["extra_fields"] = tuple(extra) or None
    return freeze([row.get(name) for name in COLUMNS])


def actual_row(values, lines):
    row = dict(zip(COLUMNS, values))
    data = row["data"]
    # `data` holds the text of a string or the JSON of another value; only the event says which of the two.
    expected_data = lines.get(row["event_id"])
    if data is not None and expected_data is not None and isinstance(expected_data, tuple):
        row["data"] = ("json", parse(data))
    if row["extra_fields"] is not None:
        row["extra_fields"] = parse(row["extra_fields"])
    return freeze([row[name] for name in COLUMNS])


def check(name, rows, expected, data_of):
    found = collections.Counter(actual_row(row, data_of) for row in rows)
    lacking, surplus = expected - found, found - expected
    print(f"{name}: {found.total()} events, {lacking.total()} missing, {surplus.total()} too many", file=sys.stderr)
    return not lacking and not surplus


def main():
    truth, folder = sys.argv[1:]
    expected = collections.Counter()
    data_of = {}
    texts = {}
    with open(truth, encoding="utf-8", newline="\n") as lines:
        for line in lines:
            row = expected_row(line.removesuffix("\n"))
            expected[row] += 1
            data_of[row[0]] = row[8]
            texts[row[0]] = line
    files = sorted(pathlib.Path(folder).rglob("*.parquet"))
    rows = []
    for file in files:
        # One file, not a data set: the folders' names must not become columns.
        parquet = pyarrow.parquet.ParquetFile(file)
        assert parquet.schema_arrow.names == COLUMNS, parquet.schema_arrow.names
        assert {field.name: str(field.type) for field in parquet.schema_arrow} == TYPES
        assert all(field.nullable for field in parquet.schema_arrow)
        table = parquet.read()
        rows += zip(*(table.column(name).to_pylist() for name in COLUMNS))
    # `data` is the event's own text, not only an equal value.
    for row in rows:
        if isinstance(data_of.get(row[0]), tuple):
            assert re.sub("[\r\n]", "", row[8]) in texts[row[0]]
    by_duckdb = duckdb.sql(
        f"select {', '.join(COLUMNS)} from read_parquet('{folder}/**/*.parquet', hive_partitioning = false)"
    ).fetchall()
    dates = duckdb.sql(
        f"""select count(*) from read_parquet('{folder}/**/*.parquet', hive_partitioning = true)
            where date::varchar <> strftime(make_timestamp(arrival_epoch * 1000), '%Y-%m-%d')"""
    ).fetchall()[0][0]
    good = check("pyarrow", rows, expected, data_of) & check("DuckDB", by_duckdb, expected, data_of)
    if dates:
        print(f"{dates} events are under another date than that of their arrival", file=sys.stderr)
    sys.exit(0 if good and not dates else 1)


main()
