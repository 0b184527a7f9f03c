#!/bin/sh
# Sees to system packages: scripts/require.sh COMMAND=PACKAGE …
# As root on Debian or Ubuntu it installs what is missing; otherwise it says what to install. In CI missing is a failure.
set -eu

# Debian keeps PostgreSQL's own programs off the PATH, and nginx off that of people.
for directory in /usr/sbin /usr/lib/postgresql/*/bin; do PATH="$PATH:$directory"; done

missing=""
for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || missing="$missing ${pair#*=}"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing:$missing"
    apt-get update -qq
    made=""
    trap 'rm -f $made' EXIT
    # Debian would start the servers that it installs, and make a cluster of PostgreSQL; the tests have their own.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        made="/usr/sbin/policy-rc.d"
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
    fi
    mkdir -p /etc/postgresql-common/createcluster.d
    made="$made /etc/postgresql-common/createcluster.d/petiole.conf"
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/petiole.conf
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    exit 0
fi

echo "Not installed:$missing"
echo "On Debian or Ubuntu: sudo apt install$missing"
[ -z "${CI:-}" ] || exit 1
