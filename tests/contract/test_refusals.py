"""Writes that a server refuses for a while are sent again: no event is lost, whatever the error."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from chaos.proxy import FaultProxy
from petiole.errors import Refusal, Unavailable
from petiole.journal import Journal
from petiole.journal.answers import Stored
from petiole.journal.redis.journal import RedisJournal
from petiole.journal.sql import SqlJournal
from petiole.journal.sql.schema import VERSION
from petiole.journal.sql.server import upgrade
from petiole.journal.trial import try_write
from petiole.protocol.events import Draft, partition, task_feed
from petiole.settings import Settings
from petiole.worker import patience
from petiole.worker.outbox import Outbox
from tests.support.postgres import PostgresServer
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until
from tests.unit.runs import FEED, SOON, begin, document, facts, line, messages, started, thread_ended

Breakage = Callable[[], Callable[[], None]]
SHORT = 0.3


def refused_for_a_while(journal: Journal, settings: Settings, break_it: Breakage) -> None:
    """Refuse a task's events for a moment, in which the task also ends."""
    with started(journal, settings) as outbox:
        outbox.put(line("before"))
        assert outbox.flush(SOON)
        mend = break_it()
        try:
            outbox.put(line("during"))
            wait_until(lambda: outbox.signals.away, timeout=SOON, what="the outbox has been refused")
            for number in range(20):
                outbox.put(line(str(number)))
            outbox.put(Draft("state", {"state": "succeeded", "result": 7}))
            assert not outbox.flush(0.3)
        finally:
            mend()
        assert outbox.flush(SOON)
        assert outbox.has_ended
    assert messages(journal) == ["before", "during", *map(str, range(20))]
    assert document(journal)["result"] == 7
    assert not [event for event in facts(journal) if "dropped" in (event.data or {})]


@pytest.fixture
def redis_journal(own_redis: RedisServer, make_settings: Callable[..., Settings]) -> RedisJournal:
    return RedisJournal(make_settings(own_redis.url))


class TestRedis:
    @pytest.mark.parametrize(
        "said",
        [
            b"ERR max requests limit exceeded. Limit: 500000, Usage: 500000.",
            b"LOADING Redis is loading the dataset in memory",
            b"READONLY You can't write against a read only replica.",
            b"NOAUTH Authentication required.",
            b"SOMETHING that is on no list",
            b"OOM command not allowed when used memory > 'maxmemory'.",
        ],
    )
    def test_whatever_it_says_nothing_is_lost(self, own_redis, make_settings, said):
        proxy = FaultProxy(own_redis.port)
        journal = RedisJournal(make_settings(f"redis://127.0.0.1:{proxy.port}/0"))

        def break_it() -> Callable[[], None]:
            proxy.faults.answer = b"-" + said + b"\r\n"
            return lambda: setattr(proxy.faults, "answer", None)

        try:
            refused_for_a_while(journal, make_settings(), break_it)
        finally:
            proxy.close()

    @pytest.mark.parametrize("rule", ["-evalsha", "resetkeys", "resetchannels", "-hset"])
    def test_rights_that_are_gone_and_come_back(self, own_redis, redis_journal, make_settings, rule):
        client = own_redis.client()

        def break_it() -> Callable[[], None]:
            client.execute_command("ACL", "SETUSER", "default", rule)
            return lambda: client.execute_command("ACL", "SETUSER", "default", "+@all", "allkeys", "allchannels")

        refused_for_a_while(redis_journal, make_settings(), break_it)

    def test_a_key_that_holds_something_else_for_a_while(self, own_redis, redis_journal, make_settings):
        client, meta = own_redis.client(), redis_journal._names.feed(FEED)[0]

        def break_it() -> Callable[[], None]:
            client.rename(meta, "aside")
            client.set(meta, "not a hash")
            return lambda: client.rename("aside", meta)

        refused_for_a_while(redis_journal, make_settings(), break_it)

    def test_an_endpoint_that_leads_to_another_master_is_followed_by_every_connection(
        self, own_redis, redis_binaries, make_settings, tmp_path
    ):
        other = RedisServer(own_redis.binary, tmp_path)
        other.start()
        proxy = FaultProxy(own_redis.port)
        journal = RedisJournal(make_settings(f"redis://127.0.0.1:{proxy.port}/0"))
        try:
            with other.client() as client:
                client.replicaof("127.0.0.1", own_redis.port)
                wait_until(
                    lambda: client.info("replication")["master_link_status"] == "up",
                    timeout=SOON,
                    what="it is a replica",
                )
            begin(journal)
            together = threading.Barrier(20)

            def call() -> None:
                together.wait()
                for _ in range(20):
                    journal.append(FEED, line("many connections"))

            callers = [threading.Thread(target=call) for _ in range(20)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()
            # As in a provider's fail-over: the name resolves to the new master, and the old one goes on as a replica.
            proxy.target = other.port
            with other.client() as client, own_redis.client() as old:
                client.replicaof("NO", "ONE")
                old.replicaof("127.0.0.1", other.port)
            with pytest.raises(Refusal, match="replica"):
                journal.append(FEED, line("refused"))
            for number in range(40):
                journal.append(FEED, line(f"after {number}"))
            assert messages(journal)[-40:] == [f"after {number}" for number in range(40)]
            try_write(journal)
        finally:
            proxy.close()
            other.kill()

    def test_a_replica_answers_a_ping_and_is_not_ready(self, own_redis, redis_journal):
        with own_redis.client() as client:
            try_write(redis_journal)
            client.replicaof("127.0.0.1", 1)
            redis_journal.ping()
            with pytest.raises(Unavailable):
                try_write(redis_journal)

    def test_what_only_one_key_breaks_hides_nobody_else(self, own_redis, redis_journal):
        feeds = [task_feed(f"t{number}") for number in range(200)]
        for feed in feeds:
            redis_journal.open(feed, owner="ann", draft=Draft("state", {"state": "queued"}))
            running = Draft("state", {"state": "running"})
            redis_journal.claim(feed, running, worker="w", delivery=feed, retries=0, lease=0.001)
        bad = feeds[7]
        with own_redis.client() as client:
            client.set(redis_journal._names.feed(bad)[0], "not a hash")
            client.set(redis_journal._names.leases(partition(feeds[9])), "not a sorted set")
            client.hset(redis_journal._names.feed(feeds[11])[0], "seq", "not a number")
        renewed = redis_journal.renew("w", feeds, lease=0.001)
        gone = {feed for feed in feeds if partition(feed) == partition(feeds[9])}
        assert renewed.keys() == set(feeds) - gone
        assert not renewed[bad].valid or bad in gone
        wait_until(
            lambda: len(redis_journal.expired(limit=100)) >= 200 - len(gone), timeout=SOON, what="the others are listed"
        )
        assert redis_journal.heads(feeds).keys() >= set(feeds) - {bad, feeds[11]} - gone
        assert redis_journal.list("ann", limit=500)[0]

    def test_rights_that_are_gone_are_not_taken_for_feeds_that_are(self, own_redis, redis_journal):
        begin(redis_journal)
        with own_redis.client() as client:
            for rule in ("-hmget", "-zrangebyscore"):
                client.execute_command("ACL", "SETUSER", "default", rule)
            for call in (
                lambda: redis_journal.heads([FEED]),
                lambda: redis_journal.changed_heads({FEED: None}),
                lambda: redis_journal.expired(limit=10),
                lambda: redis_journal.renew("w", [FEED], lease=5),
            ):
                with pytest.raises(Refusal):
                    call()


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


class TestDatabases:
    @pytest.mark.parametrize(
        ("broken", "mended"),
        [
            ("REVOKE INSERT ON petiole_facts FROM writer", "GRANT INSERT ON petiole_facts TO writer"),
            ("REVOKE ALL ON petiole_feeds FROM writer", "GRANT ALL ON petiole_feeds TO writer"),
            ("ALTER TABLE petiole_facts RENAME TO aside", "ALTER TABLE aside RENAME TO petiole_facts"),
            ("ALTER TABLE petiole_schema RENAME TO aside", "ALTER TABLE aside RENAME TO petiole_schema"),
            ("UPDATE petiole_schema SET version = 99", f"UPDATE petiole_schema SET version = {VERSION}"),
            ("ALTER DATABASE kept SET default_transaction_read_only = on; SELECT pg_sleep(0)",
             "ALTER DATABASE kept RESET default_transaction_read_only"),
        ],
    )  # fmt: skip
    def test_what_postgresql_refuses(self, postgres_server: PostgresServer, make_settings, broken, mended):
        url = postgres_server.create("kept")
        upgrade(url)
        with closing(psycopg.connect(url, autocommit=True)) as owner:
            if not owner.execute("SELECT 1 FROM pg_roles WHERE rolname = 'writer'").fetchone():
                owner.execute("CREATE ROLE writer LOGIN PASSWORD 'writer'")
            owner.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO writer")
            owner.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO writer")
            journal = SqlJournal(make_settings(url.replace("//", "//writer:writer@", 1) if "@" not in url else
                                               "postgresql://writer:writer@" + url.partition("@")[2]))  # fmt: skip

            def break_it() -> Callable[[], None]:
                owner.execute(broken)
                # A database's setting applies to new connections.
                owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'writer'")

                def mend() -> None:
                    owner.execute("SET default_transaction_read_only = off")
                    owner.execute(mended)

                return mend

            try:
                refused_for_a_while(journal, make_settings(), break_it)
            finally:
                journal.close()

    def test_a_damaged_sqlite_file_that_is_put_back(self, sqlite_path, make_settings, tmp_path):
        journal = SqlJournal(make_settings(f"sqlite:///{sqlite_path}"))

        def break_it() -> Callable[[], None]:
            with closing(sqlite3.connect(sqlite_path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            shutil.copy(sqlite_path, tmp_path / "copy")
            journal.close()
            with sqlite_path.open("r+b") as file:
                file.write(b"\xff" * 8192)
            with pytest.raises(Refusal, match="damaged"):
                try_write(journal)

            def mend() -> None:
                shutil.copy(tmp_path / "copy", tmp_path / "new")
                (tmp_path / "new").replace(sqlite_path)

            return mend

        refused_for_a_while(journal, make_settings(), break_it)

    def test_a_deleted_sqlite_file_is_made_anew_and_nobody_writes_into_the_old_one(self, sqlite_path, make_settings):
        settings = make_settings(f"sqlite:///{sqlite_path}")
        worker, web = SqlJournal(settings), SqlJournal(settings)
        with started(worker, settings) as outbox:
            outbox.put(line("before"))
            assert outbox.flush(SOON)
            assert messages(web) == ["before"]
            for path in sqlite_path.parent.glob("journal.sqlite*"):
                path.unlink()
            outbox.put(line("after"))
            assert outbox.flush(SOON)
            assert web.snapshot(FEED) == worker.snapshot(FEED)
            assert document(web)["state"] == "running"
            try_write(web)

    # SQLite stores a value of any type, whatever type the column was declared with.
    @pytest.mark.parametrize(
        ("column", "value"),
        [
            *(
                ("document", "{"),
                ("document", "[]"),
                ("owner", "ann"),
                ("worker", "7"),
                ("delivery", ""),
                ("seq", "one"),
            ),
            *(("texts", "1~output"), ("texts", 1.5), ("texts", b"1~output~3")),
        ],
    )
    def test_what_somebody_has_spoiled_hides_its_own_feed_only_and_can_be_forgotten(
        self, sqlite_path, make_settings, column, value
    ):
        journal = SqlJournal(make_settings(f"sqlite:///{sqlite_path}"))
        bad, good = feeds = [task_feed("bad"), task_feed("good")]
        running = Draft("state", {"state": "running"})
        for feed in feeds:
            journal.open(feed, owner="ann", draft=Draft("state", {"state": "queued"}))
            journal.claim(feed, running, worker="w", delivery=feed, retries=0, lease=0.001)
        with closing(sqlite3.connect(sqlite_path)) as connection:
            connection.execute(f"UPDATE petiole_feeds SET {column} = ? WHERE name = ?", (value, bad))
            connection.commit()
        with pytest.raises(Refusal, match="can't be read"):
            journal.snapshot(bad)
        assert set(journal.heads(feeds)) == ({good} if column in ("owner", "seq") else set(feeds))
        assert good in journal.changed_heads(dict.fromkeys(feeds))
        assert [snapshot.feed for snapshot in journal.list("ann", limit=9)[0]] == [good]
        wait_until(lambda: len(journal.expired(limit=9)) == 2, timeout=SOON, what="both leases have ended")
        lost = Draft("state", {"state": "lost"})
        with pytest.raises(Refusal, match="can't be read"):
            journal.conclude(bad, 1, lost)
        assert isinstance(journal.conclude(good, 1, lost), Stored)
        journal.forget(bad)
        assert journal.snapshot(bad) is None


class TestOneFeedAlone:
    """A refusal of one feed while others work ends by itself, with a truthful report."""

    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(patience, "REFUSED_FOR", SHORT)

    @pytest.mark.parametrize("part", [0, 1, 2])
    def test_a_spoiled_key_is_written_over_and_nothing_that_was_held_is_lost(
        self, own_redis, redis_journal, make_settings, part
    ):
        with started(redis_journal, make_settings()) as outbox:
            outbox.put(line("before"))
            assert outbox.flush(SOON)
            before = redis_journal.snapshot(FEED).cursor
            with own_redis.client() as client:
                client.set(redis_journal._names.feed(FEED)[part], "spoiled")
            outbox.put(line("held"))
            outbox.put(line("held too"))
            assert outbox.flush(SOON)
            after = redis_journal.snapshot(FEED).cursor
            assert (after.facts, after.epoch != before.epoch) == (before.facts + 2, True)
            said = redis_journal.read(FEED, None, limit=10)
            assert document(redis_journal)["state"] == "running"
            assert said is not None

    def test_an_event_that_alone_is_refused_is_set_aside_and_counted(self, redis_journal, make_settings):
        class Picky:
            """A server that can't store one value."""

            def __getattr__(self, name):
                return getattr(redis_journal, name)

            def append_async(self, *_event, **_numbers):
                return None

            def append(self, feed, draft, **numbers):
                if "poison" in str(draft.data) or "poison" in str(draft.patch):
                    raise Refusal("This can't be taken.")
                return redis_journal.append(feed, draft, **numbers)

        with started(Picky(), make_settings()) as outbox:
            for message in ("1", "poison", "2"):
                outbox.put(line(message))
            outbox.put(Draft("state", {"state": "succeeded", "finished_at": 5, "result": "poison"}))
            assert outbox.flush(SOON)
        aside = "1 event was set aside. The journal refused it for a minute; the worker's log says why."
        assert messages(redis_journal) == ["1", aside, "2"]
        assert [event.data["dropped"] for event in facts(redis_journal) if (event.data or {}).get("dropped")] == [1, 1]
        ended = document(redis_journal)
        assert (ended["state"], ended["finished_at"], "result" in ended) == ("succeeded", 5, False)

    def test_what_cannot_be_healed_ends_its_feed_and_not_the_thread_of_others(
        self, own_redis, redis_journal, make_settings
    ):
        with own_redis.client() as client:
            outbox = Outbox(redis_journal, begin(redis_journal), make_settings(), newest=dict)
            outbox.start()
            client.set(redis_journal._names.leases(partition(FEED)), "spoiled")
            client.set(redis_journal._names.feed(FEED)[2], "spoiled")
            outbox.put(line("nobody takes it"))
            thread_ended(outbox)
        assert not outbox.flush(0.0)
        assert not outbox.signals.fenced

    def test_a_journal_that_refuses_everybody_ends_nobody(self, own_redis, redis_journal, make_settings):
        with started(redis_journal, make_settings()) as outbox, own_redis.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "-evalsha")
            outbox.put(line("held"))
            assert not outbox.flush(4 * SHORT)
            client.execute_command("ACL", "SETUSER", "default", "+@all")
            assert outbox.flush(SOON)
        assert messages(redis_journal) == ["held"]
