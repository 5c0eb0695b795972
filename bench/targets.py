"""Costs per GB, ratios between tools, and the targets that are compared with them."""

import dataclasses
import statistics

from measure import Run
from tools import OURS_NDJSON, OURS_PARQUET, SPARK, Tool


@dataclasses.dataclass
class Row:
    """One tool, with a run for each round."""

    tool: Tool
    data_bytes: int
    runs: list[Run] = dataclasses.field(default_factory=list)
    # The cost with next to no data, which is subtracted where only the marginal cost counts.
    start_ups: list[Run] = dataclasses.field(default_factory=list)
    intact: str = ""
    damaged: str = ""

    @property
    def failed(self):
        return any(run.exit_code != 0 for run in self.runs)

    @property
    def cpu_secs_per_gb(self):
        """One figure for each round."""
        start_ups = [run.cpu_secs for run in self.start_ups] or [0.0] * len(self.runs)
        return [(run.cpu_secs - start_up) / self.data_bytes * 1e9 for run, start_up in zip(self.runs, start_ups)]

    @property
    def median_cpu_secs_per_gb(self):
        return statistics.median(self.cpu_secs_per_gb)

    @property
    def median_wall_secs_per_gb(self):
        return statistics.median(run.wall_secs for run in self.runs) / self.data_bytes * 1e9

    @property
    def peak_mb(self):
        return max(run.peak_bytes for run in self.runs) / 1e6

    @property
    def output_mb_per_gb(self):
        return self.runs[-1].output_bytes / self.data_bytes * 1e3


@dataclasses.dataclass
class Target:
    """`measured` is None where the run left it out, `limit` where there is only a stretch."""

    what: str
    measured: float | None
    limit: float | None
    stretch: float | None = None
    is_least: bool = False

    def verdict(self):
        if self.measured is None:
            return "not measured"
        if self.limit is not None and not self.holds(self.limit):
            return "MISSED"
        parts = [] if self.limit is None else ["met"]
        if self.stretch is not None:
            parts.append("stretch met" if self.holds(self.stretch) else "stretch missed")
        return ", ".join(parts)

    def holds(self, bound):
        return self.measured >= bound if self.is_least else self.measured <= bound


def ratio(numerators, denominators):
    """The median of the ratios within each round: a busy machine slows both alike."""
    return statistics.median(a / b for a, b in zip(numerators, denominators))


def cpu_ratio(rows, ours, peer):
    if peer not in rows or rows[peer].failed:
        return None
    return ratio(rows[ours].cpu_secs_per_gb, rows[peer].cpu_secs_per_gb)


def ours_beside(rows, row):
    """Our row that does the same work."""
    return OURS_PARQUET if row.tool.group == "parquet" else OURS_NDJSON


def speed_up(rows, ours):
    one, two = rows[ours], rows[f"{ours}, two at a time"]
    return ratio([run.wall_secs for run in one.runs], [run.wall_secs for run in two.runs])


def peak_mb(run):
    return run.peak_bytes / 1e6 if run else None


def targets(rows, large, s3):
    """`large` has a run for each format over one object of 1 GB, on disk."""
    return [
        Target("NDJSON: CPU, ours / chDB", cpu_ratio(rows, OURS_NDJSON, "chDB, NDJSON"), 0.5),
        Target("NDJSON: CPU, ours / DuckDB", cpu_ratio(rows, OURS_NDJSON, "DuckDB, NDJSON"), 0.25),
        Target("NDJSON: CPU, ours / cp", cpu_ratio(rows, OURS_NDJSON, "cp"), None, 2),
        Target("Parquet: CPU, ours / chDB", cpu_ratio(rows, OURS_PARQUET, "chDB, Parquet"), 0.5),
        Target("Parquet: CPU, ours / DuckDB", cpu_ratio(rows, OURS_PARQUET, "DuckDB, Parquet"), 0.5),
        Target("Parquet: CPU, ours / Spark's marginal", cpu_ratio(rows, OURS_PARQUET, SPARK), 0.1),
        Target("NDJSON: speed-up by a second core", speed_up(rows, OURS_NDJSON), 1.8, 1.95, is_least=True),
        Target("Parquet: speed-up by a second core", speed_up(rows, OURS_PARQUET), 1.8, 1.95, is_least=True),
        Target("NDJSON: memory, objects of 10 MB (MB)", rows[OURS_NDJSON].peak_mb, 32),
        Target("NDJSON: memory, one large object (MB)", peak_mb(large.get("ndjson")), 32),
        Target("Parquet: memory, objects of 10 MB (MB)", rows[OURS_PARQUET].peak_mb, 128),
        Target("Parquet: memory, one large object (MB)", peak_mb(large.get("parquet")), 256),
        *s3_targets(s3),
    ]


def s3_targets(s3):
    def cpu_secs_per_gb(output_format):
        return statistics.median(run.cpu_secs for run in s3.runs[output_format]) / s3.data_bytes * 1e9

    def most_mb(output_format):
        return max(peak_mb(run) for run in s3.runs[output_format])

    return [
        Target("NDJSON by S3: CPU-seconds per GB", cpu_secs_per_gb("ndjson"), 3),
        Target("Parquet by S3: CPU-seconds per GB", cpu_secs_per_gb("parquet"), 7),
        Target("NDJSON by S3: memory, objects of 10 MB (MB)", most_mb("ndjson"), 64),
        Target("NDJSON by S3: memory, one large object (MB)", peak_mb(s3.large["ndjson"]), 64),
        Target("Parquet by S3: memory, objects of 10 MB (MB)", most_mb("parquet"), 128),
        Target("Parquet by S3: memory, one large object (MB)", peak_mb(s3.large["parquet"]), 256),
    ]
