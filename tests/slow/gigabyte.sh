#!/usr/bin/env bash
# Tests a file of more than a gigabyte with process, restore and compare, both engines, bounded memory, and stock zstd
# where that is installed. Takes the path of the binary; prints the results; exits with 0 on success.
set -euo pipefail

pipeline=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Half of the file is a real tree, half is noise and zeros, so that all kinds of frames occur.
tar -chf tree.tar -C "$(rustc --print sysroot)" lib
{ head -c 600M tree.tar; head -c 300M /dev/urandom; head -c 300M /dev/zero; } > in
rm tree.tar

# The promise for two workers with default settings, in the release build, whose pages count as well.
"$pipeline" keygen -o key 2> said
recipient=$(sed 's/Public key: //' said)
within=$((64 << 20))
for flags in "" "-r $recipient" "-r $recipient --no-compress"; do
  # shellcheck disable=SC2086
  "$pipeline" process in small --force $flags --workers 2 --no-sync --stats json --stats-file process.json
  "$pipeline" restore small /dev/null --force -i key --workers 2 --stats json --stats-file restore.json
  for report in process restore; do
    peak=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["peak_memory_bytes"])' $report.json)
    echo "$report ${flags:+encrypted}: a peak of $peak bytes, $within are promised"
    test "$peak" -le "$within"
  done
done
rm small
bytes=$(stat -c %s in)
test "$bytes" -gt 1000000000

peak() { # peak memory in MiB, from the report $1
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["peak_memory_bytes"] >> 20)' "$1"
}

"$pipeline" process in out.zst --workers 2 --no-sync --stats json --stats-file process.json
"$pipeline" restore out.zst back --workers 2 --no-sync --stats json --stats-file restore.json
cmp in back
rm back
echo "channels: $bytes bytes there and back, peaks of $(peak process.json) and $(peak restore.json) MiB"
test "$(peak process.json)" -lt 80
test "$(peak restore.json)" -lt 80

"$pipeline" verify out.zst --against in --quiet
middle=$((bytes / 2))
cmp <("$pipeline" cat out.zst --range "$middle..+5000000") <(tail -c "+$((middle + 1))" in | head -c 5000000)

"$pipeline" process in mutex.zst --engine mutex --no-sync --quiet
cmp out.zst mutex.zst
"$pipeline" restore mutex.zst back --engine mutex --no-sync --quiet
cmp in back
rm back mutex.zst
echo "mutex: the same bytes both ways"

if command -v zstd > zstd.path; then
  zstd -q -t out.zst
  zstd -q -T0 in -o stock.zst
  "$pipeline" restore stock.zst back --no-sync --quiet
  cmp in back
  echo "stock zstd: reads ours, and we read its"
else
  echo "SKIPPED: zstd is not installed"
fi
echo "1 passed, 0 failed"
