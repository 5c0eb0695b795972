"""Measures the worker, as a function of the stack, from bucket to bucket of a stand-in on loopback."""

import dataclasses
import json
import os
import ssl
import time

import trustme

from bucket_server import BucketServer, Stored
from function import SETTINGS, Function
from tools import range_end

SOURCE, DESTINATION, EXECUTION_ID = "backup", "destination", "bench"
# The template's `WorkerBatchSize`.
BATCH_SIZE = 20
# S3's latency for a small object.
SMALL_LATENCY_SECS = 0.02
SMALL_OBJECTS_MAX = 4_020


@dataclasses.dataclass
class WorkerRun:
    """One worker of 1,769 MB, on one processor."""

    objects: int
    data_bytes: int
    wall_secs: float
    cpu_secs: float
    requests: int
    peak_bytes: int


@dataclasses.dataclass
class WorkerResult:
    """Runs over small objects with latency, and over objects of 10 MB with TLS on both sides."""

    small: list[WorkerRun]
    tls: dict[str, list[WorkerRun]]


def batches(objects, output_format, hours):
    """Events of SQS, each with as many tasks as a worker gets by default."""
    tasks = [{
        "version": 1, "execution_id": EXECUTION_ID, "key": key, "size": stored.size, "etag": stored.etag,
        "format": output_format, "compression": "none" if output_format == "ndjson" else "zstd",
        "window": {"kind": "publish", "start": "2024-04-01T00:00:00Z", "end": range_end(hours),
                   "lead_secs": 900, "lag_secs": 3600},
        "filters": {"domains": [], "event_types": []},
    } for key, stored in sorted(objects.items())]
    for first in range(0, len(tasks), BATCH_SIZE):
        yield tasks[first:first + BATCH_SIZE]


def invoke(function, tasks):
    failures = function.invoke({"Records": [
        {"messageId": str(number), "receiptHandle": str(number), "body": json.dumps(task),
         "attributes": {"ApproximateReceiveCount": "1"}}
        for number, task in enumerate(tasks)]})["batchItemFailures"]
    if failures:
        raise RuntimeError(f"the worker failed with {len(failures)} of {len(tasks)} objects")


def measure_worker(worker, data, objects, work, output_format, hours, latency_secs=0, certificate=None):
    """The first batch warms up connections, as a worker's first invocation does, and is not counted."""
    audit = {"version": 1, "number": 1, "deadline": "2999-01-01T00:00:00Z", "wait_hours": 24, "ended": False}
    own = os.sched_getaffinity(0)
    processors = {min(own)} if len(own) > 1 else None
    server_side = certificate and certificate.server_side
    with BucketServer(latency_secs, server_side) as server, (work / "log.txt").open("wb") as log:
        server.fill(SOURCE, data.folder, objects)
        server.objects(DESTINATION)[f"_recovery/{EXECUTION_ID}/audit.json"] = Stored(content=json.dumps(audit).encode())
        environment = {**SETTINGS, "SOURCE_ROLE_ARN": "", "SOURCE_BUCKET": SOURCE, "AWS_ENDPOINT_URL": server.url}
        if certificate:
            environment["SSL_CERT_FILE"] = str(certificate.authority_file)
        first, *rest = batches(server.objects(SOURCE), output_format, hours)
        with Function(worker, environment, log, processors) as function:
            # The stand-in takes the other processors.
            os.sched_setaffinity(0, own - processors if processors else own)
            try:
                invoke(function, first)
                requests, cpu_secs, began = server.counts.total(), function.cpu_secs, time.monotonic()
                for tasks in rest:
                    invoke(function, tasks)
                wall_secs = time.monotonic() - began
            finally:
                os.sched_setaffinity(0, own)
            counted = [task for tasks in rest for task in tasks]
            return WorkerRun(
                len(counted), sum(task["size"] for task in counted), wall_secs, function.cpu_secs - cpu_secs,
                server.counts.total() - requests, function.peak_bytes)


class Certificate:
    """For 127.0.0.1, by an authority of its own."""

    def __init__(self, folder):
        authority = trustme.CA()
        self.authority_file = folder / "authority.pem"
        authority.cert_pem.write_to_path(self.authority_file)
        self.server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(self.server_side)


def measure_workers(worker, small, small_hours, data, hours, work, rounds):
    certificate = Certificate(work)
    result = WorkerResult([], {"ndjson": [], "parquet": []})
    for _ in range(rounds):
        result.small.append(measure_worker(
            worker, small, small.objects[:SMALL_OBJECTS_MAX], work, "ndjson", small_hours, SMALL_LATENCY_SECS))
        for output_format, runs in result.tls.items():
            runs.append(measure_worker(
                worker, data, data.objects, work, output_format, hours, certificate=certificate))
    return result
