"""Connections that are kept between calls: what closes them, and the call after that."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from celery.exceptions import SoftTimeLimitExceeded
from redis.exceptions import NoScriptError, ResponseError

from petiole.journal.redis.journal import RedisJournal
from petiole.redis import connections as redis_calls
from petiole.redis.client import connect
from petiole.redis.connections import SENT_AT_ONCE, Calls
from petiole.settings import Settings
from tests.conftest import VARIANTS, redis_binary
from tests.contract.backends import FEED, OWNER, claimed, line, stored
from tests.support.logs import logged
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until


@pytest.fixture(params=VARIANTS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(redis_binary(request.param), tmp_path)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def client(server: RedisServer, make_settings: Callable[..., Settings]) -> Iterator[redis.Redis]:
    made = connect(make_settings(server.url, journal_timeout=1.0))
    assert isinstance(made, redis.Redis)
    yield made
    made.close()


@pytest.fixture
def calls(client: redis.Redis) -> Iterator[Calls]:
    made = Calls(client)
    yield made
    made.close()


def number(calls: Calls) -> int:
    """Return Redis's id of the connection of a call."""
    return int(calls(("CLIENT", "ID"))[0])


def test_calls_one_after_the_other_share_a_connection(calls: Calls) -> None:
    assert {number(calls) for _ in range(5)} == {number(calls)}


def test_the_replies_of_several_commands_come_in_their_order(calls: Calls) -> None:
    assert calls(("SET", "a", "1"), ("INCRBY", "a", 41), ("GET", "a")) == [b"OK", 42, b"42"]


def test_a_refused_command_is_raised_and_leaves_nothing_for_the_next_call(calls: Calls) -> None:
    before = number(calls)
    with pytest.raises(NoScriptError):
        calls(("EVALSHA", "0" * 40, 0))
    assert number(calls) == before
    with pytest.raises(ResponseError, match="wrong number"):
        calls(("SET", "a", "1"), ("GET",), ("EVALSHA", "0" * 40, 0), ("GET", "a"))
    assert calls(("GET", "a")) == [b"1"]
    # A new connection may reach another server, or belong to another user.
    assert number(calls) != before


def test_a_server_that_was_started_again_is_called_without_an_error(server: RedisServer, calls: Calls) -> None:
    calls(("SET", "a", "1"))
    server.kill()
    server.start()
    assert calls(("GET", "a")) == [b"1"]


def test_a_server_that_is_away_is_an_error_until_it_is_back(server: RedisServer, calls: Calls) -> None:
    calls(("SET", "a", "1"))
    server.kill()
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            calls(("GET", "a"))
    server.start()
    assert calls(("GET", "a")) == [b"1"]


def test_a_reply_that_came_too_late_is_not_taken_for_the_next_one(server: RedisServer, calls: Calls) -> None:
    calls(("SET", "a", "1"), ("SET", "b", "2"))
    server.pause()
    with pytest.raises(redis.TimeoutError):
        calls(("GET", "a"))
    server.resume()
    assert [calls(("GET", "b"))[0] for _ in range(3)] == [b"2"] * 3


def test_what_a_process_has_kept_is_not_used_by_one_that_it_forks(calls: Calls) -> None:
    before = number(calls)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, f"{number(calls)} {number(calls)}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        first, second = map(int, pipe.read().split())
    assert first == second != before
    assert number(calls) == before


def test_one_connection_is_enough_for_a_journal(server: RedisServer, make_settings: Callable[..., Settings]) -> None:
    journal = RedisJournal(make_settings(f"{server.url}?max_connections=1"))
    claimed(journal)
    stored(journal.append(FEED, line(), run=1, fact=2))
    journal.ping()
    assert [snapshot.feed for snapshot in journal.list(OWNER, limit=10)[0]] == [FEED]
    assert journal.heads([FEED])[FEED].cursor.facts == 3
    assert list(journal.pending(limit=10)) == []
    assert journal.notes(["none"]) == {}
    journal.close()


def test_calls_at_the_same_time_do_not_mix(calls: Calls) -> None:
    wrong: list[object] = []

    def call(name: str) -> None:
        for turn in range(200):
            found = calls(("ECHO", f"{name} {turn}"), ("ECHO", name))
            if found != [f"{name} {turn}".encode(), name.encode()]:
                wrong.append(found)

    threads = [threading.Thread(target=call, args=(f"thread {index}",)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_command_that_has_begun_goes_on_while_nobody_waits(calls: Calls, client: redis.Redis) -> None:
    replies = calls.begin(("SET", "a", "1"), ("GET", "a"))
    wait_until(lambda: client.get("a") == b"1", what="the server has it")
    assert calls(("INCR", "a")) == [2]  # on another connection
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.extend(replies()))
    thread.start()
    thread.join()
    assert answers == [b"OK", b"1"]


def test_what_has_begun_when_the_server_dies_is_an_error_when_it_is_waited_for(
    server: RedisServer, calls: Calls
) -> None:
    calls(("PING",))
    server.pause()
    replies = calls.begin(("GET", "a"))
    server.kill()
    with pytest.raises(redis.ConnectionError):
        replies()
    server.start()
    assert calls(("GET", "a")) == [None]


def test_what_would_have_to_wait_is_not_begun(calls: Calls) -> None:
    assert calls.begin_now(("SET", "a", "1")) is None  # there is no connection yet
    assert calls(("GET", "a")) == [None]
    assert calls.begin_now(("SET", "a", "x" * SENT_AT_ONCE)) is None
    calls.tell(("PING",))
    assert calls.begin_now(("SET", "a", "1")) is None  # a reply is pending on the only one
    assert calls(("GET", "a")) == [None]
    replies = calls.begin_now(("SET", "a", "1"))
    assert replies is not None
    assert calls.begin_now(("SET", "a", "2")) is None  # none of its time is left
    assert replies() == [b"OK"]


def test_replies_are_heard_once_they_have_come(server: RedisServer, calls: Calls) -> None:
    calls(("PING",))
    server.pause()
    replies = calls.begin_now(("SET", "a", "1"), ("GET", "a"))
    assert replies is not None
    assert replies.heard() is None
    server.resume()
    wait_until(lambda: replies.heard() is not None, what="they have arrived")
    assert replies.heard() == replies() == [b"OK", b"1"]
    assert calls(("GET", "a")) == [b"1"]  # and none of their replies is left over


def test_an_error_is_not_heard_but_raised(calls: Calls) -> None:
    calls(("PING",))
    replies = calls.begin_now(("EVALSHA", "0" * 40, 0))
    assert replies is not None
    assert replies._connection.can_read(10.0)
    assert replies.heard() is None
    for _ in range(2):
        with pytest.raises(NoScriptError):
            replies()
    assert calls(("PING",)) == [b"PONG"]


def test_replies_whose_reading_was_broken_off_are_not_read_from_what_is_another_calls(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls(("SET", "a", "1"))
    replies = calls.begin_now(("GET", "a"))
    assert replies is not None
    with monkeypatch.context() as limited:
        # A soft time limit, at any point where Python handles signals.
        limited.setattr(replies._connection, "read_response", lambda: signal.raise_signal(signal.SIGUSR1))
        before = signal.signal(signal.SIGUSR1, break_off)
        with pytest.raises(SoftTimeLimitExceeded):
            replies()
        signal.signal(signal.SIGUSR1, before)
    other = calls.begin(("GET", "b"))
    assert replies.heard() is None
    with pytest.raises(redis.ConnectionError, match="interrupted"):
        replies()
    assert other() == [None]


def break_off(*_: object) -> None:
    raise SoftTimeLimitExceeded


def test_a_connection_that_has_ended_is_not_heard_but_raised(server: RedisServer, calls: Calls) -> None:
    calls(("PING",))
    server.pause()
    replies = calls.begin_now(("SET", "a", "1"))
    assert replies is not None
    server.kill()
    assert replies.heard() is None
    with pytest.raises(redis.ConnectionError):
        replies()


def test_a_server_that_has_gone_is_found_without_waiting(
    server: RedisServer, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_calls, "TRUSTED_NOW", 0.0)
    calls(("PING",))
    server.kill()
    assert calls.begin_now(("SET", "a", "1")) is None


def test_replies_that_nobody_waits_for_are_not_the_next_calls(calls: Calls, caplog: pytest.LogCaptureFixture) -> None:
    before = number(calls)
    calls.tell(("SET", "a", "1"), ("GET",), ("GET", "a"))
    assert calls(("ECHO", "mine")) == [b"mine"]
    assert [record.msg for record in logged(caplog)] == ["command_refused"]
    assert calls(("GET", "a")) == [b"1"]
    assert number(calls) != before


def test_a_reply_that_is_owed_is_not_waited_for_on_a_dead_connection(server: RedisServer, calls: Calls) -> None:
    calls(("PING",))
    server.pause()
    calls.tell(("SET", "a", "1"))
    server.kill()
    server.start()
    assert calls(("ECHO", "mine")) == [b"mine"]


def test_what_is_told_is_done_although_the_process_ends(client: redis.Redis) -> None:
    child = os.fork()
    if child == 0:
        try:
            Calls(client).tell(("SET", "a", "1"))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    wait_until(lambda: client.get("a") == b"1", what="the server has it")


def test_a_closed_client_gets_no_connection_on_which_a_reply_is_owed(client: redis.Redis) -> None:
    calls = Calls(client)
    calls.tell(("ECHO", "not yours"))
    calls.close()
    assert client.echo("mine") == b"mine"
