"""Readiness, an outage of the journal, a process that ends, and a thundering herd: on the real server."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import requests

from petiole.bus.redis import RedisBus
from petiole.client import Refused
from petiole.errors import Unavailable
from petiole.journal.answers import Gone
from petiole.journal.redis.journal import RedisJournal
from petiole.loop import Loop
from petiole.protocol.events import Draft, Event, inbox_feed, task_feed
from petiole.protocol.reader import Reader, Reading
from petiole.settings import Settings
from petiole.web.background.readiness import AWAY, DEAF, LEAVING, Readiness
from petiole.web.relay.relay import Relay
from tests.support.redis import RedisServer
from tests.support.site import SERVERS, Site, serving
from tests.support.system import start_redis
from tests.support.waiting import wait_until


def ready(site: Site) -> tuple[int, dict[str, Any]]:
    response = requests.get(f"{site.url}/petiole/ready", timeout=5)
    assert response.headers["Cache-Control"] == "no-store"
    return response.status_code, response.json()


def kill_redis(site: Site) -> None:
    os.kill(site.redis.popen.pid, signal.SIGKILL)
    site.redis.popen.wait(5)
    site.processes.forget(site.redis)


def test_an_outage_of_the_journal_is_said_new_pages_wait_and_open_ones_stay(tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        feed = site.open("task:1")
        page = site.browser("ann")
        page.ask("watch", {"feed": feed})
        assert ready(site) == (200, {"ready": True})
        kill_redis(site)
        wait_until(lambda: ready(site) == (503, {"ready": False, "reason": AWAY}), timeout=5, what="readiness is false")
        assert requests.get(f"{site.url}/petiole/alive", timeout=5).status_code == 200
        waiting = site.browser("ann")
        refusal = json.loads(waiting.joined.removeprefix("44/petiole,"))["data"]
        assert (refusal["status"], refusal["retry_after"]) == (503, 3)
        assert page.ask("watch", {"feed": feed})["error"]["status"] == 503
        wait_until(
            lambda: site.said("call_refused (call=watch, status=503"),
            timeout=5,
            what="the log says which call was refused",
        )
        assert f"Redis at 127.0.0.1:{site.redis_port}" in site.said("call_refused (call=watch")[0]
        site.redis = start_redis(site.processes, site.redis_port, tmp_path)
        wait_until(lambda: ready(site)[0] == 200, timeout=5, what="readiness is true")
        # The open page has kept its connection and receives further events.
        site.journal.append(feed, Draft("log", data={"level": "info", "message": "back"}))
        assert page.next("event")["data"]["message"] == "back"
        assert site.browser("ann").joined.startswith("40/petiole,")


@pytest.mark.parametrize("server", sorted(SERVERS))
def test_a_process_that_ends_sends_its_browsers_away_each_to_its_own_time(tmp_path: Path, server: str) -> None:
    with serving(tmp_path, server=server) as site:
        site.browser("ann").close()
        pages = [site.browser("ann") for _ in range(20)]
        client = site.client("ann")
        view = client.watch(site.open("task:1"))
        view.wait_until(lambda document: document["state"] == "queued", timeout=5)
        ends = site.server()
        os.kill(ends, signal.SIGTERM)
        afters = [page.next("reconnect")["after"] for page in pages]
        assert all(0 <= after <= 5 for after in afters)
        assert len(set(afters)) > 10
        for page in pages:
            assert page.ends_within(3)
        # gunicorn starts another worker, and the client reconnects to it by itself.
        site.journal.append("task:1", Draft("state", {"state": "cancelled"}))
        view.wait_until(lambda document: document["state"] == "cancelled", timeout=40)
        wait_until(lambda: site.server() != ends, timeout=10, what="the process has ended")


class Trial:
    """A journal that is only checked for writability; counts the checks."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False

    def ping(self) -> None:
        self.asked += 1

    def open(self, *_args: object, **_more: object) -> None:
        if self.away:
            raise Unavailable("away")

    def forget(self, _feed: str) -> None: ...


def test_readiness_asks_the_journal_at_most_once_a_second() -> None:
    journal, now, deaf = Trial(), [0.0], [False]
    readiness = Readiness(journal, deaf=lambda: deaf[0], clock=lambda: now[0])  # type: ignore[arg-type]
    assert [readiness.closed() for _ in range(100)] == [None] * 100
    assert journal.asked == 1
    journal.away = True
    assert readiness.closed() is None
    now[0] = 1.0
    assert readiness.closed() == AWAY
    assert readiness.degraded() is None
    journal.away, deaf[0], now[0] = False, True, 2.0
    assert readiness.degraded() == DEAF
    assert readiness.closed() is None
    readiness.leave()
    assert readiness.closed() == LEAVING


def test_readiness_says_which_work_in_the_background_does_not_run() -> None:
    def fails() -> float:
        raise ValueError

    loop = Loop("reaper", fails, wait=lambda _seconds: said.append(readiness.degraded()) or loop.close())
    said: list[str | None] = []
    readiness = Readiness(Trial(), deaf=lambda: True, loops=[loop])  # type: ignore[arg-type]
    assert readiness.degraded() == DEAF
    loop.run()
    assert said == [f"{DEAF} The reaper fails; the log says why."]


class Counting:
    """Forwards every verb to a real journal, and counts."""

    def __init__(self, journal: RedisJournal) -> None:
        self._journal = journal
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        verb = getattr(self._journal, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self.calls[name] += 1
            return verb(*args, **kwargs)

        return call


def test_a_thousand_that_join_at_once_share_their_reads_and_miss_nothing(
    own_redis: RedisServer, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(own_redis.url)
    writer, journal = RedisJournal(settings), Counting(RedisJournal(settings))
    rung: list[dict[str, Any]] = []
    relay = Relay(
        journal,  # type: ignore[arg-type]
        RedisBus(settings),
        settings,
        emit=lambda name, text, *, feed: rung.append(json.loads(text)),
        spawn=lambda target, *args, **kwargs: threading.Thread(
            target=target, args=args, kwargs=kwargs, daemon=True
        ).start(),
    )
    feed = task_feed(uuid.uuid4().hex)
    writer.open(feed, owner="user:ann", draft=Draft("state", {"state": "queued"}))
    relay.watch(feed, None)
    wait_until(lambda: journal.calls["changed_heads"] > 0, timeout=5, what="the relay checks its feeds")
    journal.calls.clear()
    readings: list[tuple[int, int, Reading | None]] = []
    together = threading.Barrier(1001)

    def join() -> None:
        together.wait()
        # Rings from before this browser joined don't reach it.
        missed = len(rung)
        known = max((wire["facts"] for wire in rung[:missed]), default=1)
        relay.snapshot(feed)
        readings.append((missed, known, relay.watch(feed, None)))

    browsers = [threading.Thread(target=join, daemon=True) for _ in range(1000)]
    for browser in browsers:
        browser.start()
    together.wait()
    began = time.monotonic()
    for number in range(20):
        writer.append(feed, Draft("log", data={"level": "info", "message": str(number)}))
    for browser in browsers:
        browser.join(10)
    took = time.monotonic() - began
    asked = journal.calls["read"], journal.calls["snapshot"]
    wait_until(
        lambda: max((wire["facts"] for wire in list(rung)), default=0) == 21, timeout=5, what="everything has been rung"
    )
    assert len(readings) == 1000
    for missed, known, reading in readings:
        assert reading is not None
        assert len(reading.events) >= known
        reader = Reader(feed)
        reader.start()
        reader.answer(reading)
        for wire in rung[missed:]:
            reader.offer(Event.from_wire(wire))
        assert (reader.cursor.facts if reader.cursor else 0) == 21
        assert reader.complete
    relay.close()
    assert took <= 2.0
    assert max(asked) <= 10, asked


def test_a_client_raises_refused_when_its_right_ends(tmp_path: Path) -> None:
    with serving(tmp_path, settings={"PETIOLE_RIGHTS_CHECK": "0.3"}) as site:
        view = site.client("guest").watch(site.open("task:1"))
        view.wait_until(lambda document: document["state"] == "queued", timeout=5)
        site.rights_ended.touch()
        with pytest.raises(Refused) as refused:
            view.wait(timeout=5)
        assert refused.value.problem["status"] == 404


def test_pages_are_told_of_tasks_that_the_journal_has_lost_and_nobody_opens_again(tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        feeds = [site.open(f"task:{number}") for number in range(30)]
        page, client = site.browser("ann"), site.client("ann")
        for feed in feeds:
            assert "error" not in page.ask("watch", {"feed": feed})
        views = [client.watch(feed) for feed in feeds[:3]]
        for view in views:
            view.wait_until(lambda document: document["state"] == "queued", timeout=5)
        with redis.Redis(port=site.redis_port) as server:
            server.flushall()
        began = time.monotonic()
        said = [page.next("refused") for _ in feeds]
        assert time.monotonic() - began <= 12
        assert {wire["feed"] for wire in said} == set(feeds)
        assert {(wire["error"]["status"], wire["error"]["title"]) for wire in said} == {(404, "Unknown")}
        for view in views:
            with pytest.raises(Refused, match="Nothing is known of this task any more"):
                view.wait(timeout=5)
        assert ready(site)[0] == 200


class Unknowing(RedisJournal):
    """Counts its calls for heads, and records the feeds that it has reported as unknown."""

    unknown: frozenset[str] = frozenset()
    asked = 0

    def changed_heads(self, known: Any) -> Any:
        found = super().changed_heads(known)
        self.asked += 1
        self.unknown |= {feed for feed, head in found.items() if head is Gone.UNKNOWN}
        return found


def test_a_task_that_its_writer_opens_again_is_not_called_unknown(
    own_redis: RedisServer, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(own_redis.url, head_check=0.2, heartbeat=1.0)
    journal = Unknowing(settings)
    gone: list[tuple[str, Gone]] = []
    relay = Relay(
        journal,
        RedisBus(settings),
        settings,
        emit=lambda name, text, *, feed: None,
        spawn=lambda target, *args: threading.Thread(target=target, args=args, daemon=True).start(),
        gone=lambda feed, why: gone.append((feed, why)),
    )
    kept, lost = task_feed("kept"), task_feed("lost")
    for feed in (kept, lost):
        journal.open(feed, owner="user:ann", draft=Draft("state", {"state": "queued"}))
        relay.watch(feed, None)
    with own_redis.client() as client:
        client.flushall()
    wait_until(lambda: len(journal.unknown) == 2, timeout=5, what="both are reported as unknown")
    journal.open(kept, owner="user:ann", draft=Draft("state", {"state": "queued"}))
    wait_until(lambda: gone, timeout=5, what="the other one is reported as unknown")
    asked = journal.asked
    wait_until(lambda: journal.asked >= asked + 2, timeout=5, what="both were compared again")
    assert gone == [(lost, Gone.UNKNOWN)]
    relay.close()


def test_an_inbox_that_the_journal_has_lost_is_empty(
    own_redis: RedisServer, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(own_redis.url, head_check=0.2, heartbeat=0.2)
    journal = RedisJournal(settings)
    said: list[tuple[str, dict[str, Any]]] = []
    gone: list[str] = []
    relay = Relay(
        journal,
        RedisBus(settings),
        settings,
        emit=lambda name, text, *, feed: said.append((name, json.loads(text))),
        spawn=lambda target, *args: threading.Thread(target=target, args=args, daemon=True).start(),
        gone=lambda feed, _why: gone.append(feed),
    )
    journal.notify("ann", key=task_feed("a"), notice={"title": "A task", "state": "succeeded"})
    relay.watch(inbox_feed("ann"), None)
    with own_redis.client() as client:
        client.flushall()
    wait_until(lambda: [name for name, _ in said] == ["reset"], timeout=5, what="its pages are reset")
    assert said[0][1]["document"]["unread"] == 0
    assert gone == []
    relay.close()
