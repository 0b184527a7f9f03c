"""Runs one scenario, or its negative control, and returns the checker's findings."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from chaos.backbones import REDIS, open_backbone
from chaos.browsers import Browser
from chaos.checker import Losses, check, check_durations, count_losses
from chaos.notices import check_notices
from chaos.scenarios import QUICK, Load, Scenario
from chaos.system import System, running
from tests.support.waiting import wait_until

END = 60.0
LONGEST_EMIT = 0.05


@dataclass(frozen=True)
class Options:
    """How scenarios are run.

    `binary`: the redis-server of runs on Redis. `keep`: where to keep the histories of every run; without it they are removed.
    """

    binary: str
    seed: int
    backbone: str = REDIS
    full: bool = False
    quick: bool = False
    keep: Path | None = None


@dataclass(frozen=True)
class Result:
    """The result of a run: a sentence for each violation, and the fault's figure."""

    found: list[str]
    figure: str
    losses: Losses


def run(scenario: Scenario, options: Options, *, control: bool) -> Result:
    """Run a scenario once; `control`: without the mechanism that heals its fault."""
    without = scenario.without if control else ""
    few = options.quick and scenario.number in QUICK[options.backbone]
    settings = {**scenario.settings, **(scenario.full_settings if options.full else {})}
    with (
        _directory(options, f"{scenario.number}{'-without-' + without if without else ''}") as directory,
        running(
            directory,
            open_backbone(options.backbone, binary=options.binary, broker_apart=scenario.broker_apart),
            # A mechanism of browsers isn't switched off in the processes.
            without=without,
            settings=settings,
            clocks=scenario.clocks,
            workers=1 if few else scenario.workers,
            webs=1 if few else 2,
            full=options.full,
        ) as system,
    ):
        return _run(scenario, system, options, control=control)


def _run(scenario: Scenario, system: System, options: Options, *, control: bool) -> Result:
    rng = random.Random(options.seed)
    load = scenario.load
    if load is not None and options.quick:
        load = replace(load, tasks=min(load.tasks, 4), facts=min(load.facts, 100), browsers=min(load.browsers, 4))
    undisturbed = _undisturbed(system, load) if scenario.compares_durations and load is not None else 0.0
    if load is not None:
        begin(system, load)
    figure = scenario.fault(system, rng)
    fault_ended = time.monotonic()
    deadline = fault_ended + ((6.0 if options.quick else 20.0) if control else END)
    for browser in system.browsers:
        browser.wait(deadline)
    for light in system.light:
        light.done.wait(max(deadline - time.monotonic(), 0.0))
        light.finish()
    seen = [each for browser in system.browsers for each in browser.seen()]
    seen += [light.seen() for light in system.light]
    found = check(
        system.said(),
        seen,
        wrote=system.wrote(),
        resets_allowed=scenario.resets_allowed,
        repeats_allowed=scenario.repeats_allowed,
        fault_ended=fault_ended,
    )
    if load is not None:
        found += [] if control else _late_reader(system)
        found += _emits(system)
    if undisturbed:
        took = {task: float(result["took"]) for task, result in _results(system).items()}
        found += check_durations(took, undisturbed=undisturbed)
        figure += f"; longest task {max(took.values(), default=0):.2f} s, undisturbed {undisturbed:.2f} s"
    found += scenario.check(system) if scenario.check is not None else []
    found += [] if control or not scenario.checks_notices else check_notices(system)
    if "figure" in system.noted:
        figure = f"{figure}: {system.noted['figure']}"
    lost = sum(proxy.faults.lost for proxy in system.backbone.proxies)
    figure += f" ({lost} in all)" if lost else ""
    slowest = max((float(result["slowest"]) for result in _results(system).values()), default=0.0)
    figure = f"{figure}; slowest emit {slowest * 1000:.1f} ms" if slowest else figure
    return Result(found, figure, count_losses(system.said(), seen))


def begin(system: System, load: Load) -> None:
    """Start the tasks and the browsers, half of them at each web process."""
    # Otherwise the first worker that is ready would run them one after the other.
    system.wait_for_workers()
    accepted = {number: system.start_task(load.task, number, load.facts, load.interval) for number in range(load.tasks)}
    for number in range(load.browsers):
        browser = system.browser(f"browser {number}", number, without=system.without)
        for task, answer in accepted.items():
            browser.follow(task, answer)
    # The broker's own messages aren't under test here: workers have received all of them before the fault begins.
    wait_until(lambda: len(system.said()) >= load.tasks, what="every task has begun", timeout=30)


def _undisturbed(system: System, load: Load) -> float:
    """Return the duration of one of the tasks without a fault."""
    system.wait_for_workers()
    view = Browser("before", system.url())
    try:
        view.follow(-1, system.start_task(load.task, -1, load.facts, load.interval))
        document = view.views[-1].wait(timeout=END)
    finally:
        view.client.close()
    return float(document["result"]["took"])


def _results(system: System) -> dict[int, dict[str, float]]:
    views = system.browsers[0].views if system.browsers else {}
    results = {task: view.document.get("result") for task, view in views.items()}
    return {task: result for task, result in results.items() if isinstance(result, dict) and "took" in result}


def _emits(system: System) -> list[str]:
    """No emit call is slower than the machine's own worst delay."""
    results = _results(system).values()
    slowest = max((result["slowest"] for result in results), default=0.0)
    hiccup = max((result["hiccup"] for result in results), default=0.0)
    if slowest > LONGEST_EMIT + hiccup:
        return [f"I12 an emit call took {slowest * 1000:.0f} ms, the machine's own delay {hiccup * 1000:.0f} ms"]
    return []


def _late_reader(system: System) -> list[str]:
    """Read every feed from its start, as a page opened afterwards does: the journal must have all of it."""
    late = system.browser("late reader")
    for task, view in system.browsers[0].views.items():
        late.follow(task, {"feed": view.feed, "cursor": None, "document": None})
    late.wait(time.monotonic() + 10)
    return [
        f"I8 late reader on task {each.task}: never saw the end"
        for each in late.seen()
        if not each.entries or not each.entries[-1].get("end")
    ]


@contextmanager
def _directory(options: Options, name: str) -> Iterator[Path]:
    if options.keep is not None:
        yield options.keep / name
        return
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "run"
