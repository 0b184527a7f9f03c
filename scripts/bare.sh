#!/usr/bin/env bash
# Runs commands in a fresh clone of this repository on a bare machine: scripts/bare.sh SUITE COMMAND …
#
# SUITE is a release of Debian or Ubuntu. Its minimal root, with nothing but make, git and Python, is made once with debootstrap
# and kept; each run has a copy of its own, which goes with it. The commands run there one after the other, up to the first that
# fails. What is committed is tested (HEAD), not the working tree. All lines begin with the suite's name, because several may
# run at once; the last ones say how long everything took, and build/bare/SUITE.txt keeps them.
#
# The machine's settings for names, apt, pip, npm and certificates are handed in; nothing else of it is to be seen there.
set -euo pipefail
cd "$(dirname "$0")/.."

ROOTS=${PETIOLE_ROOTS:-${XDG_CACHE_HOME:-$HOME/.cache}/petiole/roots}
PACKAGES=make,git,python3,python3-venv,ca-certificates
DEBIAN=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
UBUNTU=${UBUNTU_MIRROR:-http://archive.ubuntu.com/ubuntu}
# Names of the environment that tell a program where packages come from and whom it may trust.
HANDED_IN='^([A-Za-z]+_proxy|[A-Z]+_PROXY|(PIP|UV|NPM_CONFIG|npm_config)_[A-Za-z_]+|[A-Z_]*(CA_BUNDLE|CERT_FILE|CERT_DIR|CA_CERTS|CAINFO))='

unable() {
    echo "$1"
    exit 3
}

[ "$(uname -s)" = Linux ] || unable "A bare machine needs namespaces of Linux, and this is $(uname -s). Run: make test"
[ "$(id -u)" = 0 ] || unable "A bare machine needs root, for debootstrap and for namespaces. Run it as root, or run: make test"
[ $# -ge 2 ] || unable "Usage: scripts/bare.sh SUITE COMMAND …, as in: scripts/bare.sh bookworm 'make test'"
suite=$1
shift

case $suite in
    bookworm | trixie) mirror=$DEBIAN script=sid keyring=debian-archive-keyring components=main ;;
    noble) mirror=$UBUNTU script=gutsy keyring=ubuntu-keyring components=main,universe ;;
    *) unable "There is no bare machine $suite. Choose bookworm (Debian 12), trixie (Debian 13) or noble (Ubuntu 24.04)." ;;
esac

# The kept root is made anew when what it is made of changes.
base=$ROOTS/$suite-$(printf '%s' "$PACKAGES $components $mirror" | cksum | cut -d ' ' -f 1)
mkdir -p "$ROOTS"
exec 9>"$base.lock"
flock 9
if [ ! -d "$base" ]; then
    if ! command -v debootstrap >/dev/null || ! dpkg --status "$keyring" >/dev/null 2>&1; then
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap "$keyring"; } >/dev/null 2>&1 ||
            unable "There is no debootstrap here, and apt-get can't install it with $keyring. Install both."
    fi
    echo "$suite: making the root with debootstrap"
    rm -rf "$base.new"
    debootstrap --variant=minbase --include="$PACKAGES" --components="$components" \
        --keyring="/usr/share/keyrings/${keyring/ubuntu-keyring/ubuntu-archive-keyring}.gpg" \
        "$suite" "$base.new" "$mirror" "$script" >"$base.log" 2>&1 ||
        { tail -n 5 "$base.log"; unable "debootstrap couldn't make $suite; its log is $base.log."; }
    mv "$base.new" "$base"
fi
flock -u 9

root=$(mktemp --directory "$ROOTS/run-$suite-XXXXXX")
trap 'rm -rf --one-file-system "$root" "$root.log"' EXIT
cp --archive --reflink=auto "$base/." "$root"

# What this machine says of names, packages and trust, at the places where the programs look for it.
cp --dereference /etc/resolv.conf /etc/hosts "$root/etc/"
apt-config dump 2>/dev/null | grep -E '^Acquire::(http|https)::' >"$root/etc/apt/apt.conf.d/90machine" || true
if [ -d /usr/local/share/ca-certificates ]; then
    cp --archive /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
    chroot "$root" update-ca-certificates >/dev/null 2>&1
fi
hand_in() {
    for file in "$@"; do
        there=$root${file/#$HOME//root}
        if [ -f "$file" ] && [ ! -e "$there" ]; then
            mkdir -p "$(dirname "$there")"
            cp --dereference "$file" "$there"
        fi
    done
}
settings=(/etc/pip.conf /etc/xdg/pip/pip.conf "$HOME/.pip/pip.conf" "$HOME/.config/pip/pip.conf" "$HOME/.config/uv/uv.toml")
hand_in "${settings[@]}"
{
    # Node comes with the packages, and has no global file of its own.
    if command -v npm >/dev/null; then cat "$(npm config get globalconfig 2>/dev/null)" 2>/dev/null || true; fi
    cat "$HOME/.npmrc" 2>/dev/null || true
} >"$root/root/.npmrc"
environment=(HOME=/root LANG=C.UTF-8 CI=true PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
while IFS= read -r -d '' setting; do
    [[ $setting =~ $HANDED_IN ]] && environment+=("$setting")
done < <(env -0)
# The files that these settings name: constraints, certificates.
mapfile -t named < <({ cat "${settings[@]}" "$root/root/.npmrc" 2>/dev/null; printf '%s\n' "${environment[@]}"; } |
    grep -oE '/[A-Za-z0-9._/-]+')
hand_in "${named[@]}"

if git -c safe.directory='*' rev-parse --verify --quiet HEAD >/dev/null; then
    mkdir "$root/root/petiole"
    git -c safe.directory='*' bundle create --quiet "$root/root/petiole.bundle" HEAD
    chroot "$root" git -c advice.detachedHead=false -c init.defaultBranch=main clone --quiet /root/petiole.bundle /root/petiole
else
    mkdir "$root/root/petiole"
    tar --create --exclude=./.venv --exclude=node_modules . | tar --extract --directory "$root/root/petiole"
fi

# A process namespace of its own ends every process with it; pivot_root makes the root a mount, which `ip netns` needs.
inside='
set -eu
mount --bind "$1" "$1"
mount --types proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
mount --types tmpfs tmpfs "$1/run"
mkdir "$1/.outside"
cd "$1"
pivot_root . .outside
shift
exec chroot . /bin/bash -c "umount --lazy /.outside && rmdir /.outside && cd /root/petiole && exec \"\$@\"" bash "$@"
'
mkdir -p build/bare
summary=build/bare/$suite.txt
: >"$summary"
failed=0
for command in "$@"; do
    began=$SECONDS
    unshare --mount --pid --fork --kill-child --propagation private \
        sh -c "$inside" sh "$root" env --ignore-environment "${environment[@]}" sh -c "$command" </dev/null 2>&1 |
        tee "$root.log" | sed --unbuffered "s/^/$suite: /" || failed=${PIPESTATUS[0]}
    {
        # What pytest counted, and the times of the parts.
        grep -aE '^(=+ .*(passed|failed|error).* in [0-9.]+s.*|  +[0-9]+ s  .*|  +[a-z-]+ failed)$' "$root.log" || true
        printf '%6d s  %s\n' $((SECONDS - began)) "$command"
        [ "$failed" = 0 ] || echo "          failed: $command"
    } | sed "s/^/$suite: /" | tee -a "$summary"
    [ "$failed" = 0 ] || break
done
exit "$failed"
