"""Measures the program between buckets of a stand-in on loopback, over plain HTTP."""

import dataclasses

from bucket_server import BucketServer
from measure import Run, measured_run
from tools import our_command

SOURCE, DESTINATION = "backup", "recovered"
FORMATS = ["ndjson", "parquet"]


@dataclasses.dataclass
class S3Result:
    """Runs of each format over objects of 10 MB, and one over one large object."""

    data_bytes: int
    runs: dict[str, list[Run]]
    large_bytes: int
    large: dict[str, Run]


def recover(server, binary, output_format, hours, folder):
    server.fill(DESTINATION, folder, [])
    environment = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1",
                   "AWS_ENDPOINT_URL": server.url}
    command = our_command(binary, f"s3://{SOURCE}", f"s3://{DESTINATION}", output_format, hours)
    run = measured_run(command, folder, environment)
    if run.exit_code != 0:
        raise RuntimeError(f"event-recovery failed between buckets: exit code {run.exit_code}")
    return run


def measure_s3(binary, work, data, hours, large, rounds):
    folder = work / "s3"
    folder.mkdir(exist_ok=True)
    with BucketServer() as server:
        server.fill(SOURCE, data.folder, data.objects)
        runs = {output_format: [] for output_format in FORMATS}
        for _ in range(rounds):
            for output_format in FORMATS:
                runs[output_format].append(recover(server, binary, output_format, hours, folder))
        server.fill(SOURCE, large.folder, large.objects)
        large_runs = {output_format: recover(server, binary, output_format, 1, folder) for output_format in FORMATS}
    return S3Result(data.bytes, runs, large.bytes, large_runs)
