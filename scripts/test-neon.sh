#!/usr/bin/env bash
# Runs the splitter's tests with NEON: on AArch64 as they are, elsewhere in an emulator of a processor (qemu's user mode,
# installed with apt-get if it may), with fewer random cases, because it is 20 times slower.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
target=aarch64-unknown-linux-musl
emulator=qemu-aarch64-static

if [ "$(uname -m)" = aarch64 ]; then
  EVENT_RECOVERY_INSTRUCTIONS=neon "$cargo" test --quiet --locked --package event-recovery-splitter
  exit
fi
if ! command -v "$emulator" >/dev/null; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "error: $emulator is missing; install it with the package manager (qemu-user-static)" >&2
    exit 1
  fi
  apt-get install --yes --quiet --no-install-recommends qemu-user-static >&2
fi
rustup target add "$target"
# It needs no C compiler and no libraries of that processor: the target has its own.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER=$emulator
export PROPTEST_CASES=${PROPTEST_CASES:-16}
found=$("$cargo" run --quiet --locked --target "$target" --package event-recovery-splitter --example instructions)
case "$found" in
  *neon*) ;;
  *) echo "error: the emulated processor has no NEON: $found" >&2; exit 1 ;;
esac
# Left out: the tests of mutants are many, and how often bytes are looked at does not depend on the instructions.
EVENT_RECOVERY_INSTRUCTIONS=neon "$cargo" test --quiet --locked --target "$target" --package event-recovery-splitter \
  --lib --test behaviour --test hostile --test instructions --test properties -- --skip every_byte_is_looked_at
