#!/usr/bin/env bash
# Runs each function with each payload of infra/events by `sam local invoke`. Needs Docker.
#
#   SAM_LOCAL_OPTIONS   further options, such as `--docker-network NAME --skip-pull-image`
#   AWS_ENDPOINT_URL    an emulator that the containers can reach, instead of AWS
set -euo pipefail
cd "$(dirname "$0")/.."

if ! docker info >/dev/null 2>&1; then
  echo "error: Docker is not running; \`sam local invoke\` needs it" >&2
  echo "  hint: sudo apt-get install docker.io && sudo systemctl start docker" >&2
  exit 1
fi

template=.aws-sam/build/template.yaml
if [ -n "${AWS_ENDPOINT_URL:-}" ]; then
  # SAM passes only variables that the template declares, and the template of production declares no endpoint.
  template=$(.venv/bin/python tests/e2e/emulator_template.py "$AWS_ENDPOINT_URL")
fi
environment=$(mktemp)
trap 'rm -f "$environment"' EXIT
python3 - >"$environment" <<'PYTHON'
import json, os
names = ["AWS_ENDPOINT_URL", "ORG_ID", "DESTINATION_BUCKET", "SOURCE_BUCKET", "SCHEDULE_INTERVAL_HOURS",
         "TASK_QUEUE_URL", "AUDIT_QUEUE_URL", "NOTIFICATION_TOPIC_ARN"]
print(json.dumps({"Parameters": {name: os.environ[name] for name in names if name in os.environ}}))
PYTHON

for payload in infra/events/*.json; do
  name=$(basename "$payload")
  function=${name%%-*}
  echo "== ${function^} < $payload" >&2
  # shellcheck disable=SC2086
  answer=$(sam local invoke "${function^}" --template "$template" --event "$payload" --env-vars "$environment" \
    --parameter-overrides "Schedule=1 OrgId=tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be" \
    ${SAM_LOCAL_OPTIONS:-})
  echo "$answer"
  if grep -q '"errorMessage"' <<<"$answer"; then
    echo "error: ${function^} failed on $payload" >&2
    exit 1
  fi
done
