"""The data of the benchmark, made by the product's own generator."""

import collections
import dataclasses
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from measure import folder_bytes

START_DATE = "2024-04-01"
OBJECTS_PER_HOUR = 10
CLEAN_OBJECT = "10MB"
HARD_OBJECT = "2MB"
SMALL_OBJECTS, SMALL_HOURS, SMALL_OBJECT = 20_000, 100, "4KB"
GZIP = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
WHITE_SPACE = re.compile(r"[ \t\r\n]*")


@dataclasses.dataclass
class Data:
    """A folder with `main_stream`, and the file of the events in it if results are compared with that."""

    folder: Path
    bytes: int
    expected: Path | None = None

    @property
    def objects(self):
        return sorted(path for path in (self.folder / "main_stream").rglob("*") if path.is_file())


def generate(binary, folder, *options):
    """Deletes the list of events of clean samples, which is as large as the data and not used."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([binary, "sample", folder, *map(str, options)], check=True, stderr=subprocess.DEVNULL)
    expected = folder / "expected.ndjson"
    if "--hard" not in options:
        expected.unlink()
    return Data(folder, folder_bytes(folder / "main_stream"), expected if "--hard" in options else None)


def clean(binary, folder, hours):
    return generate(binary, folder, "--hours", hours, "--objects-per-hour", OBJECTS_PER_HOUR,
                    "--object-bytes", CLEAN_OBJECT)


def hard(binary, folder, hours):
    return generate(binary, folder, "--hard", "--hours", hours, "--objects-per-hour", OBJECTS_PER_HOUR,
                    "--object-bytes", HARD_OBJECT)


def small(binary, folder):
    """20,000 objects, over hours enough that each has as many as a platform writes that batches for some seconds."""
    return generate(binary, folder, "--hours", SMALL_HOURS, "--objects-per-hour", SMALL_OBJECTS // SMALL_HOURS,
                    "--object-bytes", SMALL_OBJECT)


def one_object(binary, folder, size):
    return generate(binary, folder, "--hours", 1, "--objects-per-hour", 1, "--object-bytes", size)


def linked(data, folder, objects):
    """The same files under another folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in objects:
        link = folder / path.relative_to(data.folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, link)
    return Data(folder, folder_bytes(folder))


def first_hours(data, folder, hours):
    hour_folders = sorted({path.parent for path in data.objects})[:hours]
    return linked(data, folder, [path for path in data.objects if path.parent in hour_folders])


def intact(data, folder):
    """The hard objects without damage, gzip and byte order mark: a tool that handles none of these can be expected to
    get them right."""
    torn = {json.loads(line)["key"] for line in (data.folder / "torn.jsonl").read_text().splitlines()}

    def is_intact(path):
        with path.open("rb") as file:
            head = file.read(3)
        is_plain = head and head[:2] != GZIP and head != BYTE_ORDER_MARK
        return is_plain and str(path.relative_to(data.folder)) not in torn

    subset = linked(data, folder, filter(is_intact, data.objects))
    subset.expected = folder / "expected.ndjson"
    events = collections.Counter(line for path in subset.objects for line in events_by_json_module(path))
    truth = collections.Counter(data.expected.read_bytes().splitlines())
    if events - truth:
        raise SystemExit("error: the intact objects hold events that the sample's truth does not have")
    subset.expected.write_bytes(b"".join(line + b"\n" for line in events.elements()))
    return subset


def events_by_json_module(path):
    """The generator's truth does not say which object an event is in; Python's parser does."""
    text, decoder = path.read_bytes().decode(), json.JSONDecoder()
    position = WHITE_SPACE.match(text).end()
    while position < len(text):
        _, end = decoder.raw_decode(text, position)
        yield text[position:end].replace("\n", "").replace("\r", "").encode()
        position = WHITE_SPACE.match(text, end).end()


def warm(data):
    """Reads everything once, so that no tool pays for the disk."""
    for path in data.objects:
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
