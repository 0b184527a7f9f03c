"""The master that holds a task's feed is killed while the task runs: behind Sentinels, and in a cluster.

Replication is asynchronous, so facts that the master has acknowledged may be lost with it: then the task sends them again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import group

from petiole.client import TaskView
from petiole.errors import Unavailable
from petiole.journal.redis.journal import RedisJournal
from petiole.journal.verification import verify
from petiole.protocol.events import Cursor, Event, partition
from petiole.settings import Settings
from tests.conftest import any_redis_binary
from tests.support.groups import PERSON, counts, groups_of
from tests.support.redis import RedisServer
from tests.support.redis_cluster import ClusterServer
from tests.support.redis_sentinel import MASTER, SentinelServer
from tests.support.system import System, running
from tests.support.waiting import wait_until

FAILOVER = 20.0


@pytest.fixture(params=["sentinel", "cluster"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ClusterServer | SentinelServer]:
    kind = SentinelServer if request.param == "sentinel" else ClusterServer
    made = kind(any_redis_binary(), tmp_path / "servers")
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture
def failing(servers: ClusterServer | SentinelServer, tmp_path: Path) -> Iterator[System]:
    """A system with its journal there, and Celery's broker on a separate server."""
    with running(tmp_path, settings={"PETIOLE_JOURNAL_URL": servers.url}) as system:
        yield system
        print("\n".join(system.log[-200:]))


def master_of(servers: ClusterServer | SentinelServer, feed: str) -> RedisServer:
    if isinstance(servers, SentinelServer):
        return servers.master()
    return servers.master_of(f"petiole:{{{partition(feed):02}}}:")


def replica_of(servers: ClusterServer | SentinelServer, master: RedisServer) -> RedisServer:
    if isinstance(servers, SentinelServer):
        return next(server for server in servers.servers if server is not master)
    return servers.replica_of(master)


def lines(events: list[Event]) -> list[str]:
    return [event.data["message"] for event in events if event.kind == "log"]


def reached(view: TaskView, number: int, *, timeout: float = 20) -> None:
    view.wait_until(lambda document: (document.get("progress") or {}).get("completed") == number, timeout=timeout)


def ended(view: TaskView, *, timeout: float) -> tuple[str, Any]:
    document = view.wait(timeout=timeout)
    return document["state"], document.get("result", document.get("reason"))


def facts_in(journal: RedisJournal, feed: str) -> int | None:
    """The number of facts in the journal, once a master answers."""
    try:
        head = journal.heads([feed]).get(feed)
    except Unavailable:
        return None
    return head.cursor.facts if head else 0


def state_in(journal: RedisJournal, feed: str) -> str | None:
    """A task's state in the journal, once a master answers."""
    try:
        snapshot = journal.snapshot(feed)
    except Unavailable:
        return None
    return snapshot.document.get("state") if snapshot else None


def test_a_master_that_dies_in_mid_task_costs_nothing(failing: System, servers: Any) -> None:
    first, second = failing.gate("first"), failing.gate("second")
    events: list[Event] = []
    view = failing.client("ann").start(
        "/start/count", {"args": [300, {"100": str(first), "200": str(second)}]}, on_event=events.append
    )
    reached(view, 100)
    servers.catch_up()
    before = master_of(servers, view.feed)
    before.kill()
    first.touch()
    wait_until(lambda: failing.said("journal_away"), what="the worker has noticed")
    reached(view, 200, timeout=FAILOVER)
    assert master_of(servers, view.feed) is not before
    # The dead one comes back as a replica, and no client uses it as master.
    before.start()
    second.touch()
    assert view.wait(timeout=30)["result"] == 300
    assert lines(events) == [f"item {number}" for number in range(300)]
    assert [event.facts for event in events if event.is_fact] == list(range(2, view.receipt.facts + 1))
    assert view.receipt.complete
    assert view.resets == 0

    late: list[Event] = []
    again = failing.client("ann").watch(view.feed, on_event=late.append)
    assert again.wait(timeout=10)["result"] == 300
    assert lines(late) == lines(events)


@pytest.mark.parametrize("servers", ["cluster"], indirect=True)
def test_a_group_counts_each_child_once_where_its_master_dies(failing: System, servers: Any, tmp_path: Path) -> None:
    gate = failing.gate("gate")
    with groups_of(failing, tmp_path / "ran") as groups:
        names = [str(number) for number in range(20)]
        canvas = group(*map(groups.part, names), groups.part("last", "deaf_part", str(gate)))
        # The children of the second have feeds of their own, on any master.
        ids = [f"on-the-same-master-{number}" for number in range(100)]
        before = master_of(servers, f"group:{ids[0]}")
        ids = [each for each in ids if master_of(servers, f"group:{each}") is before]
        started = [groups.start(canvas.clone(), light=number == 0, task_id=ids[number]) for number in range(2)]
        views = [failing.client(PERSON).watch(whole.feed) for whole in started]
        for whole in started:
            groups.wait_for(whole, succeeded=20, running=1)
        servers.catch_up()
        before.kill()
        gate.touch()
        for view in views:
            document = view.wait(timeout=FAILOVER + 10)
            assert (document["state"], counts(document)) == ("succeeded", {"succeeded": 21})
            assert view.receipt.complete
        assert sorted(groups.lines()) == sorted(2 * [*names, "last"])


@pytest.mark.parametrize("stalls", [False, True], ids=["at once", "stalled"])
def test_what_the_new_master_never_got_is_sent_again(failing: System, servers: Any, stalls: bool) -> None:
    first, second = failing.gate("first"), failing.gate("second")
    seen: list[Event | Cursor] = []
    view = failing.client("ann").start(
        "/start/count",
        {"args": [150, {"50": str(first), "100": str(second)}]},
        on_event=seen.append,
        on_reset=seen.append,
    )
    reached(view, 50)
    servers.catch_up()
    master = master_of(servers, view.feed)
    replica = replica_of(servers, master)
    replica.pause()
    with master.client() as client:
        # The replica loses unread data with the connection.
        client.execute_command("CLIENT", "KILL", "TYPE", "replica")
    first.touch()
    reached(view, 100)
    shown = view.cursor.facts
    failing.freeze_worker()
    master.kill()
    replica.resume()
    journal = RedisJournal(Settings(journal_url=servers.url))
    wait_until(lambda: facts_in(journal, view.feed) is not None, what="the replica is master", timeout=FAILOVER)
    # Without the facts' writer the journal has fewer facts than every page has seen.
    kept = facts_in(journal, view.feed)
    assert kept is not None
    assert kept <= shown - 40
    if stalls:
        # The reaper's fact gets the number of one of the lost facts.
        wait_until(lambda: state_in(journal, view.feed) == "stalled", what="the reaper has reported", timeout=FAILOVER)
    failing.thaw_worker()
    # A silent task doesn't notice; with its next event it sends the missing ones again.
    second.touch()
    document = view.wait(timeout=30)
    assert (document["state"], document["result"]) == ("succeeded", 150)
    verified = verify(journal, view.feed)
    assert verified is not None
    assert verified.complete
    assert verified.chain == view.receipt.chain
    late: list[Event] = []
    failing.client("ann").watch(view.feed, on_event=late.append).wait(timeout=10)
    assert lines(late) == [f"item {number}" for number in range(150)]
    # Connected browsers have everything as well; each new reading was reported as a reset, and everything after it was shown.
    resets = [at for at, what in enumerate(seen) if isinstance(what, Cursor)]
    assert view.resets == len(resets)
    assert view.receipt.complete is not bool(resets)
    anew = seen[resets[-1]].facts if resets else 1
    since = seen[resets[-1] + 1 :] if resets else seen
    facts = [event.facts for event in since if isinstance(event, Event) and event.is_fact]
    assert facts == list(range(anew + 1, verified.facts + 1))
    if stalls:
        assert resets
    journal.close()


def test_celerys_broker_behind_the_same_sentinels_is_the_journal_and_survives_with_it(tmp_path: Path) -> None:
    servers = SentinelServer(any_redis_binary(), tmp_path / "servers")
    try:
        servers.start()
        settings = {"CELERY_BROKER_URL": servers.broker_url(), "BROKER_MASTER": MASTER}
        with running(tmp_path, settings=settings) as system:
            gate = system.gate("first")
            events: list[Event] = []
            client = system.client("ann")
            view = client.start("/start/count", {"args": [100, {"50": str(gate)}]}, on_event=events.append)
            reached(view, 50)
            servers.catch_up()
            servers.master().kill()
            gate.touch()
            assert ended(view, timeout=30) == ("succeeded", 100)
            assert lines(events) == [f"item {number}" for number in range(100)]
            assert view.receipt.complete
            # The worker has reconnected to its broker too.
            assert ended(client.start("/start/count", {"args": [5]}), timeout=40) == ("succeeded", 5)
            with servers.master().client() as found:
                assert found.keys("petiole:*")
    finally:
        servers.kill()
