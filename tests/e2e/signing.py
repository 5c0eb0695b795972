"""Reports that the auditor of a stack signs, and that anybody verifies with the public key."""

import base64

from access import put_policy, stop_warm
from stack import check
from world import WORK, program


def reports_are_signed(world, stack):
    """The signature holds until anything is changed; without the permission to sign, people hear of the verdict all the same."""
    kms, s3, iam = (world.account.client(service) for service in ("kms", "s3", "iam"))
    key = WORK / "signing-key.txt"
    key.write_text(base64.b64encode(kms.get_public_key(KeyId=stack.parameters["SigningKeyArn"])["PublicKey"]).decode())
    stack.plan("signed", format="ndjson", end="2024-04-01T01:00:00Z")
    told = stack.await_notification("signed")
    verify = ["verify-signature", "--stack", stack.name, "--execution-id", "signed", "--public-key", key, "--json"]
    found = program(world, *verify, codes=(0, 3))
    check(found["verified"] and found["signed"]["verdict"] == told["verdict"], f"{found}")
    report = f"{stack.prefix}_recovery/signed/report.json"
    body = s3.get_object(Bucket=stack.bucket, Key=report)["Body"].read()
    s3.put_object(Bucket=stack.bucket, Key=report, Body=body.replace(b'"verdict"', b' "verdict"'))
    found = program(world, *verify, codes=(3,))
    check(not found["verified"] and "report.json` is not what was signed" in found["problems"][0], f"{found}")
    # Audited again with one's own access, the report is as it was, and signed by hand.
    program(world, "report", "--stack", stack.name, "--execution-id", "signed", "--json",
            "--signing-key", stack.parameters["SigningKeyArn"], codes=(0, 3))
    check(program(world, *verify)["verified"], "signed by hand, the report is not verified")

    role = stack.resources["AuditorRole"]
    document = iam.get_role_policy(RoleName=role, PolicyName="auditor")["PolicyDocument"]
    others = [statement for statement in document["Statement"] if statement["Sid"] != "SignReports"]
    check(len(others) == len(document["Statement"]) - 1, "the auditor's role has no statement to sign")
    put_policy(iam, role, "auditor", document, others)
    stop_warm(stack, "Auditor")
    try:
        checks = program(world, "preflight", "--stack", stack.name, "--json", codes=(3,))["checks"]
        missing = {found["name"]: found for found in checks if found["outcome"] == "missing"}
        need = missing["signing_key"]["needs"][0]
        check(need["action"] == "kms:Sign" and need["resource"] == stack.parameters["SigningKeyArn"], f"{missing}")
        stack.plan("unsigned", format="ndjson", end="2024-04-01T01:00:00Z")
        check(stack.await_notification("unsigned")["verdict"] == told["verdict"], "another verdict")
        verify[verify.index("signed")] = "unsigned"
        found = program(world, *verify, codes=(3,))
        check("is not signed" in found["problems"][0], f"{found}")
    finally:
        put_policy(iam, role, "auditor", document, document["Statement"])
