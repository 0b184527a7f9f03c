"""G1 to G4: a group of tasks, by its cost over plain Celery's group, in Redis, and on the page that shows it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis
from celery import Celery, group
from playwright.sync_api import Browser, CDPSession, sync_playwright

from benchmarks.million import MEMORY, REDIS_COST
from benchmarks.report import Row, alone, compared, write
from benchmarks.site import READY, RIVALS, ROOT, Site, cpu_of, pings, running
from petiole.dispatch.tracking import Tracking
from petiole.journal.groups import Child
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft, group_feed, mint_epoch
from petiole.servers.processes import Process, Processes
from petiole.servers.redis import find_redis_server, free_port, redis_command
from petiole.settings import Settings

ROUNDS: Final = 5
# G1: how many tasks that do nothing, on how many worker processes.
CHILDREN: Final = 4000
CONCURRENCY: Final = 8
# G3 and G4: a group that ends within so many seconds, and the page that shows it.
PAGE_CHILDREN: Final = 10_000
PAGE_SECONDS: Final = 20.0


class Used(NamedTuple):
    """What a group took: seconds from its start to the last end, and the CPU of a child in µs."""

    seconds: float
    worker: float
    server: float


@dataclass(frozen=True)
class Side:
    """One rival: a Redis, a worker, and the application that publishes."""

    kind: str
    url: str
    server: Process
    worker: Process
    tracking: Tracking | None
    celery_app: Celery

    def run(self) -> Used:
        """Run a group of tasks that do nothing, until all have ended."""
        members = group(
            self.celery_app.signature("benchmarks.group_tasks.nothing", args=[number]) for number in range(CHILDREN)
        )
        with redis.Redis.from_url(self.url.replace("/0", "/1")) as results:
            results.flushdb()
            worker, server, begun = cpu_of(self.worker), cpu_of(self.server), time.perf_counter()
            if self.tracking is None:
                members.apply_async()
            else:
                self.tracking.start(members, owner="user:reader", title="Nothing")
            while results.dbsize() < CHILDREN:
                time.sleep(0.01)
                if time.perf_counter() - begun > 300:
                    raise RuntimeError(f"The group of {self.kind} hasn't ended within five minutes.")
            seconds = time.perf_counter() - begun
            used = (cpu_of(self.worker) - worker, cpu_of(self.server) - server)
            return Used(seconds, *(one / CHILDREN * 1e6 for one in used))


@contextmanager
def side(kind: str) -> Iterator[Side]:
    """Start a Redis and a worker of one rival, and stop them."""
    with tempfile.TemporaryDirectory() as directory:
        processes = Processes(lambda _name, _line: None)
        try:
            port = free_port()
            server = processes.start("redis", redis_command(find_redis_server(), port=port, directory=Path(directory)))
            processes.wait_ready(server, timeout=READY, condition=lambda: pings(port))
            url = f"redis://127.0.0.1:{port}/0"
            worker = processes.start(
                "worker",
                [
                    *(
                        sys.executable,
                        "-m",
                        "celery",
                        "-A",
                        "benchmarks.group_tasks",
                        "worker",
                        "--loglevel",
                        "WARNING",
                    ),
                    *("--concurrency", str(CONCURRENCY), "--without-gossip", "--without-mingle"),
                ],
                environment={"CELERY_BROKER_URL": url, "BENCHMARKS_PLAIN": "1" if kind == "plain" else ""},
                directory=ROOT,
            )
            celery_app = Celery("benchmarks-groups", broker=url, backend=url.replace("/0", "/1"))
            # It logs no line that says so: it would log two for each task as well.
            processes.wait_ready(worker, timeout=READY, condition=lambda: bool(celery_app.control.ping(timeout=1.0)))
            tracking = None if kind == "plain" else Tracking(celery_app, Settings(journal_url=url))
            yield Side(kind, url, server, worker, tracking, celery_app)
        finally:
            processes.stop()


def cost() -> Iterator[Row]:
    """Compare a group of tasks that do nothing with plain Celery's, in turn."""
    found: dict[str, list[Used]] = {kind: [] for kind in RIVALS}
    with side("petiole") as ours, side("plain") as theirs:
        for one in (ours, theirs):
            one.run()
        for number in range(ROUNDS):
            for one in (ours, theirs) if number % 2 == 0 else (theirs, ours):
                found[one.kind].append(one.run())
            said = (
                f"{kind}: {last.seconds:.2f} s, a child {last.worker:.0f} µs in the worker, {last.server:.0f} µs in Redis"
                for kind, last in ((kind, used[-1]) for kind, used in found.items())
            )
            print(f"groups, round {number + 1}: {', '.join(said)}", flush=True)
    mine, others = found["petiole"], found["plain"]
    what = f"a group of {CHILDREN:,} tasks that do nothing, {CONCURRENCY} processes"
    yield compared(
        "G1",
        f"{what}, from start to the last end (rival: plain Celery's group)",
        "s",
        *([used.seconds for used in side] for side in (mine, others)),
        limit=1.3,
    )
    more = [used.worker - other.worker for used, other in zip(mine, others, strict=True)]
    yield alone("G2", "the same: CPU in the worker for each child, over plain Celery's", "µs", more, limit=150)
    more = [used.server - other.server for used, other in zip(mine, others, strict=True)]
    yield alone("G2", REDIS_COST, "µs", more)


def page() -> Iterator[Row]:
    """Measure what a page gets, and does, while a group of 10,000 ends within 20 s."""
    with running("petiole") as site:
        journal = RedisJournal(Settings(journal_url=site.redis_url))
        with sync_playwright() as playwright:
            options = ["--disable-gpu", "--no-sandbox"]
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
            heard, busy = show(site, journal, browser, counts=True), show(site, journal, browser, counts=False)
        what = f"while {PAGE_CHILDREN:,} tasks end in {heard.seconds:.0f} s"
        yield alone("G3", f"events that a page gets {what}", "/s", [len(heard.frames) / heard.seconds], limit=10)
        yield alone("G3", "the same: bytes", "KB/s", [sum(heard.frames) / heard.seconds / 1000], limit=5)
        yield alone("G3", "the same: the page's main thread is busy", "%", [100 * busy.busy / busy.seconds], limit=5)
        yield alone("G4", MEMORY, "bytes", [heard.size / PAGE_CHILDREN], limit=100)


class Shown(NamedTuple):
    """What a page took that showed a group: seconds, those of its main thread, and the bytes of each frame that it got.

    `size`: the bytes of the group in Redis before it began.
    """

    seconds: float
    busy: float
    frames: list[int]
    size: int


def show(site: Site, journal: RedisJournal, browser: Browser, *, counts: bool) -> Shown:
    """Show a group until it has ended. The browser's counting of frames costs its main thread something: only with `counts`."""
    feed = group_feed(str(uuid.uuid4()))
    children = [Child(str(uuid.uuid4())) for _ in range(PAGE_CHILDREN)]
    document = {"state": "queued", "title": "Thumbnails"}
    journal.open_group(feed, children, owner="user:reader", draft=Draft("state", document), epoch=mint_epoch())
    with redis.Redis.from_url(site.redis_url) as client:
        size = sum(client.memory_usage(key) or 0 for key in client.scan_iter(match=f"*{feed}*"))
    shown = browser.new_context().new_page()
    session = shown.context.new_cdp_session(shown)
    frames: list[int] = []
    if counts:
        session.on("Network.webSocketFrameReceived", lambda event: frames.append(len(event["response"]["payloadData"])))
        session.send("Network.enable")
    session.send("Performance.enable")
    shown.goto(f"{site.url}/page/{feed}")
    shown.wait_for_selector("petiole-task")
    shown.wait_for_timeout(1000)
    frames.clear()
    busy, begun = task_seconds(session), time.monotonic()
    feeder = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.group_feeder", site.redis_url, feed),
            *(str(PAGE_CHILDREN), str(PAGE_SECONDS)),
        ],
        cwd=ROOT,
    )
    while feeder.poll() is None:
        shown.wait_for_timeout(100)
    taken = Shown(time.monotonic() - begun, task_seconds(session) - busy, list(frames), size)
    shown.context.close()
    return taken


def task_seconds(session: CDPSession) -> float:
    """Return for how long the page's main thread has been busy."""
    metrics: list[dict[str, Any]] = session.send("Performance.getMetrics")["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


def main() -> None:
    write("groups", [*cost(), *page()])
