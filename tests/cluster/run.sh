#!/usr/bin/env bash
# `make test-cluster`: tests/cluster inside user, network, process and mount namespaces of its own, because `ray up`, `ray down` and
# `ray stop` end every Ray that the user may signal. Nothing is installed; no root is needed. What is missing is a skip with its reason.
#   run.sh PYTHON [pytest's arguments]
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=$1
shift
ARGUMENTS=("$@")
TOOLS="$PWD/.cluster-tools"
PACKAGES=(openssh-server openssh-sftp-server rsync libwrap0 libpopt0)

skip() {
  export OPTICAL_CLUSTER_SKIP="$1"
  exec "$PYTHON" -m pytest -rs tests/cluster "${ARGUMENTS[@]}"
}

# sshd and rsync, unpacked from Debian's packages beside the checkout unless the system has both.
fetch() {
  if command -v rsync && [ -x /usr/sbin/sshd ]; then return; fi
  if [ -x "$TOOLS/usr/sbin/sshd" ] && [ -x "$TOOLS/usr/bin/rsync" ]; then return; fi
  command -v apt-get && command -v dpkg || return 1
  rm -rf "$TOOLS" && mkdir -p "$TOOLS/packages"
  (cd "$TOOLS/packages" && apt-get download "${PACKAGES[@]}" && for package in *.deb; do dpkg -x "$package" "$TOOLS"; done)
} > /dev/null 2>&1

for tool in unshare ip mount ssh ssh-keygen make; do
  command -v "$tool" > /dev/null || skip "needs $tool (Debian: util-linux, iproute2, mount, openssh-client, make)"
done
PRIVATE=(unshare --user --map-root-user --net --pid --fork --kill-child --mount --mount-proc)
"${PRIVATE[@]}" ip link add probe type veth peer name eborp 2> /dev/null \
  || skip "needs user namespaces with virtual network links, which this system does not allow"
fetch || export OPTICAL_CLUSTER_NO_SSHD="sshd and rsync are neither here nor to be had by apt-get download (Debian: openssh-server, rsync)"

export OPTICAL_CLUSTER_TOOLS="$TOOLS"
OPTICAL_CLUSTER_OUTSIDE=$(readlink /proc/self/ns/net)
export OPTICAL_CLUSTER_OUTSIDE
exec "${PRIVATE[@]}" "$PYTHON" -m pytest -s --durations=0 --timeout=900 tests/cluster "${ARGUMENTS[@]}"
