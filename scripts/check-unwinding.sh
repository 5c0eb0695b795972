#!/usr/bin/env bash
# Fails if the functions, built as SAM builds them, would end with a panic instead of unwinding: one
# panic would take the other tasks of its batch with it. By default cargo-lambda adds `panic="abort"`.
set -euo pipefail
cd "$(dirname "$0")/.."
export real_cargo seen
real_cargo=$(command -v cargo)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
seen=$work/arguments
# Stands in for cargo, and only notes how it is called to build.
cat >"$work/cargo" <<'STUB'
#!/usr/bin/env bash
if [ "$1" = build ]; then
  printf '%s\n' "$*" >"$seen"
  exit 1
fi
exec "$real_cargo" "$@"
STUB
chmod +x "$work/cargo"

failed=0
for function in planner worker auditor; do
  folder=$(grep -A40 "Binary: $function\$" template.yaml | sed -n 's/^ *CodeUri: //p' | head -n 1)
  rm -f "$seen"
  (cd "$folder" && env -u CARGO PATH="$work:$PATH" cargo-lambda lambda build --release --bin "$function" >/dev/null 2>&1) || true
  if [ ! -s "$seen" ]; then
    echo "cargo-lambda did not build $function in \`$folder\`" >&2
    failed=1
  elif grep -q 'panic\|target-cpu' "$seen"; then
    echo "$function is built with other settings than [profile.release] has: $(cat "$seen")" >&2
    failed=1
  fi
done
[ "$failed" = 0 ] && echo "the functions unwind"
exit "$failed"
