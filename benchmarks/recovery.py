"""P10: how long after a kill and restart of Redis until every browser has all events of the meantime."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import Final

from benchmarks.report import alone, write
from benchmarks.site import Site, running
from petiole.journal.answers import Claimed
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft, task_feed
from petiole.settings import Settings
from petiole.worker.outbox import Outbox
from petiole.worker.run_state import RunStart

ROUNDS: Final = 5
# Tasks, each with its own outbox, and the number of browsers for each.
TASKS: Final = 100
EACH: Final = 10
INTERVAL: Final = 0.5
AWAY: Final = 2.0
WITHIN: Final = 20.0


def main() -> None:
    # A hundred outboxes log that Redis is down.
    logging.disable(logging.WARNING)
    taken = []
    with running("petiole") as site:
        speakers = Speakers(site)
        crowd = site.browsers([feed for feed in speakers.feeds for _ in range(EACH)])
        speakers.start()
        time.sleep(2.0)
        for number in range(ROUNDS):
            crowd.report()
            os.kill(site.redis_process.popen.pid, signal.SIGKILL)
            site.redis_process.popen.wait(10)
            site.processes.forget(site.redis_process)
            time.sleep(AWAY)
            site.start_redis()
            back = time.monotonic_ns()
            # Every browser lacks the events from before this instant; later ones arrive normally.
            behind = len(crowd.rooms)
            deadline = time.monotonic() + WITHIN
            last = back
            while behind and time.monotonic() < deadline:
                report = crowd.report(upto=back)
                behind = report["behind"]
                last = max(last, report["caught_up_at"])
            taken.append((last - back) / 1e9 if not behind else float("inf"))
            print(f"round {number + 1}: {len(crowd.rooms)} browsers right after {taken[-1]:.2f} s", flush=True)
        speakers.stop()
        crowd.close()
    write(
        "recovery",
        [
            alone(
                "P10",
                f"Redis away for {AWAY:.0f} s, {TASKS * EACH:,} browsers: until every one is right",
                "s",
                taken,
                limit=1.0,
            )
        ],
    )


class Speakers:
    """The runs of many tasks in one process: each emits a fact every half second, whether Redis is up or not."""

    def __init__(self, site: Site) -> None:
        settings = Settings(journal_url=site.redis_url)
        self._journal = RedisJournal(settings)
        self.feeds = [task_feed(f"speaker-{number}") for number in range(TASKS)]
        self._outboxes = [self._outbox(feed, settings) for feed in self.feeds]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._speak, daemon=True)

    def start(self) -> None:
        for outbox in self._outboxes:
            outbox.start()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        for outbox in self._outboxes:
            outbox.close()

    def _outbox(self, feed: str, settings: Settings) -> Outbox:
        self._journal.open(feed, owner="user:reader", draft=Draft("state", {"state": "queued", "title": "Export"}))
        running = Draft("state", {"state": "running"})
        claim = self._journal.claim(feed, running, worker="here", delivery=feed, retries=0, lease=86400.0)
        assert isinstance(claim, Claimed)
        start = RunStart(
            feed, "user:reader", "here", claim.run, feed, 0, claim.facts_written, claim.cursor, claim.document
        )
        return Outbox(self._journal, start, settings, newest=dict)

    def _speak(self) -> None:
        while not self._stopped.is_set():
            for outbox in self._outboxes:
                data = {"name": "progress", "data": {"stamp": time.monotonic_ns()}}
                outbox.put(Draft("custom", data=data))
                self._stopped.wait(INTERVAL / TASKS)
