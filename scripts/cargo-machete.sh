#!/usr/bin/env bash
# Fails if a crate names a dependency that it does not use. Uses cargo-machete, installing it into
# target/tools if it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.9.1
export PATH="$PWD/target/tools/bin:$PATH"
if ! cargo machete --version 2>/dev/null | grep -qF "$version"; then
  cargo install --locked --quiet --root target/tools "cargo-machete@$version"
fi
cargo machete crates fuzz
