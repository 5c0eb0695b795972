#!/usr/bin/env bash
# Fails if docs/semantics.md names a test that does not exist, or a document links to a missing file.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
for test in $(grep -ohE '`[a-z0-9_]+`' docs/semantics.md | tr -d '`' | awk -F_ 'NF > 4' | sort -u); do
  if ! grep -rqE "(fn|def) $test\(" crates tests; then
    echo "docs/semantics.md names a test that does not exist: $test" >&2
    failed=1
  fi
done
for document in README.md docs/*.md; do
  for link in $(grep -oE '\]\([^)#:]+\)' "$document" | sed -E 's/^\]\(|\)$//g'); do
    if [ ! -e "$(dirname "$document")/$link" ]; then
      echo "$document links to a missing file: $link" >&2
      failed=1
    fi
  done
done
for target in $(grep -ohE '(`|^)make [a-z0-9-]+' README.md docs/*.md | awk '{print $2}' | sort -u); do
  if ! grep -qE "^$target:" Makefile; then
    echo "a document names 'make $target', which the Makefile does not have" >&2
    failed=1
  fi
done
[ "$failed" -eq 0 ] && echo "documents agree with the tree"
exit "$failed"
