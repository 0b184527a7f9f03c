#!/bin/sh
# Makes sure that system packages are installed: scripts/require.sh NEED=PACKAGE …
#
# NEED is a command, or a shared library (libatomic.so.1).
# As root on Debian or Ubuntu it installs missing packages; otherwise it lists them. In CI a missing package is a failure.
set -eu

# Debian keeps PostgreSQL's server programs off the PATH, and nginx off that of users. A program that a virtual environment has
# put on the PATH (a redis-server from a wheel) isn't the system's, and the tests don't use it as such.
system_path=""
IFS=:
for directory in $PATH:/usr/sbin; do
    [ -e "${directory%/*}/pyvenv.cfg" ] || system_path="$system_path$directory:"
done
unset IFS
for directory in /usr/lib/postgresql/*/bin; do system_path="$system_path$directory:"; done

is_here() {
    case $1 in
        *.so.*) PATH="$system_path/sbin" ldconfig -p | grep -q "^[[:space:]]*$1 " ;;
        *) PATH="$system_path" command -v "$1" >/dev/null 2>&1 ;;
    esac
}

missing=""
for pair in "$@"; do
    is_here "${pair%%=*}" || missing="$missing ${pair#*=}"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq
    echo "Installing:$missing"
    made=""
    trap 'rm -f $made' EXIT
    # Debian would start the servers that it installs, and create a PostgreSQL cluster; the tests have their own.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        made="/usr/sbin/policy-rc.d"
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
    fi
    mkdir -p /etc/postgresql-common/createcluster.d
    made="$made /etc/postgresql-common/createcluster.d/petiole.conf"
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/petiole.conf
    log=$(mktemp)
    made="$made $log"
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >"$log" 2>&1 || {
        tail -n 5 "$log"
        echo "apt-get couldn't install:$missing"
        exit 1
    }
    exit 0
fi

echo "Not installed:$missing"
echo "On Debian or Ubuntu: sudo apt install$missing"
[ -z "${CI:-}" ] || exit 1
