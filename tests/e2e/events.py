"""Each function handles each of its payloads in `infra/events`, under AWS's Lambda runtime interface emulator."""

import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path

from emulator import free_port
from stack import PROJECT, check, wait_until

START_SECS_MAX = 20


def each_event(world, stack):
    """The built bootstraps answer every payload without an error. The runtime emulator is the one of SAM's package."""
    payloads = sorted((PROJECT / "infra/events").glob("*.json"))
    check(payloads, "infra/events is empty")
    # The run that `planner-recheck.json` rechecks.
    stack.plan("my-first-day", start="2024-04-01T00:00:00Z", end="2024-04-01T01:00:00Z")
    stack.await_notification("my-first-day")
    names = {"planner": "Planner", "worker": "Worker", "auditor": "Auditor"}
    seen = set()
    for path in payloads:
        function = names[path.name.split("-")[0]]
        seen.add(function)
        answer = invoke(world, stack, function, json.loads(path.read_text()))
        check("errorMessage" not in answer, f"{path.name}: {answer}")
    check(seen == set(names.values()), f"only {seen} have payloads")
    # The planner's payloads queue tasks of the deployed stack, which must not run on into the next scenario.
    wait_until(lambda: stack.depth("TaskQueue") == 0, 180, "the tasks of the payloads were not done")
    print(f"e2e:   {len(payloads)} payloads", flush=True)


def invoke(world, stack, function, payload):
    configuration = world.account.client("lambda").get_function_configuration(
        FunctionName=stack.resources[function])
    rie = next((PROJECT / ".venv").glob("lib/python3*/site-packages/samcli/local/rapid/aws-lambda-rie-x86_64"))
    port, runtime_port = free_port(), free_port()
    environment = {
        **os.environ, **world.account.environment(), **configuration["Environment"]["Variables"],
        "SCHEDULE_INTERVAL_HOURS": "1", "AWS_ENDPOINT_URL": world.account.url,
        "AWS_LAMBDA_FUNCTION_NAME": function,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(configuration["MemorySize"]),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "120", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    }
    log = Path(PROJECT / "target/e2e" / f"{function}.log").open("ab")
    process = subprocess.Popen(
        [rie, "--runtime-interface-emulator-address", f"127.0.0.1:{port}",
         "--runtime-api-address", f"127.0.0.1:{runtime_port}",
         PROJECT / ".aws-sam/build" / function / "bootstrap"],
        env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
    deadline = time.monotonic() + START_SECS_MAX
    try:
        while True:
            try:
                request = urllib.request.Request(url, json.dumps(payload).encode(), method="POST")
                with urllib.request.urlopen(request, timeout=130) as answer:
                    return json.loads(answer.read())
            except urllib.error.URLError as error:
                if time.monotonic() > deadline or not isinstance(error.reason, ConnectionRefusedError):
                    raise
                time.sleep(0.1)
    finally:
        process.terminate()
        process.wait(10)
