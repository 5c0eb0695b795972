#!/usr/bin/env bash
# Fails if docs/semantics.md names a test that does not exist, a document links to a missing file, the code map of
# docs/ARCHITECTURE.md lacks a source file or names one that is gone, or something calls an example or a benchmark that is
# gone.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
# In every document of docs/, a name in backticks with more than four words is that of a test.
functions=$(grep -rohE '(fn|def) [a-z0-9_]+\(' --include='*.rs' --include='*.py' crates tests | awk '{print $2}' | tr -d '(' | sort -u)
for document in docs/*.md; do
  named=$(grep -ohE '`[a-z0-9_]+`' "$document" | tr -d '`' | awk -F_ 'NF > 4' | sort -u)
  for test in $(comm -23 <(echo "$named") <(echo "$functions")); do
    echo "$document names a test that does not exist: $test" >&2
    failed=1
  done
done
for document in README.md docs/*.md crates/*/README.md; do
  for link in $(grep -oE '\]\([^)#:]+\)' "$document" | sed -E 's/^\]\(|\)$//g'); do
    if [ ! -e "$(dirname "$document")/$link" ]; then
      echo "$document links to a missing file: $link" >&2
      failed=1
    fi
  done
done
# Documents and CI call only targets of the Makefile.
for target in $(grep -ohE '(`|^|run: )make [a-z0-9-]+' README.md CONTRIBUTING.md docs/*.md .github/*.md .github/workflows/*.yml .ci/run \
  | awk '{print $NF}' | sort -u); do
  if ! grep -qE "^$target:" Makefile; then
    echo "a document or CI calls 'make $target', which the Makefile does not have" >&2
    failed=1
  fi
done
# The paths of "Where to change what".
for path in $(sed -n '/^## Where to change what/,/^## One object/p' docs/ARCHITECTURE.md | grep -oE '`[a-z0-9_./-]+`' \
  | tr -d '`' | grep -E '/|^template' | sort -u); do
  if [ ! -e "$path" ]; then
    echo "docs/ARCHITECTURE.md names a path that is gone: $path" >&2
    failed=1
  fi
done
# The code map covers all sources, tests, benchmarks and scripts.
map=$(sed -n '/^## Code map/,/^## Where to change what/p' docs/ARCHITECTURE.md)
sources=$(find crates/*/src -name '*.rs' ! -name lib.rs ! -name tests.rs
  find tests tests/e2e bench scripts -maxdepth 1 \( -name '*.rs' -o -name '*.py' -o -name '*.sh' \))
for source in $sources; do
  if ! grep -qF "$(basename "$source")\`" <<<"$map"; then
    echo "the code map of docs/ARCHITECTURE.md lacks $source" >&2
    failed=1
  fi
done
for named in $(grep -oE '`[a-z0-9_/-]+\.(rs|py|sh)`' <<<"$map" | tr -d '`' | sort -u); do
  if ! grep -qE "/$named\$" <<<"$sources" && [ ! -e "$named" ] && [ ! -e "fuzz/$named" ]; then
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
