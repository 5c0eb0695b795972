"""Measures the built functions: size, time from start to ready, and memory when ready.

Each function is started against a simulated Lambda runtime API until it asks for its first event. Usage, after
`make build`: measure-functions.py [STARTS]; prints a table.
"""

import statistics
import sys
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "bench"))

from function import SETTINGS, start


def zipped(bootstrap):
    archive = PROJECT / "target/measured.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as package:
        package.write(bootstrap, "bootstrap")
    return archive.stat().st_size


def main():
    starts = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    print("| function | package | zipped | start to ready, median | memory when ready |\n|---|---|---|---|---|")
    for function in ["Planner", "Worker", "Auditor"]:
        bootstrap = PROJECT / ".aws-sam/build" / function / "bootstrap"
        if not bootstrap.exists():
            raise SystemExit("error: the functions are not built\n  hint: make build")
        measured = [start(bootstrap, SETTINGS) for _ in range(starts)]
        took = statistics.median(took for took, _ in measured) * 1000
        memory = max(peak_bytes for _, peak_bytes in measured) / 2**20
        size = bootstrap.stat().st_size / 1e6
        print(f"| {function} | {size:.1f} MB | {zipped(bootstrap) / 1e6:.1f} MB | {took:.0f} ms | {memory:.0f} MiB |")


if __name__ == "__main__":
    main()
