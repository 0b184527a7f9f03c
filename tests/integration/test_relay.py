"""The relay against a real Redis: every watcher sees once and in order the events that the bus loses, doubles or swaps."""

from __future__ import annotations

import select
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from petiole.bus import Bus
from petiole.bus.redis import RedisBus
from petiole.errors import Unavailable
from petiole.protocol.events import Cursor, task_feed
from petiole.protocol.states import is_terminal
from petiole.settings import Settings
from petiole.web.relay.followed import counter_at
from tests.support.relay import (
    HEAD_CHECK,
    HEALED,
    FaultyBus,
    Page,
    Server,
    Web,
    Writer,
    assert_emitted_in_order,
    assert_saw_everything,
    serving,
    spawn,
)
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("relay")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """The test's own server, to kill and to empty."""
    with serving(tmp_path) as server:
        yield server


MakeSettings = Callable[..., Settings]


@pytest.fixture
def settings(server: Server) -> MakeSettings:
    prefix = f"relay-{uuid.uuid4().hex[:8]}"

    def make(url: str | None = None, **overrides: Any) -> Settings:
        return Settings(
            **{"journal_url": url or server.url, "key_prefix": prefix, "head_check": HEAD_CHECK, **overrides}
        )

    return make


@pytest.fixture
def webs() -> Iterator[list[Web]]:
    """Webs that are closed at the end of the test."""
    webs: list[Web] = []
    yield webs
    for web in webs:
        web.close()


@pytest.fixture
def open_web(webs: list[Web]) -> Callable[..., Web]:
    def make(settings: Settings, *, bus: Bus | None = None) -> Web:
        webs.append(Web(settings, bus=bus))
        return webs[-1]

    return make


OpenWeb = Callable[..., Web]


@pytest.mark.parametrize("seed", range(4))
def test_lost_doubled_and_swapped_rings_reach_every_browser_once_and_in_order(
    settings: MakeSettings, open_web: OpenWeb, seed: int
) -> None:
    bus = FaultyBus(
        RedisBus(settings()),
        seed=seed,
        drop=0.15,
        double=0.15,
        swap=0.15,
        drop_if=lambda event: is_terminal(event.patch.get("state")),
    )
    web = open_web(settings(), bus=bus)
    writers = [Writer(web.journal) for _ in range(3)]
    browsers = [Page(web, writer.feed) for writer in writers]
    browsers += [Page(web, each.feed, cursor=each.opened, document=each.first_document) for each in writers]
    threads = [spawn(writer.write, 100) for writer in writers]
    for thread in threads:
        thread.join(20)
    for writer in writers:
        writer.end()
    for browser in browsers:
        browser.wait()
        assert_saw_everything(browser)
    for writer in writers:
        assert_emitted_in_order(web, writer.feed)
    assert min(bus.did[fault] for fault in ("dropped", "doubled", "swapped")) > 10


def test_the_last_event_lost_is_healed_by_the_head_check(settings: MakeSettings, open_web: OpenWeb) -> None:
    bus = FaultyBus(RedisBus(settings()), drop_if=lambda event: is_terminal(event.patch.get("state")))
    web = open_web(settings(), bus=bus)
    writer = Writer(web.journal)
    browser = Page(web, writer.feed)
    writer.write(5)
    browser.wait()
    writer.end()
    browser.wait()
    assert bus.did["dropped"] == 1
    assert browser.reader.document["state"] == "succeeded"
    assert_saw_everything(browser)


def test_a_feed_that_is_heard_of_is_not_compared_and_one_that_falls_silent_is(
    settings: MakeSettings, open_web: OpenWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = open_web(settings(head_check=2.0))
    silent, heard = Writer(web.journal), Writer(web.journal)
    compared: list[str] = []
    changed_heads = web.journal.changed_heads

    def count(known: Mapping[str, Cursor | None]) -> dict[str, Cursor | None]:
        compared.extend(known)
        return changed_heads(known)

    monkeypatch.setattr(web.journal, "changed_heads", count)
    # The feed that was watched first is compared with each probe of the bus, silent or not.
    browsers = []
    for writer in (silent, heard):
        browsers.append(Page(web, writer.feed))
        wait_until(lambda feed=writer.feed: feed in compared, what="it is compared", timeout=20)
    compared.clear()

    def silent_thrice() -> bool:
        heard.count()
        return compared.count(silent.feed) >= 3

    wait_until(silent_thrice, what="the silent one is compared", timeout=20)
    assert heard.feed not in compared
    wait_until(lambda: heard.feed in compared, what="the other one is compared", timeout=20)
    for browser in browsers:
        browser.wait()


def test_a_silent_feed_is_compared_after_each_head_check(
    settings: MakeSettings, open_web: OpenWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = open_web(settings(head_check=0.3))
    compared: list[str] = []
    changed_heads = web.journal.changed_heads

    def count(known: Mapping[str, Cursor | None]) -> dict[str, Cursor | None]:
        compared.extend(known)
        return changed_heads(known)

    def probe(*, timeout: float) -> bool:
        probed.append(timeout)
        return True

    probed: list[float] = []
    monkeypatch.setattr(web.journal, "changed_heads", count)
    monkeypatch.setattr(web.bus, "probe", probe)
    # The feed that was watched first is compared with each probe of the bus in any case.
    first, second = Writer(web.journal).feed, Writer(web.journal).feed
    for feed in (first, second):
        Page(web, feed).wait()
    wait_until(lambda: {first, second} <= set(compared), what="both are compared", timeout=20)
    compared.clear()
    probed.clear()
    wait_until(lambda: compared.count(second) >= 8, what="the second one is compared", timeout=20)
    # The bus is probed after each `head_check` too.
    assert len(probed) <= 10


def test_a_feed_that_was_unknown_and_is_back_where_it_stood_is_read_again(
    own_server: Server, settings: MakeSettings, open_web: OpenWeb
) -> None:
    web = open_web(settings(own_server.url, head_check=0.3))
    writer = Writer(web.journal)
    browser = Page(web, writer.feed)
    browser.wait()
    reader = web.relay._feeds[writer.feed].reader
    wait_until(lambda: not reader.reading and reader.cursor is not None, what="the relay follows")
    cursor = reader.cursor
    assert cursor is not None
    ahead = replace(cursor, seq=cursor.seq + 5, facts=cursor.facts + 1)
    meta = web.journal._names.feed(writer.feed)[0]
    with own_server.redis() as client:
        client.rename(meta, f"{meta}:away")
        client.publish(
            web.journal._names.channel(writer.feed), counter_at(writer.feed, ahead, run=1, progress=None).to_text()
        )
        wait_until(
            lambda: reader.reading and not web.relay._feeds[writer.feed].healing, what="it has requested it in vain"
        )
        client.rename(f"{meta}:away", meta)
    wait_until(lambda: not reader.reading, what="the relay has read it again")
    assert reader.cursor == cursor


def test_a_lost_counter_is_made_good_without_a_fact_after_it(settings: MakeSettings, open_web: OpenWeb) -> None:
    bus = FaultyBus(RedisBus(settings()), drop_if=lambda event: not event.is_fact)
    web = open_web(settings(), bus=bus)
    writer = Writer(web.journal)
    browser = Page(web, writer.feed)
    browser.wait()
    for _ in range(7):
        writer.count()
    wait_until(
        lambda: (browser.reader.document.get("progress") or {}).get("completed") == 7,
        what="the newest counter is shown",
        timeout=HEALED,
    )
    browser.wait()
    assert bus.did["dropped"] == 7
    assert_saw_everything(browser)


def test_cut_subscriptions_cost_no_event(server: Server, settings: MakeSettings, open_web: OpenWeb) -> None:
    web = open_web(settings(head_check=600.0))  # only the reconnect heals here
    writer = Writer(web.journal)
    browser = Page(web, writer.feed)
    for _ in range(4):
        wait_until(lambda: server.subscribers(writer.feed) == 1, what="the feed is followed")
        writer.write(10)
        with server.redis() as client:
            assert client.execute_command("CLIENT", "KILL", "TYPE", "pubsub") >= 1
        writer.write(10)
        # No further event is written that could show the gap.
        browser.wait()
    writer.end()
    browser.wait()
    assert_saw_everything(browser)
    assert_emitted_in_order(web, writer.feed)


class DeafeningProxy:
    """A proxy in front of Redis; `deafen` swallows Redis's messages to the present subscribers."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._subscribed: set[socket.socket] = set()
        self._deaf: set[socket.socket] = set()
        self.swallowed = 0
        spawn(self._accept)

    def deafen(self) -> None:
        self._deaf |= self._subscribed

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                spawn(self._serve, self._listener.accept()[0])

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._to)) as server, suppress(OSError):
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    if source is client:
                        if b"SUBSCRIBE" in data:
                            self._subscribed.add(client)
                        server.sendall(data)
                    elif client in self._deaf:
                        self.swallowed += len(data)
                    else:
                        client.sendall(data)


def test_a_connection_that_is_alive_and_deaf_is_made_anew(
    server: Server, settings: MakeSettings, open_web: OpenWeb
) -> None:
    proxy = DeafeningProxy(server.port)
    bus = FaultyBus(RedisBus(settings(f"redis://127.0.0.1:{proxy.port}/0")))
    web = open_web(settings(), bus=bus)
    writer = Writer(web.journal)
    browser = Page(web, writer.feed)
    browser.wait()
    writer.fact()
    wait_until(lambda: bus.did["passed"] >= 1, what="a ring has come through")
    proxy.deafen()
    writer.fact()
    browser.wait()
    assert proxy.swallowed > 0
    wait_until(lambda: bus.did["restarted"] == 1, what="the relay has dropped the deaf connection")
    wait_until(lambda: server.subscribers(writer.feed) == 1, what="the feed is followed over a new connection")
    rung = bus.did["passed"]

    def rings() -> bool:
        # The server may still count the deaf connection's subscription, so the first of these may be lost.
        writer.fact()
        return bus.did["passed"] > rung

    wait_until(rings, what="rings come through again")
    writer.end()
    browser.wait()
    assert_saw_everything(browser)
    proxy.close()


def test_an_unknown_feed_is_answered_with_nothing_and_not_followed(
    server: Server, settings: MakeSettings, open_web: OpenWeb
) -> None:
    web = open_web(settings(head_check=5.0, linger=0.2))
    feed = task_feed(str(uuid.uuid4()))
    assert web.relay.watch(feed, None) is None
    wait_until(lambda: server.subscribers(feed) == 0, what="the unknown feed isn't followed")
    assert web.emitted == []


def test_a_feed_is_followed_for_a_while_after_its_last_watcher_and_then_let_go(
    server: Server, settings: MakeSettings, open_web: OpenWeb
) -> None:
    web = open_web(settings(head_check=5.0, linger=0.2))
    writer = Writer(web.journal)
    browser, other = Page(web, writer.feed), Page(web, writer.feed)
    browser.wait()
    other.wait()
    browser.leave()
    writer.fact()
    other.wait()
    assert server.subscribers(writer.feed) == 1
    other.leave()
    wait_until(lambda: server.subscribers(writer.feed) == 0, what="the feed is unfollowed")
    emitted = len(web.emitted)
    writer.end()
    again = Page(web, writer.feed)
    again.wait()
    assert_saw_everything(again)
    assert len(web.emitted) == emitted


def test_a_page_that_reloads_finds_its_feed_still_followed(
    server: Server, settings: MakeSettings, open_web: OpenWeb
) -> None:
    web = open_web(settings(linger=60.0))
    writer = Writer(web.journal)
    first = Page(web, writer.feed)
    first.wait()
    with server.redis() as client:
        before = client.info("commandstats")["cmdstat_subscribe"]["calls"]
    first.leave()
    writer.fact()
    second = Page(web, writer.feed)
    writer.end()
    second.wait()
    assert_saw_everything(second)
    with server.redis() as client:
        assert client.info("commandstats")["cmdstat_subscribe"]["calls"] == before


def test_feeds_are_let_go_when_heads_are_checked_often(
    server: Server, settings: MakeSettings, open_web: OpenWeb
) -> None:
    web = open_web(settings(head_check=HEAD_CHECK, linger=0.2))
    writer = Writer(web.journal)
    browser = Page(web, writer.feed)
    browser.wait()
    browser.leave()
    wait_until(lambda: server.subscribers(writer.feed) == 0, what="the feed is unfollowed", timeout=4)


def test_many_watchers_share_one_subscription_and_one_emission(
    server: Server, settings: MakeSettings, open_web: OpenWeb
) -> None:
    web = open_web(settings())
    writer = Writer(web.journal)
    browsers = [Page(web, writer.feed) for _ in range(20)]
    for browser in browsers:
        browser.wait()
    assert server.subscribers(writer.feed) == 1
    writer.write(30)
    writer.end()
    for browser in browsers:
        browser.wait()
        assert_saw_everything(browser)
    # A head check while a ring is in transit causes a read, and then one counter replaces several.
    facts = [event.id for event in web.events(writer.feed) if event.is_fact]
    assert len(facts) == len(set(facts)) == 31
    assert len(web.events(writer.feed)) <= 62
    assert server.subscribers(writer.feed) == 1


def test_a_feed_that_nobody_watches_is_never_emitted(settings: MakeSettings, open_web: OpenWeb) -> None:
    web = open_web(settings())
    watched, unwatched = Writer(web.journal), Writer(web.journal)
    browser = Page(web, watched.feed)
    browser.wait()
    for _ in range(20):
        unwatched.fact()
        watched.fact()
    unwatched.end()
    watched.end()
    browser.wait()
    assert_saw_everything(browser)
    assert {feed for _, feed, _ in web.emitted} == {watched.feed}


def test_a_watch_while_the_journal_is_away_is_refused_and_leaves_nothing_behind(
    own_server: Server, settings: MakeSettings, open_web: OpenWeb
) -> None:
    patience = {"journal_timeout": 0.5, "follow_timeout": 0.1, "linger": 0.2, "head_check": 5.0}
    web = open_web(settings(own_server.url, **patience))
    known, refused = Writer(web.journal), Writer(web.journal)
    browser = Page(web, known.feed)
    browser.wait()
    own_server.kill()
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(Unavailable, match="doesn't answer"):
            web.relay.watch(refused.feed, None)
    assert time.monotonic() - began < 3
    own_server.start()
    wait_until(lambda: own_server.subscribers(known.feed) == 1, what="the watched feed is followed again")
    wait_until(lambda: own_server.subscribers(refused.feed) == 0, what="the refused feed isn't followed")
    again = Page(web, refused.feed)
    again.wait()
    assert own_server.subscribers(refused.feed) == 1


def test_a_journal_that_lost_its_data_and_was_written_anew_is_a_reset(
    own_server: Server, settings: MakeSettings, open_web: OpenWeb
) -> None:
    web = open_web(settings(own_server.url))
    writer = Writer(web.journal)
    browsers = [Page(web, writer.feed) for _ in range(3)]
    writer.write(10)
    for browser in browsers:
        browser.wait()
    last = writer.fact()
    with own_server.redis() as client:
        client.flushall()
    opened = writer.rebase(last, {"state": "running", "title": "after the loss"})
    writer.fact()
    writer.end()
    for browser in browsers:
        browser.wait()
        assert browser.resets >= 1
        assert not browser.reader.complete
        assert browser.reader.cursor.epoch == opened.epoch != last.epoch
        assert browser.reader.document == web.journal.snapshot(writer.feed).document
        assert browser.reader.document["title"] == "after the loss"
    resets = [payload for name, _, payload in web.emitted if name == "reset"]
    assert resets
    assert all(reset["recovered"] is False and reset["events"] == [] for reset in resets)


def test_a_feed_whose_key_is_spoiled_does_not_keep_the_others_from_being_healed(
    server: Server, settings: MakeSettings, open_web: OpenWeb
) -> None:
    bus = FaultyBus(RedisBus(settings()), drop_if=lambda event: is_terminal(event.patch.get("state")))
    web = open_web(settings(), bus=bus)
    spoiled, sound = Writer(web.journal), Writer(web.journal)
    browser, other = Page(web, sound.feed), Page(web, spoiled.feed)
    browser.wait()
    other.wait()
    with server.redis() as client:
        for key in client.scan_iter(f"*{spoiled.feed}:meta"):
            client.set(key, "not what a feed's key holds")
    sound.end()
    browser.wait()
    assert_saw_everything(browser)


@pytest.mark.parametrize("faults", [{}, {"drop": 0.1, "swap": 0.1}], ids=["a sound bus", "a faulty bus"])
def test_whoever_joins_at_whatever_point_sees_no_hole(
    settings: MakeSettings, open_web: OpenWeb, faults: dict[str, float]
) -> None:
    web = open_web(settings(), bus=FaultyBus(RedisBus(settings()), seed=5, **faults))
    writer = Writer(web.journal)
    browsers = [Page(web, writer.feed)]
    points = [threading.Event() for _ in range(50)]

    def write() -> None:
        for number in range(300):
            if number % 6 == 0:
                points[number // 6].set()
            writer.fact()
            writer.count()
        writer.end()

    def join(point: threading.Event) -> None:
        assert point.wait(20)
        browsers.append(Page(web, writer.feed))

    joining = [spawn(join, point) for point in points]
    for thread in [*joining, spawn(write)]:
        thread.join(20)
    assert len(browsers) == 51
    for browser in browsers:
        browser.wait()
        assert_saw_everything(browser)
        assert len([event for event in browser.shown if event.is_fact]) == 303
