"""Writes docs/configuration.md, the reference of the stack's parameters, from template.yaml.

`python3 scripts/configuration.py` prints it; tests/check_template.py compares it with the file.
"""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests"))
import cloudformation  # noqa: E402

HEAD = """# Configuration

What can be set, and where. The command line's options are in [command-line.md](command-line.md), what each limit is for in
[limits.md](limits.md), the fields of a recovery request in [deployment.md](deployment.md#recover-a-day). The program reads one variable of the
environment, `EVENT_RECOVERY_LOG`, besides those of the AWS SDK.

## Parameters of the stack

Generated from `template.yaml` by `.venv/bin/python scripts/configuration.py > docs/configuration.md`; `make validate` compares.
"""


def accepted(parameter):
    if "AllowedValues" in parameter:
        return ", ".join(f"`{value}`" if value != "" else "empty" for value in parameter["AllowedValues"])
    if "MinValue" in parameter:
        return f"{parameter['MinValue']:,} to {parameter['MaxValue']:,}"
    said = parameter.get("ConstraintDescription", "")
    return said.removeprefix("must be ").rstrip(".") or "text"


def default(parameter):
    if "Default" not in parameter:
        return "required"
    return f"`{parameter['Default']}`" if parameter["Default"] != "" else "empty"


def reference():
    template = cloudformation.load(PROJECT / "template.yaml")
    parameters = template["Parameters"]
    lines = [HEAD]
    for group in template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]:
        lines += [f"### {group['Label']['default']}", "", "| parameter | default | accepts | meaning |", "|---|---|---|---|"]
        for name in group["Parameters"]:
            parameter = parameters[name]
            cells = [f"`{name}`", default(parameter), accepted(parameter), parameter["Description"]]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    lines += [
        "## Environment of the functions", "",
        "The template sets these from the parameters; they matter to whoever deploys the functions in another way.", "",
        "| function | variables |", "|---|---|",
    ]
    of_all = template["Globals"]["Function"]["Environment"]["Variables"]
    lines.append("| all | " + ", ".join(f"`{name}`" for name in sorted(of_all)) + " |")
    for name in ("Planner", "Worker", "Auditor"):
        variables = template["Resources"][name]["Properties"]["Environment"]["Variables"]
        lines.append(f"| {name.lower()} | " + ", ".join(f"`{variable}`" for variable in sorted(variables)) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
