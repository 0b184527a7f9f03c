"""P7 and P8: the cost of a step of a loop, compared with tqdm and rich, and how much progress slows a computing task."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import rich.progress
from rich.console import Console
from tqdm import tqdm

from benchmarks.report import compared, write
from benchmarks.site import redis_server
from petiole.journal.answers import Claimed
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft, task_feed
from petiole.settings import Settings
from petiole.worker.progress import progress, track
from petiole.worker.run import Run
from petiole.worker.run_state import RunStart

STEPS: Final = 1_000_000
ROUNDS: Final = 9
# P8: the steps of a task of about ten seconds in a million steps, in parts of a fifth of a second: other load of the
# machine varies from second to second, by more than this goal allows.
WORK: Final = 1500
PART: Final = 12_000
PARTS: Final = 301
FEED: Final = task_feed("steps")


@contextmanager
def run_of_a_task(url: str) -> Iterator[Run]:
    """A run as in a task, with its outbox sending to Redis, current in this context."""
    settings = Settings(journal_url=url)
    journal = RedisJournal(settings)
    journal.open(FEED, owner="nobody", draft=Draft("state", {"state": "queued", "title": "Steps"}))
    running = Draft("state", {"state": "running"})
    claimed = journal.claim(FEED, running, worker="here", delivery="first", retries=0, lease=86400.0)
    assert isinstance(claimed, Claimed)
    start = RunStart(
        FEED, "nobody", "here", claimed.run, "first", 0, claimed.facts_written, claimed.cursor, claimed.document
    )
    run = Run(journal, start, settings)
    run.outbox.start()
    with run.current():
        yield run
    run.outbox.close()
    run.outbox.flush(5.0)


def bare() -> None:
    for _ in range(STEPS):
        pass


def over_track() -> None:
    for _ in track(range(STEPS)):
        pass


def over_tqdm() -> None:
    for _ in tqdm(range(STEPS), file=io.StringIO()):
        pass


def over_rich() -> None:
    for _ in rich.progress.track(range(STEPS), console=Console(file=io.StringIO())):
        pass


def advance() -> None:
    for _ in range(STEPS):
        progress.advance()


def tqdm_update() -> None:
    bar = tqdm(total=STEPS, file=io.StringIO())
    for _ in range(STEPS):
        bar.update(1)


def work(part: Iterator[int]) -> None:
    for _ in part:
        sum(range(WORK))


def nanoseconds(loop: Callable[[], None], steps: int = STEPS) -> float:
    """Return the wall time of a step."""
    begun = time.perf_counter()
    loop()
    return (time.perf_counter() - begun) / steps * 1e9


def main() -> None:
    loops = (over_track, over_tqdm, over_rich, advance, tqdm_update)
    over_bare: dict[Callable[[], None], list[float]] = {loop: [] for loop in loops}
    alone: list[float] = []
    tracked: list[float] = []
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory)) as url, run_of_a_task(url) as run:
        for _ in range(ROUNDS):
            nothing = nanoseconds(bare)
            for loop, found in over_bare.items():
                found.append(nanoseconds(loop) - nothing)
        # One loop each over all parts: a task begins its loop once.
        pair = (iter(range(PARTS * PART)), alone), (iter(track(range(PARTS * PART))), tracked)
        for number in range(PARTS):
            for steps, found in pair if number % 2 else reversed(pair):
                found.append(nanoseconds(partial(work, islice(steps, PART)), PART))
                # Pending events of a part must not count for the next one.
                run.outbox.flush(5.0)
    print(f"rich.progress.track, for comparison: {sorted(over_bare[over_rich])[ROUNDS // 2]:.0f} ns a step")
    write(
        "steps",
        [
            compared(
                *("P7", "a step of track, over the bare loop's (rival: tqdm)", "ns"),
                *(over_bare[over_track], over_bare[over_tqdm]),
                limit=0.4,
            ),
            compared(
                *("P7", "progress.advance() (rival: tqdm.update(1))", "ns"),
                *(over_bare[advance], over_bare[tqdm_update]),
                limit=0.6,
            ),
            compared(
                *("P8", "a step of a task that computes for some 10 s in 1 M steps (rival: without progress)", "ns"),
                *(tracked, alone),
                limit=1.01,
            ),
        ],
    )
