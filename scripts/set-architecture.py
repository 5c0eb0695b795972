"""Makes the built template deploy what was built: its parameter `Architecture` gets the architecture of the built
functions as its default and its only value. Usage, after `sam build`: set-architecture.py ARCHITECTURE [FOLDER]
"""

import sys
from pathlib import Path

import yaml

FUNCTIONS = ("Planner", "Worker", "Auditor")
# e_machine in the header of an ELF file.
MACHINES = {0x3E: "x86_64", 0xB7: "arm64"}


def architecture_of(bootstrap):
    head = bootstrap.read_bytes()[:20]
    machine = int.from_bytes(head[18:20], "little")
    if head[:4] != b"\x7fELF" or machine not in MACHINES:
        raise SystemExit(f"error: {bootstrap} is no program for x86_64 or arm64")
    return MACHINES[machine]


def main(wanted, folder):
    built = {function: architecture_of(folder / function / "bootstrap") for function in FUNCTIONS}
    if set(built.values()) != {wanted}:
        raise SystemExit(f"error: not all functions were built for {wanted}: {built}")
    path = folder / "template.yaml"
    template = yaml.safe_load(path.read_text())
    parameter = template["Parameters"]["Architecture"]
    parameter["Default"], parameter["AllowedValues"] = wanted, [wanted]
    path.write_text(yaml.safe_dump(template, sort_keys=False, width=1000))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else ".aws-sam/build"))
