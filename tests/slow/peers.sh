#!/usr/bin/env bash
# Shows how zstd and age behave where docs/promises.md makes a promise: kills, failing producers, full disks, links.
# Prints one line for each. Needs zstd, age, and root for the full disk. Usage: peers.sh [RUNS], 20 by default.
set -uo pipefail
runs=${1:-20}
work=$(mktemp -d)
mounted=
trap '[ -z "$mounted" ] || umount "$work/small"; rm -rf "$work"' EXIT
cd "$work" || exit 1

head -c 200M /dev/urandom > in
age-keygen -o key 2> /dev/null
recipient=$(age-keygen -y key)

# Kills a command at a random time, with an old destination in place, and counts the states of the destination
# afterwards.
killed() {
  local name=$1 whole=0 old=0 lost=0
  shift
  local took_ms
  echo old > out
  took_ms=$({ TIMEFORMAT=%R; time "$@" 2> /dev/null; } 2>&1 | tail -1 | awk '{print int($1 * 1000)}')
  cp out complete
  for _ in $(seq "$runs"); do
    echo old > out
    setsid "$@" 2> /dev/null &
    local pid=$!
    sleep "$(awk -v ms="$took_ms" -v r=$RANDOM 'BEGIN { printf "%.3f", ms * r / 32768 / 1000 }')"
    kill -KILL -- "-$pid" 2> /dev/null
    wait "$pid" 2> /dev/null
    if [ "$(head -c 4 out)" = "old" ]; then old=$((old + 1)); elif cmp -s out complete; then whole=$((whole + 1)); else lost=$((lost + 1)); fi
  done
  echo "killed, $name: of $runs runs the destination was old $old times, complete $whole, neither $lost"
}
killed "zstd -f in -o out" zstd -q -f in -o out
# The output of age differs on each run, so a complete file counts as neither; its length identifies it.
killed "zstd -c in | age -o out" sh -c "zstd -qc in | age -r $recipient -o out"

sh -c '(cat in; exit 1) | zstd -q > out'
echo "a producer that fails in a pipe: exit $?, $(zstd -tq out 2> /dev/null && echo 'a file that says it is whole')"

mkdir small
if mount -t tmpfs -o size=1m tmpfs small 2> /dev/null; then
  mounted=1
  echo old > small/out
  zstd -q -f in -o small/out 2> /dev/null
  echo "a full disk, zstd -f: exit $?, the old file is $(if grep -qs old small/out; then echo there; else echo gone; fi)"
  echo old > small/out
  age -r "$recipient" -o small/out in 2> /dev/null
  echo "a full disk, age -o: exit $?, the old file is $(if grep -qs old small/out; then echo there; else echo gone; fi)"
fi

cp in link-source
ln -s link-source link
age -r "$recipient" -o link link-source 2> /dev/null
echo "input and output the same through a link, age: exit $?, the input is $(cmp -s in link-source && echo whole || echo destroyed)"
