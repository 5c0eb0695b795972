"""Which requests the functions make, and which of them are denied: at the proxy in front of the emulator, or in a
trail of CloudTrail on AWS.
"""

import gzip
import json
import re
import threading
import time
from collections import Counter

from botocore.exceptions import ClientError

from proxy import Proxy
from stack import create_bucket, check, say

DENIED_CODES = ("AccessDenied", "AccessDeniedException", "Client.UnauthorizedOperation", "AuthorizationError")
# CloudTrail delivers within five minutes on average, and promises no time.
TRAIL_SECS_MAX = 45 * 60
TRAIL_PAUSE_SECS = 30


class WatchingProxy(Proxy):
    """A proxy that notes each request's service, what it asks for, and whether it is denied."""

    def __init__(self, upstream_port):
        super().__init__(upstream_port)
        self.lock = threading.Lock()
        self.seen, self.denied = Counter(), []

    def pass_on(self, client):
        super().pass_on(_Watched(client, self))

    def note(self, request, answer):
        method, path = request.split(b" ", 2)[:2]
        method = b"LIST" if b"list-type=" in path else method
        # The scope of a signature names the service: .../20240401/us-east-1/s3/aws4_request
        scope = re.search(rb"Credential=[^/]+/\d+/[^/]+/([a-z0-9-]+)/", request)
        service = scope.group(1).decode() if scope else "?"
        status = (answer.split(b" ", 2) + [b"", b""])[1]
        # Some services deny with 400, and say so in the body.
        codes = (b"AccessDenied", b"AuthorizationError")
        with self.lock:
            self.seen[f"{service} {method.decode()}"] += 1
            if status == b"403" or status == b"400" and any(code in answer for code in codes):
                self.denied.append(f"{service} {method.decode()} {path.decode()}")

    def begin(self):
        pass

    def end(self):
        pass

    def asked(self):
        return dict(self.seen)

    def refused(self):
        return list(self.denied)


class _Watched:
    """A client's connection: the first bytes in each direction are the request's and the answer's head."""

    def __init__(self, connection, proxy):
        self.connection, self.proxy = connection, proxy
        self.request, self.noted = b"", False

    def recv(self, size):
        data = self.connection.recv(size)
        if b"\r\n\r\n" not in self.request:
            self.request += data
        return data

    def sendall(self, data):
        if not self.noted:
            self.noted = True
            self.proxy.note(self.request, data)
        self.connection.sendall(data)

    def __getattr__(self, name):
        return getattr(self.connection, name)


class Trail:
    """A trail of all events of the account, with those of objects in buckets whose names begin with `name`. What
    counts are the requests of roles whose names do."""

    def __init__(self, account, name):
        self.account, self.name = account, name
        self.bucket = f"{name}-trail"
        self.events = []

    def begin(self):
        s3, trails = self.account.client("s3"), self.account.client("cloudtrail")
        create_bucket(self.account, self.bucket)
        service = {"Service": "cloudtrail.amazonaws.com"}
        s3.put_bucket_policy(Bucket=self.bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": service, "Action": "s3:GetBucketAcl",
             "Resource": f"arn:aws:s3:::{self.bucket}"},
            {"Effect": "Allow", "Principal": service, "Action": "s3:PutObject",
             "Resource": f"arn:aws:s3:::{self.bucket}/AWSLogs/{self.account.id}/*",
             "Condition": {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}}]}))
        trails.create_trail(Name=self.name, S3BucketName=self.bucket, IncludeGlobalServiceEvents=True)
        data = [{"Field": "eventCategory", "Equals": ["Data"]},
                {"Field": "resources.type", "Equals": ["AWS::S3::Object"]},
                # Without its own deliveries, each of which would make an event for the next one.
                {"Field": "resources.ARN", "StartsWith": [f"arn:aws:s3:::{self.name}"],
                 "NotStartsWith": [f"arn:aws:s3:::{self.bucket}"]}]
        trails.put_event_selectors(TrailName=self.name, AdvancedEventSelectors=[
            {"Name": "management", "FieldSelectors": [{"Field": "eventCategory", "Equals": ["Management"]}]},
            {"Name": "objects", "FieldSelectors": data}])
        trails.start_logging(Name=self.name)

    def end(self):
        """Waits until a last request, made for this, is in the trail, and reads all of it."""
        marker = f"acceptance-ends-{int(time.time())}"
        try:
            self.account.client("s3").get_object(Bucket=f"{self.name}-source", Key=marker)
        except ClientError:
            pass  # there is no such object
        say("  waiting for CloudTrail to deliver, up to 45 minutes")
        deadline = time.monotonic() + TRAIL_SECS_MAX
        while not any(marker in json.dumps(event.get("requestParameters")) for event in self.events):
            check(time.monotonic() < deadline, "CloudTrail delivered nothing of the end")
            time.sleep(TRAIL_PAUSE_SECS)
            self.events = self.read()
        # Events of the same time may be in a later file.
        time.sleep(2 * TRAIL_PAUSE_SECS)
        self.events = self.read()

    def read(self):
        s3 = self.account.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", []) if "/CloudTrail/" in entry["Key"]]
        found = []
        for key in keys:
            found += json.loads(gzip.decompress(s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()))["Records"]
        return found

    def ours(self):
        return [event for event in self.events if f"assumed-role/{self.name}" in event["userIdentity"].get("arn", "")]

    def asked(self):
        return dict(Counter(map(_named, self.ours())))

    def refused(self):
        return [f"{_named(event)} {json.dumps(event.get('requestParameters'))}"
                for event in self.ours() if event.get("errorCode") in DENIED_CODES]


def _named(event):
    return f"{event['eventSource'].split('.')[0]} {event['eventName']}"
