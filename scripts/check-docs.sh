#!/usr/bin/env bash
# Fails if docs/semantics.md names a test that does not exist, a document links to a missing file, the code map of
# docs/ARCHITECTURE.md lacks a source file or names one that is gone, or something calls an example or a benchmark that is
# gone.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
for test in $(grep -ohE '`[a-z0-9_]+`' docs/semantics.md | tr -d '`' | awk -F_ 'NF > 4' | sort -u); do
  if ! grep -rqE "(fn|def) $test\(" crates tests; then
    echo "docs/semantics.md names a test that does not exist: $test" >&2
    failed=1
  fi
done
for document in README.md docs/*.md crates/*/README.md; do
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
map=$(sed -n '/^## Code map/,/^## One object/p' docs/ARCHITECTURE.md)
sources=$(find crates/*/src -name '*.rs' ! -name lib.rs ! -name tests.rs)
for source in $sources; do
  if ! grep -qF "$(basename "$source")\`" <<<"$map"; then
    echo "the code map of docs/ARCHITECTURE.md lacks $source" >&2
    failed=1
  fi
done
for named in $(grep -oE '`[a-z0-9_/]+\.rs`' <<<"$map" | tr -d '`' | sort -u); do
  if ! grep -qE "/$named\$" <<<"$sources"; then
    echo "the code map of docs/ARCHITECTURE.md names $named, which is gone" >&2
    failed=1
  fi
done
for kind in example bench; do
  folder=$([ "$kind" = example ] && echo examples || echo benches)
  for named in $(grep -rhoE -- "--$kind(\", \"| )[a-z_]+" Makefile scripts bench/*.py docs/*.md README.md crates/*/README.md \
    | grep -oE '[a-z_]+$' | sort -u); do
    if ! { compgen -G "crates/*/$folder/$named.rs" || compgen -G "crates/*/$folder/$named/main.rs"; } >/dev/null; then
      echo "something calls the $kind $named, which is gone" >&2
      failed=1
    fi
  done
done
[ "$failed" -eq 0 ] && echo "documents agree with the tree"
exit "$failed"
