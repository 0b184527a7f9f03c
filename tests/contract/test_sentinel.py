"""A master that changes: Sentinels name another one, and journal and bus follow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from petiole.bus import open_bus
from petiole.errors import Refusal, Unavailable
from petiole.journal.redis.journal import RedisJournal
from petiole.settings import Settings
from tests.conftest import VARIANTS, redis_binary
from tests.contract.backends import FEED, line, opened, stored
from tests.contract.test_bus import SOON, Setup, redis_setup
from tests.support.redis_sentinel import MASTER, SentinelServer
from tests.support.waiting import wait_until

TIMEOUT = 1.0


@pytest.fixture
def sentinels(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SentinelServer]:
    made = SentinelServer(redis_binary(getattr(request, "param", "system")), tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture
def own(sentinels: SentinelServer, make_settings: Callable[..., Settings]) -> Iterator[Setup]:
    settings = make_settings(sentinels.url, journal_timeout=TIMEOUT)
    made = Setup(RedisJournal(settings), open_bus(settings))
    made.listener.start()
    yield made
    made.close()
    assert made.listener.ended()


def says(setup: Setup, message: str) -> bool:
    """Try once to append a line, within a bounded time."""
    began = time.monotonic()
    try:
        stored(setup.journal.append(FEED, line(message)))
    except Unavailable:
        return False
    finally:
        # Asking the Sentinels, connecting, answering.
        assert time.monotonic() - began < 3 * TIMEOUT + 0.5
    return True


def rings(setup: Setup, message: str) -> bool:
    return any((event.data or {}).get("message") == message for event in setup.listener.events(FEED))


def follows_to_the_new_master(setup: Setup, sentinels: SentinelServer) -> None:
    opened(setup.journal)
    assert setup.bus.follow(FEED, timeout=SOON)
    sentinels.catch_up()


class TestFailover:
    @pytest.mark.parametrize("sentinels", VARIANTS, indirect=True)
    def test_calls_fail_in_time_and_work_again_at_the_new_master_and_feeds_ring_again(self, own, sentinels):
        follows_to_the_new_master(own, sentinels)
        before = sentinels.master()
        before.kill()
        with pytest.raises(Unavailable, match="Start it, or set PETIOLE_JOURNAL_URL"):
            own.journal.append(FEED, line())
        wait_until(lambda: says(own, "at the new master"), timeout=15, what="the new master accepts a line")
        wait_until(lambda: sentinels.master() is not before, timeout=5, what="the Sentinels name another master")
        own.listener.wait_for_returns(2)
        assert own.bus.follow(FEED, timeout=SOON)
        assert says(own, "heard again")
        wait_until(lambda: rings(own, "heard again"), timeout=SOON, what="the feed rings again")
        before.start()
        # It comes back as a replica of the new master, and no client uses it as the master.
        wait_until(
            lambda: all(each.sees(others=2, replicas=1) for each in sentinels.sentinels),
            timeout=10,
            what="it is a replica",
        )
        assert says(own, "still at the new master")

    def test_a_frozen_master_takes_no_call_longer_than_its_time_and_the_bus_is_found_deaf(self, own, sentinels):
        follows_to_the_new_master(own, sentinels)
        sentinels.master().pause()
        assert not own.bus.probe(timeout=TIMEOUT)
        wait_until(lambda: says(own, "at the new master"), timeout=15, what="the new master accepts a line")
        assert not own.bus.probe(timeout=TIMEOUT)
        own.bus.restart()
        own.listener.wait_for_returns(2)
        assert own.bus.probe(timeout=SOON)
        assert own.bus.follow(FEED, timeout=SOON)
        assert says(own, "heard again")
        wait_until(lambda: rings(own, "heard again"), timeout=SOON, what="the feed rings again")

    def test_sentinels_that_are_away_are_passed_over(self, own, sentinels, make_settings):
        opened(own.journal)
        sentinels.sentinels[0].kill()
        sentinels.sentinels[1].pause()
        began = time.monotonic()
        assert RedisJournal(make_settings(sentinels.url, journal_timeout=TIMEOUT)).snapshot(FEED) is not None
        assert time.monotonic() - began < TIMEOUT
        sentinels.sentinels[2].kill()
        assert says(own, "on the connection that there is")
        with pytest.raises(Unavailable, match=f"no Sentinel names a master '{MASTER}' that is up"):
            RedisJournal(make_settings(sentinels.url, journal_timeout=TIMEOUT)).ping()


def test_two_databases_of_a_master_share_neither_keys_nor_rings(redis_sentinels, make_settings):
    first, second = (redis_setup(make_settings(redis_sentinels.url.replace("/0", f"/{n}"))) for n in (0, 3))
    for made in (first, second):
        made.listener.start()
        assert made.bus.follow(FEED, timeout=SOON)
    first.open()
    first.say("of the first")
    first.listener.wait_for(FEED, 2)
    assert second.journal.snapshot(FEED) is None
    second.open()
    second.listener.wait_for(FEED, 1)
    assert len(first.listener.events(FEED)) == 2
    for made in (first, second):
        made.close()


class TestWrongSetUps:
    def test_a_master_that_nobody_knows(self, redis_sentinels, make_settings):
        journal = RedisJournal(make_settings(redis_sentinels.url.replace(MASTER, "another")))
        with pytest.raises(Refusal, match=f"'another', but these: {MASTER}.*PETIOLE_JOURNAL_URL"):
            journal.ping()
        # The relay's thread probes: an error must not end it.
        assert not open_bus(make_settings(redis_sentinels.url.replace(MASTER, "another"))).probe(timeout=0.1)
        assert "'another'" in journal.inspect()[0]

    def test_a_master_that_nobody_knows_while_not_all_sentinels_answer_is_away(self, redis_sentinels, make_settings):
        url = redis_sentinels.url.replace(MASTER, "another").replace("://", "://127.0.0.1:1,")
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
            RedisJournal(make_settings(url)).ping()

    def test_a_server_that_is_no_sentinel(self, redis_servers, make_settings):
        port = redis_servers(VARIANTS[0]).port
        journal = RedisJournal(make_settings(f"redis+sentinel://127.0.0.1:{port}/{MASTER}"))
        with pytest.raises(Refusal, match=f"127.0.0.1:{port} isn't a Sentinel. Set PETIOLE_JOURNAL_URL"):
            journal.ping()

    def test_a_sentinel_that_is_taken_for_a_server(self, redis_sentinels, make_settings):
        said = RedisJournal(make_settings(f"redis://127.0.0.1:{redis_sentinels.sentinels[0].port}/0")).inspect()
        assert len(said) == 1
        assert "is a Sentinel" in said[0]
        assert "Set PETIOLE_JOURNAL_URL to redis+sentinel://" in said[0]

    def test_the_sentinels_own_password_and_the_servers(self, tmp_path, make_settings):
        made = SentinelServer(redis_binary("system"), tmp_path, password="sesame")
        try:
            made.start()
            right = f"redis+sentinel://:x@{made.hosts}/{MASTER}?sentinel_password=sesame"
            for url, said in (
                (right.replace("sesame", "swordfish"), "a Sentinel requires sentinel_password in the URL"),
                (right.partition("?")[0], "a Sentinel requires sentinel_password in the URL"),
                (right, "AUTH.*Correct user and password in PETIOLE_JOURNAL_URL"),
            ):
                with pytest.raises(Unavailable, match=said) as refused:
                    RedisJournal(make_settings(url)).ping()
                assert not [secret for secret in ("swordfish", "sesame") if secret in str(refused.value)]
            RedisJournal(make_settings(right.replace(":x@", ""))).ping()
        finally:
            made.kill()

    def test_what_weakens_the_promise_is_named(self, own: Any, sentinels):
        assert ["min-replicas-to-write" in sentence for sentence in own.journal.inspect()] == [True]
        with sentinels.master().client() as client:
            client.config_set("min-replicas-to-write", 1)
        assert own.journal.inspect() == []
        next(server for server in sentinels.servers if server is not sentinels.master()).kill()
        wait_until(
            lambda: "has no replica" in "".join(own.journal.inspect()), timeout=10, what="the missing replica is named"
        )
