"""The built template as the emulator can deploy it: the production template has no switch for tests."""

import sys

import yaml

from stack import PROJECT, check

BUILT = PROJECT / ".aws-sam/build/template.yaml"
# Alarms on metric math become alarms on a metric that nobody reports, so that references to them stay.
STAND_IN = {"Namespace": "NotInTheEmulator", "MetricName": "Any", "Statistic": "Sum", "Period": 300}


def write(endpoint_url, parameters):
    """Writes the template for an emulator at that URL beside the built one, whose relative paths it keeps;
    returns its path."""
    template = yaml.safe_load(BUILT.read_text())
    use_endpoint(template, endpoint_url)
    allow_plain_http(template)
    replace_numbers(template, parameters)
    replace_metric_math(template)
    path = BUILT.with_name("template-emulator.yaml")
    path.write_text(yaml.safe_dump(template, sort_keys=False, width=1000))
    return path


def use_endpoint(template, url):
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    check("AWS_ENDPOINT_URL" not in variables, "the production template sets an endpoint")
    variables["AWS_ENDPOINT_URL"] = url


def allow_plain_http(template):
    """Takes out the statements that ask for TLS, and policies that have no other. The emulator speaks no TLS."""
    found = 0
    for name, resource in list(template["Resources"].items()):
        document = resource.get("Properties", {}).get("PolicyDocument")
        if not document:
            continue
        others = [statement for statement in document["Statement"] if statement["Sid"] != "TlsOnly"]
        found += len(document["Statement"]) - len(others)
        if others:
            document["Statement"] = others
        else:
            del template["Resources"][name]
    check(found == 8, f"{found} statements ask for TLS, not those of a bucket, six queues and a topic")
    check("SecureTransport" not in yaml.safe_dump(template), "a further condition asks for TLS")


def replace_numbers(template, parameters):
    """The emulator takes a number that comes from a parameter for a string."""
    scaling = template["Resources"]["Worker"]["Properties"]["Events"]["Tasks"]["Properties"]["ScalingConfig"]
    check(scaling == {"MaximumConcurrency": {"Ref": "WorkerConcurrency"}}, f"other settings: {scaling}")
    default = template["Parameters"]["WorkerConcurrency"]["Default"]
    scaling["MaximumConcurrency"] = int(parameters.get("WorkerConcurrency", default))


def replace_metric_math(template):
    """The emulator has no alarms on metric math; tests/check_template.py evaluates those."""
    found = [resource["Properties"] for resource in template["Resources"].values()
             if resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]]
    check(len(found) == 3, f"{len(found)} alarms use metric math")
    for properties in found:
        del properties["Metrics"]
        properties.update(STAND_IN)


if __name__ == "__main__":
    # For scripts/invoke-local.sh: prints the path of the template for an emulator at that URL.
    print(write(sys.argv[1], {}))
