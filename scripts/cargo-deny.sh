#!/usr/bin/env bash
# Checks licenses, bans and sources with cargo-deny, installing it into target/tools if it is missing.
# With `advisories` it checks only those: their database is downloaded from GitHub, which not every machine
# can reach.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
export PATH="$PWD/target/tools/bin:$PATH"
if ! cargo deny --version 2>/dev/null | grep -qF "$version"; then
  cargo install --locked --quiet --root target/tools "cargo-deny@$version"
fi
if [ "${1:-}" = advisories ]; then
  exec cargo deny check advisories
fi
# The crates of all platforms: a build fetches only those of its own.
cargo fetch --locked --quiet
cargo deny --offline check licenses bans sources
