"""The tools that are compared, and how each is called."""

import dataclasses
import datetime
import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from samples import START_DATE

ORG_ID = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be"
BENCH = Path(__file__).parent
OURS_NDJSON = "event-recovery, NDJSON"
OURS_PARQUET = "event-recovery, Parquet"
SPARK = "Spark, Parquet"


@dataclasses.dataclass
class Tool:
    """`command` takes the folder with `main_stream` and the output folder, both absolute."""

    name: str
    group: str
    command: Callable[[Path, Path], list]
    is_ours: bool = False
    # Slow tools get a part of the data; all costs are per GB.
    is_slow: bool = False
    # More than one object at a time: for the wall time, and left out of the chart.
    is_concurrent: bool = False
    environment: dict = dataclasses.field(default_factory=dict)

    @property
    def written_command(self):
        program, *rest = [str(word) for word in self.command(Path("DATA"), Path("OUT"))]
        if program == "sh":
            return rest[-1]
        name = "python" if program == sys.executable else Path(program).name
        return shlex.join([name, *rest]).replace(f"{BENCH}/", "bench/")


def range_end(hours):
    start = datetime.datetime.fromisoformat(START_DATE)
    return (start + datetime.timedelta(hours=hours)).isoformat() + "Z"


def our_command(binary, source, destination, output_format, hours, concurrency=1):
    """With the default concurrency if that is `None`."""
    return [binary, "run", "--quiet", "--org-id", ORG_ID, "--source", source, "--destination", destination,
            "--start", f"{START_DATE}T00:00:00Z", "--end", range_end(hours), "--format", output_format,
            *([] if concurrency is None else ["--concurrency", str(concurrency)])]


def ours(name, binary, output_format, hours, concurrency):
    def command(source, output):
        return our_command(binary, source, output, output_format, hours, concurrency)

    return Tool(name, output_format, command, is_ours=True, is_concurrent=concurrency > 1)


def shell_filter(name, words, is_slow=False):
    """A filter of files that are given as arguments, in one process."""

    def command(source, output):
        return ["sh", "-c", f"find {source}/main_stream -type f -print0 | sort -z | "
                            f"xargs -0 {words} > {output}/events.ndjson"]

    return Tool(name, "ndjson", command, is_slow=is_slow)


def library(name, group, peer, is_slow=False):
    def command(source, output):
        return [sys.executable, BENCH / "peers.py", peer, source / "main_stream", output]

    return Tool(name, group, command, is_slow=is_slow)


def spark():
    home = Path(importlib.util.find_spec("pyspark").submodule_search_locations[0])
    environment = {"SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}

    def command(source, output):
        return [home / "bin/spark-submit", "--master", "local[2]", "--driver-memory", "4g",
                "--conf", "spark.ui.enabled=false", BENCH / "spark_peer.py", source / "main_stream", output]

    return Tool(SPARK, "parquet", command, environment=environment)


def has_jq():
    if not shutil.which("jq") and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "jq"], capture_output=True)
    return shutil.which("jq") is not None


def all_tools(binary, hours, with_spark):
    tools = [
        Tool("cp", "copy", lambda source, output: ["cp", "-r", source / "main_stream", output]),
        ours(OURS_NDJSON, binary, "ndjson", hours, 1),
        ours(f"{OURS_NDJSON}, two at a time", binary, "ndjson", hours, 2),
        shell_filter("sed", r"sed 's/}{/}\n{/g'"),
        *([shell_filter("jq", "jq -c .", is_slow=True)] if has_jq() else []),
        library("Python raw_decode", "ndjson", "python_ndjson", is_slow=True),
        library("DuckDB, NDJSON", "ndjson", "duckdb_ndjson"),
        library("chDB, NDJSON", "ndjson", "chdb_ndjson"),
        ours(OURS_PARQUET, binary, "parquet", hours, 1),
        ours(f"{OURS_PARQUET}, two at a time", binary, "parquet", hours, 2),
        library("DuckDB, Parquet", "parquet", "duckdb_parquet"),
        library("chDB, Parquet", "parquet", "chdb_parquet"),
    ]
    return tools + [spark()] if with_spark else tools


def version(*command):
    """What the last word of the first line says, for these tools."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.splitlines()[0].split()[-1]


def versions(binary, with_spark):
    packages = ["chdb", "chdb-core", "duckdb", *(["pyspark"] if with_spark else [])]
    return {
        "event-recovery": version(binary, "--version"),
        "commit": version("git", "-C", str(BENCH), "describe", "--always", "--dirty"),
        "cp": version("cp", "--version"), "sed": version("sed", "--version"),
        "jq": version("jq", "--version").removeprefix("jq-"),
        "Python": sys.version.split()[0],
        **{package: importlib.metadata.version(package) for package in packages},
    }
