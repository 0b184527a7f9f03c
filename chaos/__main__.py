"""Run the scenarios: `python -m chaos [--only 4,8] [--seed 7] [--controls]`."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import requests

from chaos.browsers import Browser
from chaos.checker import check
from chaos.scenarios import SCENARIOS, Scenario
from chaos.system import System, running, wait_until
from chaos.without import SWITCHES
from petiole.demo.redis_server import find_redis_server

TASKS, FACTS, INTERVAL, BROWSERS = 8, 200, 0.03, 6
END = 60.0
LONGEST_EMIT = 0.05


def run(scenario: Scenario, *, seed: int, binary: str, control: bool) -> tuple[list[str], str]:
    """Run one scenario and return what the checker found, and the fault's figure."""
    # What a plain browser lacks is switched off by taking one; the rest in the processes.
    switched_off = scenario.without if control and scenario.without in SWITCHES else ""
    with (
        tempfile.TemporaryDirectory() as directory,
        running(Path(directory) / "run", binary, without=switched_off, settings=scenario.settings) as system,
    ):
        rng = random.Random(seed)
        begin(system, plain=control and scenario.without in ("rule", "read_again"))
        figure = scenario.fault(system, rng)
        deadline = time.monotonic() + (20.0 if control else END)
        for browser in system.browsers:
            browser.wait(deadline)
        worst, hiccup = emit_times(system)
        seen = [each for browser in system.browsers for each in browser.seen()]
        found = check(system.said(), seen, resets_allowed=scenario.resets_allowed)
        found += [] if control else late_reader(system)
        if worst > LONGEST_EMIT + hiccup:
            found.append(f"I12 an emit call took {worst * 1000:.0f} ms, the machine's own delay {hiccup * 1000:.0f} ms")
        lost = system.web_side.faults.lost + system.worker_side.faults.lost
        figure += f" ({lost} in all)" if lost else ""
        return found, f"{figure}; slowest emit {worst * 1000:.1f} ms"


def begin(system: System, *, plain: bool) -> None:
    """Start the tasks and the browsers, half of them at each web process."""
    ports = list(system.webs)
    url = f"http://127.0.0.1:{ports[0]}"
    accepted = {}
    for number in range(TASKS):
        response = requests.post(f"{url}/say", json=[number, FACTS, INTERVAL], timeout=10)
        response.raise_for_status()
        accepted[number] = response.json()
    for number in range(BROWSERS):
        browser = Browser(f"browser {number}", f"http://127.0.0.1:{ports[number % len(ports)]}", plain=plain)
        system.browsers.append(browser)
        for task, answer in accepted.items():
            browser.follow(task, answer)
    # The broker's own messages aren't what is tried here: all of them are with a worker before anything is broken.
    wait_until(lambda: len(system.said()) == TASKS, what="every task has begun", timeout=30)


def emit_times(system: System) -> tuple[float, float]:
    """Return the slowest emit call of all tasks, and by how much the machine was late at worst, in seconds."""
    results = [view.document.get("result") for view in system.browsers[0].views.values()]
    times = [(result["slowest"], result["hiccup"]) for result in results if isinstance(result, dict)]
    return max((slowest for slowest, _ in times), default=0.0), max((hiccup for _, hiccup in times), default=0.0)


def late_reader(system: System) -> list[str]:
    """Read every feed from its start, as a page does that comes afterwards: the journal must have it all."""
    url = f"http://127.0.0.1:{next(iter(system.webs))}"
    late = Browser("late reader", url, plain=False)
    system.browsers.append(late)
    for task, view in system.browsers[0].views.items():
        late.follow(task, {"feed": view.feed, "cursor": None, "document": None})
    late.wait(time.monotonic() + 10)
    return [
        f"I8 late reader on task {each.task}: never saw the end"
        for each in late.seen()
        if not each.entries or not each.entries[-1].get("end")
    ]


def main() -> int:
    """Print a row for each scenario and its negative control; 1 if one isn't as it must be."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--only", default="", help="numbers of scenarios, with commas")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--no-controls", action="store_true", help="leave the negative controls out")
    options = parser.parse_args()
    chosen = {int(number) for number in options.only.split(",") if number}
    unknown = chosen - {scenario.number for scenario in SCENARIOS}
    if unknown:
        parser.error(f"there is no scenario {sorted(unknown)}; there are {[s.number for s in SCENARIOS]}")
    binary = find_redis_server()
    wrong = 0
    print(f"seed {options.seed}, {TASKS} tasks of {FACTS} facts, {BROWSERS} browsers, {binary}")
    print(f"{'#':>3}  {'fault':<30} {'verdict':<10} figure")
    for scenario in SCENARIOS:
        if chosen and scenario.number not in chosen:
            continue
        found, figure = run(scenario, seed=options.seed, binary=binary, control=False)
        wrong += bool(found)
        print(
            f"{scenario.number:>3}  {scenario.title:<30} {'holds' if not found else 'BROKEN':<10} {figure}", flush=True
        )
        for sentence in found[:8]:
            print(f"       {sentence}")
        if options.no_controls:
            continue
        found, figure = run(scenario, seed=options.seed, binary=binary, control=True)
        wrong += not found
        verdict = f"found {len(found)}" if found else "BLIND"
        print(f"     without {scenario.without:<22} {verdict:<10} {found[0] if found else figure}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
