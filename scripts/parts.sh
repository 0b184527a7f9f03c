#!/bin/sh
# Makes targets one after the other, up to the first that fails, and prints how long each took: scripts/parts.sh TARGET …
set -u

table=""
failed=0
for part in "$@"; do
    began=$(date +%s)
    "${MAKE:-make}" --no-print-directory "$part" || failed=$?
    table="$table$(printf '%6d s  %s' $(($(date +%s) - began)) "$part")
"
    if [ "$failed" != 0 ]; then
        table="${table}          $part failed
"
        break
    fi
done
printf '\n%s' "$table"
exit "$failed"
