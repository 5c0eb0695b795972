"""Runs one command and writes what it cost: exit code, CPU-seconds, wall seconds, peak bytes.

Usage: launcher.py RESULT_FILE COMMAND...

A process of its own that imports next to nothing: Linux counts the memory of the process that
starts a command to the command's own peak.
"""

import os
import sys
import time

result_file, *command = sys.argv[1:]
began = time.monotonic()
process = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(process, 0)
wall_secs = time.monotonic() - began
with open(result_file, "w") as file:
    file.write(
        f"{os.waitstatus_to_exitcode(status)} {usage.ru_utime + usage.ru_stime} {wall_secs} {usage.ru_maxrss * 1024}"
    )
