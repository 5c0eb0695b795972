"""Compares event-recovery with other tools that could do its work, files to files.

`make bench` runs it. Tools go in turns, and what counts is the median of the ratios within a round,
so that a busy machine slows all alike. Progress and tables go to stderr. Exit code 1 means that
event-recovery itself failed or gave other events than expected; missed targets are only reported.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import report
import samples
from chart import chart
from functions import measure_functions
from measure import folder_bytes, measured_run
from s3 import measure_s3
from small import measure_small
from targets import Row, targets
from tools import SPARK, all_tools, has_jq, our_command, versions
from worker import measure_workers

VERDICT = Path(__file__).with_name("verdict.py")
# What a recovery exits with when it is complete, and when someone should look at what was damaged.
OUR_EXIT_CODES = [0, 3]
EXACT = "exact"
TINY_OBJECT = "10KB"


def say(message):
    print(message, file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True, help="the release build of event-recovery")
    parser.add_argument("--functions", type=Path, required=True, help="the folder of the functions' release builds")
    parser.add_argument("--planner", help="a command that plans ten million objects")
    parser.add_argument("--work", type=Path, default=Path("target/bench"),
                        help="data and output lie in a folder below it, which is removed at the end")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clean-hours", type=int, default=10, help="100 MB each, in objects of 10 MB")
    parser.add_argument("--slow-hours", type=int, default=1, help="how many of them jq and Python get")
    parser.add_argument("--hard-hours", type=int, default=10, help="20 MB each, to hold results against the truth")
    parser.add_argument("--large-object", default="1GB", help="for peak memory")
    parser.add_argument("--micro", help="a command that measures in memory; its output ends the report")
    parser.add_argument("--json", type=Path, help="where all figures go; `-` for stdout")
    parser.add_argument("--markdown", type=Path, help="a document with markers, between which the result goes")
    parser.add_argument("--chart", type=Path, help="where the chart goes, as SVG")
    return parser.parse_args()


def failure(what, work):
    """With the log of event-recovery, which holds no content of events."""
    return SystemExit(f"error: {what} failed\n{(work / 'log.txt').read_text(errors='replace')}")


def run_tool(tool, data, work):
    """One run into an empty folder, which the caller removes."""
    output = work / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    run = measured_run(tool.command(data.folder, output), work, tool.environment)
    run.output_bytes = folder_bytes(output)
    return run


def measure_rounds(rows, data_of, tiny, rounds, work):
    for number in range(1, rounds + 1):
        for row in rows.values():
            say(f"round {number} of {rounds}: {row.tool.name}")
            run = run_tool(row.tool, data_of(row.tool), work)
            row.runs.append(run)
            if row.tool.is_ours and run.exit_code not in OUR_EXIT_CODES:
                raise failure(row.tool.name, work)
            if row.tool.name == SPARK:
                row.start_ups.append(run_tool(row.tool, tiny, work))
    shutil.rmtree(work / "output", ignore_errors=True)


def verdict(tool, data, work):
    """What the tool makes of the data, in words."""
    if tool.group == "copy":
        return ""
    run = run_tool(tool, data, work)
    if run.exit_code not in (OUR_EXIT_CODES if tool.is_ours else [0]):
        return "stops"
    compared = subprocess.run(
        [sys.executable, VERDICT, tool.group, data.expected, work / "output"], capture_output=True, text=True)
    if compared.returncode != 0:
        return "unreadable"
    found = json.loads(compared.stdout)
    wrong, invented = found["lost"] + found["altered"], found["invented"]
    if wrong or invented:
        also = f", {invented:,} invented" if invented else ""
        return f"{wrong:,} of {found['events']:,} wrong{also}"
    return f"same values, {found['respelled']:,} respelled" if found["respelled"] else EXACT


def judge(rows, intact, hard, work):
    for row in rows.values():
        say(f"correctness: {row.tool.name}")
        row.intact, row.damaged = verdict(row.tool, intact, work), verdict(row.tool, hard, work)
    shutil.rmtree(work / "output", ignore_errors=True)


def measure_large(binary, large, work):
    """Peak memory over one object; the folder is new for each format."""
    runs = {}
    for output_format in ["ndjson", "parquet"]:
        say(f"one large object: {output_format}")
        output = work / "output"
        shutil.rmtree(output, ignore_errors=True)
        runs[output_format] = measured_run(our_command(binary, large.folder, output, output_format, 1), work)
        if runs[output_format].exit_code != 0:
            raise failure("event-recovery, one large object", work)
    shutil.rmtree(work / "output", ignore_errors=True)
    return runs


def in_memory(command):
    if not command:
        return ""
    say(f"in memory: {command}")
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"error: `{command}` failed")
    return done.stdout.strip()


def data_note(clean, hard, intact, large):
    notes = [
        f"{clean.bytes / 1e9:.2f} GB in objects of 10 MB, page cache warm, medians of rounds in turns;",
        "jq and Python get a part.",
        f"*All objects*: {hard.bytes / 1e6:.0f} MB with tricky strings, torn events and compressed objects;",
        f"*intact objects*: those of them that are plain and undamaged ({intact.bytes / 1e6:.0f} MB).",
        f"The large object has {large.bytes / 1e6:,.0f} MB. S3 is a stand-in on loopback, over plain HTTP but where TLS is named.",
    ]
    return " ".join(notes)


def bars(rows):
    """`cp` is in the NDJSON group: it reads and writes the same bytes, and does nothing else."""
    return [
        ("ndjson" if row.tool.group == "copy" else row.tool.group, row.tool.name.split(",")[0],
         row.median_cpu_secs_per_gb, row.tool.is_ours, "wrong" in row.intact)
        for row in rows.values() if not row.failed and not row.tool.is_concurrent
    ]


def write_results(options, result):
    say(f"\n{report.text_report(result)}")
    if options.chart:
        options.chart.write_text(chart(bars(result.rows)))
    if options.markdown:
        report.put_between_markers(options.markdown, report.markdown(result))
    all_figures = json.dumps(report.figures(result), indent=2)
    if options.json == Path("-"):
        print(all_figures)
    elif options.json:
        options.json.write_text(all_figures + "\n")


def compare(options, binary, work, with_spark):
    say("generating data")
    many = samples.small(binary, work / "small")
    samples.warm(many)
    say("small objects")
    small = measure_small(binary, many, work, options.rounds)
    clean = samples.clean(binary, work / "clean", options.clean_hours)
    slow = samples.first_hours(clean, work / "slow", options.slow_hours)
    hard = samples.hard(binary, work / "hard", options.hard_hours)
    intact = samples.intact(hard, work / "intact")
    tiny = samples.one_object(binary, work / "tiny", TINY_OBJECT)
    data_of = lambda tool: slow if tool.is_slow else clean
    tools = all_tools(binary, max(options.clean_hours, options.hard_hours), with_spark)
    rows = {tool.name: Row(tool, data_of(tool).bytes) for tool in tools}

    judge(rows, intact, hard, work)
    samples.warm(clean)
    measure_rounds(rows, data_of, tiny, options.rounds, work)
    large = samples.one_object(binary, work / "large", options.large_object)
    large_runs = measure_large(binary, large, work)
    say("between buckets")
    s3 = measure_s3(binary, work, clean, options.clean_hours, large, options.rounds)
    say("workers")
    functions = options.functions.resolve()
    workers = measure_workers(
        functions / "worker", many, samples.SMALL_HOURS, clean, options.clean_hours, work, options.rounds)
    say("functions")
    functions = measure_functions(functions, options.planner, work)
    in_memory_text = in_memory(options.micro)
    found = targets(rows, large_runs, s3, small, workers, functions, in_memory_text)
    return report.Result(
        rows, found, [] if has_jq() else ["jq"], large_runs, s3, small, workers, functions, in_memory_text,
        versions(binary, with_spark), data_note(clean, hard, intact, large))


def main():
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.work.resolve(), prefix="run-") as work:
        result = compare(options, options.binary.resolve(), Path(work), os.environ.get("BENCH_SPARK") == "1")
    write_results(options, result)
    inexact = [row.tool.name for row in result.rows.values() if row.tool.is_ours and {row.intact, row.damaged} != {EXACT}]
    if inexact:
        raise SystemExit(f"error: other events than expected: {', '.join(inexact)}")


if __name__ == "__main__":
    main()
