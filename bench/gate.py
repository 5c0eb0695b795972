"""Counts the instructions of splitting and writing, and those of a whole run for each small object, with callgrind,
and compares them with bench/instructions.json.

Usage: gate.py [--record] [--instructions NAME]...

It fails if a benchmark takes more instructions than recorded, or so few that the record should be
renewed; the record's `tolerance_percent` bounds both differences. --record writes the counts
instead. The record has counts for each kind of vector instructions of the splitter; it
compares those that this processor has, or the named ones.

It installs valgrind with apt-get if it may, and the runner into target/tools.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "bench" / "instructions.json"
TOOLS = ROOT / "target" / "tools"
# The same as the library's in Cargo.toml; the two talk to each other in a format of their own.
RUNNER = "0.20.0"
CARGO = os.environ.get("CARGO", "cargo")
# The splitter's environment variable that chooses instructions, and those that run under valgrind, which does not
# support AVX-512.
VARIABLE = "EVENT_RECOVERY_INSTRUCTIONS"
KINDS = {"x86_64": ["avx2", "portable"], "aarch64": ["neon", "portable"]}
# Two runs, so that what a run costs without objects is not counted.
SMALL_OBJECTS = (100, 500)


def main():
    arguments = parse_arguments()
    install_valgrind()
    install_runner()
    record = json.loads(RECORD.read_text())
    known = record["machines"].setdefault(platform.machine(), {"tools": [], "counts": {}})
    kinds = arguments.instructions or KINDS[platform.machine()]
    small_objects = small_objects_benchmark()
    counts = {kind: count(kind) | {"run small_object": count_small_object(small_objects, kind)} for kind in kinds}
    if arguments.record:
        known["tools"] = tools()
        known["counts"] |= counts
        RECORD.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
        return
    tolerance = record["tolerance_percent"]
    if not all([is_as_recorded(kind, known["counts"].get(kind, {}), counts[kind], tolerance) for kind in kinds]):
        print_difference(known["tools"], tools())
        sys.exit(1)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the counts instead of comparing them")
    parser.add_argument("--instructions", action="append", metavar="NAME",
                        choices=KINDS[platform.machine()], help="only the kind named, such as portable")
    return parser.parse_args()


def install_valgrind():
    if shutil.which("valgrind"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit("valgrind is missing; install it with the package manager")
    subprocess.run(["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "valgrind"],
                   check=True, stdout=sys.stderr)


def install_runner():
    runner = TOOLS / "bin" / "gungraun-runner"
    if runner.exists():
        version = subprocess.run([runner, "--version"], capture_output=True, text=True).stdout
        if RUNNER in version.split():
            return
    subprocess.run([CARGO, "install", "--quiet", "--locked", "--root", TOOLS, f"gungraun-runner@{RUNNER}"],
                   check=True)


def count(kind):
    """Instructions by benchmark, such as `split clean`."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {
            VARIABLE: kind,
            "GUNGRAUN_RUNNER": str(TOOLS / "bin" / "gungraun-runner"),
            "GUNGRAUN_HOME": home,
        }
        bench = [CARGO, "bench", "--quiet", "--locked", "--package", "event-recovery-format", "--bench", "instructions"]
        output = subprocess.run([*bench, "--", "--output-format=json"], cwd=ROOT, env=environment,
                                check=True, stdout=subprocess.PIPE, text=True).stdout
    summaries = map(json.loads, output.splitlines())
    return {f"{summary['function_name']} {summary['id']}": instructions(summary) for summary in summaries}


def small_objects_benchmark():
    """The path of the benchmark's executable."""
    build = [CARGO, "bench", "--no-run", "--quiet", "--locked", "--package", "event-recovery-pipeline",
             "--bench", "small_objects", "--message-format=json"]
    output = subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    artifacts = [message for message in map(json.loads, output.splitlines()) if message.get("executable")]
    return artifacts[-1]["executable"]


def count_small_object(benchmark, kind):
    """Instructions for each object, of all threads: callgrind runs one at a time."""
    few, many = (count_run(benchmark, objects, kind) for objects in SMALL_OBJECTS)
    return round((many - few) / (SMALL_OBJECTS[1] - SMALL_OBJECTS[0]))


def count_run(benchmark, objects, kind):
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", benchmark, str(objects)],
            env=os.environ | {VARIABLE: kind}, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if run.returncode != 0:
        sys.exit(f"{benchmark} failed under valgrind\n{run.stderr}")
    [collected] = re.findall(r"Collected : (\d+)", run.stderr)
    return int(collected)


def instructions(summary):
    [profile] = summary["profiles"]
    return profile["data"]["total"]["metrics"]["Ir"]["values"]["new"]


def is_as_recorded(kind, recorded, counts, tolerance):
    """Prints a table, too."""
    print(f"{kind + f', within {tolerance} %':<24}{'recorded':>14}{'counted':>14}{'change':>10}")
    verdicts = []
    for name in sorted(recorded | counts):
        before, now = recorded.get(name), counts.get(name)
        verdicts.append(verdict(before, now, tolerance))
        change = f"{(now / before - 1) * 100:+.2f} %" if before and now else ""
        print(f"{name:<24}{before or '-':>14}{now or '-':>14}{change:>10}  {verdicts[-1]}".rstrip())
    return not any(verdicts)


def verdict(recorded, counted, tolerance):
    """Empty if all is well."""
    if counted is None:
        return "GONE: record anew with --record"
    if recorded is None:
        return "NEW: record it with --record"
    change = (counted / recorded - 1) * 100
    if change > tolerance:
        return "MORE: find out why, or record it with --record"
    return "LESS: record the gain with --record" if change < -tolerance else ""


def tools():
    """Versions on which the counts depend besides the code and Cargo.lock."""
    valgrind = subprocess.run(["valgrind", "--version"], capture_output=True, check=True, text=True).stdout.strip()
    rustc = subprocess.run(["rustc", "--version"], cwd=ROOT, capture_output=True, check=True, text=True).stdout.strip()
    return [rustc, valgrind, " ".join(platform.libc_ver())]


def print_difference(recorded, here):
    if recorded != here:
        print(f"recorded with {', '.join(recorded) or 'other tools'}; counted with {', '.join(here)}")


if __name__ == "__main__":
    main()
