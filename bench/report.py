"""The report for people: the tables of tools and targets, as text and as Markdown."""

import dataclasses
import datetime
import os
import platform
from pathlib import Path

from functions import FunctionsResult
from measure import Run
from s3 import S3Result
from small import SmallResult
from targets import Row, Target, cpu_ratio, ours_beside
from worker import WorkerResult

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
HEADER = ["tool", "CPU-s/GB", "ours / it", "wall s/GB", "peak MB", "output MB/GB", "intact objects", "all objects"]


@dataclasses.dataclass
class Result:
    """The results of one benchmark run."""

    rows: dict[str, Row]
    targets: list[Target]
    absent: list[str]
    # A run for each format over one large object on disk.
    large: dict[str, Run]
    s3: S3Result
    small: SmallResult
    workers: WorkerResult
    functions: FunctionsResult
    in_memory: str
    versions: dict[str, str]
    data_note: str
    machine: dict = dataclasses.field(default_factory=lambda: machine())


def machine():
    processors = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in processors if line.startswith("model name")), platform.machine())
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "processor": model, "cores": os.cpu_count(), "kernel": platform.release(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
    }


def row_cells(rows, row):
    if row.failed:
        return [row.tool.name, "failed", "", "", "", "", row.intact, row.damaged]
    beside = ours_beside(rows, row)
    return [
        row.tool.name, f"{row.median_cpu_secs_per_gb:.2f}",
        "" if row.tool.is_ours else f"{cpu_ratio(rows, beside, row.tool.name):.2f}",
        f"{row.median_wall_secs_per_gb:.2f}", f"{row.peak_mb:,.0f}", f"{row.output_mb_per_gb:,.0f}",
        row.intact, row.damaged,
    ]


def target_cells(target):
    def text(value):
        return "" if value is None else f"{value:.3g}"

    sign = ">=" if target.is_least else "<="
    stretch = "" if target.stretch is None else f"stretch {text(target.stretch)}"
    bound = " ".join(filter(None, [target.limit is not None and f"{sign} {text(target.limit)}", stretch]))
    return [target.what, text(target.before), text(target.measured), bound, target.verdict()]


def aligned(lines):
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def table(result):
    return [HEADER, *(row_cells(result.rows, row) for row in result.rows.values())]


def text_report(result):
    parts = [aligned(table(result)), *(f"{name}: not installed" for name in result.absent)]
    parts.append(aligned(result.small.table()))
    parts.append(aligned([["target", "before", "measured", "required", ""], *map(target_cells, result.targets)]))
    return "\n\n".join(parts + ([f"in memory:\n{result.in_memory}"] if result.in_memory else []))


def markdown_table(lines):
    header, *body = lines
    marks = ["---"] + ["---:" if cell[:1].isdigit() else "---" for cell in body[0][1:]]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in [header, marks, *body])


def markdown(result):
    machine_ = result.machine
    known = ", ".join(f"{name} {version}" for name, version in result.versions.items() if name != "commit")
    commands = "\n".join(f"# {row.tool.name}\n{row.tool.written_command}" for row in result.rows.values())
    parts = [
        f"Measured {machine_['date']} at commit {result.versions['commit']} on {machine_['processor']}, "
        f"{machine_['cores']} cores, {machine_['memory_gb']} GB of memory, Linux {machine_['kernel']}. {result.data_note}",
        markdown_table(table(result)),
        *(f"{name} was not installed." for name in result.absent),
        markdown_table(result.small.table()),
        markdown_table([["target", "before", "measured", "required", "verdict"], *map(target_cells, result.targets)]),
        "*Before* is what commit cc68a98 of 2026-11-23 gave on the same kind of machine.",
        *([f"In memory:\n\n```text\n{result.in_memory}\n```"] if result.in_memory else []),
        f"Versions: {known}.",
        f"Commands:\n\n```sh\n{commands}\n```",
    ]
    return "\n\n".join(parts)


def figures(result):
    """All results as JSON values, for programs."""
    asdict = dataclasses.asdict
    return {
        "machine": result.machine, "versions": result.versions,
        "tools": [{
            "name": row.tool.name, "group": row.tool.group, "command": row.tool.written_command,
            "data_bytes": row.data_bytes, "cpu_secs_per_gb": row.cpu_secs_per_gb, "runs": list(map(asdict, row.runs)),
            "start_ups": list(map(asdict, row.start_ups)), "intact": row.intact, "damaged": row.damaged,
        } for row in result.rows.values()],
        "targets": [asdict(target) | {"verdict": target.verdict()} for target in result.targets],
        "large": {name: asdict(run) for name, run in result.large.items()},
        "s3": asdict(result.s3), "small": asdict(result.small), "workers": asdict(result.workers),
        "functions": asdict(result.functions),
        "in_memory": result.in_memory,
    }


def put_between_markers(path, block):
    """Replaces what an earlier run wrote, and leaves the rest of the document alone."""
    text = path.read_text() if path.exists() else f"{BEGIN}\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"error: {path} has no `{BEGIN}` and `{END}`")
    path.write_text(f"{before}{BEGIN}\n\n{block}\n\n{END}{after}")
