#!/usr/bin/env bash
# Builds the sdist, the wheel and the npm package of the commit (HEAD) into dist/, and SHA256SUMS, which names the commit.
#
# They are built from an export of the commit, so that nothing else in this directory can get into them, and with the commit's time,
# so that the same commit gives the same files. The wheel is built from the sdist, so the sdist is complete.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -n "$(git status --porcelain)" ]; then
    echo "The working tree differs from the commit that would be built. Commit, stash or remove:"
    git status --short
    exit 1
fi
commit=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT
git archive "$commit" | tar --extract --directory "$work"

# tsc and the bundler come from this directory.
ln -s "$PWD/browser/node_modules" "$work/browser/node_modules"
for part in modules bundle bundle-group; do npm --prefix "$work/browser" run "$part" --silent; done
diff --recursive --brief "$work/src/petiole/web/static" src/petiole/web/static || {
    echo "The browser files of the commit aren't built from its sources. Run make build, and commit src/petiole/web/static."
    exit 1
}

rm -rf dist
mkdir dist
python -m build --installer uv --outdir dist "$work" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
cp LICENSE "$work/browser/"
(cd "$work/browser" && npm pkg set "gitHead=$commit" && npm pack --silent --ignore-scripts --pack-destination "$OLDPWD/dist" >/dev/null)
rm -f dist/.gitignore
(cd dist && { echo "# commit $commit"; sha256sum -- *; } >"$work/sums" && mv "$work/sums" SHA256SUMS)
cat dist/SHA256SUMS
