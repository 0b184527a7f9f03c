"""RabbitMQ alone: lost connections, deleted queues, alarms, black holes, and refusals with an explanation."""

from __future__ import annotations

import math
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.proxy import FaultProxy
from petiole.bus import open_bus, open_ring
from petiole.bus.amqp.bus import AmqpBus
from petiole.bus.amqp.connection import QUEUED
from petiole.bus.amqp.publisher import RingPublisher
from petiole.errors import PetioleError, SetupError, Unavailable
from petiole.protocol.events import task_feed
from petiole.servers.redis import free_port
from petiole.settings import Settings
from tests.conftest import found_or_skipped, rabbitmq_scripts
from tests.contract.test_bus import FEED, NO_DATABASE, OTHER, SOON, Listener, Setup, amqp_setup
from tests.support.logs import logged
from tests.support.rabbitmq import RabbitServer, new_directory
from tests.support.system import ROOT
from tests.support.waiting import wait_until

GREENLETS = """
from gevent import monkey; monkey.patch_all()
import sys, time, gevent
from petiole.bus import open_bus, open_ring
from petiole.settings import Settings

settings = Settings(journal_url="postgresql://127.0.0.1:1/none", bus_url=sys.argv[1], key_prefix=sys.argv[2])
bus, ring = open_bus(settings), open_ring(settings)
heard, returns, ticks = [], [], 0

def tick():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0.01)

gevent.spawn(tick)
listening = gevent.spawn(bus.listen, lambda feed, text: heard.append((feed, bytes(text))), on_return=lambda: returns.append(1))
feeds = [f"task:{number}" for number in range(200)]
began = time.monotonic()
with gevent.Timeout(30):
    while not returns:
        gevent.sleep(0.01)
    assert all(job.get() for job in [gevent.spawn(bus.follow, feed, timeout=10) for feed in feeds])
    before = ticks
    gevent.sleep(0.5)
    assert ticks - before > 20, ticks - before  # the listener blocks no other thread
    for number in range(1000):
        ring(feeds[number % 200], str(number))
        if number % 50 == 0:
            gevent.sleep(0)
    while len(heard) < 1000:
        gevent.sleep(0.01)
    assert [int(text) for _, text in heard] == list(range(1000))
    assert bus.probe(timeout=5)
    bus.restart()
    while len(returns) < 2:
        gevent.sleep(0.01)
    assert bus.probe(timeout=5)
    bus.close()
    listening.get()
print("heard", len(heard))
"""


@pytest.fixture
def settings(make_settings: Any, rabbitmq: RabbitServer) -> Settings:
    return make_settings(NO_DATABASE, bus_url=rabbitmq.url)


@pytest.fixture
def listening(settings: Settings) -> Iterator[Setup]:
    """A listening bus on the session's server."""
    yield from listen(settings)


@pytest.fixture
def own(make_settings: Any, own_rabbitmq: RabbitServer) -> Iterator[Setup]:
    """A listening bus on a server that this module may break."""
    yield from listen(make_settings(NO_DATABASE, bus_url=own_rabbitmq.url))


def listen(settings: Settings) -> Iterator[Setup]:
    made = amqp_setup(settings)
    made.listener.start()
    yield made
    made.close()
    assert made.listener.ended()


def find_openssl() -> Path:
    found = shutil.which("openssl")
    if found is None:
        raise SetupError("There is no openssl here. Install it with: apt install openssl")
    return Path(found)


@pytest.fixture(scope="module")
def tls_rabbitmq() -> Iterator[RabbitServer]:
    """A server with TLS too, with its own certificate for `localhost`."""
    found_or_skipped(find_openssl)
    with new_directory() as directory:
        server = RabbitServer(rabbitmq_scripts(), Path(directory), tls=True)
        server.start()
        yield server
        server.kill()


def bindings(server: RabbitServer, made: Setup) -> set[str]:
    return {key for key in server.bindings(made.bus._exchange) if key != made.bus._probe_key}


def rings_again(made: Setup) -> None:
    """Later rings are received; a ring that was lost meanwhile isn't repeated."""
    before = len(made.listener.events(FEED))

    def heard() -> bool:
        try:
            made.say()
        except Unavailable:
            return False
        return len(made.listener.events(FEED)) > before

    wait_until(heard, timeout=20, what="the bus rings again")


class TestFollowing:
    def test_the_bus_of_an_amqp_url_is_of_rabbitmq(self, settings):
        bus = open_bus(settings)
        assert isinstance(bus, AmqpBus)
        bus.close()

    def test_following_is_confirmed_within_50_ms(self, listening):
        took = []
        for number in range(200):
            began = time.perf_counter()
            assert listening.bus.follow(task_feed(f"t{number}"), timeout=SOON)
            took.append(time.perf_counter() - began)
        assert statistics.median(took) < 0.05

    def test_a_heartbeat_holds_nobody_up(self, listening):
        connection = listening.bus._link._connection
        before = connection.bytes_recv
        wait_until(lambda: connection.bytes_recv > before, timeout=10, what="a heartbeat has arrived")
        for number in range(20):
            began = time.perf_counter()
            assert listening.bus.follow(task_feed(f"t{number}"), timeout=SOON)
            assert time.perf_counter() - began < 1.0

    def test_following_without_a_connection_is_not_confirmed(self, settings):
        bus = open_bus(settings)
        assert not bus.follow(FEED, timeout=0.01)
        bus.close()

    def test_a_feed_that_was_followed_before_listening_rings(self, settings):
        made = amqp_setup(settings)
        assert not made.bus.follow(FEED, timeout=0.0)
        made.listener.start()
        assert made.bus.follow(FEED, timeout=SOON)
        made.open()
        made.listener.wait_for(FEED, 1)
        made.close()

    def test_a_feed_that_is_let_go_is_unbound(self, listening, rabbitmq):
        feeds = [task_feed(f"t{number}") for number in range(30)]
        for feed in feeds:
            assert listening.bus.follow(feed, timeout=SOON)
        assert bindings(rabbitmq, listening) == set(feeds)
        for feed in feeds[1:]:
            listening.bus.unfollow(feed)
        wait_until(lambda: bindings(rabbitmq, listening) == {feeds[0]}, timeout=SOON, what="the others are unbound")

    def test_feeds_are_followed_again_before_the_bus_says_that_it_is_back(self, listening, rabbitmq):
        feeds = {task_feed(f"t{number}") for number in range(1500)}
        for feed in feeds:
            listening.bus.follow(feed, timeout=0.0)
        assert all(listening.bus.follow(feed, timeout=SOON) for feed in feeds)
        listening.bus.restart()
        listening.listener.wait_for_returns(2)
        assert bindings(rabbitmq, listening) == feeds

    def test_two_prefixes_and_two_virtual_hosts_do_not_leak(self, make_settings, rabbitmq):
        other = rabbitmq.create("other")
        all_settings = [
            make_settings(NO_DATABASE, bus_url=rabbitmq.url, key_prefix="one"),
            make_settings(NO_DATABASE, bus_url=rabbitmq.url, key_prefix="two"),
            make_settings(NO_DATABASE, bus_url=other, key_prefix="one"),
        ]
        setups = [amqp_setup(settings) for settings in all_settings]
        for made in setups:
            made.listener.start()
            made.open()
            assert made.bus.follow(FEED, timeout=SOON)
        for number, made in enumerate(setups):
            made.say(str(number))
        for number, made in enumerate(setups):
            [event] = made.listener.wait_for(FEED, 1)
            assert event.data == {"message": str(number)}
            made.close()

    def test_a_process_that_does_not_read_costs_the_broker_no_more_than_its_bound(self, listening, rabbitmq):
        stopped, go_on = threading.Event(), threading.Event()
        listening.listener.on_ring = lambda: (stopped.set(), go_on.wait(60))
        assert listening.bus.follow(FEED, timeout=SOON)
        publisher = RingPublisher(listening.journal._settings, url=rabbitmq.url)
        publisher.publish([(FEED, "{}")])
        assert stopped.wait(SOON)
        for _ in range(14):
            publisher.publish([(FEED, "{}")] * 1000)
        ready = rabbitmq.node.control("list_queues", "name", "messages", "--no-table-headers")
        kept = [int(row.split("\t")[1]) for row in ready.splitlines() if row.startswith(listening.bus._link._queue)]
        assert 0 < kept[0] <= QUEUED + 1000
        go_on.set()
        publisher.close()
        # There is room for the last of them only: the oldest were dropped.
        listening.listener.on_ring = lambda: None
        wait_until(lambda: len(listening.listener.heard) >= QUEUED, timeout=30, what="the kept ones have arrived")


class TestLoss:
    def test_a_connection_that_the_broker_closes_is_made_again(self, own, own_rabbitmq):
        for feed in (FEED, OTHER):
            own.open(feed)
            assert own.bus.follow(feed, timeout=SOON)
        own_rabbitmq.close_connections()
        own.listener.wait_for_returns(2)
        assert bindings(own_rabbitmq, own) == {FEED, OTHER}
        assert own.bus.follow(FEED, timeout=SOON)
        rings_again(own)

    def test_a_deleted_queue_is_noticed_at_once_and_made_again(self, own, own_rabbitmq):
        own.open()
        assert own.bus.follow(FEED, timeout=SOON)
        first = own.bus._link._queue
        own_rabbitmq.delete_queue(first)
        own.listener.wait_for_returns(2)
        assert own.bus._link._queue != first
        assert own.bus.follow(FEED, timeout=SOON)
        rings_again(own)

    def test_an_exchange_that_is_deleted_is_made_again(self, own, own_rabbitmq):
        own.open()
        assert own.bus.follow(FEED, timeout=SOON)
        code = (
            f'rabbit_exchange:delete(rabbit_misc:r(<<"/">>, exchange, <<"{own.bus._exchange}">>), false, <<"test">>).'
        )
        own_rabbitmq.node.control("eval", code)
        # No client is notified: the probe detects it, and the caller restarts the bus.
        wait_until(lambda: not own.bus.probe(timeout=0.5), timeout=SOON, what="the probe is lost")
        own.bus.restart()
        own.listener.wait_for_returns(2)
        assert own.bus.probe(timeout=SOON)
        rings_again(own)

    def test_rings_go_on_after_a_restart_of_the_broker(self, own, own_rabbitmq):
        own.open()
        assert own.bus.follow(FEED, timeout=SOON)
        assert own.bus.follow(OTHER, timeout=SOON)
        own_rabbitmq.kill()
        wait_until(lambda: own.bus._link is None, timeout=SOON, what="the bus has noticed")
        own.bus.unfollow(OTHER)
        assert not own.bus.follow(FEED, timeout=0.0)
        assert not own.bus.probe(timeout=0.5)
        own_rabbitmq.start()
        own.listener.wait_for_returns(2)
        assert own.bus.follow(FEED, timeout=SOON)
        assert bindings(own_rabbitmq, own) == {FEED}
        rings_again(own)

    def test_a_black_hole_is_noticed_by_its_missing_heartbeats(self, own, own_rabbitmq, monkeypatch):
        own.open()
        assert own.bus.follow(FEED, timeout=SOON)
        # The control: without heartbeats nothing is noticed.
        monkeypatch.setattr("petiole.bus.amqp.consumer.HEARTBEAT", 0)
        numb = amqp_setup(own.journal._settings)
        numb.listener.start()
        monkeypatch.undo()
        link, numb_link = own.bus._link, numb.bus._link
        own_rabbitmq.pause()
        try:
            assert not own.bus.probe(timeout=0.1)
            wait_until(lambda: own.bus._link is not link, timeout=15, what="the bus has dropped the connection")
            assert numb.bus._link is numb_link
        finally:
            own_rabbitmq.resume()
        numb.close()
        own.listener.wait_for_returns(2)
        assert own.bus.follow(OTHER, timeout=SOON)
        rings_again(own)

    def test_the_pauses_before_a_broker_that_is_away_grow_to_a_second_at_most(self, settings, caplog):
        caplog.set_level("INFO", "petiole.bus.amqp.bus")
        bus = AmqpBus(settings, url=f"amqp://127.0.0.1:{free_port()}/")

        def pauses() -> list[float]:
            return [record.pause for record in caplog.records if record.msg == "bus_lost"]

        listening = threading.Thread(target=bus.listen, args=(lambda *_: None,), kwargs={"on_return": lambda: None})
        listening.start()
        try:
            wait_until(lambda: len(pauses()) >= 7, timeout=15, what="seven attempts")
        finally:
            bus.close()
            listening.join(5)
        assert pauses()[:7] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]

    def test_following_at_a_silent_broker_is_not_confirmed_and_rings_later(self, own, own_rabbitmq):
        own.open()
        own_rabbitmq.pause()
        try:
            assert not own.bus.follow(FEED, timeout=0.05)
        finally:
            own_rabbitmq.resume()
        assert own.bus.follow(FEED, timeout=10)
        own.say()
        own.listener.wait_for(FEED, 1)

    def test_close_while_the_broker_is_silent_ends_listening_at_once(self, own, own_rabbitmq):
        own_rabbitmq.pause()
        try:
            own.bus.follow(FEED, timeout=0.1)
            own.bus.close()
            own.listener._thread.join(1.0)
            assert own.listener.ended()
        finally:
            own_rabbitmq.resume()

    def test_a_restart_while_a_ring_is_being_handled_is_survived(self, own):
        own.open()
        assert own.bus.follow(FEED, timeout=SOON)
        for number in range(2, 7):
            own.listener.on_ring = own.bus.restart
            own.say()
            own.listener.wait_for_returns(number)
            own.listener.on_ring = lambda: None
            assert own.bus.follow(FEED, timeout=SOON)
            assert own.bus.probe(timeout=SOON)

    def test_a_deaf_bus_fails_the_probe(self, own):
        deaf, hears = threading.Event(), threading.Event()
        own.listener.on_ring = lambda: (deaf.set(), hears.wait(SOON))
        own.open()
        assert own.bus.follow(FEED, timeout=SOON)
        own.say()
        assert deaf.wait(SOON)
        assert not own.bus.probe(timeout=0.05)
        hears.set()
        assert own.bus.probe(timeout=SOON)


class TestPublishing:
    def test_a_broker_that_is_away_silent_or_short_of_memory_holds_no_ring_up(self, own, own_rabbitmq):
        own.open()
        assert own.bus.follow(FEED, timeout=SOON)
        ring = open_ring(own.journal._settings)
        ring(FEED, "{}")
        faults = [
            (own_rabbitmq.raise_memory_alarm, own_rabbitmq.clear_memory_alarm),
            (own_rabbitmq.pause, own_rabbitmq.resume),
            (own_rabbitmq.kill, own_rabbitmq.start),
        ]
        text = "x" * 4000
        for fault, end in faults:
            fault()
            took = []
            try:
                for _ in range(3000):
                    began = time.monotonic()
                    ring(FEED, text)
                    took.append(time.monotonic() - began)
            finally:
                end()
            # The slowest few are due to the machine.
            assert sorted(took)[-10] < 0.05

            def heard(mark: str = f"after {fault.__name__}") -> bool:
                ring(FEED, mark)
                return any(body == mark.encode() for _, body in list(own.listener.heard))

            wait_until(heard, timeout=20, what=f"the bus rings again after {fault.__name__}")

    def test_while_memory_is_short_publishing_is_refused_at_once_and_goes_on_afterwards(self, own, own_rabbitmq):
        publisher = RingPublisher(own.journal._settings, url=own_rabbitmq.url)
        publisher.publish([(FEED, "{}")])
        own_rabbitmq.raise_memory_alarm()
        try:

            def refused() -> bool:
                try:
                    publisher.publish([(FEED, "{}")])
                except Unavailable as error:
                    return "short of memory or disk" in str(error)
                return False

            wait_until(refused, timeout=SOON, what="the broker has reported that it is blocked")
            took = []
            for _ in range(100):
                began = time.monotonic()
                with pytest.raises(Unavailable, match="short of memory"):
                    publisher.publish([(FEED, "x" * 8000)] * 100)
                took.append(time.monotonic() - began)
            assert max(took) < 0.5
            # The bus itself publishes nothing on its connection, so it follows feeds all the same.
            assert own.bus.follow(OTHER, timeout=SOON)
            assert own.listener.returns == 1
        finally:
            own_rabbitmq.clear_memory_alarm()

        def taken() -> bool:
            try:
                publisher.publish([(FEED, "{}")])
            except Unavailable:
                return False
            return True

        wait_until(taken, timeout=SOON, what="the broker accepts messages again")
        publisher.close()

    def test_a_broker_that_stops_reading_ends_a_publish_within_the_timeout(self, make_settings, own_rabbitmq):
        settings = make_settings(NO_DATABASE, bus_url=own_rabbitmq.url, journal_timeout=0.5)
        publisher = RingPublisher(settings, url=own_rabbitmq.url)
        publisher.publish([(FEED, "{}")])
        own_rabbitmq.pause()
        try:
            for _ in range(3):
                began = time.monotonic()
                with pytest.raises(Unavailable, match="doesn't answer"):
                    publisher.publish([(FEED, "x" * 8000)] * 2000)
                assert time.monotonic() - began < 3.0
        finally:
            own_rabbitmq.resume()
        publisher.publish([(FEED, "{}")])
        publisher.close()

    @pytest.mark.parametrize("answer_within", [0.5, math.inf])
    def test_a_publisher_in_a_black_hole_comes_out_of_it_as_long_as_it_asks(
        self, own, own_rabbitmq, monkeypatch, answer_within
    ):
        monkeypatch.setattr("petiole.bus.amqp.publisher.ASK_EVERY", 0.1)
        # The control: a publisher that waits for an answer without a limit publishes into the hole for ever.
        monkeypatch.setattr("petiole.bus.amqp.publisher.ANSWER_WITHIN", answer_within)
        own.open()
        assert own.bus.follow(FEED, timeout=SOON)
        proxy = FaultProxy(own_rabbitmq.node.port)
        publisher = RingPublisher(own.journal._settings, url=f"amqp://guest:guest@127.0.0.1:{proxy.port}/")
        heard = own.listener.heard

        def arrives(text: str) -> bool:
            publisher.publish([(FEED, text)])
            time.sleep(0.05)
            return any(body == text.encode() for _, body in list(heard))

        wait_until(lambda: arrives("before"), timeout=SOON, what="it is received")
        proxy.faults.swallow = True
        publisher.publish([(FEED, "swallowed")])
        wait_until(lambda: proxy.swallowed, timeout=SOON, what="the connection is in the black hole")
        proxy.faults.swallow = False
        try:
            if answer_within < math.inf:
                wait_until(lambda: arrives("after"), timeout=SOON, what="it is received again")
            else:
                with pytest.raises(TimeoutError, match="it is received again"):
                    wait_until(lambda: arrives("after"), timeout=2, what="it is received again")
        finally:
            publisher.close()
            proxy.close()

    def test_a_publisher_that_is_answered_keeps_its_connection(self, listening, rabbitmq, monkeypatch):
        monkeypatch.setattr("petiole.bus.amqp.publisher.ASK_EVERY", 0.0)
        monkeypatch.setattr("petiole.bus.amqp.publisher.ANSWER_WITHIN", 1.0)
        publisher = RingPublisher(listening.journal._settings, url=rabbitmq.url)
        publisher.publish([(FEED, "{}")])
        line = publisher._line
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            publisher.publish([(FEED, "{}")])
            time.sleep(0.01)
        assert publisher._line is line
        publisher.close()

    def test_a_connection_that_died_while_idle_is_replaced_within_the_same_publish(self, own, own_rabbitmq):
        publisher = RingPublisher(own.journal._settings, url=own_rabbitmq.url)
        assert own.bus.follow(FEED, timeout=SOON)
        publisher.publish([(FEED, "before")])
        own_rabbitmq.restart()
        own.listener.wait_for_returns(2)
        publisher.publish([(FEED, "after")])
        wait_until(lambda: (FEED, b"after") in list(own.listener.heard), timeout=SOON, what="it is received")
        publisher.close()

    def test_a_forked_process_publishes_on_a_connection_of_its_own(self, listening, rabbitmq):
        assert listening.bus.follow(FEED, timeout=SOON)
        publisher = RingPublisher(listening.journal._settings, url=rabbitmq.url)
        publisher.publish([(FEED, "parent")])
        child = os.fork()
        if child == 0:
            code = 1
            try:
                publisher.publish([(FEED, "child")])
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        publisher.publish([(FEED, "parent again")])
        wait_until(lambda: len(listening.listener.heard) == 3, timeout=SOON, what="all three are received")
        assert {body for _, body in listening.listener.heard} == {b"parent", b"child", b"parent again"}
        publisher.close()

    def test_nothing_is_kept_by_the_broker_when_nobody_follows(self, settings, rabbitmq):
        before = rabbitmq.queues()
        publisher = RingPublisher(settings, url=rabbitmq.url)
        publisher.publish([(FEED, "{}")] * 100)
        assert rabbitmq.queues() == before
        publisher.close()


class TestGevent:
    def test_greenlets_follow_ring_and_wait_beside_each_other(self, settings, rabbitmq):
        done = subprocess.run(
            [sys.executable, "-c", GREENLETS, rabbitmq.url, settings.key_prefix],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "heard 1000"


def documented_permissions(role: str, prefix: str) -> list[list[str]]:
    """What docs/settings.md lets a role configure, write and read: the patterns of each, for this key prefix."""
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    [said] = re.findall(rf"^rabbitmqctl set_permissions petiole-{role} '(.*)' '(.*)' '(.*)'$", page, re.MULTILINE)
    patterns = [pattern.strip("^$()").replace("petiole", prefix) for pattern in said]
    return [[name for name in pattern.split("|") if name] for pattern in patterns]


def ring_as_worker(settings: Settings, full: Settings) -> None:
    """Publish a ring, and have it heard by a web process that may do everything."""
    bus = open_bus(full)
    listener = Listener(bus)
    publisher = None
    try:
        listener.start()
        assert bus.follow(FEED, timeout=SOON)
        open_ring(settings)
        publisher = RingPublisher(settings, url=settings.bus_url)
        publisher.publish([(FEED, "ring")])
        wait_until(lambda: listener.heard, timeout=2, what="the ring is heard")
    finally:
        listener.close()
        if publisher:
            publisher.close()


def listen_as_web(settings: Settings, full: Settings) -> None:
    """Follow a feed, hear its rings, unfollow it, and probe."""
    bus = open_bus(settings)
    listener = Listener(bus)
    try:
        listener.start()
        assert bus.follow(FEED, timeout=SOON)
        publisher = RingPublisher(full, url=full.bus_url)
        publisher.publish([(FEED, "ring")])
        publisher.close()
        wait_until(lambda: listener.heard, timeout=2, what="the ring is heard")
        assert bus.probe(timeout=2)
        bus.unfollow(FEED)
        assert bus.probe(timeout=2)
        assert listener.returns == 1
    finally:
        listener.close()


@pytest.mark.parametrize(("role", "act"), [("worker", ring_as_worker), ("web", listen_as_web)])
def test_the_permissions_of_a_role_are_enough_and_none_is_to_spare(make_settings, rabbitmq, role, act):
    full = make_settings(NO_DATABASE, bus_url=rabbitmq.url)
    settings = make_settings(NO_DATABASE, bus_url=rabbitmq.node.virtual_host("/", user=role, password="secret"))
    rabbitmq.node.control("add_user", role, "secret")

    def grant(permissions: list[list[str]]) -> None:
        rabbitmq.node.control("set_permissions", role, *(f"^({'|'.join(names)})$" for names in permissions))

    allowed = documented_permissions(role, settings.key_prefix)
    grant(allowed)
    act(settings, full)
    for place, names in enumerate(allowed):
        for name in names:
            grant([[one for one in other if (at, one) != (place, name)] for at, other in enumerate(allowed)])
            with pytest.raises((PetioleError, AssertionError, TimeoutError)):
                act(settings, full)


class TestRefusals:
    @pytest.mark.parametrize("opening", [open_bus, open_ring])
    def test_a_wrong_password_is_named_without_being_said(self, make_settings, rabbitmq, opening):
        url = rabbitmq.node.virtual_host("/", password="s3cret")
        with pytest.raises(
            SetupError, match=r"refuses the login\. Correct user and password in PETIOLE_BUS_URL"
        ) as caught:
            opening(make_settings(NO_DATABASE, bus_url=url))
        assert "s3cret" not in str(caught.value)

    def test_a_virtual_host_that_is_missing_is_named(self, make_settings, rabbitmq):
        url = rabbitmq.node.virtual_host("nowhere")
        with pytest.raises(SetupError, match=r"no such virtual host.*nowhere.*PETIOLE_BUS_URL"):
            open_bus(make_settings(NO_DATABASE, bus_url=url))

    def test_a_user_who_may_do_too_little_is_named(self, make_settings, rabbitmq):
        rabbitmq.node.control("add_user", "reader", "secret")
        rabbitmq.node.control("set_permissions", "reader", "", "", ".*")
        url = rabbitmq.node.virtual_host("/", user="reader", password="secret")
        with pytest.raises(SetupError, match=r"denies reader a permission.*Grant it configure"):
            open_bus(make_settings(NO_DATABASE, bus_url=url))

    def test_a_permission_that_is_revoked_while_it_listens_is_an_error_in_the_log(
        self, make_settings, rabbitmq, caplog
    ):
        rabbitmq.node.control("add_user", "revoked", "secret")
        rabbitmq.node.control("set_permissions", "revoked", ".*", ".*", ".*")
        made = amqp_setup(
            make_settings(NO_DATABASE, bus_url=rabbitmq.node.virtual_host("/", user="revoked", password="secret"))
        )
        made.listener.start()
        rabbitmq.node.control("set_permissions", "revoked", "^$", "^$", "^$")
        made.bus.restart()
        wait_until(
            lambda: any(record.levelname == "ERROR" for record in caplog.records),
            timeout=SOON,
            what="the log has the line",
        )
        made.bus.close()
        made.listener._thread.join(SOON)
        assert made.listener.ended()

    def test_something_else_under_the_same_name_is_named(self, make_settings, rabbitmq, settings):
        publisher = RingPublisher(settings, url=rabbitmq.url)
        publisher.publish([])
        publisher._line._channel.exchange_declare("taken.rings", "fanout", durable=True, auto_delete=False)
        publisher.close()
        with pytest.raises(SetupError, match="set another PETIOLE_KEY_PREFIX"):
            open_bus(make_settings(NO_DATABASE, bus_url=rabbitmq.url, key_prefix="taken"))

    def test_tls_where_there_is_none_is_said(self, make_settings, rabbitmq):
        url = rabbitmq.url.replace("amqp://", "amqps://")
        with pytest.raises(
            SetupError, match=r"doesn't speak TLS there\. Set the port of its TLS, or amqp://, in PETIOLE_BUS_URL"
        ):
            open_bus(make_settings(NO_DATABASE, bus_url=url))

    @pytest.mark.parametrize(
        ("url", "sentence"),
        [
            ("http://host/", "begins with http://, which can't ring. Set it to a redis:// or amqp:// URL"),
            ("rabbitmq", "isn't a URL. Set it to a redis:// or amqp:// URL"),
            ("amqp://host:port/", "isn't an AMQP URL"),
            ("amqps://host/?ssl_verify=1", "ssl_verify=1, which isn't known"),
            ("amqps://host/?ssl_cert_reqs=maybe", "ssl_cert_reqs=maybe, which isn't known"),
            ("amqps://127.0.0.1:1/?ssl_ca_certs=/nowhere", "doesn't answer"),
        ],
    )
    def test_a_url_that_is_none_is_refused_with_the_setting(self, make_settings, caplog, url, sentence):
        try:
            open_bus(make_settings(NO_DATABASE, bus_url=url)).close()
            said = logged(caplog)[-1].error
        except SetupError as error:
            said = str(error)
        assert sentence in said
        assert "PETIOLE_BUS_URL" in said

    def test_a_broker_that_is_away_at_start_may_come_later(self, make_settings, caplog):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"amqp://127.0.0.1:{taken.getsockname()[1]}/"
            bus = open_bus(make_settings(NO_DATABASE, bus_url=url))
        assert [record.msg for record in logged(caplog)] == ["bus_away"]
        bus.close()

    @pytest.mark.parametrize(
        ("host", "options", "sentence"),
        [
            ("localhost", "", r"certificate .* isn't trusted .*Set ssl_ca_certs"),
            ("127.0.0.1", "ssl_ca_certs={certificate}", "certificate .* isn't trusted"),
            ("localhost", "ssl_ca_certs=/nowhere", "A file of PETIOLE_BUS_URL isn't there"),
        ],
    )
    def test_a_certificate_that_is_not_trusted_is_named(self, make_settings, tls_rabbitmq, host, options, sentence):
        url = tls_rabbitmq.tls_url(host, options)
        with pytest.raises(SetupError, match=sentence):
            open_bus(make_settings(NO_DATABASE, bus_url=url))

    @pytest.mark.parametrize(
        ("host", "options"),
        [
            ("localhost", "ssl_ca_certs={certificate}"),
            ("127.0.0.1", "ssl_ca_certs={certificate}&ssl_check_hostname=false"),
            ("127.0.0.1", "ssl_cert_reqs=none"),
        ],
    )
    def test_the_bus_rings_over_tls(self, make_settings, tls_rabbitmq, host, options):
        settings = make_settings(NO_DATABASE, bus_url=tls_rabbitmq.tls_url(host, options))
        made = amqp_setup(settings)
        made.listener.start()
        made.open()
        assert made.bus.follow(FEED, timeout=SOON)
        for number in range(200):
            made.say(str(number))
        assert len(made.listener.wait_for(FEED, 200)) == 200
        made.bus.restart()
        made.listener.wait_for_returns(2)
        assert made.bus.probe(timeout=SOON)
        made.close()
        assert made.listener.ended()

    def test_the_next_node_is_tried_where_a_url_names_several(self, make_settings, rabbitmq):
        settings = make_settings(NO_DATABASE, bus_url=f"amqp://guest:guest@127.0.0.1:1/;{rabbitmq.url}")
        made = Setup(None, open_bus(settings))
        made.listener.start()
        assert made.bus.follow(FEED, timeout=SOON)
        wait_until(lambda: made.bus.probe(timeout=1.0), timeout=SOON, what="the prober has found the second node")
        made.bus.close()


def test_a_bus_that_is_never_listened_to_ends(settings: Settings) -> None:
    bus = open_bus(settings)
    bus.close()
    listener = Listener(bus)
    listener._thread.start()
    listener._thread.join(SOON)
    assert listener.ended()
