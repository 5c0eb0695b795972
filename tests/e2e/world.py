"""What scenarios share: the built program and functions, the backup with its truth, and where they run."""

import json
import os
import shutil
import subprocess

import emulator_template
import truth
from stack import ACCOUNT, EXTERNAL_ID, ORG_ID, PROJECT, SOURCE_BUCKET, Account, Stack, check, run, say

WORK = PROJECT / "target/e2e"
PROGRAM = PROJECT / "target/debug/event-recovery"
HOURS = 6
OBJECTS = HOURS * 6


def build():
    say("building the program and the functions")
    # As `make test` builds it: another set of features would build the dependencies again.
    run(["cargo", "test", "--workspace", "--locked", "--quiet", "--no-run"])
    run(["make", "--no-print-directory", "build"])


def prepare():
    """Generates the backup that all scenarios recover."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    run([PROGRAM, "sample", WORK / "backup", "--hard", "--hours", str(HOURS), "--objects-per-hour", "6",
         "--object-bytes", "200KiB", "--seed", "7"])


class World:
    """The emulator, the proxy in front of it, and the backup."""

    source_bucket = SOURCE_BUCKET

    def __init__(self, emulator, proxy):
        self.emulator, self.proxy = emulator, proxy
        self.account = Account(emulator.url)
        self.backup = WORK / "backup"
        self.truth = truth.expected(self.backup)

    def stack(self, name, **parameters):
        """A stack that is not deployed yet; a parameter that is None has the template's default."""
        parameters = {
            "OrgId": ORG_ID,
            "SourceRoleArn": f"arn:aws:iam::{ACCOUNT}:role/platform",
            "SourceExternalId": EXTERNAL_ID,
            "WorkerTimeoutSecs": "10",
            "TaskVisibilitySecs": "10",
            "AuditMinVisibilitySecs": "1",
            **parameters,
        }
        parameters = {key: value for key, value in parameters.items() if value is not None}
        template = emulator_template.write(f"http://127.0.0.1:{self.proxy.port}", parameters)
        return Stack(self.account, name, parameters, template)


def program(world, *arguments, codes=(0,)):
    """Runs the command line with the account's credentials; returns its JSON."""
    done = subprocess.run(
        [PROGRAM, *arguments], env={**os.environ, **world.account.environment()},
        capture_output=True, text=True, timeout=600)
    check(done.returncode in codes, f"{arguments}: exit {done.returncode}: {done.stderr}")
    return json.loads(done.stdout) if done.stdout else None
