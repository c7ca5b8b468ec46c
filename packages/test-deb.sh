#!/usr/bin/env bash
# Installs a Debian package, runs what is in it, and removes it again. Takes the package; wants root; exits with 0 if all held.
set -euo pipefail

deb=$(realpath "$1")
root=$(realpath "$(dirname "$0")/..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# What is in it is asked of the package: systems in containers often leave documentation out when they install.
dpkg-deb --fsys-tarfile "$deb" | tar -x
for name in man/man1/pipeline.1.gz man/man1/pipeline-process.1.gz bash-completion/completions/pipeline \
  zsh/vendor-completions/_pipeline fish/vendor_completions.d/pipeline.fish doc/pipeline/copyright doc/pipeline/third-party-licences; do
  test -s "usr/share/$name" || { echo "the package lacks usr/share/$name" >&2; exit 1; }
done
gzip -dc usr/share/man/man1/pipeline.1.gz | grep -q '^\.TH PIPELINE 1'
bash -n usr/share/bash-completion/completions/pipeline
# A folder of one word may be part of a name that belongs there.
folders=(-e "${CARGO_HOME:-$HOME/.cargo}/")
case "$root" in /*/*) folders+=(-e "$root/") ;; esac
if grep -q -a -F "${folders[@]}" usr/bin/pipeline; then
  echo "the program has folders of this machine in it" >&2
  exit 1
fi

if [ "$(id -u)" != 0 ]; then
  echo "SKIPPED: installing $(basename "$deb") takes root"
  exit 0
fi
if dpkg-query --show pipeline > /dev/null 2>&1; then
  echo "test-deb.sh: pipeline is installed already, and would be removed" >&2
  exit 1
fi
dpkg --install "$deb"
remove() { dpkg --purge pipeline > /dev/null; }
trap 'remove; rm -rf "$work"' EXIT
/usr/bin/pipeline --version
head -c 3000000 /dev/urandom > in
/usr/bin/pipeline keygen -o key 2> said
/usr/bin/pipeline process in out.zst.age -r "$(sed 's/Public key: //' said)" --quiet
/usr/bin/pipeline restore out.zst.age back -i key --quiet
cmp in back
trap 'rm -rf "$work"' EXIT
remove
test ! -e /usr/bin/pipeline
echo "installed, ran, and is gone: $(basename "$deb")"
