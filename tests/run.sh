#!/usr/bin/env bash
# Runs all tests with cargo-nextest, or with cargo where nextest is not installed. At the end it counts the tests that
# could not run in full and names what each lacks. PIPELINE_MAY_LACK, which CI sets, lists the rights that may be
# absent; any other lack is then a failure. Arguments go to nextest or cargo.
set -uo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

PIPELINE_SKIPPED=$(mktemp)
export PIPELINE_SKIPPED
trap 'rm -f "$PIPELINE_SKIPPED"' EXIT

# A shell's background job ignores SIGINT, and every program that the tests start would inherit that.
run=(env)
env --default-signal=INT true 2> /dev/null && run+=(--default-signal=INT,QUIT,HUP)

# The slow suite prints figures, which docs/promises.md quotes.
show=()
[ "${PIPELINE_TESTS:-}" = slow ] && show=(yes)

if "$cargo" nextest --version > /dev/null 2>&1; then
  # nextest does not run documentation tests.
  "${run[@]}" "$cargo" nextest run --locked ${show:+--success-output immediate} "$@" && "$cargo" test --locked --doc --quiet
else
  "${run[@]}" "$cargo" test --locked "$@" ${show:+-- --nocapture}
fi
code=$?

count=$(sort -u "$PIPELINE_SKIPPED" | wc -l)
echo "tests that could not run in full: $count"
sort -u "$PIPELINE_SKIPPED" | sed 's/^/  no /'
if [ -n "${PIPELINE_MAY_LACK+set}" ]; then
  while read -r kind name; do
    case " $PIPELINE_MAY_LACK " in
      *" $name "*) [ "$kind" = right ] && continue ;;
    esac
    echo "make test: this machine should have it: $kind $name" >&2
    code=1
  done < <(sort -u "$PIPELINE_SKIPPED" | cut -d: -f1 | sort -u)
fi
exit "$code"
