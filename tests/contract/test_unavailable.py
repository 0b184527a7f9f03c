"""A journal that is away, refuses, or whose keys are spoiled: on every backend."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from petiole.errors import Refusal, Unavailable
from petiole.journal.answers import (
    Gone,
)
from petiole.journal.redis.journal import RedisJournal
from petiole.journal.sql import SqlJournal
from petiole.protocol.events import (
    ZERO_CHAIN,
    Cursor,
    task_feed,
)
from tests.conftest import VARIANTS
from tests.contract.backends import (
    FEED,
    LONG,
    OWNER,
    WORKER,
    claim,
    claimed,
    counter,
    document,
    line,
    opened,
    reading,
    state,
    stored,
)
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until


class TestUnavailable:
    @pytest.fixture
    def full_redis(self, variant, redis_binaries, tmp_path):
        server = RedisServer(redis_binaries(variant), tmp_path / "redis")
        server.start()
        yield server
        server.kill()

    @pytest.mark.parametrize(
        ("kind", "url"),
        [(RedisJournal, "redis://:secret@127.0.0.1:1/0"), (SqlJournal, "postgresql://ann:secret@127.0.0.1:1/0")],
    )
    def test_every_verb_says_that_the_server_is_away(self, make_settings, kind, url):
        journal = kind(make_settings(url, journal_timeout=0.5))
        cursor = Cursor("00000000", 1, 1, ZERO_CHAIN)
        calls: list[Callable[[], object]] = [
            lambda: opened(journal),
            lambda: journal.confirm(FEED),
            lambda: journal.append(FEED, line()),
            lambda: journal.read(FEED, None, limit=1),
            lambda: claim(journal),
            lambda: journal.renew(WORKER, [FEED], lease=1),
            lambda: journal.check(FEED, 1),
            lambda: journal.expired(limit=1),
            lambda: journal.conclude(FEED, 1, state("lost")),
            lambda: journal.message(FEED),
            lambda: journal.rebase(
                FEED,
                owner=OWNER,
                run=1,
                delivery="delivery-1",
                retries=0,
                last=cursor,
                fact=1,
                document={},
                worker=WORKER,
                lease=1,
            ),
            lambda: journal.pending(limit=1),
            lambda: journal.settle(FEED),
            lambda: journal.notify(OWNER, key=FEED, notice={}),
            lambda: journal.acknowledge(OWNER, [FEED]),
            lambda: journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled")),
            lambda: journal.heads([FEED]),
            lambda: journal.snapshot(FEED),
            lambda: journal.list(OWNER, limit=1),
            lambda: journal.forget(FEED),
            lambda: journal.remove(FEED),
            lambda: journal.note("a", "b", instead_of="", lasts=1),
            lambda: journal.notes(["a"]),
            lambda: journal.note("name", "text", instead_of="", lasts=1),
            lambda: journal.notes(["name"]),
            journal.ping,
        ]
        for call in calls:
            with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1/0 doesn't answer") as caught:
                call()
            assert "secret" not in str(caught.value)

    def test_a_call_to_a_paused_server_fails_within_its_timeout(self, own_redis, make_settings):
        journal = RedisJournal(make_settings(own_redis.url, journal_timeout=0.2))
        opened(journal)
        own_redis.pause()
        began = time.monotonic()
        with pytest.raises(Unavailable):
            journal.append(FEED, line())
        assert time.monotonic() - began < 1.0
        own_redis.resume()
        wait_until(lambda: document(journal), what="the journal answers again")

    def test_a_restarted_server_has_what_it_was_told(self, own_redis, make_settings):
        journal = RedisJournal(make_settings(own_redis.url))
        answer = claimed(journal)
        own_redis.restart()

        def back() -> bool:
            try:
                return journal.snapshot(FEED) is not None
            except Unavailable:
                return False

        wait_until(back, what="the journal answers again")
        assert journal.snapshot(FEED).cursor == answer.cursor
        stored(journal.append(FEED, line(), run=1, fact=2))

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_a_server_that_is_out_of_memory_is_unavailable_and_changes_nothing(
        self, variant, full_redis, make_settings
    ):
        journal = RedisJournal(make_settings(full_redis.url))
        claimed(journal)
        before = journal.snapshot(FEED)
        with full_redis.client() as client:
            client.config_set("maxmemory", 1)
            for call in (
                lambda: journal.append(FEED, line(), run=1, fact=2),
                lambda: journal.append(FEED, counter(1), run=1, fact=1, counter=1),
                lambda: journal.append(FEED, state("succeeded"), run=1, fact=2),
                lambda: opened(journal, task_feed("another")),
            ):
                with pytest.raises(Unavailable, match="is temporarily unavailable"):
                    call()
            client.config_set("maxmemory", 0)
        assert journal.snapshot(FEED) == before
        assert journal.heads([FEED])[FEED].lease_left == pytest.approx(LONG, abs=10)
        assert journal.check(FEED, 1).valid
        stored(journal.append(FEED, line(), run=1, fact=2))

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_a_server_that_has_become_a_replica_is_unavailable(self, variant, full_redis, make_settings):
        journal = RedisJournal(make_settings(full_redis.url))
        before = opened(journal)
        with full_redis.client() as client:
            client.replicaof("127.0.0.1", 1)
            with pytest.raises(Unavailable, match="is temporarily unavailable"):
                journal.append(FEED, line())
            client.replicaof("NO", "ONE")
        assert journal.snapshot(FEED).cursor == before
        stored(journal.append(FEED, line()))

    def test_a_command_that_the_server_refuses_counts_as_an_outage_of_its_own_kind(self, redis_servers, make_settings):
        server = redis_servers(VARIANTS[0])
        journal = RedisJournal(make_settings(server.url))
        opened(journal)
        with server.client() as client:
            client.set(journal._names.feed(FEED)[2], "not a list", keepttl=False)
        with pytest.raises(Refusal, match=r"is temporarily unavailable.*WRONGTYPE") as caught:
            journal.append(FEED, line())
        assert isinstance(caught.value, Unavailable)

    @pytest.mark.parametrize(
        "spoiled", [b"", b"short", b"0" * 16 + b'{"v":1,"id":7}', b"\xff" * 14, b"\x00" * 13 + b"\xd9"]
    )
    def test_a_fact_that_somebody_else_has_spoiled_is_not_passed_off_as_one(
        self, redis_servers, make_settings, spoiled
    ):
        server = redis_servers(VARIANTS[0])
        journal = RedisJournal(make_settings(server.url))
        before = opened(journal)
        for number in range(3):
            stored(journal.append(FEED, line(str(number))))
        with server.client() as client:
            client.lset(journal._names.feed(FEED)[2], 2, spoiled)
        found = reading(journal, before)
        assert not found.recovered
        assert found.events == ()
        assert found.cursor.facts == 4
        assert found.document["state"] == "queued"

    def test_a_key_that_somebody_else_has_spoiled_hides_its_own_feed_only(self, redis_servers, make_settings):
        server = redis_servers(VARIANTS[0])
        journal = RedisJournal(make_settings(server.url))
        feeds = [task_feed(f"t{number}") for number in range(200)]
        cursors = {feed: opened(journal, feed) for feed in feeds}
        spoiled, whole = feeds[7], {feed for feed in feeds if feed != feeds[7]}
        with server.client() as client:
            client.set(journal._names.feed(spoiled)[0], "not a hash")
        assert journal.heads(feeds).keys() == whole
        assert journal.changed_heads(dict.fromkeys(feeds)) == {feed: cursors[feed] for feed in whole} | {
            spoiled: Gone.UNKNOWN
        }
        assert journal.changed_heads(cursors) == {spoiled: Gone.UNKNOWN}
