#!/usr/bin/env bash
# Prints the path of a bare root of Debian or Ubuntu, created with debootstrap once and then kept: scripts/bare_root.sh SUITE
# Exit code 3: the root can't be created here; the reason is printed.
set -euo pipefail

ROOTS=${XDG_CACHE_HOME:-$HOME/.cache}/petiole/roots
PACKAGES=make,git,python3,python3-venv,ca-certificates
DEBIAN=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
UBUNTU=${UBUNTU_MIRROR:-http://archive.ubuntu.com/ubuntu}

unable() {
    echo "$1"
    exit 3
}

[ "$(uname -s)" = Linux ] || unable "A bare machine needs namespaces of Linux, and this is $(uname -s). Run: make test"
[ "$(id -u)" = 0 ] || unable "A bare machine needs root, for debootstrap and for namespaces. Run it as root, or run: make test"
case $1 in
    bookworm | trixie) mirror=$DEBIAN script=sid keyring=debian-archive-keyring components=main ;;
    noble) mirror=$UBUNTU script=gutsy keyring=ubuntu-archive-keyring components=main,universe ;;
    *) unable "There is no bare machine $1. Choose bookworm (Debian 12), trixie (Debian 13) or noble (Ubuntu 24.04)." ;;
esac
keys=/usr/share/keyrings/$keyring.gpg

# It is created again when its ingredients change.
root=$ROOTS/$1-$(printf '%s' "$PACKAGES $components $mirror" | cksum | cut -d ' ' -f 1)
mkdir -p "$ROOTS"
exec 9>"$ROOTS/lock"
flock 9
if [ -d "$root" ]; then
    echo "$root"
    exit
fi

if ! command -v debootstrap >/dev/null; then
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap; } >/dev/null 2>&1 ||
        unable "There is no debootstrap here, and apt-get can't install it. Install it."
fi
work=$(mktemp --directory "$ROOTS/making-XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT

if [ ! -e "$keys" ] && [ "$keyring" = ubuntu-archive-keyring ]; then
    # Debian has Ubuntu's keys since release 13, signed with its own.
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $DEBIAN trixie main" >"$work/sources.list"
    mkdir -p "$work/lists/partial" "$work/archives/partial"
    apt=(apt-get -qq -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State=$work"
        -o "Dir::Cache=$work" -o Acquire::Languages=none -o APT::Sandbox::User=root)
    (cd "$work" && "${apt[@]}" update && "${apt[@]}" download ubuntu-keyring && dpkg-deb --extract ./*.deb "$work") >/dev/null 2>&1 ||
        unable "Ubuntu's keys aren't here, and apt-get can't get the package ubuntu-keyring. Install it."
    keys=$work$keys
fi
[ -e "$keys" ] || unable "The keys of $mirror aren't here. Install the package $keyring."

debootstrap --variant=minbase --include="$PACKAGES" --components="$components" --keyring="$keys" \
    "$1" "$work/root" "$mirror" "$script" >"$ROOTS/debootstrap.log" 2>&1 ||
    unable "debootstrap couldn't make $1: $(tail -n 1 "$ROOTS/debootstrap.log") All of it is in $ROOTS/debootstrap.log."
mv "$work/root" "$root"
echo "$root"
