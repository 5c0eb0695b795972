"""Measures the built functions: size, time from start to ready, and memory when ready.

Each function is started against a simulated Lambda runtime API until it asks for its first event. Usage, after
`make build`: measure-functions.py [STARTS]; prints a table.
"""

import http.server
import os
import statistics
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
SETTINGS = {
    "ORG_ID": "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be", "DESTINATION_BUCKET": "destination",
    "SOURCE_ROLE_ARN": "arn:aws:iam::000000000000:role/platform", "TASK_QUEUE_URL": "http://127.0.0.1:1/t",
    "AUDIT_QUEUE_URL": "http://127.0.0.1:1/a", "NOTIFICATION_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:t",
    "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
    "AWS_LAMBDA_LOG_GROUP_NAME": "g", "AWS_LAMBDA_LOG_STREAM_NAME": "s",
}


def start(bootstrap):
    """Seconds until the function asks for an event, and its peak resident memory in MiB by then."""
    ready = threading.Event()

    class RuntimeApi(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            ready.set()
            time.sleep(2)  # until the process is stopped

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RuntimeApi)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**SETTINGS, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_address[1]}"}
    began = time.monotonic()
    process = subprocess.Popen([bootstrap], env=environment)
    try:
        if not ready.wait(20):
            raise SystemExit(f"error: {bootstrap} did not ask for an event")
        took = time.monotonic() - began
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return took, int(peak.split()[1]) / 1024
    finally:
        process.kill()
        process.wait(10)
        server.shutdown()
        server.server_close()


def zipped(bootstrap):
    archive = PROJECT / "target/measured.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as package:
        package.write(bootstrap, "bootstrap")
    return archive.stat().st_size


def main():
    starts = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    print("| function | package | zipped | start to ready, median | memory when ready |\n|---|---|---|---|---|")
    for function in ["Planner", "Worker", "Auditor"]:
        bootstrap = PROJECT / ".aws-sam/build" / function / "bootstrap"
        if not bootstrap.exists():
            raise SystemExit("error: the functions are not built\n  hint: make build")
        measured = [start(bootstrap) for _ in range(starts)]
        took = statistics.median(took for took, _ in measured) * 1000
        memory = max(memory for _, memory in measured)
        size = bootstrap.stat().st_size / 1e6
        print(f"| {function} | {size:.1f} MB | {zipped(bootstrap) / 1e6:.1f} MB | {took:.0f} ms | {memory:.0f} MiB |")


if __name__ == "__main__":
    main()
