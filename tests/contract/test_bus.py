"""The promises of `petiole/bus/contract.py`, tested on every backend."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from petiole.bus import open_bus
from petiole.bus.amqp.connection import declare
from petiole.bus.amqp.publisher import RingPublisher
from petiole.bus.contract import Bus
from petiole.bus.redis import RedisBus
from petiole.errors import Unavailable
from petiole.journal.answers import Stored
from petiole.journal.contract import Journal
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import COUNTER, Draft, Event, EventHeader, task_feed
from petiole.settings import Settings
from tests.conftest import VARIANTS
from tests.support.memory_bus import MemoryBus
from tests.support.memory_journal import MemoryJournal
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until

FEED = task_feed("a")
OTHER = task_feed("b")
SOON = 5.0
# A journal that rings by itself accepts no other bus; for a journal in memory the URL isn't parsed further.
NO_DATABASE = "postgresql://127.0.0.1:1/none"


class Listener:
    """Listens to a bus in its own thread and keeps the rings."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.heard: list[tuple[str, str | bytes]] = []
        self.returns = 0
        self.on_ring: Callable[[], None] = lambda: None
        self._thread = threading.Thread(
            target=bus.listen, args=(self._ring,), kwargs={"on_return": self._returned}, daemon=True
        )

    def start(self) -> None:
        self._thread.start()
        self.wait_for_returns(1)

    def wait_for_returns(self, count: int) -> None:
        wait_until(lambda: self.returns >= count, timeout=10, what=f"the bus has connected {count} times")

    def wait_for(self, feed: str, count: int) -> list[Event]:
        wait_until(lambda: len(self.events(feed)) >= count, timeout=SOON, what=f"{feed} has rung {count} times")
        return self.events(feed)

    def events(self, feed: str) -> list[Event]:
        return [Event.from_text(text) for heard, text in list(self.heard) if heard == feed]

    def ended(self) -> bool:
        return not self._thread.is_alive()

    def close(self) -> None:
        self.bus.close()
        self._thread.join(SOON)

    def _ring(self, feed: str, text: str | bytes) -> None:
        self.heard.append((feed, text))
        self.on_ring()

    def _returned(self) -> None:
        self.returns += 1


class Setup:
    """A journal with its bus."""

    def __init__(self, journal: Journal, bus: Bus) -> None:
        self.journal = journal
        self.bus = bus
        self.listener = Listener(bus)

    def open(self, feed: str = FEED) -> None:
        self.journal.open(feed, owner="alice", draft=Draft("state", {"state": "queued"}))

    def say(self, message: str = "a line", feed: str = FEED) -> Stored:
        answer = self.journal.append(feed, Draft("log", data={"message": message}))
        assert isinstance(answer, Stored)
        return answer

    def close(self) -> None:
        self.listener.close()
        self.journal.close()


def redis_setup(settings: Settings) -> Setup:
    return Setup(RedisJournal(settings), open_bus(settings))


def amqp_setup(settings: Settings) -> Setup:
    publisher = RingPublisher(settings, url=settings.bus_url)

    def ring(feed: str, text: str | bytes) -> None:
        publisher.publish([(feed, text)])
        # On the same channel, so earlier rings have been routed when this is answered, as with Redis.
        declare(publisher._line._channel, publisher._exchange)

    return Setup(MemoryJournal(settings, ring=ring), open_bus(settings))


@pytest.fixture(
    params=[
        "memory",
        "amqp",
        *(f"{kind}-{variant}" for kind in ("redis", "cluster") for variant in VARIANTS),
        "sentinel",
    ]
)
def setup(request: Any, make_settings: Any, redis_servers: Any, redis_clusters: Any) -> Iterator[Setup]:
    kind, _, variant = request.param.partition("-")
    match kind:
        case "memory":
            bus = MemoryBus()
            made = Setup(MemoryJournal(make_settings(), ring=bus.ring), bus)
        case "redis":
            made = redis_setup(make_settings(redis_servers(variant).url))
        case "cluster":
            made = redis_setup(make_settings(redis_clusters(variant).url))
        case "amqp":
            made = amqp_setup(make_settings(NO_DATABASE, bus_url=request.getfixturevalue("rabbitmq").url))
        case _:
            made = redis_setup(make_settings(request.getfixturevalue("redis_sentinels").url))
    made.listener.start()
    yield made
    made.close()
    assert made.listener.ended()


def test_the_numbers_of_what_is_rung_are_read_without_the_rest(setup: Setup) -> None:
    assert setup.bus.follow(FEED, timeout=SOON)
    setup.open()
    setup.say('a "line" with \\ and \n and ü')
    setup.journal.append(FEED, Draft(COUNTER, progress={"completed": 1}))
    wait_until(lambda: len(setup.listener.heard) == 3, what="three rings")
    for _, text in setup.listener.heard:
        rung, event = EventHeader.from_text(text if isinstance(text, str) else text.decode()), Event.from_text(text)
        assert rung is not None
        assert (rung.v, rung.id, rung.feed, rung.kind, rung.cursor) == (
            *(event.v, event.id, event.feed, event.kind),
            event.cursor,
        )


@pytest.fixture(params=VARIANTS)
def server(request: Any, redis_binaries: Any, tmp_path: Any) -> Iterator[RedisServer]:
    made = RedisServer(redis_binaries(request.param), tmp_path / "redis")
    made.start()
    yield made
    made.kill()


@pytest.fixture
def own(server: RedisServer, make_settings: Any) -> Iterator[Setup]:
    """A journal and a listening bus on the test's own server."""
    made = redis_setup(make_settings(server.url, journal_timeout=1.0))
    made.listener.start()
    yield made
    made.close()
    assert made.listener.ended()


def subscribers(server: RedisServer) -> list[dict[str, str]]:
    with server.client() as client:
        return [row for row in client.client_list() if int(row["sub"]) > 0]


class TestRings:
    def test_a_followed_feed_rings_with_the_events_text(self, setup):
        setup.open()
        assert setup.bus.follow(FEED, timeout=SOON)
        stored = setup.say('hostile "text"\n🎉')
        [event] = setup.listener.wait_for(FEED, 1)
        assert event.cursor == stored.cursor
        assert event.data == {"message": 'hostile "text"\n🎉'}
        assert event == setup.journal.read(FEED, None, limit=10).events[-1]

    def test_a_feed_that_is_not_followed_does_not_ring(self, setup):
        setup.open()
        setup.open(OTHER)
        assert setup.bus.follow(FEED, timeout=SOON)
        setup.say(feed=OTHER)
        setup.say()
        setup.listener.wait_for(FEED, 1)
        assert setup.listener.events(OTHER) == []

    def test_a_feed_that_is_followed_no_more_stops_ringing(self, setup):
        setup.open()
        setup.open(OTHER)
        assert setup.bus.follow(FEED, timeout=SOON)
        assert setup.bus.follow(OTHER, timeout=SOON)
        setup.bus.unfollow(FEED)
        # Orders the unfollow before later rings: the bus uses one connection for both.
        assert setup.bus.follow(task_feed("c"), timeout=SOON)
        setup.say()
        setup.say(feed=OTHER)
        setup.listener.wait_for(OTHER, 1)
        assert setup.listener.events(FEED) == []

    def test_a_feed_can_be_followed_again(self, setup):
        setup.open()
        for number in range(1, 4):
            assert setup.bus.follow(FEED, timeout=SOON)
            setup.say()
            setup.listener.wait_for(FEED, number)
            setup.bus.unfollow(FEED)

    def test_following_twice_rings_once(self, setup):
        setup.open()
        assert setup.bus.follow(FEED, timeout=SOON)
        assert setup.bus.follow(FEED, timeout=SOON)
        setup.say("1")
        setup.say("2")
        assert [event.data["message"] for event in setup.listener.wait_for(FEED, 2)] == ["1", "2"]

    def test_unfollowing_what_nobody_follows_does_nothing(self, setup):
        setup.bus.unfollow(FEED)
        setup.open()
        assert setup.bus.follow(FEED, timeout=SOON)
        setup.say()
        setup.listener.wait_for(FEED, 1)

    def test_rings_of_one_feed_come_in_order(self, setup):
        setup.open()
        assert setup.bus.follow(FEED, timeout=SOON)
        for number in range(200):
            setup.say(str(number))
        heard = setup.listener.wait_for(FEED, 200)
        assert [event.data["message"] for event in heard] == [str(number) for number in range(200)]
        assert [event.facts for event in heard] == list(range(2, 202))

    def test_every_verb_that_writes_rings(self, setup):
        journal = setup.journal
        assert setup.bus.follow(FEED, timeout=SOON)
        setup.open()
        journal.claim(FEED, Draft("state", {"state": "running"}), worker="w", delivery="d", retries=0, lease=0.001)
        journal.append(FEED, Draft("counter", progress={"completed": 1}), run=1, fact=1, counter=1)
        journal.append(FEED, Draft("log", data={"message": "x"}), run=1, fact=2)
        journal.renew("w", [FEED], lease=0.001)  # the run's events have prolonged it
        wait_until(lambda: journal.heads([FEED])[FEED].lease_left < 0, timeout=SOON, what="the lease has ended")
        journal.conclude(FEED, 1, Draft("state", {"state": "stalled"}), lease=60)
        journal.cancel(
            FEED, cancelling=Draft("state", {"state": "cancelling"}), cancelled=Draft("state", {"state": "cancelled"})
        )
        heard = setup.listener.wait_for(FEED, 6)
        assert [event.kind for event in heard] == ["state", "state", "counter", "log", "state", "state"]
        assert [event.seq for event in heard] == [1, 2, 3, 4, 5, 6]
        assert [event.patch.get("state") for event in heard] == [
            "queued", "running", None, None, "stalled", "cancelling",
        ]  # fmt: skip

    def test_what_changes_nothing_does_not_ring(self, setup):
        journal = setup.journal
        setup.open()
        assert setup.bus.follow(FEED, timeout=SOON)
        draft = Draft("state", {"state": "running"})
        for _ in range(2):
            journal.claim(FEED, draft, worker="w", delivery="d", retries=0, lease=60)
        assert not isinstance(journal.append(FEED, draft, run=1, fact=1), Stored)
        assert not isinstance(journal.append(FEED, draft, run=1, fact=9), Stored)
        assert not isinstance(journal.append(FEED, Draft("state", {"state": "queued"})), Stored)
        setup.open()
        setup.say("the last")
        heard = setup.listener.wait_for(FEED, 2)
        assert [event.kind for event in heard] == ["state", "log"]

    def test_many_feeds_are_followed_by_many_threads(self, setup):
        feeds = [task_feed(f"t{number}") for number in range(64)]
        for feed in feeds:
            setup.open(feed)
        confirmed = []

        def follow(part: list[str]) -> None:
            for feed in part:
                if setup.bus.follow(feed, timeout=SOON):
                    setup.say(feed=feed)
                    confirmed.append(feed)

        threads = [threading.Thread(target=follow, args=(feeds[at::8],)) for at in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(confirmed) == sorted(feeds)
        for feed in feeds:
            assert len(setup.listener.wait_for(feed, 1)) == 1

    def test_a_bus_that_hears_itself_passes_the_probe(self, setup):
        # Some of a cluster's connections may still be opening.
        wait_until(lambda: setup.bus.probe(timeout=1.0), timeout=SOON, what="it receives its own message")

    def test_close_ends_listening(self, setup):
        setup.listener.close()
        assert setup.listener.ended()

    def test_close_before_listening_lets_it_end_at_once(self, setup):
        bus = MemoryBus() if isinstance(setup.bus, MemoryBus) else open_bus(setup.journal._settings)
        bus.close()
        thread = threading.Thread(target=bus.listen, args=(print,), kwargs={"on_return": lambda: None}, daemon=True)
        thread.start()
        thread.join(SOON)
        assert not thread.is_alive()


class TestRedis:
    def test_the_bus_of_a_redis_journal_is_of_redis(self, make_settings):
        assert isinstance(open_bus(make_settings()), RedisBus)

    def test_following_without_a_connection_is_not_confirmed(self, make_settings):
        bus = RedisBus(make_settings())
        assert not bus.follow(FEED, timeout=0.01)

    def test_a_feed_that_was_followed_before_listening_rings(self, server, make_settings):
        made = redis_setup(make_settings(server.url))
        assert not made.bus.follow(FEED, timeout=0.0)
        made.listener.start()
        assert made.bus.follow(FEED, timeout=SOON)
        made.open()
        made.listener.wait_for(FEED, 1)
        made.close()

    def test_a_connection_that_was_killed_is_made_again_and_feeds_followed_again(self, own, server):
        feeds = [FEED, OTHER]
        for feed in feeds:
            own.open(feed)
            assert own.bus.follow(feed, timeout=SOON)
        with server.client() as client:
            for row in subscribers(server):
                client.client_kill_filter(_id=row["id"])
        own.listener.wait_for_returns(2)
        for feed in feeds:
            assert own.bus.follow(feed, timeout=SOON)
            own.say(feed=feed)
            own.listener.wait_for(feed, 1)

    def test_feeds_are_followed_again_before_the_bus_says_that_it_is_back(self, own, server):
        feeds = [task_feed(f"t{number}") for number in range(1500)]
        threads = [
            threading.Thread(target=lambda part: [own.bus.follow(f, timeout=SOON) for f in part], args=(feeds[at::4],))
            for at in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        own.bus.restart()
        own.listener.wait_for_returns(2)
        with server.client() as client:
            channels = [own.bus._keys.channel(feed) for feed in feeds]
            assert all(count == 1 for _, count in client.pubsub_numsub(*channels))

    def test_a_feed_that_was_let_go_while_away_is_not_followed_again(self, own, server):
        own.open()
        assert own.bus.follow(FEED, timeout=SOON)
        assert own.bus.follow(OTHER, timeout=SOON)
        server.kill()
        wait_until(lambda: own.bus._connection is None, timeout=SOON, what="the bus has noticed")
        own.bus.unfollow(FEED)
        assert not own.bus.follow(OTHER, timeout=0.0)
        server.start()
        own.listener.wait_for_returns(2)
        with server.client() as client:
            [(_, followed), (_, other)] = client.pubsub_numsub(
                own.bus._keys.channel(FEED), own.bus._keys.channel(OTHER)
            )
        assert (followed, other) == (0, 1)

    def test_rings_go_on_after_a_restart_of_the_server(self, own, server):
        own.open()
        assert own.bus.follow(FEED, timeout=SOON)
        own.say("before")
        own.listener.wait_for(FEED, 1)
        server.restart()
        own.listener.wait_for_returns(2)
        assert own.bus.follow(FEED, timeout=SOON)

        def said() -> bool:
            try:
                return bool(own.say("after"))
            except Unavailable:
                return False

        wait_until(said, timeout=SOON, what="the journal accepts a line again")
        assert own.listener.wait_for(FEED, 2)[1].data == {"message": "after"}

    def test_a_paused_server_fails_the_probe_and_restart_brings_the_bus_back(self, own, server):
        own.open()
        assert own.bus.follow(FEED, timeout=SOON)
        assert own.bus.probe(timeout=SOON)
        server.pause()
        assert not own.bus.probe(timeout=0.1)
        own.bus.restart()
        server.resume()
        own.listener.wait_for_returns(2)
        assert own.bus.probe(timeout=SOON)
        own.say()
        own.listener.wait_for(FEED, 1)

    def test_following_on_a_paused_server_is_not_confirmed_and_rings_later(self, own, server):
        own.open()
        server.pause()
        assert not own.bus.follow(FEED, timeout=0.05)
        server.resume()
        assert own.bus.follow(FEED, timeout=SOON)
        own.say()
        own.listener.wait_for(FEED, 1)

    def test_a_deaf_bus_fails_the_probe(self, own, server):
        deaf = threading.Event()
        hears = threading.Event()
        own.listener.on_ring = lambda: (deaf.set(), hears.wait(SOON))
        own.open()
        assert own.bus.follow(FEED, timeout=SOON)
        own.say()
        assert deaf.wait(SOON)
        assert not own.bus.probe(timeout=0.05)
        hears.set()
        assert own.bus.probe(timeout=SOON)

    def test_a_restart_while_a_ring_is_being_handled_is_survived(self, own, server):
        own.open()
        assert own.bus.follow(FEED, timeout=SOON)
        for number in range(2, 7):
            own.listener.on_ring = own.bus.restart
            own.say()
            own.listener.wait_for_returns(number)
            own.listener.on_ring = lambda: None
            assert own.bus.follow(FEED, timeout=SOON)
            assert own.bus.probe(timeout=SOON)

    def test_following_right_after_a_restart_loses_no_other_feed(self, own, server):
        own.open()
        own.open(OTHER)
        assert own.bus.follow(FEED, timeout=SOON)
        entered, go_on = threading.Event(), threading.Event()
        own.listener.on_ring = lambda: (entered.set(), go_on.wait(SOON))
        own.say()
        assert entered.wait(SOON)
        own.bus.restart()
        own.bus.follow(OTHER, timeout=0.0)
        own.listener.on_ring = lambda: None
        go_on.set()
        own.listener.wait_for_returns(2)
        assert own.bus.follow(OTHER, timeout=SOON)
        for feed in (FEED, OTHER):
            assert own.bus.follow(feed, timeout=SOON)
            own.say("after", feed=feed)
        own.listener.wait_for(FEED, 2)
        own.listener.wait_for(OTHER, 1)

    def test_an_idle_connection_is_kept(self, own, server):
        def idle() -> bool:
            [row] = subscribers(server)
            return int(row["idle"]) >= 1

        [before] = subscribers(server)
        wait_until(idle, timeout=SOON, what="the subscriber has been idle for longer than a call's timeout")
        [after] = subscribers(server)
        assert after["id"] == before["id"]
        assert own.listener.returns == 1
        assert own.bus.probe(timeout=SOON)

    def test_close_while_it_connects_ends_listening(self, server, make_settings):
        server.pause()
        bus = RedisBus(make_settings(server.url, journal_timeout=0.5))
        listener = Listener(bus)
        listener._thread.start()
        bus.close()
        server.resume()
        listener._thread.join(SOON)
        assert listener.ended()

    def test_close_while_the_server_is_away_ends_listening_at_once(self, own, server):
        server.kill()
        wait_until(lambda: own.bus._connection is None, timeout=SOON, what="the bus has noticed")
        own.bus.close()
        own.listener._thread.join(1.0)
        assert own.listener.ended()

    def test_two_databases_with_the_same_prefix_do_not_leak(self, server, make_settings):
        first, second = (redis_setup(make_settings(server.database(number))) for number in (0, 1))
        for made in (first, second):
            made.listener.start()
            made.open()
            assert made.bus.follow(FEED, timeout=SOON)
        first.say("of the first")
        second.say("of the second")
        for made, message in ((first, "of the first"), (second, "of the second")):
            [event] = made.listener.wait_for(FEED, 1)
            assert event.data == {"message": message}
            made.close()

    def test_two_prefixes_do_not_leak(self, server, make_settings):
        first, second = (redis_setup(make_settings(server.url, key_prefix=prefix)) for prefix in ("one", "two"))
        for made in (first, second):
            made.listener.start()
            made.open()
            assert made.bus.follow(FEED, timeout=SOON)
        first.say("of the first")
        second.say("of the second")
        for made, message in ((first, "of the first"), (second, "of the second")):
            [event] = made.listener.wait_for(FEED, 1)
            assert event.data == {"message": message}
            made.close()
