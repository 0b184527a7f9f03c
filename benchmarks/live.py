"""P1: from the emit call in a real Celery task to the browser, for one task at ten events a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import requests

from benchmarks.report import Row, compared, write
from benchmarks.site import READY, ROOT, Browsers, Site, quantile, running
from petiole.protocol.events import task_feed
from petiole.servers.redis import free_port

ROUNDS: Final = 9
COUNT: Final = 60
INTERVAL: Final = 0.1
KINDS: Final = ("petiole", "plain", "floor")
# As with celery-progress: the page polls for the newest state.
POLL: Final = 0.5
ROOM: Final = "room"
# The browser has joined by then.
LEAD: Final = 1.5


def main() -> None:
    with ExitStack() as stack:
        sites = {kind: stack.enter_context(running(kind)) for kind in ("petiole", "plain")}
        for site in sites.values():
            start_worker(site)
        rows: list[Row] = []
        for busy, what in ((False, "task waiting"), (True, "task computing")):
            delays: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
            for number in range(ROUNDS):
                for kind in KINDS:
                    found = measure(kind, sites["petiole" if kind == "petiole" else "plain"], busy=busy)
                    delays[kind].append(found)
                    p50, p99 = quantile(found, 0.5), quantile(found, 0.99)
                    print(
                        f"{what}, round {number + 1}: {kind}: {len(found)} of {COUNT}, p50 {p50:.2f} ms, p99 {p99:.2f} ms",
                        flush=True,
                    )
            p50s = {kind: [quantile(found, 0.5) for found in delays[kind]] for kind in KINDS}
            every = {kind: [delay for found in delays[kind] for delay in found] for kind in KINDS}
            tail = {kind: quantile(every[kind], 0.99) for kind in KINDS}
            ours = p50s["petiole"]
            rows += [
                compared("P1", f"emit → browser, p50, {what}", "ms", ours, p50s["plain"], limit=1.0),
                compared("P1", f"the same, p50, {what} (rival: the floor)", "ms", ours, p50s["floor"], limit=2.5),
                Row(
                    *("P1", f"emit → browser, p99, {what}", "ms", tail["petiole"], tail["plain"]),
                    limit=round(tail["plain"] + 10, 2),
                    limited="measured",
                ),
            ]
        polled = [delay for _ in range(2) for delay in measure_polling(sites["plain"])]
        rows += [
            Row(
                "P1",
                f"update_state and a GET every {POLL * 1000:.0f} ms: p50 (rival alone)",
                "ms",
                quantile(polled, 0.5),
            ),
            Row("P1", "the same: share of the states that any page saw", "%", 100 * len(polled) / (2 * COUNT)),
        ]
    write("live", rows)


def measure_polling(site: Site) -> list[float]:
    """Run one task whose page polls, and return the delay of each state that it saw first, in milliseconds."""
    begin_at = time.monotonic() + LEAD
    answer = requests.post(f"{site.url}/start/say_polled", json=[begin_at, COUNT, INTERVAL, False, ROOM], timeout=10)
    address = f"{site.url}/state/{answer.json()['id']}"
    seen: dict[int, float] = {}
    with requests.Session() as session:
        while time.monotonic() < begin_at + (COUNT + 1) * INTERVAL:
            info = session.get(address, timeout=10).json()["info"]
            if info is not None:
                seen.setdefault(info["stamp"], (time.monotonic_ns() - info["stamp"]) / 1e6)
            time.sleep(POLL)
    return list(seen.values())


def start_worker(site: Site) -> None:
    """Start a Celery worker with one process at a site."""
    worker = site.processes.start(
        "worker",
        [
            *(sys.executable, "-m", "celery", "-A", "benchmarks.tasks", "worker", "--loglevel", "INFO"),
            *("--concurrency", "1", "--without-gossip", "--without-mingle"),
        ],
        environment={"CELERY_BROKER_URL": site.redis_url},
        directory=ROOT,
        ready_line=" ready.",
    )
    site.processes.wait_ready(worker, timeout=READY)


def measure(kind: str, site: Site, *, busy: bool) -> list[float]:
    """Run one task and return the delays of its events, in milliseconds."""
    begin_at = time.monotonic() + LEAD
    with following(kind, site) as url:
        if kind == "petiole":
            room = start(site, kind, begin_at, busy)
            browser = Browsers(kind, url, [room])
        else:
            browser = Browsers("plain" if kind == "plain" else "floor", url, [ROOM])
            start(site, kind, begin_at, busy)
        late = time.monotonic() - begin_at
        if late > 0:
            raise RuntimeError(f"The browser of {kind} joined {late:.1f} s after the task began.")
        delays: list[float] = []
        deadline = begin_at + COUNT * INTERVAL + 10.0
        while len(delays) < COUNT and time.monotonic() < deadline:
            time.sleep(0.2)
            delays += browser.report()["delays"]
        browser.close()
    return delays


def start(site: Site, kind: str, begin_at: float, busy: bool) -> str:
    answer = requests.post(f"{site.url}/start/say_{kind}", json=[begin_at, COUNT, INTERVAL, busy, ROOM], timeout=10)
    answer.raise_for_status()
    return task_feed(answer.json()["id"])


@contextmanager
def following(kind: str, site: Site) -> Iterator[str]:
    """The address for a browser: the site's, or that of a floor that runs for one measurement."""
    if kind != "floor":
        yield site.url
        return
    port = free_port()
    floor = site.processes.start(
        "floor",
        [sys.executable, "-m", "benchmarks.floor", site.redis_url, ROOM, str(port)],
        directory=ROOT,
        ready_line="ready",
    )
    site.processes.wait_ready(floor, timeout=READY)
    yield f"http://127.0.0.1:{port}"
    site.processes.kill(floor)
