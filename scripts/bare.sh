#!/usr/bin/env bash
# Runs commands in a fresh clone of this repository on a bare machine: scripts/bare.sh SUITE COMMAND …
#
# SUITE is a release of Debian or Ubuntu; scripts/bare_root.sh lists them. Its root has nothing but make, git and Python, and each run
# gets its own copy, which is deleted afterwards. The commands run one after the other, up to the first that fails. They test the
# commit (HEAD), not the working tree. All lines begin with the suite's name, because several may run at once; build/bare/SUITE.txt
# keeps the counts and the times.
#
# The root gets the machine's settings for name resolution, apt, pip, npm and certificates, and nothing else of the machine.
set -euo pipefail
cd "$(dirname "$0")/.."

# Environment variables for package sources, proxies and trusted certificates.
HANDED_IN='^([A-Za-z]+_proxy|[A-Z]+_PROXY|(PIP|UV|NPM_CONFIG|npm_config)_[A-Za-z_]+|[A-Z_]*(CA_BUNDLE|CERT_FILE|CERT_DIR|CA_CERTS|CAINFO))='

if [ $# -lt 2 ]; then
    echo "Usage: scripts/bare.sh SUITE COMMAND …, as in: scripts/bare.sh bookworm 'make test'"
    exit 2
fi
suite=$1
shift
base=$(scripts/bare_root.sh "$suite") || { code=$?; echo "$base"; exit "$code"; }
root=$(mktemp --directory "$base-run-XXXXXX")
trap 'rm -rf --one-file-system "$root" "$root.log"' EXIT
cp --archive --reflink=auto "$base/." "$root"

# This machine's settings for name resolution, packages and certificates, where the programs look for them.
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
    # Node comes as a package, and has no global configuration file.
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

# With the process namespace all its processes end; pivot_root makes the root a mount, which `ip netns` needs.
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
        # pytest's counts, each failed test with its reason, and the times of the parts.
        grep -aE '^(By themselves.*|=+ .*(passed|failed|error).* in [0-9.]+s.*|(FAILED|ERROR) .*|E   .*|  +[0-9]+ s  .*|  +[a-z-]+ failed)$' "$root.log" || true
        printf '%6d s  %s\n' $((SECONDS - began)) "$command"
        [ "$failed" = 0 ] || echo "          failed: $command"
    } | sed "s/^/$suite: /" | tee -a "$summary"
    [ "$failed" = 0 ] || break
done
exit "$failed"
