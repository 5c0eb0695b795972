"""The AWS emulator: ministack with IAM on, as a child process on a free loopback port."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

START_SECS_MAX = 60
# ministack's root credentials when it enforces IAM.
ROOT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
REGION = "us-east-1"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Emulator:
    """Starts on entry, is stopped by its process id on exit."""

    def __init__(self, folder: Path, auth: bool = True):
        self.port = free_port()
        self.folder = folder
        self.auth = auth
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            **ROOT,
            "AWS_DEFAULT_REGION": REGION,
            "GATEWAY_PORT": str(self.port),
            # By default it binds all addresses, and starts a second listener for IoT.
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",
            "LAMBDA_EXECUTOR": "local",
            "AUTH": "true" if self.auth else "false",
        }
        log = (self.folder / "emulator.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ministack"],
            env=environment, cwd=self.folder, stdout=log, stderr=log,
        )
        deadline = time.monotonic() + START_SECS_MAX
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=2).read()
                return self
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.2)
        self.__exit__(None, None, None)
        raise SystemExit(f"error: the emulator did not start, see {self.folder}/emulator.log")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


if __name__ == "__main__":
    # For tests in other languages: prints the URL and runs until stdin is closed.
    with Emulator(Path(sys.argv[1]), auth="--auth" in sys.argv) as emulator:
        print(emulator.url, flush=True)
        sys.stdin.read()
