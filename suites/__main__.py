"""Run other projects' suites with and without Petiole and print the differences: `python -m suites celery`, or `socketio`.

A test that differs runs again, on both sides; if it has both outcomes on one side, it is reported as flaky.
`suites/expected/` lists the expected differences with their reasons; any other difference is a failure, and so is an entry
that doesn't differ.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tomllib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from petiole.errors import SetupError
from suites.comparison import GOOD, Difference, Outcomes, Verdict, differences, judge
from suites.projects import GROUPS, Project, Variant
from suites.runs import Run, run
from suites.sources import locked_version

EXPECTED: Final = Path(__file__).parent / "expected"


def main() -> int:
    """Print the differences; 1 if one has no reason in the list, or if a run didn't finish."""
    parser = argparse.ArgumentParser(prog="python -m suites", description=__doc__)
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("--only", default="", metavar="VARIANT", help="only this variant")
    parser.add_argument("--again", type=int, default=3, metavar="TIMES", help="how often differing tests run again")
    options = parser.parse_args()
    projects = GROUPS[options.group]
    # So that all child processes are ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.only and options.only not in {variant.name for project in projects for variant in project.variants}:
        parser.error(f"{options.group} has no variant {options.only}")
    try:
        differing = [project for project in projects if not _compare(project, only=options.only, again=options.again)]
        return 1 if differing else 0
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2


def _compare(project: Project, *, only: str, again: int) -> bool:
    variants = [variant for variant in project.variants if only in ("", variant.name)]
    if not variants:
        return True
    print(f"\n{project.package} {locked_version(project.package)}: {', '.join(project.tests)}", flush=True)
    left_out = _reasons(project, "left-out")
    _say("Left out", [f"{test}…: {reason}" for test, reason in left_out.items()])
    without = run(project, None, left_out=left_out)
    _say_run("without Petiole", without)
    bad = [test for test, ended in without.outcomes.items() if ended.outcome not in GOOD]
    _say("Fails without Petiole", [f"{test}: {without.outcomes[test].why}" for test in bad])
    holds = not without.broken
    for variant in variants:
        within = run(project, variant, left_out=left_out)
        _say_run(f"{variant.name}: {variant.what}", within)
        reasons = _reasons(project, variant.name)
        found = differences(without.outcomes, within.outcomes)
        # A run that was cut short has too few outcomes.
        times = 0 if without.broken or within.broken else again
        verdict = judge(_settled(project, variant, found, expected=reasons, again=times), reasons)
        _say_verdict(verdict, reasons)
        holds = holds and verdict.holds and not within.broken
    return holds


def _settled(
    project: Project, variant: Variant, found: Sequence[Difference], *, expected: Collection[str], again: int
) -> list[Difference]:
    """Run differing tests again, on both sides, until they prove flaky, or so often."""
    settled = {each.test: each for each in found}
    for _ in range(again):
        unsettled = [test for test, each in settled.items() if not each.flaky and test not in expected]
        if not unsettled:
            break
        without, within = run(project, None, only=unsettled), run(project, variant, only=unsettled)
        for test in unsettled:
            settled[test] = settled[test].again(without.outcomes, within.outcomes)
    return list(settled.values())


def _reasons(project: Project, table: str) -> Mapping[str, str]:
    """Return the reason of each expected difference of a variant, by test; or of each test that is left out."""
    path = EXPECTED / f"{project.package}.toml"
    listed: Mapping[str, str] = tomllib.loads(path.read_text(encoding="utf-8")).get(table, {}) if path.is_file() else {}
    return listed


def _say_run(what: str, this: Run) -> None:
    counted = _counted(this.outcomes)
    print(f"  {what}\n    {len(this.outcomes)} tests in {this.seconds:.0f} s: {counted}", flush=True)
    for sentence in this.broken:
        print(f"    {sentence}", flush=True)


def _counted(outcomes: Outcomes) -> str:
    counts = Counter(ended.outcome for ended in outcomes.values())
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())


def _say_verdict(verdict: Verdict, reasons: Mapping[str, str]) -> None:
    _say("Expected to differ", [f"{each.test}: {reasons[each.test]}" for each in verdict.expected])
    _say("Listed as expected, and doesn't differ", verdict.stale)
    _say("Flaky, not counted", [_line(each) for each in verdict.flaky])
    _say("Fails only without Petiole", [_line(each) for each in verdict.better])
    _say("Fails only with Petiole", [_line(each) for each in verdict.worse], always=True)


def _line(each: Difference) -> str:
    runs = f"without {', '.join(each.without)}; with {', '.join(each.within)}"
    return f"{each.test}\n        {runs}" + (f"\n        {each.why}" if each.why else "")


def _say(title: str, lines: Sequence[str], *, always: bool = False) -> None:
    if lines or always:
        print(f"    {title} ({len(lines)})", flush=True)
    for line in lines:
        print(f"      {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
