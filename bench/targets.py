"""Costs per GB, ratios between tools, and the targets that are compared with them."""

import dataclasses
import statistics

import small
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
    """`measured` is None where the run left it out, `limit` where there is only a stretch. `before` is what the same
    measurement gave at commit cc68a98 of 2026-11-23, if it was made."""

    what: str
    measured: float | None
    limit: float | None
    stretch: float | None = None
    is_least: bool = False
    before: float | None = None

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


def best_peer_ratio(rows, ours, peers):
    """Ours to the least of the peers', within each round."""
    costs = [rows[peer].cpu_secs_per_gb for peer in peers if not rows[peer].failed]
    return ratio(rows[ours].cpu_secs_per_gb, map(min, zip(*costs)))


def peak_mb(run):
    return run.peak_bytes / 1e6 if run else None


def in_memory_ratio(in_memory, row):
    """The last figure of the row in what the benchmark in memory prints, such as `1.87 x`."""
    line = next((line for line in in_memory.splitlines() if line.startswith(row)), None)
    return line and float(line.split()[-2])


def targets(rows, large, s3, small, workers, functions, in_memory):
    """`large` has a run for each format over one object of 1 GB, on disk."""
    parquet_peers = ["DuckDB, Parquet", "chDB, Parquet"]
    return [
        Target("NDJSON: CPU, ours / chDB", cpu_ratio(rows, OURS_NDJSON, "chDB, NDJSON"), 0.5, before=0.506),
        Target("NDJSON: CPU, ours / DuckDB", cpu_ratio(rows, OURS_NDJSON, "DuckDB, NDJSON"), 0.25, before=0.281),
        Target("NDJSON: CPU, ours / cp", cpu_ratio(rows, OURS_NDJSON, "cp"), 2.5, 2, before=3.5),
        Target("NDJSON in memory: ours / serde_json and copy (speed)",
               in_memory_ratio(in_memory, "ours: split, validated, and copy"), 2.3, 4, is_least=True, before=1.87),
        Target("Parquet: CPU, ours / best peer", best_peer_ratio(rows, OURS_PARQUET, parquet_peers), 0.5, 0.4, before=0.603),
        Target("Parquet: CPU, ours / Spark's marginal", cpu_ratio(rows, OURS_PARQUET, SPARK), 0.1),
        Target("NDJSON: speed-up by a second core", speed_up(rows, OURS_NDJSON), 1.85, 1.95, is_least=True, before=1.64),
        Target("Parquet: speed-up by a second core", speed_up(rows, OURS_PARQUET), 1.8, 1.95, is_least=True, before=1.83),
        Target("NDJSON: memory, objects of 10 MB (MB)", rows[OURS_NDJSON].peak_mb, 32, before=13.8),
        Target("NDJSON: memory, one large object (MB)", peak_mb(large.get("ndjson")), 32, before=11.5),
        Target("Parquet: memory, objects of 10 MB (MB)", rows[OURS_PARQUET].peak_mb, 128, before=69),
        Target("Parquet: memory, one large object (MB)", peak_mb(large.get("parquet")), 256, before=91.1),
        *small_targets(small),
        *s3_targets(s3),
        *worker_targets(workers),
        *function_targets(functions),
    ]


def small_targets(result):
    rows = [
        ("wall", "cp and sync", [small.CP], "wall_secs", 3, 1.5, 11.6), ("CPU", "cp and sync", [small.CP], "cpu_secs", 3, 2, 11.7),
        ("wall", "faster of DuckDB and chDB", small.PEERS, "wall_secs", 1, 0.5, 5),
        ("CPU", "faster of DuckDB and chDB", small.PEERS, "cpu_secs", 1, 0.5, 3),
    ]
    return [
        Target(f"small objects, NDJSON: {what}, ours / {beside}", result.ratio(peers, cost), limit, stretch, before=before)
        for what, beside, peers, cost, limit, stretch, before in rows
    ]


def worker_targets(result):
    def cpu_secs_per_gb(output_format):
        return statistics.median(run.cpu_secs / run.data_bytes * 1e9 for run in result.tls[output_format])

    return [
        Target("worker, small objects, 20 ms of latency: objects per second and vCPU",
               statistics.median(run.objects / run.wall_secs for run in result.small), 100, 300, is_least=True),
        Target("worker, small objects: requests per object",
               statistics.median(run.requests / run.objects for run in result.small), 3.05, before=6),
        Target("worker, NDJSON by S3 with TLS: CPU-seconds per GB", cpu_secs_per_gb("ndjson"), 3.5, 2.5),
        Target("worker, Parquet by S3 with TLS: CPU-seconds per GB", cpu_secs_per_gb("parquet"), 6.5, 5),
    ]


def function_targets(functions):
    """The planner's run of ten million objects, and the starts of the functions."""
    planner = functions.planner
    return [
        Target("planner, ten million objects: memory (MB)", peak_mb(planner), 512),
        Target("planner, ten million objects: CPU-seconds", planner and planner.cpu_secs, 100),
        *(Target(f"{name}: start to ready (ms)", statistics.median(starts) * 1000, 15, 10, before=20)
          for name, starts in functions.starts.items()),
    ]


def s3_targets(s3):
    def cpu_secs_per_gb(output_format):
        return statistics.median(run.cpu_secs for run in s3.runs[output_format]) / s3.data_bytes * 1e9

    def most_mb(output_format):
        return max(peak_mb(run) for run in s3.runs[output_format])

    return [
        Target("NDJSON by S3: CPU-seconds per GB", cpu_secs_per_gb("ndjson"), 3, before=2.29),
        Target("Parquet by S3: CPU-seconds per GB", cpu_secs_per_gb("parquet"), 7, before=5.15),
        Target("NDJSON by S3: memory, objects of 10 MB (MB)", most_mb("ndjson"), 64, before=36.2),
        Target("NDJSON by S3: memory, one large object (MB)", peak_mb(s3.large["ndjson"]), 64, before=29.4),
        Target("Parquet by S3: memory, objects of 10 MB (MB)", most_mb("parquet"), 128, before=106),
        Target("Parquet by S3: memory, one large object (MB)", peak_mb(s3.large["parquet"]), 256, before=106),
    ]
