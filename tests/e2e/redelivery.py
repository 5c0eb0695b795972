"""Events that are given back: compared with what a consumer has, and sent into its inbox, also by processes that are killed."""

import collections
import json
import os
import random
import subprocess
import threading
import time

import truth
from operator_policy import Person
from stack import check, wait_until
from world import PROGRAM, WORK, program

RUN = "outage"
# Events that may be in flight when a process dies, for each of its senders.
IN_FLIGHT = 10
SENDERS = 4


def events_are_given_back(world, stack):
    """What a consumer lacks is found exactly, and sent so that it has every event once; targets of each kind get the events' own
    bytes; killed senders lose nothing; a consumer that fails stops the sending."""
    stack.plan(RUN, format="ndjson")
    stack.await_notification(RUN)
    lines = truth.lines(stack, RUN)
    ids = {event_id(line) for line in lines} - {None}
    rows = [heals_a_consumer(world, stack, lines, ids), survives_kills(world, stack, lines),
            fifo_gets_each_once(world, stack, lines), topic_and_bus_and_stream(world, stack, lines),
            breaker_trips(world, stack, lines), has_a_policy(world, stack, lines)]
    print("e2e:   events given back:", *rows, sep="\ne2e:     ", flush=True)


def event_id(line):
    found = json.loads(line).get("event_id")
    return found if isinstance(found, str) else None


def of_run(stack):
    return ["--stack", stack.name, "--execution-id", RUN, "--json"]


def queue(world, name, **attributes):
    sqs = world.account.client("sqs")
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def drain(world, url):
    """Everything in the queue, as a consumer takes it."""
    sqs = world.account.client("sqs")
    found, empty = [], 0
    while empty < 3:
        batch = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]).get("Messages", [])
        empty = 0 if batch else empty + 1
        if batch:
            found.extend(batch)
            sqs.delete_message_batch(QueueUrl=url, Entries=[
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]} for number, message in enumerate(batch)])
    return found


def bodies(messages):
    return collections.Counter(message["Body"].encode() for message in messages)


def heals_a_consumer(world, stack, lines, ids):
    """A consumer that has processed 60 % of the events gets exactly the others."""
    processed = set(random.Random(14).sample(sorted(ids), len(ids) * 6 // 10))
    received = WORK / "processed.csv"
    received.write_text("event_id\n" + "".join(f'"{found}"\n' for found in sorted(processed)))
    comparison = program(world, "compare", *of_run(stack), "--received", received, codes=(3,))
    lacks = [line for line in lines if event_id(line) not in processed]
    check(comparison["missing"] == len(ids - processed) and comparison["unknown"] == 0, f"{comparison}")
    check(comparison["events"]["missing"] + comparison["events"]["without_id"] == len(lacks), f"{comparison['events']}")
    url, arn = queue(world, "inbox-of-the-consumer")
    deliver = ["deliver", *of_run(stack), "--to", arn, "--only-missing", comparison["comparison_id"]]
    forecast = program(world, *deliver, "--dry-run", "--rate", "100")
    check(forecast["to_send"] == len(lacks) and forecast["received"] == len(lines) - len(lacks), f"{forecast}")
    careful = program(world, *deliver, "--canary", "10", codes=(3,))
    check(careful["events"]["sent"] == 10 and "canary" in careful["stopped"], f"{careful}")
    report = program(world, *deliver, codes=(0, 3))
    check(report["events"]["sent"] == len(lacks) and report["events"]["pending"] == 0, f"{report['events']}")
    messages = drain(world, url)
    check(bodies(messages) == collections.Counter(lacks), "the consumer got something else than it lacks")
    attributes = {name: value["StringValue"] for name, value in messages[0]["MessageAttributes"].items()}
    check(attributes["event-recovery-run"] == RUN and attributes["event-recovery-redelivery"] == "true", f"{attributes}")
    processed |= {found for found in map(event_id, bodies(messages)) if found}
    received.write_text("event_id\n" + "".join(f'"{found}"\n' for found in sorted(processed)))
    healed = program(world, "compare", *of_run(stack), "--received", received, codes=(0, 3))
    check(healed["missing"] == 0 and healed["received"] == len(ids), f"{healed}")
    # What was sent to the same inbox is not sent again by another delivery.
    again = program(world, "deliver", *of_run(stack), "--to", arn, "--delivery-id", "another", "--canary", "1", codes=(3,))
    check(again["events"]["earlier"] + again["events"]["pending"] + 1 == len(lines), f"{again['events']}")
    return f"{len(lines):,} events, of which the consumer had {len(lines) - len(lacks):,}: it got the other {len(lacks):,}, each once"


def kill_until_done(world, arguments, kills_max, seed):
    """Kills the command at random moments, then lets it end. Returns the kills."""
    chance, kills = random.Random(seed), 0
    environment = {**os.environ, **world.account.environment()}
    while kills < kills_max:
        process = subprocess.Popen([PROGRAM, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=chance.uniform(0.1, 1.2))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    return kills


def survives_kills(world, stack, lines):
    wanted = int(os.environ.get("DELIVERY_KILLS", "12"))
    url, arn = queue(world, "inbox-of-the-killed")
    deliver = ["deliver", *of_run(stack), "--to", arn, "--delivery-id", "killed", "--rate", "400"]
    kills = kill_until_done(world, deliver, wanted, 1)
    report = program(world, *deliver, codes=(0, 3))
    found = bodies(drain(world, url))
    check(set(found) == set(lines), "an event is lost, or none of the run's")
    twice = sum(found.values()) - len(lines)
    check(twice <= report["sent_twice_max"] <= IN_FLIGHT * SENDERS * kills, f"{twice} twice, {report['sent_twice_max']} at most, {kills} kills")
    events = report["events"]
    parts = ("sent", "earlier", "received", "duplicate", "filtered", "refused", "pending")
    check(events["written"] == sum(events[part] for part in parts) and events["pending"] == 0, f"{events}")
    return f"{kills} kills of four senders to a queue: nothing lost, {twice} events twice, {report['sent_twice_max']} at most"


def fifo_gets_each_once(world, stack, lines):
    url, arn = queue(world, "inbox.fifo", FifoQueue="true")
    deliver = ["deliver", *of_run(stack), "--to", arn, "--delivery-id", "fifo", "--group-by", "/event_id", "--rate", "400"]
    kills = kill_until_done(world, deliver, 5, 2)
    report = program(world, *deliver, codes=(0, 3))
    found = bodies(drain(world, url))
    check(found == collections.Counter(lines), f"a FIFO queue has another content: {sum(found.values())} for {len(lines)}")
    check(report["events"]["pending"] == 0, f"{report}")
    return f"{kills} kills of senders to a FIFO queue: each event once"


def topic_and_bus_and_stream(world, stack, lines):
    """A tenth of the events to each."""
    domain = collections.Counter(json.loads(line).get("domain") for line in lines).most_common()[-1][0]
    wanted = collections.Counter(line for line in lines if json.loads(line).get("domain") == domain)
    deliver = ["deliver", *of_run(stack), "--domain", domain, "--to"]
    url, arn = queue(world, "subscriber")
    policy = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": ["sns.amazonaws.com", "events.amazonaws.com"]},
        "Action": "sqs:SendMessage", "Resource": arn}]}
    world.account.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    sns = world.account.client("sns")
    topic = sns.create_topic(Name="redelivered")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    program(world, *deliver, topic, codes=(0, 3))
    check(bodies(drain(world, url)) == wanted, "the topic passed something else on")
    events = world.account.client("events")
    bus = events.create_event_bus(Name="redelivered")["EventBusArn"]
    events.put_rule(Name="all", EventBusName="redelivered", EventPattern=json.dumps({"source": ["event-recovery"]}))
    events.put_targets(Rule="all", EventBusName="redelivered", Targets=[{"Id": "queue", "Arn": arn}])
    program(world, *deliver, bus, codes=(0, 3))
    got = [json.loads(message["Body"]) for message in drain(world, url)]
    of_value = lambda value: json.dumps(value, sort_keys=True)
    check(collections.Counter(of_value(event["detail"]) for event in got)
          == collections.Counter(of_value(json.loads(line)) for line in wanted.elements()), "the bus passed something else on")
    check(all(f"event-recovery-run={RUN}" in event["resources"] for event in got), f"{got[:1]}")
    kinesis = world.account.client("kinesis")
    kinesis.create_stream(StreamName="redelivered", ShardCount=2)
    described = lambda: kinesis.describe_stream(StreamName="redelivered")["StreamDescription"]
    wait_until(lambda: described()["StreamStatus"] == "ACTIVE", 30, "the stream is not active")
    program(world, *deliver, described()["StreamARN"], codes=(0, 3))
    records = []
    for shard in described()["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName="redelivered", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        while iterator:
            page = kinesis.get_records(ShardIterator=iterator, Limit=1000)
            records += [record["Data"] for record in page["Records"]]
            iterator = page.get("NextShardIterator") if page["Records"] else None
    check(collections.Counter(records) == wanted, f"the stream has {len(records)} records, not {sum(wanted.values())}")
    return f"{sum(wanted.values()):,} events by a topic, a bus and a stream: bytes (the bus: values) are equal"


def breaker_trips(world, stack, lines):
    """A dead letter during the delivery stops it; mended, it ends."""
    _, dead_arn = queue(world, "inbox-dead")
    dead_url = world.account.client("sqs").get_queue_url(QueueName="inbox-dead")["QueueUrl"]
    url, arn = queue(world, "inbox-watched", RedrivePolicy=json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": "1"}))
    deliver = ["deliver", *of_run(stack), "--to", arn, "--delivery-id", "watched", "--rate", "50"]
    sqs, failed_at = world.account.client("sqs"), []

    def fail():
        time.sleep(4)
        sqs.send_message(QueueUrl=dead_url, MessageBody="a message that the consumer could not process")
        failed_at.append(time.monotonic())

    failing = threading.Thread(target=fail)
    failing.start()
    stopped = program(world, *deliver, codes=(3,))
    took = time.monotonic() - failed_at[0]
    failing.join()
    check("the breaker has tripped" in stopped["stopped"] and took < 6, f"{took:.1f} s: {stopped['stopped']}")
    check(0 < stopped["events"]["sent"] < len(lines), f"{stopped['events']}")
    sqs.purge_queue(QueueUrl=dead_url)
    without_rate = [word for word in deliver if word not in ("--rate", "50")]
    report = program(world, *without_rate, codes=(0, 3))
    check(report["events"]["pending"] == 0 and report["sent_twice_max"] == 0, f"{report}")
    check(bodies(drain(world, url)) == collections.Counter(lines), "the consumer got something else")
    return f"the breaker stopped the delivery {took:.1f} s after a dead letter; the rest followed"


def has_a_policy(world, stack, lines):
    """The policy for whoever delivers allows comparing and delivering, and without any statement of it a delivery fails."""
    _, dead_arn = queue(world, "inbox-allowed-dead")
    redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": "1"})
    url, arn = queue(world, "inbox-allowed", RedrivePolicy=redrive)
    person = Person(world, stack, "deliverer", "deliverer.json", target_arn=arn, dead_letter_queue_arn=dead_arn)
    statements = person.document["Statement"]
    # The emulator checks sqs:SendMessageBatch as an action of its own, which AWS does not have.
    next(one for one in statements if one["Sid"] == "Send")["Action"].append("sqs:SendMessageBatch")
    person.allow(statements)
    run = ["--destination", f"s3://{stack.bucket}/{stack.prefix}".rstrip("/"), "--execution-id", RUN, "--json"]
    nothing = WORK / "nothing.txt"
    nothing.write_text("")
    compared = person.program("compare", *run, "--received", nothing, codes=(3,))
    check(compared["events"]["found"] == len(lines), f"{compared}")
    canary = ["deliver", *run, "--to", arn, "--again", "--canary", "1", "--delivery-id"]
    person.program(*canary, "allowed", codes=(3,))
    for statement in statements:
        person.allow([other for other in statements if other is not statement])
        person.program(*canary, f"without-{statement['Sid']}", codes=(1,))
    person.allow(statements)
    report = person.program("deliver", *run, "--to", arn, "--delivery-id", "allowed", "--again", codes=(0, 3))
    check(report["events"]["pending"] == 0, f"{report}")
    sent = bodies(drain(world, url))
    check(sent == collections.Counter(lines), f"{sum(sent.values())} of {len(lines)} events are in the queue")
    return f"each of the {len(statements)} statements of the deliverer's policy is needed, and they suffice"
