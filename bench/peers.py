"""Runs one peer that is a Python library.

Usage: peers.py NAME MAIN_STREAM OUTPUT_FOLDER

Each query is the cheapest correct one that was found; docstrings name the alternatives that were tried.
"""

import json
import re
import sys
from pathlib import Path

WHITE_SPACE = re.compile(r"[ \t\r\n]*")
EVENT_BYTES_MAX = 16 * 1024 * 1024
STRINGS_BEFORE = ["event_id", "cid", "org_id", "event_type", "domain"]
INTEGERS = ["schema_version", "arrival_epoch"]
STRINGS_AFTER = ["timestamp", "data"]


def columns(pattern, string_type, integer_type):
    types = dict.fromkeys(STRINGS_BEFORE, string_type) | dict.fromkeys(INTEGERS, integer_type)
    types |= dict.fromkeys(STRINGS_AFTER, string_type)
    return ", ".join(pattern.format(name=name, type=type_) for name, type_ in types.items())


def python_ndjson(source, output):
    decoder = json.JSONDecoder()
    with (output / "events.ndjson").open("w", encoding="utf-8", newline="") as lines:
        for path in sorted(source.rglob("*")):
            if not path.is_file():
                continue
            text = path.read_bytes().decode()
            position = WHITE_SPACE.match(text).end()
            while position < len(text):
                _, end = decoder.raw_decode(text, position)
                event = text[position:end]
                if "\n" in event:
                    event = event.replace("\n", "").replace("\r", "")
                lines.write(event + "\n")
                position = WHITE_SPACE.match(text, end).end()


def duckdb_run(query):
    import duckdb

    # By default it buffers rows to keep the order of the input, which takes more CPU and four times the memory.
    duckdb.execute("SET preserve_insertion_order = false")
    duckdb.execute(query)


def duckdb_ndjson(source, output):
    """CSV without quotes writes a text as it is; `FORMAT json` would take the event apart and write
    it anew, at twice the cost."""
    duckdb_run(rf"""
        COPY (SELECT CASE WHEN contains(json::VARCHAR, chr(10))
                     THEN replace(replace(json::VARCHAR, chr(10), ''), chr(13), '') ELSE json::VARCHAR END
              FROM read_json_objects('{source}/**', format = 'unstructured', compression = 'none',
                                     maximum_object_size = {EVENT_BYTES_MAX}))
        TO '{output}/events.ndjson' (FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER E'\x01')""")


def duckdb_parquet(source, output):
    """zstd at level 1, as ours; its default, 3, costs a quarter more and gives a larger file."""
    duckdb_run(f"""
        COPY (SELECT * FROM read_json('{source}/**', format = 'unstructured', compression = 'none',
                                      maximum_object_size = {EVENT_BYTES_MAX},
                                      columns = {{{columns("{name}: '{type}'", "VARCHAR", "BIGINT")}}}))
        TO '{output}/events.parquet' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)""")


def chdb_run(query):
    """Parsing and formatting without threads (`input_format_parallel_parsing`) costs the same."""
    import chdb

    chdb.query(query)


def chdb_ndjson(source, output):
    """`JSONAsString` finds the events and leaves their bytes alone."""
    chdb_run(rf"""
        SELECT if(position(json, '\n') > 0, replaceAll(replaceAll(json, '\n', ''), '\r', ''), json)
        FROM file('{source}/**', 'JSONAsString', 'json String')
        INTO OUTFILE '{output}/events.ndjson' FORMAT LineAsString""")


def chdb_parquet(source, output):
    """`JSONEachRow` takes objects without a delimiter and gives the text of `data`; it costs less than
    half of `JSONAsString` with nine `JSONExtract`. zstd at level 1, as ours."""
    chdb_run(f"""
        SELECT * FROM file('{source}/**', 'JSONEachRow',
                           '{columns("{name} Nullable({type})", "String", "Int64")}')
        INTO OUTFILE '{output}/events.parquet' FORMAT Parquet
        SETTINGS output_format_parquet_compression_method = 'zstd', output_format_compression_level = 1""")


PEERS = [python_ndjson, duckdb_ndjson, duckdb_parquet, chdb_ndjson, chdb_parquet]

if __name__ == "__main__":
    peer_name, main_stream, output_folder = sys.argv[1:]
    {peer.__name__: peer for peer in PEERS}[peer_name](Path(main_stream), Path(output_folder))
