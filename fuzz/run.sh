#!/usr/bin/env bash
# Fuzzes one target for some seconds and says what came of it: runs, coverage, and crashes that were not there before.
# Usage: run.sh TARGET SECONDS, with the flags that `make fuzz` gives in RUSTFLAGS. Ends with 1 if there is a new crash.
set -euo pipefail
cd "$(dirname "$0")"
target=$1
seconds=$2

corpus=corpus/$target
artifacts=artifacts/$target
log=artifacts/$target.log
mkdir -p "$corpus" "$artifacts"
crashes_before=$(find "$artifacts" -type f | wc -l)

options=(
  -max_total_time="$seconds"
  # An input that takes longer is a hang. The slowest take a hundredth of that.
  -timeout=10
  # Far below what an input could ask for, well above what a restore with two workers may take. libFuzzer's limit on a single
  # allocation, -malloc_limit_mb, needs a sanitizer; src/memory.rs does the same on a stable compiler.
  -rss_limit_mb=512
  # Whatever these formats can say is said in less.
  -max_len=16384
  -artifact_prefix="$artifacts/"
  -print_final_stats=1
)
# `--target` keeps the instrumentation off build scripts and macros, which run on their own.
status=0
cargo run --quiet --locked --release --target "$(rustc --print host-tuple)" --bin "$target" -- \
  "$corpus" "${options[@]}" > "$log" 2>&1 || status=$?

# Where the fuzzer came to its end it says so itself; after a crash its last line of progress counts.
runs=$(grep -oE '^stat::number_of_executed_units: *[0-9]+' "$log" | grep -oE '[0-9]+$' || true)
coverage=$(grep -oE 'cov: [0-9]+' "$log" | tail -1 | grep -oE '[0-9]+' || true)
crashes=$(($(find "$artifacts" -type f | wc -l) - crashes_before))
printf '%-14s %12s runs   coverage %6s   new crashes %d\n' "$target" "${runs:-?}" "${coverage:-?}" "$crashes"
if [ "$status" -ne 0 ]; then
  echo "$target: ended with $status; what it said is in fuzz/$log" >&2
  exit 1
fi
