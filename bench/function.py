"""Runs the functions of the stack as processes, against a simulated runtime API of Lambda on loopback."""

import json
import os
import queue
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler

from loopback import Server

READY_SECS_MAX = 20
ANSWER_SECS_MAX = 120
# What Lambda itself sets.
ENVIRONMENT = {
    "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
    "AWS_LAMBDA_LOG_GROUP_NAME": "g", "AWS_LAMBDA_LOG_STREAM_NAME": "s",
}
# What the template sets, with addresses that nothing is sent to before the first event.
SETTINGS = {
    "ORG_ID": "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be", "DESTINATION_BUCKET": "destination",
    "SOURCE_ROLE_ARN": "arn:aws:iam::000000000000:role/platform", "TASK_QUEUE_URL": "http://127.0.0.1:1/t",
    "AUDIT_QUEUE_URL": "http://127.0.0.1:1/a", "NOTIFICATION_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:t",
}


class RuntimeApi(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", len(body))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        function = self.server.function
        function.became_ready()
        event = function.events.get()
        if event is None:
            return self.answer(410)
        self.answer(200, json.dumps(event).encode(), [
            ("Lambda-Runtime-Aws-Request-Id", "1"), ("Lambda-Runtime-Invoked-Function-Arn", "arn"),
            ("Lambda-Runtime-Deadline-Ms", int((time.time() + 900) * 1000))])

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.function.answers.put((self.path.rsplit("/", 1)[-1], json.loads(body or "null")))
        self.answer(202)


class Function:
    """A started function, until the end of its `with` block. `processors` are those that it may use."""

    def __init__(self, bootstrap, environment, log=None, processors=None):
        self.ready, self.events, self.answers = threading.Event(), queue.Queue(), queue.Queue()
        self.bootstrap, self.environment, self.log, self.processors = bootstrap, environment, log, processors

    def __enter__(self):
        self.server = Server(RuntimeApi)
        self.server.function = self
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        environment = {**ENVIRONMENT, **self.environment,
                       "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.server.server_port}"}
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [self.bootstrap], env=environment, stdout=self.log,
            preexec_fn=self.processors and (lambda: os.sched_setaffinity(0, self.processors)))
        return self

    def __exit__(self, *_):
        self.events.put(None)
        self.process.kill()
        self.process.wait(10)
        self.server.shutdown()
        self.server.server_close()

    def became_ready(self):
        if not self.ready.is_set():
            self.ready_after_secs = time.monotonic() - self.began
            self.ready.set()

    def wait_until_ready(self):
        if not self.ready.wait(READY_SECS_MAX):
            raise SystemExit(f"error: {self.bootstrap} did not ask for an event")

    def invoke(self, event):
        """The function's answer to this event."""
        self.events.put(event)
        kind, answer = self.answers.get(timeout=ANSWER_SECS_MAX)
        if kind != "response":
            raise SystemExit(f"error: {self.bootstrap} failed: {answer}")
        return answer

    @property
    def cpu_secs(self):
        """Of the process so far."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            peak = next(line for line in file if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024


def start(bootstrap, environment):
    """Seconds from the start of the process until it asks for an event, and its peak memory in bytes by then."""
    with Function(bootstrap, environment) as function:
        function.wait_until_ready()
        return function.ready_after_secs, function.peak_bytes
