"""Measures many small objects from folder to folder, beside other tools."""

import dataclasses
import shutil
import statistics
import subprocess

from measure import Run, measured_run
from samples import SMALL_HOURS
from tools import all_tools, our_command

CP, OURS = "cp -r and sync", "event-recovery, default settings"
PEERS = ["DuckDB, NDJSON", "chDB, NDJSON"]


@dataclasses.dataclass
class SmallResult:
    """Runs of each tool over all objects."""

    objects: int
    runs: dict[str, list[Run]]

    def ratio(self, peers, cost):
        """Ours to the least of the peers', as the median over the rounds."""
        costs = {name: [getattr(run, cost) for run in runs] for name, runs in self.runs.items()}
        rounds = zip(costs[OURS], *(costs[peer] for peer in peers))
        return statistics.median(ours / min(theirs) for ours, *theirs in rounds)

    def table(self):
        lines = [["20,000 objects of 4 KB to NDJSON", "wall s", "CPU-s", "peak MB"]]
        for name, runs in self.runs.items():
            lines.append([
                name, f"{statistics.median(run.wall_secs for run in runs):.2f}",
                f"{statistics.median(run.cpu_secs for run in runs):.2f}", f"{max(run.peak_bytes for run in runs) / 1e6:,.0f}"])
        return lines


def commands(binary):
    tools = {tool.name: tool.command for tool in all_tools(binary, SMALL_HOURS, False)}
    return {
        CP: lambda source, output: ["sh", "-c", f"cp -r {source}/main_stream {output} && sync -f {output}"],
        OURS: lambda source, output: our_command(binary, source, output, "ndjson", SMALL_HOURS, None),
        **{peer: tools[peer] for peer in PEERS},
    }


def measure_small(binary, data, work, rounds):
    """Nothing is removed before the end: some file systems create files slowly after many were removed."""
    outputs = work / "small-outputs"
    result = SmallResult(len(data.objects), {name: [] for name in commands(binary)})
    for round_number in range(rounds):
        for number, (name, command) in enumerate(commands(binary).items()):
            output = outputs / f"{round_number}-{number}"
            output.mkdir(parents=True)
            # So that nobody pays for what another one has left to be written.
            subprocess.run(["sync", "-f", outputs], check=True)
            run = measured_run(command(data.folder, output), work)
            if run.exit_code != 0:
                raise RuntimeError(f"{name} failed with small objects: exit code {run.exit_code}")
            result.runs[name].append(run)
    shutil.rmtree(outputs)
    return result
