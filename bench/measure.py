"""Measures child processes."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launcher.py")
# Timeout of one run, so that a tool that hangs does not block the others. It counts as one that failed.
RUN_SECS_MAX = 300


@dataclasses.dataclass
class Run:
    """What one run of a command cost, with all processes that it started and waited for."""

    exit_code: int
    cpu_secs: float
    wall_secs: float
    peak_bytes: int
    output_bytes: int = 0


def measured_run(command, folder, environment=None, secs_max=RUN_SECS_MAX):
    """Runs the command with its output in `folder/log.txt` and not on a terminal: it may hold content of events."""
    result = folder / "result.txt"
    with (folder / "log.txt").open("wb") as log:
        launcher = subprocess.Popen(
            [sys.executable, "-I", "-S", LAUNCHER, result, *map(str, command)],
            env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )
        try:
            launcher.wait(secs_max)
        except BaseException as stopped:
            # The group is the launcher's own: the tool, and whatever that started.
            os.killpg(launcher.pid, signal.SIGKILL)
            launcher.wait()
            if isinstance(stopped, subprocess.TimeoutExpired):
                return Run(-signal.SIGKILL, 0.0, float(secs_max), 0)
            raise
    exit_code, cpu_secs, wall_secs, peak_bytes = result.read_text().split()
    return Run(int(exit_code), float(cpu_secs), float(wall_secs), int(peak_bytes))


def folder_bytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
