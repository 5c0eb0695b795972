"""Measures the start of the functions, and the planner with ten million objects."""

import dataclasses
import shlex

from function import SETTINGS, start
from measure import Run, measured_run

STARTS = 20
# Ten million objects take minutes, as each listing has the latency of a real one.
PLANNER_SECS_MAX = 3600


@dataclasses.dataclass
class FunctionsResult:
    """The seconds that each function took to become ready, and the planner's run."""

    starts: dict[str, list[float]]
    planner: Run | None


def measure_functions(folder, planner_command, work):
    starts = {name: [start(folder / name, SETTINGS)[0] for _ in range(STARTS)] for name in ["planner", "worker", "auditor"]}
    planner = planner_command and measured_run(
        shlex.split(planner_command), work, secs_max=PLANNER_SECS_MAX)
    if planner and planner.exit_code != 0:
        raise RuntimeError(f"`{planner_command}` failed")
    return FunctionsResult(starts, planner)
