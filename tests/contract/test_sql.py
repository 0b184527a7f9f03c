"""Databases alone: tables, connections, errors."""

from __future__ import annotations

import multiprocessing
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import Connection, create_engine, inspect, make_url, text

from petiole.bus import open_bus, open_ring
from petiole.bus.amqp.bus import AmqpBus
from petiole.bus.redis import RedisBus
from petiole.celery_urls import CeleryUrls
from petiole.cli import cli
from petiole.errors import Refusal, SetupError, Unavailable
from petiole.journal import open_journal
from petiole.journal.answers import Closed, Missing, Stored
from petiole.journal.groups import Child, Contribution
from petiole.journal.redis.journal import RedisJournal
from petiole.journal.sql import SqlJournal
from petiole.journal.sql.schema import VERSION
from petiole.journal.sql.server import Mode, upgrade
from petiole.journal.sql.url import read_url
from petiole.protocol.events import ZERO_CHAIN, Cursor, Draft, Event, EventHeader, task_feed
from petiole.protocol.reader import Read, Reader, follow
from petiole.protocol.texts import Chunk, size_of
from petiole.settings import Settings
from tests.contract.backends import (
    FEED,
    OWNER,
    claim,
    claimed,
    document,
    line,
    opened,
    reading,
    state,
    stored,
)
from tests.contract.test_bus import Listener
from tests.support.postgres import PASSWORD, PostgresServer
from tests.support.waiting import wait_until

BUS = "redis://127.0.0.1:1/0"


GREENLETS = """
from gevent import monkey; monkey.patch_all()
import sys, time, gevent
from sqlalchemy import text
from petiole.journal.sql import SqlJournal
from petiole.journal.sql.server import Mode
from petiole.settings import Settings

journal = SqlJournal(Settings(journal_url=sys.argv[1], journal_timeout=10.0))
ticks = 0

def tick():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0.02)

def hold():
    journal._server.run(lambda connection: connection.execute(text("SELECT pg_sleep(0.5)")), mode=Mode.WRITE)

journal.ping()
gevent.spawn(tick)
began = time.monotonic()
gevent.joinall([gevent.spawn(hold) for _ in range(8)], raise_error=True)
print(time.monotonic() - began, ticks)
"""


@pytest.fixture
def no_tables(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> str:
    """The URL of a PostgreSQL database without Petiole's tables."""
    return postgres_server.create(f"empty{os.getpid()}_{time.monotonic_ns()}")


def ask(url: str, statement: str, **values: Any) -> list[Any]:
    """Run a statement, bypassing the journal; return its rows."""
    given = make_url(url)
    engine = create_engine(given if given.drivername == "sqlite" else given.set(drivername="postgresql+psycopg"))
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []
    finally:
        engine.dispose()


def make_version_3(url: str) -> None:
    """Make tables of this version those of version 3."""
    for table in ("groups", "children"):
        ask(url, f"DROP TABLE petiole_{table}")
    ask(url, "UPDATE petiole_schema SET version = 3")


def make_version_2(url: str) -> None:
    """Make tables of this version those of version 2."""
    make_version_3(url)
    ask(url, "ALTER TABLE petiole_feeds DROP COLUMN texts")
    ask(url, "DROP TABLE petiole_texts")
    ask(url, "UPDATE petiole_schema SET version = 2")


class TestTables:
    def test_a_database_without_tables_is_refused_at_start_and_the_command_is_named(self, no_tables, make_settings):
        settings = make_settings(no_tables, bus_url=BUS)
        with pytest.raises(SetupError, match=r"has no tables of Petiole\. Run: petiole db upgrade$"):
            open_journal(settings)
        journal = SqlJournal(settings)
        assert [said for said in journal.inspect() if said.endswith("Run: petiole db upgrade")]
        with pytest.raises(Refusal, match="petiole db upgrade"):
            opened(journal)

    def test_the_command_makes_the_tables_once(self, no_tables, make_settings):
        runner = CliRunner()
        for said in (f"created, version {VERSION}", f"of version {VERSION} already"):
            done = runner.invoke(cli, ["db", "upgrade"], env={"PETIOLE_JOURNAL_URL": no_tables})
            assert done.exit_code == 0, done.output
            assert said in done.output
        journal = open_journal(make_settings(no_tables, bus_url=BUS))
        opened(journal)
        assert document(journal)["state"] == "queued"
        journal.close()

    def test_eight_upgrades_at_once_make_the_tables_once(self, no_tables):
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: upgrade(no_tables), range(8)))
        assert sorted(before is None for _, before, _ in found) == [False] * 7 + [True]
        assert ask(no_tables, "SELECT version FROM petiole_schema") == [(VERSION,)]

    @pytest.mark.parametrize(("version", "said"), [(VERSION - 1, "this Petiole needs"), (VERSION + 1, "newer Petiole")])
    def test_tables_of_another_version_are_left_alone(self, sql_backend, make_settings, tmp_path, version, said):
        journal = sql_backend.make()
        opened(journal)
        before = journal.snapshot(FEED)
        ask(sql_backend.url, "UPDATE petiole_schema SET version = :version", version=version)
        try:
            with pytest.raises(Refusal, match=said):
                journal.append(FEED, line())
            with pytest.raises(SetupError, match=said):
                open_journal(make_settings(sql_backend.url, bus_url=BUS))
            assert [sentence for sentence in sql_backend.make().inspect() if said in sentence]
        finally:
            ask(sql_backend.url, "UPDATE petiole_schema SET version = :version", version=VERSION)
        assert sql_backend.make().snapshot(FEED) == before

    @pytest.fixture(params=["sqlite", "postgresql"])
    def older(self, request, tmp_path):
        """A database with tables, which the test makes those of an older version."""
        url = (
            f"sqlite:///{tmp_path}/older.sqlite" if request.param == "sqlite" else request.getfixturevalue("no_tables")
        )
        upgrade(url)
        return url

    def test_tables_of_version_1_are_upgraded_and_keep_what_they_have(self, older, make_settings):
        url = older
        first = SqlJournal(make_settings(url, journal_timeout=10.0))
        opened(first)
        claim(first)
        first.close()
        for column in ("publication", "spent", "waits"):
            ask(url, f"ALTER TABLE petiole_feeds DROP COLUMN {column}")
        make_version_2(url)
        ask(url, "UPDATE petiole_schema SET version = 1")
        assert upgrade(url)[1:] == (1, VERSION)
        second = SqlJournal(make_settings(url, journal_timeout=10.0))
        stored(second.append(FEED, state("succeeded"), run=1, fact=2, delivery="delivery-1"))
        # Its message comes from an older Petiole, and has no publication.
        assert claim(second, delivery="late") == Closed("succeeded")
        assert claim(second, delivery="new", publication="00000001") == Missing()
        second.close()

    def test_tables_of_version_2_are_upgraded_and_their_running_tasks_can_write_texts(self, older, make_settings):
        first = SqlJournal(make_settings(older, journal_timeout=10.0))
        claimed(first)
        before = first.snapshot(FEED)
        first.close()
        make_version_2(older)
        with pytest.raises(SetupError, match="version 2; this Petiole needs 4"):
            open_journal(make_settings(older, bus_url=BUS))
        assert upgrade(older)[1:] == (2, VERSION)
        second = SqlJournal(make_settings(older, journal_timeout=10.0))
        assert second.snapshot(FEED) == before
        stored(second.append(FEED, Draft.of_text(Chunk("output", 0, "one")), run=1))
        assert second.text(FEED, "output") == "one"
        second.close()

    def test_tables_of_version_3_are_upgraded_and_groups_can_be_opened_beside_running_tasks(self, older, make_settings):
        first = SqlJournal(make_settings(older, journal_timeout=10.0))
        claimed(first)
        before = first.snapshot(FEED)
        first.close()
        make_version_3(older)
        with pytest.raises(SetupError, match="version 3; this Petiole needs 4"):
            open_journal(make_settings(older, bus_url=BUS))
        assert upgrade(older)[1:] == (3, VERSION)
        second = SqlJournal(make_settings(older, journal_timeout=10.0))
        assert second.snapshot(FEED) == before
        second.open_group("group:g", [Child("a")], owner=OWNER, draft=state("queued"), epoch="0000000a")
        second.contribute("group:g", [Contribution(0, "succeeded")], run=0, lease=60)
        assert document(second, "group:g")["state"] == "succeeded"
        second.close()

    def test_an_upgraded_database_has_the_tables_of_a_new_one(self, older):
        def tables() -> object:
            engine = create_engine(read_url(older))
            try:
                looked = inspect(engine)
                return {
                    table: (
                        {
                            column["name"]: (str(column["type"]), column["nullable"])
                            for column in looked.get_columns(table)
                        },
                        looked.get_pk_constraint(table)["constrained_columns"],
                        sorted(index["name"] for index in looked.get_indexes(table)),
                    )
                    for table in looked.get_table_names()
                }
            finally:
                engine.dispose()

        new = tables()
        make_version_2(older)
        assert tables() != new
        upgrade(older)
        assert tables() == new

    def test_the_command_does_not_go_back(self, no_tables):
        upgrade(no_tables)
        ask(no_tables, "UPDATE petiole_schema SET version = :version", version=VERSION + 1)
        with pytest.raises(SetupError, match="newer Petiole"):
            upgrade(no_tables)
        assert ask(no_tables, "SELECT version FROM petiole_schema") == [(VERSION + 1,)]

    def test_a_file_is_made_by_itself_by_many_processes_at_once(self, tmp_path):
        url = f"sqlite:///{tmp_path}/new.sqlite"
        context = multiprocessing.get_context("spawn")
        with context.Pool(4) as pool:
            answers = pool.starmap(append_many, [(url, task_feed(f"t{number}"), 5) for number in range(4)])
        assert answers == [5] * 4

    def test_a_missing_directory_is_refused_with_its_name(self, make_settings, tmp_path):
        with pytest.raises(SetupError, match=r"There is no directory .*nowhere for the journal"):
            open_journal(make_settings(f"sqlite:///{tmp_path}/nowhere/journal.sqlite", bus_url=BUS))

    @pytest.mark.parametrize("url", ["mysql://h/x", "amqp://h//", "file:///x", "memory://"])
    def test_an_unknown_scheme_is_refused_and_what_works_is_said(self, make_settings, url):
        with pytest.raises(SetupError, match=r"redis://, postgresql:// or sqlite:/// URL\.$"):
            open_journal(make_settings(url))

    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
    def test_a_database_in_memory_is_refused(self, make_settings, url):
        with pytest.raises(SetupError, match="has to be in a file"):
            open_journal(make_settings(url, bus_url=BUS))

    def test_both_schemes_of_postgresql_name_the_same(self, postgresql_url, make_settings):
        first = open_journal(make_settings(postgresql_url, bus_url=BUS))
        other = "postgresql+psycopg" + postgresql_url.removeprefix("postgresql")
        second = open_journal(make_settings(other, bus_url=BUS))
        opened(first)
        assert second.snapshot(FEED) == first.snapshot(FEED)
        first.close()
        second.close()


class TestInspect:
    def test_a_postgresql_that_does_not_sync_is_named(self, postgresql_url, make_settings):
        said = SqlJournal(make_settings(postgresql_url)).inspect()
        assert [sentence.rpartition(". ")[2] for sentence in said] == ["Set fsync to on."]

    def test_a_postgresql_that_answers_before_it_has_written_is_named(self, postgresql_url, make_settings):
        settings = make_settings(f"{postgresql_url}?options=-csynchronous_commit%3Doff")
        assert any("Set synchronous_commit to on" in sentence for sentence in SqlJournal(settings).inspect())

    def test_nothing_is_said_of_a_file(self, make_settings, tmp_path):
        assert SqlJournal(make_settings(f"sqlite:///{tmp_path}/journal.sqlite")).inspect() == ()

    def test_a_task_in_a_database_is_verified_without_a_bus(self, sql_backend):
        journal = sql_backend.make(key_prefix="petiole")
        feed = task_feed(f"verified-{sql_backend.name}")
        claimed(journal, feed)
        stored(journal.append(feed, state("succeeded"), run=1, fact=2))
        done = CliRunner().invoke(cli, ["verify", feed.removeprefix("task:"), "--journal-url", sql_backend.url], env={})
        assert done.exit_code == 0, done.output
        assert "succeeded, 3 of 3 facts, receipt" in done.output


class TestLifetimes:
    def test_what_is_past_its_lifetime_is_swept(self, sql_backend):
        journal = sql_backend.make(kept_for=0.05)
        claimed(journal)
        stored(journal.append(FEED, Draft.of_text(Chunk("output", 0, "one")), run=1))
        stored(journal.append(FEED, state("succeeded"), run=1, fact=2))
        journal.note("a note", "text", instead_of="", lasts=0.05)
        wait_until(lambda: journal.snapshot(FEED) is None and not journal.notes(["a note"]), what="both are gone")
        prefix = journal._settings.key_prefix
        [(number,)] = ask(sql_backend.url, "SELECT id FROM petiole_feeds WHERE prefix = :prefix", prefix=prefix)
        sql_backend.make().expired(limit=1)
        assert ask(sql_backend.url, "SELECT 1 FROM petiole_feeds WHERE prefix = :prefix", prefix=prefix) == []
        assert ask(sql_backend.url, "SELECT 1 FROM petiole_facts WHERE feed = :feed", feed=number) == []
        assert rows_of(sql_backend.url, number) == []
        assert ask(sql_backend.url, "SELECT 1 FROM petiole_notes WHERE prefix = :prefix", prefix=prefix) == []

    def test_a_name_whose_feed_is_past_its_lifetime_is_opened_as_new(self, sql_backend):
        journal = sql_backend.make(live_kept_for=0.5)
        first = claimed(journal, message="message").cursor
        wait_until(lambda: journal.snapshot(FEED) is None, what="the feed is gone")
        after = sql_backend.make()
        cursor = opened(after)
        assert cursor.epoch != first.epoch
        assert [event.cursor for event in reading(after).events] == [cursor]
        assert document(after) == {"state": "queued", "title": "Export"}
        assert after.message(FEED) == ""
        assert claim(after).run == 1


def number_of(journal: SqlJournal, url: str) -> int:
    """Return the number of the feed's row."""
    [(number,)] = ask(
        url,
        "SELECT id FROM petiole_feeds WHERE prefix = :prefix AND name = :name",
        prefix=journal._settings.key_prefix,
        name=FEED,
    )
    return number


def rows_of(url: str, feed: int) -> list[tuple[str, int, int]]:
    """Return the rows of a feed's texts: name, position and size."""
    rows = ask(url, "SELECT name, at, length(chunk) FROM petiole_texts WHERE feed = :feed ORDER BY name, at", feed=feed)
    return [(name, at, size) for name, at, size in rows]


def room_for_texts(url: str) -> int:
    """Return how many bytes the texts take in a database, with all that belongs to them."""
    if url.startswith("sqlite"):
        [(pages,)], [(free,)], [(size,)] = (
            ask(url, f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size
    with psycopg.connect(url, autocommit=True) as connection:
        # What the rows took that were merged is used again.
        connection.execute("VACUUM FULL petiole_texts")
        row = connection.execute("SELECT pg_total_relation_size('petiole_texts')").fetchone()
        assert row is not None
        return row[0]


class TestTexts:
    @pytest.fixture
    def journal(self, sql_backend):
        journal = sql_backend.make()
        claimed(journal)
        return journal

    def write(self, journal, parts, *, name="output", at=0):
        for part in parts:
            stored(journal.append(FEED, Draft.of_text(Chunk(name, at, part)), run=1))
            at += size_of(part)
        return at

    def test_a_growing_text_never_has_many_rows_and_an_ended_one_has_as_few_as_there_can_be(self, sql_backend, journal):
        feed = number_of(journal, sql_backend.url)
        parts = [f"é{number:>8} " for number in range(1_000)]
        self.write(journal, parts)
        self.write(journal, ["short"], name="errors")
        sizes = [size for name, _, size in rows_of(sql_backend.url, feed) if name == "output"]
        assert [size >= 4_000 for size in sizes[:2]] == [True, True]
        assert len(sizes) < 2 + 4_096 / 11
        assert journal.text(FEED, "output") == "".join(parts)
        stored(journal.append(FEED, state("retrying"), run=1, fact=2))
        assert rows_of(sql_backend.url, feed) == [("errors", 0, 5), ("output", 0, 11_000)]
        assert journal.text(FEED, "output") == "".join(parts)

    def test_a_row_has_at_most_256_kib(self, sql_backend, journal):
        feed = number_of(journal, sql_backend.url)
        parts = ["日" * 10_000] * 18
        assert self.write(journal, parts) == 540_000
        assert all(size <= 256 * 1024 for *_, size in rows_of(sql_backend.url, feed))
        stored(journal.append(FEED, state("failed")))
        rows = rows_of(sql_backend.url, feed)
        assert len(rows) <= 4
        assert all(size <= 256 * 1024 for *_, size in rows)
        assert journal.text(FEED, "output") == "".join(parts)
        reader, actions = Reader(FEED), [Read(None)]
        while actions and isinstance(actions[-1], Read):
            actions = reader.answer(reading(journal, actions[-1].cursor))
        assert reader.text("output") == "".join(parts)

    @pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "retrying", "reaped", "given up"])
    def test_whatever_ends_the_run_leaves_one_row(self, sql_backend, end):
        journal = sql_backend.make()
        claimed(journal, lease=0.02)
        feed = number_of(journal, sql_backend.url)
        stored(journal.append(FEED, Draft.of_text(Chunk("output", 0, "one ")), run=1))
        stored(journal.append(FEED, Draft.of_text(Chunk("output", 4, "two")), run=1))
        assert len(rows_of(sql_backend.url, feed)) == 2
        match end:
            case "reaped":
                sql_backend.end_lease(journal, FEED)
                stored(journal.conclude(FEED, 1, state("lost")))
            case "given up":
                ask(sql_backend.url, "UPDATE petiole_feeds SET silent = 2 WHERE id = :feed", feed=feed)
                sql_backend.end_lease(journal, FEED)
                assert claim(journal, delivery="another", failed=state("failed")) == Closed("failed")
            case _:
                stored(journal.append(FEED, state(end), run=1, fact=2))
        assert rows_of(sql_backend.url, feed) == [("output", 0, 7)]

    def test_an_ended_text_takes_at_most_1_3_times_its_bytes(self, sql_backend, journal):
        before = room_for_texts(sql_backend.url)
        dice = random.Random(17)
        # Not to be compressed.
        parts = ["".join(chr(dice.randrange(0x20, 0x17F)) for _ in range(400)) for _ in range(250)]
        length = self.write(journal, parts)
        stored(journal.append(FEED, state("succeeded"), run=1, fact=2))
        assert room_for_texts(sql_backend.url) - before <= 1.3 * length
        assert journal.text(FEED, "output") == "".join(parts)

    @pytest.mark.parametrize("how", ["forget", "remove", "open", "rebase", "claim", "first chunk"])
    def test_a_text_that_is_void_leaves_no_rows(self, sql_backend, how):
        journal = sql_backend.make()
        opened(journal, publication="00000001")
        last = claim(journal, publication="00000001").cursor
        feed = number_of(journal, sql_backend.url)
        self.write(journal, ["one ", "two"])
        match how:
            case "forget" | "remove":
                getattr(journal, how)(FEED)
            case "open":
                stored(journal.append(FEED, state("succeeded"), run=1, fact=2))
                opened(journal, publication="00000002")
            case "rebase":
                execution = {"run": 1, "delivery": "delivery-1", "retries": 0, "worker": "w", "lease": 60.0, "fact": 1}
                journal.rebase(FEED, owner="alice", last=last, document={"state": "running"}, **execution)
            case "claim":
                claim(journal, delivery="another", retries=1)
            case _:
                journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled"))
                claim(journal, delivery="another", retries=1)
                assert len(rows_of(sql_backend.url, feed)) == 2
                stored(journal.append(FEED, Draft.of_text(Chunk("errors", 0, "bye")), run=2))
        assert rows_of(sql_backend.url, feed) == ([("errors", 0, 3)] if how == "first chunk" else [])

    @pytest.mark.parametrize(
        ("gone", "left"), [("at = 0", ""), ("at = 4", "one "), ("at = 8", "one two "), ("at >= 0", "")]
    )
    def test_rows_that_somebody_has_taken_away_are_not_passed_off_as_the_text(
        self, sql_backend, journal, gone, left, caplog
    ):
        feed = number_of(journal, sql_backend.url)
        self.write(journal, ["one ", "two ", "three"])
        ask(sql_backend.url, f"DELETE FROM petiole_texts WHERE feed = :feed AND {gone}", feed=feed)
        with pytest.raises(Refusal, match="can't be read"):
            journal.text(FEED, "output")
        assert "text_unreadable" in caplog.text
        answer = reading(journal)
        assert not answer.more
        assert "".join(chunk.text for chunk in answer.chunks) == left
        reader = Reader(FEED)
        reader.start()
        reader.answer(answer)
        assert (reader.text("output"), reader.document["state"], reader.complete) == ("", "running", True)
        stored(journal.append(FEED, state("succeeded"), run=1, fact=2))
        assert document(journal)["state"] == "succeeded"

    def test_a_chunk_whose_row_cant_be_inserted_has_changed_nothing(self, sql_backend, journal):
        feed = number_of(journal, sql_backend.url)
        self.write(journal, ["one "])
        before = journal.snapshot(FEED)
        ask(
            sql_backend.url,
            "INSERT INTO petiole_texts (feed, name, at, chunk) VALUES (:feed, 'output', 4, :chunk)",
            feed=feed,
            chunk=b"another's",
        )
        with pytest.raises(Refusal, match="is temporarily unavailable"):
            self.write(journal, ["two"], at=4)
        assert journal.snapshot(FEED) == before
        ask(sql_backend.url, "DELETE FROM petiole_texts WHERE feed = :feed AND at = 4", feed=feed)
        self.write(journal, ["two"], at=4)
        assert journal.text(FEED, "output") == "one two"


class TestConnections:
    def test_nothing_is_lost_when_connections_have_gone_stale(self, postgresql_url, postgres_server, make_settings):
        journal = SqlJournal(make_settings(postgresql_url))
        claimed(journal)
        with postgres_server.connect() as client:
            for number in range(2, 6):
                stored(journal.append(FEED, line(), run=1, fact=number))
                client.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'petiole' "
                    "AND datname = 'journal'"
                )
                assert len(reading(journal).events) == number + 1
        journal.close()

    def test_a_forked_process_has_connections_of_its_own(self, sql_backend):
        journal = sql_backend.make()
        opened(journal)
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=append_in_child, args=(journal, 20)) for _ in range(4)]
        for child in children:
            child.start()
        for _ in range(20):
            stored(journal.append(FEED, line("parent")))
        for child in children:
            child.join(60)
        assert [child.exitcode for child in children] == [0] * 4
        stored(journal.append(FEED, line("after")))
        answer = reading(journal)
        assert [event.facts for event in answer.events] == list(range(1, 103))
        assert follow(Cursor(answer.cursor.epoch, 0, 0, ZERO_CHAIN), answer.events)

    def test_eight_processes_number_one_feed_gaplessly(self, sql_backend):
        # A long timeout: on a busy machine one of eight may wait long for its turn.
        journal = sql_backend.make(journal_timeout=30.0)
        opened(journal)
        context = multiprocessing.get_context("spawn")
        with context.Pool(8) as pool:
            arguments = (sql_backend.url, FEED, 25, journal._settings.key_prefix)
            assert pool.starmap(append_many, [arguments] * 8) == [25] * 8
        answer = reading(journal)
        assert [event.facts for event in answer.events] == list(range(1, 202))
        assert follow(Cursor(answer.cursor.epoch, 0, 0, ZERO_CHAIN), answer.events)
        times = [event.at for event in answer.events]
        assert times == sorted(times)

    def test_a_verb_that_fails_in_the_middle_has_changed_nothing(self, sql_backend):
        journal = sql_backend.make()
        claimed(journal)
        before = journal.snapshot(FEED)
        facts = {"feed": 0, "number": before.cursor.facts + 1}
        [(facts["feed"],)] = ask(
            sql_backend.url,
            "SELECT id FROM petiole_feeds WHERE prefix = :prefix AND name = :name",
            prefix=journal._settings.key_prefix,
            name=FEED,
        )
        # An existing fact makes the insert of its number fail, after the feed was locked and numbered.
        ask(
            sql_backend.url,
            "INSERT INTO petiole_facts (feed, number, before, event, begins, ends) VALUES (:feed, :number, '', '{}', 0, 0)",
            **facts,
        )
        with pytest.raises(Refusal, match="is temporarily unavailable"):
            journal.append(FEED, line(), run=1, fact=2)
        assert journal.snapshot(FEED) == before
        ask(sql_backend.url, "DELETE FROM petiole_facts WHERE feed = :feed AND number = :number", **facts)
        stored(journal.append(FEED, line(), run=1, fact=2))


class TestGevent:
    def test_greenlets_wait_beside_each_other(self, postgresql_url):
        done = subprocess.run(
            [sys.executable, "-c", GREENLETS, postgresql_url], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        at_once, ticks = done.stdout.split()
        # Each of eight takes half a second on the server; one after the other they would take four.
        assert float(at_once) < 3.0
        assert int(ticks) >= 10


class TestUnavailable:
    def test_a_call_to_a_paused_server_fails_within_its_timeout(self, own_postgres, make_settings):
        upgrade(own_postgres.url())
        journal = SqlJournal(make_settings(own_postgres.url(), journal_timeout=0.5))
        opened(journal)
        fresh = SqlJournal(make_settings(own_postgres.url(), journal_timeout=0.5))
        own_postgres.pause()
        for tried in (journal, fresh):
            began = time.monotonic()
            with pytest.raises(Unavailable, match="doesn't answer"):
                tried.append(FEED, line())
            assert time.monotonic() - began < 1.5
        own_postgres.resume()
        wait_until(lambda: answers(journal), what="the journal answers again")
        stored(journal.append(FEED, line()))

    def test_a_restarted_server_has_what_it_was_told(self, own_postgres, make_settings):
        upgrade(own_postgres.url())
        journal = SqlJournal(make_settings(own_postgres.url()))
        answer = claimed(journal)
        own_postgres.kill()
        with pytest.raises(Unavailable, match="doesn't answer"):
            journal.append(FEED, line(), run=1, fact=2)
        own_postgres.start()
        assert journal.snapshot(FEED).cursor == answer.cursor
        stored(journal.append(FEED, line(), run=1, fact=2))

    def test_a_feed_that_somebody_has_locked_is_unavailable_within_the_timeout(self, postgresql_url, make_settings):
        journal = SqlJournal(make_settings(postgresql_url, journal_timeout=0.5))
        opened(journal)
        before = journal.snapshot(FEED)
        with psycopg.connect(postgresql_url) as other:
            other.execute("SELECT 1 FROM petiole_feeds WHERE prefix = %s FOR UPDATE", (journal._settings.key_prefix,))
            began = time.monotonic()
            with pytest.raises(Unavailable, match="is temporarily unavailable"):
                journal.append(FEED, line())
            assert time.monotonic() - began < 1.5
            assert journal.snapshot(FEED) == before
        stored(journal.append(FEED, line()))

    def test_a_file_that_somebody_has_locked_is_unavailable_within_the_timeout(self, make_settings, tmp_path):
        journal = SqlJournal(make_settings(f"sqlite:///{tmp_path}/journal.sqlite", journal_timeout=0.3))
        opened(journal)
        before = journal.snapshot(FEED)
        other = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(Unavailable, match="is temporarily unavailable: database is locked"):
            journal.append(FEED, line())
        assert time.monotonic() - began < 1.5
        assert journal.snapshot(FEED) == before
        other.execute("ROLLBACK")
        other.close()
        stored(journal.append(FEED, line()))

    def test_a_server_that_takes_no_writes_is_unavailable(self, own_postgres, make_settings):
        upgrade(own_postgres.url())
        journal = SqlJournal(make_settings(own_postgres.url()))
        before = opened(journal)
        with own_postgres.connect() as client:
            client.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            client.execute("SELECT pg_reload_conf()")
            wait_until(lambda: refuses(journal, "is temporarily unavailable"), what="the server accepts no writes")
            assert journal.snapshot(FEED).cursor.epoch == before.epoch
            client.execute("SET default_transaction_read_only = off")
            client.execute("ALTER SYSTEM RESET default_transaction_read_only")
            client.execute("SELECT pg_reload_conf()")
        wait_until(lambda: not refuses(journal), what="the server accepts writes again")

    def test_a_full_disk_is_unavailable_and_changes_nothing(self, make_settings, tmp_path):
        journal = SqlJournal(make_settings(f"sqlite:///{tmp_path}/journal.sqlite"))
        claimed(journal)
        with journal._server._engine.connect() as connection:
            # The limit is the file's present size.
            connection.execution_options(petiole_begin="BEGIN").exec_driver_sql("PRAGMA max_page_count = 1")
        before = journal.snapshot(FEED)

        def fill() -> None:
            nonlocal before
            for number in range(2, 200):
                before = journal.snapshot(FEED)
                stored(journal.append(FEED, line("x" * 7000), run=1, fact=number))

        with pytest.raises(Unavailable, match="is temporarily unavailable: database or disk is full"):
            fill()
        assert journal.snapshot(FEED) == before
        journal.close()
        stored(journal.append(FEED, line("x" * 7000), run=1, fact=before.cursor.facts))

    def test_a_process_that_is_frozen_in_the_middle_does_not_hold_its_feed(self, postgresql_url, make_settings):
        settings = make_settings(postgresql_url, journal_timeout=0.5)
        journal = SqlJournal(settings)
        opened(journal)
        loaded, go_on, attempts = threading.Event(), threading.Event(), []

        def freeze(connection: Connection) -> None:
            values = {"prefix": settings.key_prefix}
            attempts.append(
                connection.execute(text("SELECT 1 FROM petiole_feeds WHERE prefix = :prefix FOR UPDATE"), values)
            )
            loaded.set()
            go_on.wait(20)
            if len(attempts) == 1:
                connection.execute(text("UPDATE petiole_feeds SET state = 'thawed' WHERE prefix = :prefix"), values)

        def run() -> None:
            # Its connection was closed meanwhile: it is repeated from the start if there is time, otherwise it fails.
            with suppress(Unavailable):
                journal._server.run(freeze, mode=Mode.WRITE)

        thread = threading.Thread(target=run)
        thread.start()
        assert loaded.wait(10)
        wait_until(lambda: not refuses(journal), what="the feed can be written again")
        go_on.set()
        thread.join(20)
        assert not thread.is_alive()
        assert journal.heads([FEED])[FEED].state == "queued"

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ({"database": "nowhere"}, 'database "nowhere" does not exist'),
            ({"user": "nobody-here"}, "authentication failed"),
            ({"password": "wrong"}, "authentication failed"),
            ({"database": "postgres?sslmode=require"}, "SSL was required"),
        ],
    )
    def test_what_the_server_refuses_is_refused_at_start_with_the_setting(
        self, make_settings, postgres_server, more, said
    ):
        url = postgres_server.url(**more)
        for opening in (lambda: open_journal(make_settings(url, bus_url=BUS)), lambda: upgrade(url)):
            with pytest.raises(SetupError, match=f"refuses the connection .*{said}.*PETIOLE_JOURNAL_URL") as caught:
                opening()
            assert PASSWORD not in str(caught.value)

    def test_what_is_refused_later_counts_as_an_outage(self, make_settings, own_postgres):
        url = own_postgres.create("journal")
        upgrade(url)
        journal = SqlJournal(make_settings(url))
        opened(journal)
        with own_postgres.connect() as client:
            client.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'petiole'")
            client.execute("ALTER DATABASE journal RENAME TO elsewhere")
            with pytest.raises(Unavailable, match="does not exist"):
                journal.append(FEED, line())
            client.execute("ALTER DATABASE elsewhere RENAME TO journal")
        stored(journal.append(FEED, line()))

    def test_no_message_has_the_password(self, make_settings):
        journal = SqlJournal(make_settings("postgresql://ann:secret@127.0.0.1:1/journal", journal_timeout=0.5))
        with pytest.raises(Unavailable, match=r"PostgreSQL at 127\.0\.0\.1:1/journal doesn't answer") as caught:
            journal.ping()
        assert "secret" not in str(caught.value)
        assert "secret" not in " ".join(journal.inspect())

    def test_a_server_that_is_away_at_start_may_come_later(self, make_settings, own_postgres):
        upgrade(own_postgres.url())
        own_postgres.kill()
        journal = open_journal(make_settings(own_postgres.url(), bus_url=BUS))
        own_postgres.start()
        opened(journal)
        assert document(journal)["state"] == "queued"
        journal.close()


class TestRings:
    def test_what_is_committed_rings_in_order(self, sql_backend):
        heard: list[tuple[str, str | bytes]] = []
        journal = SqlJournal(sql_backend.make()._settings, ring=lambda feed, event: heard.append((feed, event)))
        claimed(journal)
        journal.append(FEED, line(), run=1, fact=2)
        journal.append(FEED, line(), run=1, fact=2)
        journal.cancel(FEED, cancelling=state("cancelling"), cancelled=state("cancelled"))
        assert {feed for feed, _ in heard} == {FEED}
        assert [Event.from_text(event) for _, event in heard] == list(reading(journal).events)
        assert all(EventHeader.from_text(str(event)) for _, event in heard), "the relay would read each of them whole"
        journal.close()

    def test_a_journal_in_a_database_rings_the_bus_in_redis(self, sql_backend, make_settings, own_redis):
        settings = make_settings(sql_backend.url, bus_url=own_redis.url)
        journal, listener = open_journal(settings), Listener(open_bus(settings))
        listener.start()
        assert listener.bus.follow(FEED, timeout=5)
        claimed(journal)
        assert [event.patch["state"] for event in listener.wait_for(FEED, 2)] == ["queued", "running"]
        journal.close()
        listener.close()

    def test_a_bus_that_is_away_or_silent_does_not_hold_up_a_verb(self, sql_backend, make_settings, own_redis):
        settings = make_settings(sql_backend.url, bus_url=own_redis.url)
        ring = open_ring(settings)
        ring(FEED, "{}")
        for fault in (own_redis.pause, own_redis.kill):
            fault()
            took = []
            for _ in range(3000):
                began = time.monotonic()
                ring(FEED, "{}")
                took.append(time.monotonic() - began)
            assert sorted(took)[-10] < 0.05
        own_redis.start()
        listener = Listener(open_bus(settings))
        listener.start()
        assert listener.bus.follow(FEED, timeout=5)
        journal = SqlJournal(settings, ring=ring)
        opened(journal)

        def heard() -> bool:
            journal.append(FEED, line())
            return any(b'"log"' in bytes(event) for _, event in list(listener.heard))

        wait_until(heard, timeout=15, what="the bus rings again")
        journal.close()
        listener.close()

    def test_without_a_broker_that_can_ring_there_is_no_bus_and_the_setting_is_named(self, postgresql_url):
        settings = Settings.load(
            {"PETIOLE_JOURNAL_URL": postgresql_url}, environ={}, celery=CeleryUrls(broker_url="sqs://")
        )
        for opening in (open_journal, open_bus):
            with pytest.raises(SetupError, match=r"Set PETIOLE_BUS_URL to a redis:// or amqp:// URL\.$"):
                opening(settings)

    def test_the_broker_is_the_bus_where_it_is_rabbitmq(self, postgresql_url, rabbitmq):
        settings = Settings.load(
            {"PETIOLE_JOURNAL_URL": postgresql_url}, environ={}, celery=CeleryUrls(broker_url=rabbitmq.url)
        )
        journal, listener = open_journal(settings), Listener(open_bus(settings))
        assert isinstance(listener.bus, AmqpBus)
        listener.start()
        feed = task_feed(f"a-{os.getpid()}")
        assert listener.bus.follow(feed, timeout=5)
        claimed(journal, feed)
        assert [event.patch["state"] for event in listener.wait_for(feed, 2)] == ["queued", "running"]
        journal.close()
        listener.close()

    @pytest.mark.parametrize("scheme", ["amqp", "amqps", "pyamqp"])
    def test_rabbitmq_keeps_no_journal(self, make_settings, scheme):
        with pytest.raises(
            SetupError, match=f"PETIOLE_JOURNAL_URL begins with {scheme}://, where nothing can be read again"
        ):
            open_journal(make_settings(f"{scheme}://guest@localhost/"))

    def test_the_broker_is_the_bus_where_it_is_redis(self, postgresql_url):
        settings = Settings.load(
            {"PETIOLE_JOURNAL_URL": postgresql_url}, environ={}, celery=CeleryUrls(broker_url="redis://broker/3")
        )
        assert settings.bus_url == "redis://broker/3"
        assert isinstance(open_bus(settings), RedisBus)

    def test_a_journal_in_redis_takes_no_other_bus(self, make_settings):
        for other in ("redis://b/0", "amqp://b/"):
            with pytest.raises(SetupError, match="Unset it"):
                open_bus(make_settings("redis://a/0", bus_url=other))
        assert isinstance(open_journal(make_settings("redis://a/0")), RedisJournal)


def answers(journal: SqlJournal) -> bool:
    try:
        journal.ping()
    except Unavailable:
        return False
    return True


def refuses(journal: SqlJournal, words: str = "") -> bool:
    try:
        return not isinstance(journal.append(FEED, line()), Stored)
    except Unavailable as error:
        return words in str(error)


def append_in_child(journal: SqlJournal, count: int) -> None:
    for _ in range(count):
        stored(journal.append(FEED, line(str(os.getpid()))))


def append_many(url: str, feed: str, count: int, prefix: str = "petiole") -> int:
    journal = SqlJournal(Settings(journal_url=url, key_prefix=prefix, journal_timeout=30.0))
    opened(journal, feed)
    return sum(isinstance(journal.append(feed, line(str(number))), Stored) for number in range(count))
