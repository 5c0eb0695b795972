"""Why a scenario failed, in its output: CI keeps no files."""

import sys
from collections import deque

LOG_LINES_MAX = 60


def show(log, stack, began_at):
    """Prints the end of the emulator's log, which has the functions' own lines, and the `audit.json` of each
    run of the stack that changed since `began_at`."""
    parts = [(f"the last {LOG_LINES_MAX} lines of {log.name}", lambda: tail(log))]
    parts.append(("audit.json of the runs that it touched", lambda: audits(stack, began_at)))
    for title, read in parts:
        try:
            lines = read()
        except Exception as error:
            # The emulator may be what failed; that must not hide the scenario's own error.
            lines = [f"could not be read: {error}"]
        print(f"e2e:   {title}:", *(lines or ["none"]), sep="\ne2e:     ", file=sys.stderr, flush=True)


def tail(log):
    with log.open(errors="replace") as lines:
        return [line.rstrip("\n") for line in deque(lines, LOG_LINES_MAX)]


def audits(stack, began_at):
    return [f"{key}: {stack.read(key).decode().strip()}"
            for key in stack.keys("_recovery/", since=began_at) if key.endswith("/audit.json")]
