"""Run the scenarios: `python -m chaos [--backbone rabbitmq] [--only 4,8] [--seed 7] [--redis both] [--full]`."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import requests

from chaos.backbones import BACKBONES, REDIS
from chaos.plain import compare
from chaos.run import Options, run
from chaos.scenarios import QUICK, SCENARIOS, Scenario
from chaos.servers import servers
from chaos.soak import soak, soak_control
from petiole.errors import SetupError


def main() -> int:
    """Print a row for each scenario and its negative control; 1 if one has the wrong result."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--only", default="", help="numbers of scenarios, with commas")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--no-controls", action="store_true", help="leave the negative controls out")
    parser.add_argument("--controls-only", action="store_true", help="run the negative controls alone")
    parser.add_argument("--backbone", choices=BACKBONES, default=REDIS)
    parser.add_argument("--redis", choices=("any", "embedded", "system", "both"), default="any")
    parser.add_argument("--full", action="store_true", help="the long spans: faults of 60 s, 200 and more rounds")
    parser.add_argument("--keep", type=Path, help="where the histories and logs of every run stay")
    parser.add_argument("--plain", action="store_true", help="compare with the plain pattern under the same faults")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="a random fault every 20 s for so long")
    parser.add_argument("--quick", action="store_true", help="the cheap selection, with smaller numbers")
    options = parser.parse_args()
    chosen = {int(number) for number in options.only.split(",") if number}
    scenarios = [scenario for scenario in SCENARIOS if options.backbone in scenario.on]
    unknown = chosen - {scenario.number for scenario in scenarios}
    if unknown:
        there = [scenario.number for scenario in scenarios]
        parser.error(f"no scenario {sorted(unknown)} on {options.backbone}; the scenarios are {there}")
    if (options.plain or options.soak) and options.backbone != REDIS:
        parser.error("--plain and --soak run on Redis only")
    if options.quick and not chosen:
        chosen = set(QUICK[options.backbone])
    wrong = 0
    for name, binary in servers(options.redis, backbone=options.backbone):
        keep = None if options.keep is None else options.keep / name.replace(" ", "-")
        how = Options(binary, options.seed, options.backbone, full=options.full, quick=options.quick, keep=keep)
        print(f"seed {options.seed}, {name}")
        if options.soak:
            wrong += 0 if options.controls_only else not soak(options.soak, how)
            wrong += 0 if options.no_controls else not soak_control(how)
            continue
        if options.plain:
            wrong += not compare(how)
            continue
        print(f"{'#':>3}  {'fault':<32} {'verdict':<10} figure")
        for scenario in scenarios:
            if not chosen or scenario.number in chosen:
                wrong += 0 if options.controls_only else _row(scenario, how)
                wrong += 0 if options.no_controls else _control_row(scenario, how)
    return 1 if wrong else 0


def _row(scenario: Scenario, options: Options) -> bool:
    try:
        result = run(scenario, options, control=False)
    except (TimeoutError, SetupError, requests.RequestException) as error:
        return _cut_short(f"{scenario.number:>3}  {scenario.title:<32}", error)
    verdict = "BROKEN" if result.found else "holds"
    print(f"{scenario.number:>3}  {scenario.title:<32} {verdict:<10} {result.figure}", flush=True)
    for sentence in result.found[:8]:
        print(f"       {sentence}")
    return bool(result.found)


def _control_row(scenario: Scenario, options: Options) -> bool:
    try:
        result = run(scenario, options, control=True)
    except (TimeoutError, SetupError, requests.RequestException) as error:
        return _cut_short(f"     without {scenario.without:<24}", error)
    verdict = f"found {len(result.found)}" if result.found else "BLIND"
    shown = result.found[0] if result.found else result.figure
    print(f"     without {scenario.without:<24} {verdict:<10} {shown}", flush=True)
    return not result.found


def _cut_short(row: str, error: Exception) -> bool:
    print(f"{row} BROKEN     the run didn't finish: {error}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
