"""The whole way with the journal in a database and the bus in Redis: worker and web server in separate processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from petiole.journal.sql.server import upgrade
from petiole.protocol.events import Event
from tests.support.postgres import PostgresServer
from tests.support.system import System, running
from tests.support.waiting import wait_until


@pytest.fixture(params=["sqlite", "postgresql"])
def sql_system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/journal.sqlite"
    else:
        url = request.getfixturevalue("own_postgres").url()
        upgrade(url)
    # Without the head check, so that every event that arrives has been rung.
    with running(tmp_path, settings={"PETIOLE_JOURNAL_URL": url, "PETIOLE_HEAD_CHECK": "30"}) as system:
        yield system
        print("\n".join(system.log[-200:]))


def lines(events: list[Event]) -> list[str]:
    return [event.data["message"] for event in events if event.kind == "log"]


def test_every_fact_arrives_in_order_once_with_a_receipt(sql_system: System) -> None:
    events: list[Event] = []
    client = sql_system.client("ann")
    view = client.start("/start/count", {"args": [200], "title": "Two hundred"}, on_event=events.append)
    document = view.wait(timeout=30)
    assert (document["state"], document["result"], document["title"]) == ("succeeded", 200, "Two hundred")
    assert lines(events) == [f"item {number}" for number in range(200)]
    assert [event.facts for event in events if event.is_fact] == list(range(2, view.receipt.facts + 1))
    assert view.receipt.complete
    assert view.receipt.shown == view.receipt.facts == 204

    late: list[Event] = []
    again = sql_system.client("ann").watch(view.feed, on_event=late.append)
    assert again.wait(timeout=10) == document
    assert again.receipt == view.receipt
    assert lines(late) == lines(events)

    retried = client.start("/start/fail_twice", {}).wait(timeout=30)
    assert (retried["result"], retried["run"]) == ("attempt 2", 3)
    assert (
        sql_system.session("bob").get(f"{sql_system.url}/petiole/tasks/{view.feed[5:]}", timeout=5).status_code == 404
    )


def test_a_killed_worker_is_noticed_and_its_task_is_lost(sql_system: System) -> None:
    states: list[str | None] = []
    view = sql_system.client("ann").start(
        "/start/count",
        {"args": [10, {"5": str(sql_system.gate("never"))}]},
        on_event=lambda event: states.append(event.patch.get("state")),
    )
    view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 5, timeout=20)
    sql_system.kill_worker()
    view.wait_until(lambda document: document["state"] == "stalled", timeout=20)
    assert [state for state in states if state] == ["running", "stalled"]


def test_a_database_that_is_killed_and_restarted_in_the_middle_loses_nothing(
    own_postgres: PostgresServer, tmp_path: Path
) -> None:
    upgrade(own_postgres.url())
    with running(tmp_path, settings={"PETIOLE_JOURNAL_URL": own_postgres.url()}) as system:
        first, second = system.gate("first"), system.gate("second")
        events: list[Event] = []
        view = system.client("ann").start(
            "/start/count", {"args": [300, {"100": str(first), "200": str(second)}]}, on_event=events.append
        )
        view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 100, timeout=20)
        own_postgres.kill()
        first.touch()
        wait_until(lambda: system.said("journal_away"), what="the worker has noticed")
        own_postgres.start()
        view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == 200, timeout=30)
        # While no statement is running: its idle connections die.
        own_postgres.restart()
        second.touch()
        assert view.wait(timeout=30)["result"] == 300
        assert lines(events) == [f"item {number}" for number in range(300)]
        assert [event.facts for event in events if event.is_fact] == list(range(2, view.receipt.facts + 1))
        assert view.receipt.complete
        assert view.resets == 0
        print("\n".join(system.log[-200:]))
