#!/usr/bin/env bash
# Fails if splitter, format or pipeline depends on AWS, Lambda or a terminal, or if a crate depends on another
# one in the wrong direction.
set -euo pipefail
cd "$(dirname "$0")/.."

foreign='^(aws-|aws_|lambda|clap|indicatif|console|crossterm|termcolor|anstyle|event-recovery-cli)'
failed=0

tree() { cargo tree --locked --package "$1" --edges normal,build --prefix none --format '{p}' | awk '{print $1}' | sort -u; }

for package in event-recovery-splitter event-recovery-format event-recovery-pipeline; do
  if found=$(tree "$package" | grep -E "$foreign"); then
    echo "$package must not depend on:" $found >&2
    failed=1
  fi
done

# The packages of the workspace that a package may depend on.
allowed() {
  case "$1" in
    event-recovery-splitter | event-recovery-sample) echo "" ;;
    event-recovery-format) echo "event-recovery-splitter" ;;
    event-recovery-pipeline) echo "event-recovery-format event-recovery-splitter" ;;
    event-recovery-aws) echo "event-recovery-pipeline event-recovery-format event-recovery-splitter" ;;
    event-recovery-lambda)
      echo "event-recovery-aws event-recovery-pipeline event-recovery-format event-recovery-splitter" ;;
  esac
}
for package in event-recovery-splitter event-recovery-format event-recovery-pipeline event-recovery-sample \
  event-recovery-aws event-recovery-lambda; do
  for dependency in $(tree "$package" | grep '^event-recovery' | grep -vx "$package" || true); do
    if ! grep -qw -- "$dependency" <<<"$(allowed "$package")"; then
      echo "$package must not depend on $dependency" >&2
      failed=1
    fi
  done
done

# One crate names the SDK; the others use it through that one.
if found=$(grep -lE '^aws-(sdk|config|smithy)' crates/*/Cargo.toml | grep -v '^crates/aws/'); then
  echo "only crates/aws may name the AWS SDK, not:" $found >&2
  failed=1
fi

# Only the command line asks CloudFormation and Lambda about a stack; the functions' packages need no clients for that.
if found=$(tree event-recovery-lambda | grep -E '^aws-sdk-(cloudformation|lambda)'); then
  echo "event-recovery-lambda must not depend on:" $found >&2
  failed=1
fi

if found=$(tree event-recovery-splitter | grep -vxE 'event-recovery-splitter|simdutf8'); then
  echo "event-recovery-splitter must have no dependency but simdutf8, not:" $found >&2
  failed=1
fi

[ "$failed" -eq 0 ] && echo "dependencies point one way"
exit "$failed"
