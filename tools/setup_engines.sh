#!/bin/sh
# Install the servers and tools that tests and the bench run, where they are missing. Debian, as root.
#
# Tests start servers of their own. Debian's packages would start one of the system's too, at once and at
# every boot: a policy keeps them from it, and nothing stays enabled.
set -eu

missing=
need() { # COMMAND PACKAGE
  command -v "$1" >/dev/null || missing="$missing $2"
}
need strace strace
need wrk wrk
need chromium chromium
need zsh zsh
need fish fish
need redis-server redis-server
[ -n "$missing" ] || exit 0

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
# shellcheck disable=SC2086  # a list of packages
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing
for service in redis-server; do
  case "$missing" in *"$service"*) update-rc.d "$service" disable >/dev/null 2>&1 || true ;; esac
done
