"""A stand-in for S3 on loopback that takes bytes as fast as they come.

The emulator that the tests use compares checksums in Python and takes some 4 MB/s, at which a
client spends its time on waiting. This one compares nothing and forgets what large objects hold:
what is measured is the client. It knows what event-recovery asks for, and nothing else.
"""

import collections
import itertools
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from xml.sax.saxutils import escape

from loopback import Server

# Records are read again, and are smaller; larger bodies are only counted.
KEPT_BYTES_MAX = 1024 * 1024
RECEIVE_BYTES = 1024 * 1024


class Stored:
    """An object's size and etag, and its bytes if they are kept or lie in a file."""

    numbers = itertools.count()

    def __init__(self, size=0, content=None, path=None):
        self.size, self.content, self.path = size, content, path
        self.etag = f'"{next(self.numbers)}"'


class Handler(BaseHTTPRequestHandler):
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

    def error(self, status, code):
        self.answer(status, f"<Error><Code>{code}</Code></Error>".encode())

    def target(self):
        """The bucket's objects, the key and the query. Waits as long as the service is told to be away."""
        time.sleep(self.server.latency_secs)
        with self.server.lock:
            self.server.counts[self.command] += 1
        url = urllib.parse.urlsplit(self.path)
        bucket, _, key = urllib.parse.unquote(url.path).lstrip("/").partition("/")
        query = {name: values[0] for name, values in
                 urllib.parse.parse_qs(url.query, keep_blank_values=True).items()}
        return self.server.buckets.setdefault(bucket, {}), key, query

    def receive(self):
        """The size of the body, and the body itself if it is small."""
        size = left = int(self.headers.get("Content-Length", 0))
        if size <= KEPT_BYTES_MAX:
            return size, self.rfile.read(size)
        buffer = memoryview(bytearray(RECEIVE_BYTES))
        while left:
            received = self.rfile.readinto(buffer[:min(left, RECEIVE_BYTES)])
            if not received:
                raise ConnectionError("the body ended early")
            left -= received
        return size, None

    def do_GET(self):
        objects, key, query = self.target()
        if not key:
            return self.list_objects(objects, query)
        with self.server.lock:
            found = objects.get(key)
        if found is None:
            return self.error(404, "NoSuchKey")
        if self.headers.get("If-Match", found.etag) != found.etag:
            return self.error(412, "PreconditionFailed")
        if found.path is None:
            return self.answer(200, found.content, [("ETag", found.etag)])
        self.send_response(200)
        self.send_header("ETag", found.etag)
        self.send_header("Content-Length", found.size)
        self.end_headers()
        self.wfile.flush()
        with found.path.open("rb") as file:
            self.connection.sendfile(file)

    def list_objects(self, objects, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        with self.server.lock:
            found = sorted((key, stored) for key, stored in objects.items() if key.startswith(prefix))
        listed, folders = [], {}
        for key, stored in found:
            first, slash, _ = key[len(prefix):].partition(delimiter) if delimiter else (key, "", "")
            if slash:
                folders[f"{prefix}{first}/"] = None
            else:
                listed.append((key, stored))
        contents = "".join(
            f"<Contents><Key>{escape(urllib.parse.quote(key))}</Key><Size>{stored.size}</Size>"
            f"<ETag>{escape(stored.etag)}</ETag><LastModified>2024-04-01T00:00:00Z</LastModified></Contents>"
            for key, stored in listed)
        contents += "".join(
            f"<CommonPrefixes><Prefix>{escape(urllib.parse.quote(folder))}</Prefix></CommonPrefixes>" for folder in folders)
        self.answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>".encode())

    def do_PUT(self):
        objects, key, query = self.target()
        size, content = self.receive()
        if "uploadId" in query:
            with self.server.lock:
                self.server.uploads[query["uploadId"]] += size
            return self.answer(200, headers=[("ETag", '"part"')])
        with self.server.lock:
            there = objects.get(key)
            is_refused = (self.headers.get("If-None-Match") == "*" and there is not None) or (
                "If-Match" in self.headers and (there is None or there.etag != self.headers["If-Match"]))
            if not is_refused:
                objects[key] = there = Stored(size, content)
        if is_refused:
            return self.error(412, "PreconditionFailed")
        self.answer(200, headers=[("ETag", there.etag)])

    def do_POST(self):
        objects, key, query = self.target()
        self.receive()
        if "uploads" in query:
            with self.server.lock:
                upload = str(len(self.server.uploads))
                self.server.uploads[upload] = 0
            body = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        else:
            with self.server.lock:
                objects[key] = Stored(self.server.uploads[query["uploadId"]])
            body = f"<CompleteMultipartUploadResult><ETag>{escape(objects[key].etag)}</ETag></CompleteMultipartUploadResult>"
        self.answer(200, body.encode())

    def do_DELETE(self):
        objects, key, _ = self.target()
        with self.server.lock:
            objects.pop(key, None)
        self.answer(204)


class BucketServer:
    """Serves until the end of its `with` block, on a free port. Each request takes `latency_secs` more. With a
    `certificate`, a TLS context of the server's side, it speaks TLS only."""

    def __init__(self, latency_secs=0, certificate=None):
        self.latency_secs, self.certificate = latency_secs, certificate

    def __enter__(self):
        self.server = Server(Handler)
        if self.certificate:
            # The handshake is up to the connection's own thread.
            self.server.socket = self.certificate.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.server.latency_secs, self.server.counts = self.latency_secs, collections.Counter()
        self.server.lock, self.server.buckets, self.server.uploads = threading.Lock(), {}, {}
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def url(self):
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.server.server_port}"

    @property
    def counts(self):
        """How many requests came, by method."""
        return self.server.counts

    def objects(self, bucket):
        return self.server.buckets.setdefault(bucket, {})

    def fill(self, bucket, folder, paths):
        """The bucket holds these files, and nothing else."""
        self.server.buckets[bucket] = {
            str(path.relative_to(folder)): Stored(path.stat().st_size, path=path) for path in map(Path, paths)}
