#!/bin/sh
# Sees to a Chromium under one of its names, or to the package of Debian and Ubuntu.
set -eu

for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
exec "$(dirname "$0")/require.sh" chromium=chromium
