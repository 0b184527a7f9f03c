#!/bin/sh
# Makes sure that Chromium is installed, under any of its names, or installs the package of Debian or Ubuntu.
set -eu

for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
exec "$(dirname "$0")/require.sh" chromium=chromium
