#!/usr/bin/env bash
# The packages that Cargo.lock names, with their licences, as THIRD-PARTY.md. With --texts the licences themselves, of what is in the
# program: each text once, with the packages it came with.
set -euo pipefail
cd "$(dirname "$0")/.."

# Name, version, licence and repository of each package that is reached by the given edges.
packages() {
  cargo tree --locked --prefix none --format '{p}|{l}|{r}' "$@" |
    sed -E 's/ \(\*\)$//; s/ \(proc-macro\)\|/|/; s/^([^ ]+) v([^|]+)\|/\1|\2|/' | grep -v '^pipeline|' | LC_ALL=C sort -u
}

program() {
  packages --edges normal,no-proc-macro --target x86_64-unknown-linux-gnu
}

# Everything that Cargo.lock names. It has packages as well that no choice of features builds; only cargo's metadata knows those.
everything() {
  {
    packages --edges normal,build,dev --target all
    cargo metadata --locked --format-version 1 |
      grep -oE '"name":"[^"]+","version":"[^"]+","id":"[^"]+","license":"[^"]*"' |
      sed -E 's/"name":"([^"]+)","version":"([^"]+)",.*"license":"([^"]*)"/\1|\2|\3|/' | grep -v '^pipeline|'
  } | awk -F '|' '!seen[$1 "|" $2]++' | LC_ALL=C sort
}

texts() {
  local name version licence repository folder file sum metadata program
  # Not behind <(…), which hides a failure.
  metadata=$(cargo metadata --locked --format-version 1)
  program=$(program)
  declare -A folders=() users=() places=()
  while read -r folder; do
    folders[$(basename "$folder")]=$folder
  done < <(grep -o '"manifest_path":"[^"]*"' <<< "$metadata" | sed -E 's/.*:"(.*)\/Cargo.toml"/\1/')
  while IFS='|' read -r name version licence repository; do
    folder=${folders[$name-$version]:-${folders[$name]:-}}
    test -n "$folder" || { echo "third-party.sh: no source of $name $version" >&2; exit 1; }
    while read -r file; do
      sum=$(sha256sum < "$file")
      places[$sum]=${places[$sum]:-$file}
      users[$sum]+="  $name $version, $licence"$'\n'
    done < <(find "$folder" -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) ! -name '*.rs' | LC_ALL=C sort)
  done <<< "$program"
  test ${#users[@]} -gt 0 || { echo "third-party.sh: no licence was found" >&2; exit 1; }
  for sum in $(printf '%s\n' "${!users[@]}" | cut -d ' ' -f 1 | LC_ALL=C sort); do
    printf '==== Of\n%s\n\n' "$(printf '%s' "${users[$sum  -]}" | LC_ALL=C sort -u)"
    cat "${places[$sum  -]}"
    echo
  done
}

table() { # of the lines on standard input
  echo '| package | version | licence | source |'
  echo '|---|---|---|---|'
  sed -E 's/^([^|]*)\|([^|]*)\|([^|]*)\|(.*)$/| \1 | \2 | \3 | \4 |/; s/\|  \|/| |/'
}

if [ "${1:-}" = --texts ]; then
  texts
  exit
fi
cat << 'END'
# Third-party packages

What `pipeline` is made of besides its own code. `make third-party` writes this page from Cargo.lock, and a test fails when it leaves
a package out. The Debian package has the texts of the licences as well.

## In the program, on Linux

zstd-sys holds libzstd, which is written in C: BSD-3-Clause OR GPL-2.0-only.

END
program | table
cat << 'END'

## For building and testing, and for other systems

END
LC_ALL=C comm -13 <(program) <(everything) | table
