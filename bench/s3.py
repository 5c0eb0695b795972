"""Measures the program between buckets of the emulator on loopback, over plain HTTP.

The emulator checks CRC-64 in Python and takes about 4 MB/s, so there is less data than on disk. The
program's CPU time does not contain its waiting for that.
"""

import dataclasses
import sys
from pathlib import Path

from measure import Run, measured_run
from tools import our_command

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/e2e"))
import emulator  # noqa: E402

SOURCE, DESTINATION = "backup", "recovered"
FORMATS = ["ndjson", "parquet"]


@dataclasses.dataclass
class S3Result:
    """Runs of each format over objects of 10 MB, and one over one large object."""

    data_bytes: int
    runs: dict[str, list[Run]]
    large_bytes: int
    large: dict[str, Run]


class Buckets:
    def __init__(self, url):
        import boto3

        self.environment = {**emulator.ROOT, "AWS_REGION": emulator.REGION, "AWS_ENDPOINT_URL": url}
        self.client = boto3.client(
            "s3", endpoint_url=url, region_name=emulator.REGION,
            aws_access_key_id=emulator.ROOT["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=emulator.ROOT["AWS_SECRET_ACCESS_KEY"])
        for bucket in [SOURCE, DESTINATION]:
            self.client.create_bucket(Bucket=bucket)

    def upload(self, data):
        for path in data.objects:
            self.client.upload_file(str(path), SOURCE, str(path.relative_to(data.folder)))

    def empty(self, bucket):
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for found in page.get("Contents", []):
                self.client.delete_object(Bucket=bucket, Key=found["Key"])

    def recover(self, binary, output_format, hours, folder):
        command = our_command(binary, f"s3://{SOURCE}", f"s3://{DESTINATION}", output_format, hours)
        run = measured_run(command, folder, self.environment)
        self.empty(DESTINATION)
        if run.exit_code != 0:
            raise RuntimeError(f"event-recovery failed between buckets: exit code {run.exit_code}")
        return run


def measure_s3(binary, work, data, hours, large, rounds):
    folder = work / "s3"
    folder.mkdir(exist_ok=True)
    with emulator.Emulator(folder, auth=False) as running:
        buckets = Buckets(running.url)
        buckets.upload(data)
        runs = {output_format: [] for output_format in FORMATS}
        for _ in range(rounds):
            for output_format in FORMATS:
                runs[output_format].append(buckets.recover(binary, output_format, hours, folder))
        buckets.empty(SOURCE)
        buckets.upload(large)
        large_runs = {output_format: buckets.recover(binary, output_format, 1, folder) for output_format in FORMATS}
    return S3Result(data.bytes, runs, large.bytes, large_runs)
