"""What people read: the table, the targets, and the block of the performance document."""

import datetime
import os
import platform
from pathlib import Path

from targets import cpu_ratio, ours_beside

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
HEADER = ["tool", "CPU-s/GB", "ours / it", "wall s/GB", "peak MB", "output MB/GB", "intact objects", "all objects"]


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
    return [target.what, text(target.measured), bound, target.verdict()]


def aligned(lines):
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def text_report(rows, targets, absent, micro):
    parts = [aligned([HEADER, *(row_cells(rows, row) for row in rows.values())])]
    parts += [f"{name}: not installed" for name in absent]
    parts.append(aligned([["target", "measured", "required", ""], *map(target_cells, targets)]))
    return "\n\n".join(parts + ([f"in memory:\n{micro}"] if micro else []))


def markdown_table(lines):
    header, *body = lines
    marks = ["---"] + ["---:" if cell[:1].isdigit() else "---" for cell in body[0][1:]]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in [header, marks, *body])


def markdown(rows, targets, absent, micro, machine_, versions, data_note):
    known = ", ".join(f"{name} {version}" for name, version in versions.items() if name not in ("commit", "event-recovery"))
    commands = "\n".join(f"# {row.tool.name}\n{row.tool.written_command}" for row in rows.values())
    parts = [
        f"Measured {machine_['date']} at commit {versions['commit']} on {machine_['processor']}, {machine_['cores']} cores, "
        f"{machine_['memory_gb']} GB of memory, Linux {machine_['kernel']}. {data_note}",
        markdown_table([HEADER, *(row_cells(rows, row) for row in rows.values())]),
        *(f"{name} was not installed." for name in absent),
        markdown_table([["target", "measured", "required", "verdict"], *map(target_cells, targets)]),
        *([f"In memory:\n\n```text\n{micro.rstrip()}\n```"] if micro else []),
        f"Versions: {known}.",
        f"Commands:\n\n```sh\n{commands}\n```",
    ]
    return "\n\n".join(parts)


def put_between_markers(path, block):
    """Replaces what an earlier run wrote, and leaves the rest of the document alone."""
    text = path.read_text() if path.exists() else f"{BEGIN}\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"error: {path} has no `{BEGIN}` and `{END}`")
    path.write_text(f"{before}{BEGIN}\n\n{block}\n\n{END}{after}")
