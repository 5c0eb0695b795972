#!/usr/bin/env bash
# Recovers one object of 1 GB in both formats and prints the peak resident memory of each run.
# Usage: scripts/measure-memory.sh BINARY [OBJECT_SIZE]
set -euo pipefail
binary=$(realpath "$1")
size=${2:-1GB}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$binary" sample "$work/backup" --hours 1 --objects-per-hour 1 --object-bytes "$size" 2>/dev/null
for format in ndjson parquet; do
  rm -rf "$work/recovered"
  python3 - "$binary" "$work" "$format" <<'PYTHON'
import resource, subprocess, sys
binary, work, format = sys.argv[1:]
subprocess.run(
    [binary, "run", "--org-id", "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be",
     "--source", f"{work}/backup", "--destination", f"{work}/recovered", "--quiet",
     "--start", "2024-04-01T00:00:00Z", "--end", "2024-04-01T01:00:00Z", "--format", format],
    check=True)
peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(f"{format}: {peak_mib:.0f} MiB peak resident memory")
PYTHON
done
