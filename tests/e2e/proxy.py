"""A proxy between the functions and the emulator: it injects faults, counts what is asked, and answers as S3 where
the emulator does not.

Each request has a connection of its own. The first rule that returns an action for a request decides; without an
action, the bytes pass unchanged in both directions, with one exception that always applies: S3 answers the reading of
an object that is absent with 403 to a role that may not list the whole bucket, and no role of the stack may. The emulator
answers 404, and the proxy makes it 403.
"""

import collections
import os
import re
import signal
import socket
import socketserver
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import Callable, Optional

HEAD_BYTES_MAX = 256 * 1024
SLOW_DOWN = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s"
)
DENIED = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"x-amz-request-id: PROXY\r\nContent-Length: %d\r\n\r\n%s"
)
DENIED_BODY = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
SLOW_DOWN_BODY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"

# Kinds of keys, by a part of the path; all others count by their last part, such as `plan.json`.
KINDS = [
    ("source", "/main_stream/"), ("receipt", "/receipts/"), ("rejected", "/_recovery/_rejected/"),
    ("queued", ".queued"), ("tasks", "/tasks/"), ("_SUCCESS", "/_SUCCESS"), ("output", "/execution_id="),
]


@dataclass(frozen=True)
class Answer:
    """A request that was answered, with the answer's status."""

    method: str
    path: str
    kind: str
    status: int


@dataclass
class Request:
    method: str
    path: str
    head: bytes
    client_port: int
    proxy_port: int

    @property
    def service(self):
        """The service that the request is signed for, such as `s3`."""
        found = re.search(rb"/([a-z0-9-]+)/aws4_request", self.head)
        return found.group(1).decode() if found else None

    @property
    def kind(self):
        """What the request is about: the kind of a key (`source`, `output`, `receipt`, `audit.json`, ...), `list` for a
        listing, or the name of another service."""
        if self.service != "s3":
            return self.service
        path, _, query = urllib.parse.unquote(self.path).partition("?")
        if "list-type=" in query:
            return "list"
        for kind, part in KINDS:
            if part in path:
                return kind
        return path.rsplit("/", 1)[-1]

    @property
    def reads_an_object(self):
        path = self.path.partition("?")[0].strip("/")
        is_key = "/" in path and self.kind != "list"
        return self.method in ("GET", "HEAD") and self.service == "s3" and is_key

    def kill_sender(self):
        """Kills the process at the other end of the connection, as running out of memory would."""
        pid = process_of(self.client_port, self.proxy_port)
        if pid is None or pid == os.getpid():
            raise RuntimeError("the request comes from no process that may be killed")
        os.kill(pid, signal.SIGKILL)


@dataclass
class Proxy:
    """Listens on loopback on a port of its own; `down()` refuses connections until `up()`."""

    upstream_port: int
    rules: list = field(default_factory=list)
    requests: int = 0
    faults: int = 0
    port: int = 0
    answers: list = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, *_):
        self.down()

    def up(self):
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                try:
                    proxy.pass_on(self.request)
                except OSError:
                    pass  # one side closed the connection

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 256

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self):
        self.server.shutdown()
        self.server.server_close()

    def rule(self, rule: Callable[[Request], Optional[str]]):
        self.rules.append(rule)
        return rule

    def mark(self):
        """What `since` takes, to leave out everything that was answered until now."""
        with self.lock:
            return len(self.answers)

    def since(self, mark=0, part=""):
        """The answers since then to requests whose path contains the part; `part` is compared with the decoded path."""
        with self.lock:
            answers = self.answers[mark:]
        return [answer for answer in answers if part in urllib.parse.unquote(answer.path)]

    def counts(self, mark=0, part=""):
        """The number of those answers by method, kind and status."""
        return collections.Counter(
            (answer.method, answer.kind, answer.status) for answer in self.since(mark, part))

    def answered(self, request, status):
        with self.lock:
            self.answers.append(Answer(request.method, request.path, request.kind, status))

    def pass_on(self, client):
        head, rest = read_head(client)
        if not head:
            return
        method, path = head.split(b" ", 2)[:2]
        request = Request(
            method.decode(), path.decode(), head, client.getpeername()[1], self.port
        )
        self.requests += 1
        action = next((a for a in (rule(request) for rule in list(self.rules)) if a), None)
        if action:
            self.faults += 1
        if action == "reset":
            return
        if action == "slow_down":
            drain(client, head, rest)
            client.sendall(SLOW_DOWN % (len(SLOW_DOWN_BODY), SLOW_DOWN_BODY))
            self.answered(request, 503)
            return
        if action == "stall":
            time.sleep(90)
            return
        with socket.create_connection(("127.0.0.1", self.upstream_port), 30) as upstream:
            upstream.sendall(one_request_only(head) + rest)
            sender = threading.Thread(target=pump, args=(client, upstream), daemon=True)
            sender.start()
            head, rest = read_answer(upstream, client)
            if not head:
                return
            status = int(head.split(b" ", 2)[1])
            if status == 404 and request.reads_an_object:
                body = rest + (b"" if request.method == "HEAD" else read_all(upstream))
                if request.method == "HEAD" or b"NoSuchKey" in body:
                    self.answered(request, 403)
                    body = b"" if request.method == "HEAD" else DENIED_BODY
                    client.sendall(DENIED % (len(DENIED_BODY), body))
                    return
                rest = body
            self.answered(request, status)
            if action == "half":
                half(head, rest, upstream, client)
            else:
                client.sendall(head + rest)
                pump(upstream, client)


def read_head(client):
    data = b""
    while b"\r\n\r\n" not in data and len(data) < HEAD_BYTES_MAX:
        chunk = client.recv(65536)
        if not chunk:
            return b"", b""
        data += chunk
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def read_answer(upstream, client):
    """The head of the final answer and what came with it; interim answers are passed on."""
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            chunk = upstream.recv(65536)
            if not chunk:
                return b"", b""
            data += chunk
        head, _, data = data.partition(b"\r\n\r\n")
        head += b"\r\n\r\n"
        if not head.split(b" ", 2)[1].startswith(b"1"):
            return head, data
        client.sendall(head)


def read_all(upstream):
    chunks = []
    while chunk := upstream.recv(65536):
        chunks.append(chunk)
    return b"".join(chunks)


def one_request_only(head):
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join(lines[:1] + [b"Connection: close"] + lines[1:])


def length_of(head):
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def drain(client, head, rest):
    left = length_of(head) - len(rest)
    client.settimeout(2)
    try:
        while left > 0:
            chunk = client.recv(65536)
            if not chunk:
                break
            left -= len(chunk)
    except OSError:
        pass


def pump(source, sink):
    try:
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    except OSError:
        pass
    try:
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def half(head, rest, upstream, client):
    body_half = length_of(head) // 2
    client.sendall(head + rest[:body_half])
    sent = min(len(rest), body_half)
    while sent < body_half:
        chunk = upstream.recv(min(65536, body_half - sent))
        if not chunk:
            break
        client.sendall(chunk)
        sent += len(chunk)
    client.close()


def process_of(local_port, remote_port):
    """The id of the process that holds the connection, from the kernel's tables."""
    inode = None
    with open("/proc/net/tcp") as table:
        for line in list(table)[1:]:
            columns = line.split()
            ports = [int(address.split(":")[1], 16) for address in columns[1:3]]
            if ports == [local_port, remote_port]:
                inode = columns[9]
    if inode is None:
        return None
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for handle in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{handle}") == f"socket:[{inode}]":
                    return int(pid)
        except OSError:
            continue
    return None
