#!/usr/bin/env bash
# Runs the tests of everything that splits events once with each kind of vector instructions that this
# processor has.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

for instructions in $("$cargo" run --quiet --locked --package event-recovery-splitter --example instructions); do
  echo "with $instructions:"
  EVENT_RECOVERY_INSTRUCTIONS=$instructions "$cargo" test --quiet --locked --package event-recovery-splitter \
    --package event-recovery-format --package event-recovery-pipeline --package event-recovery
done
