#!/bin/sh
# Runs pytest: scripts/pytest.sh PYTHON OPTION …
# Tests with deadlines share the machine with others here. If at most three fail, they run three more times alone: a bug in the
# code fails again there, and a failure from an overloaded machine doesn't. The first failure stays in the output either way.
set -u

python=$1
shift
"$python" -m pytest "$@"
result=$?
[ "$result" = 1 ] || exit "$result"
failed=$(mktemp)
trap 'rm -f "$failed"' EXIT
"$python" - "$failed" <<'END' || exit 1
import json, pathlib, sys

tests = json.loads(pathlib.Path(".pytest_cache/v/cache/lastfailed").read_text(encoding="utf-8"))
pathlib.Path(sys.argv[1]).write_text("".join(f"{test}\n" for test in tests), encoding="utf-8")
sys.exit(len(tests) > 3 or not all("::" in test for test in tests))
END
for time in 1 2 3; do
    echo "By themselves, $time of 3:"
    "$python" -m pytest -p no:cacheprovider "@$failed" || exit 1
done
