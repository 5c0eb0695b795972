#!/usr/bin/env bash
# Fuzzes the splitter for the given number of seconds per target, from the seeds in fuzz/seeds. The
# corpus is kept in target/fuzz/corpus; the end of the output names an input that fails.
# Usage: scripts/fuzz.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-20}

version=0.13.2
export PATH="$PWD/target/tools/bin:$PATH"
if ! cargo fuzz --version 2>/dev/null | grep -qF "$version"; then
  cargo install --locked --quiet --root target/tools "cargo-fuzz@$version"
fi
# Coverage and the address sanitizer are unstable options of the compiler.
export RUSTC_BOOTSTRAP=1
cargo fuzz build --target-dir target/fuzz
for target in any_bytes torn_events; do
  corpus=target/fuzz/corpus/$target
  mkdir -p "$corpus"
  log=target/fuzz/$target.log
  if ! cargo fuzz run --target-dir target/fuzz "$target" "$corpus" fuzz/seeds -- \
    -max_total_time="$seconds" -max_len=4096 -timeout=20 -print_final_stats=1 >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    exit 1
  fi
  echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s, nothing found"
done
