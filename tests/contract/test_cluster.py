"""A Redis Cluster alone: masters that change, slots that move, nodes of several versions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis

from petiole.bus import open_bus, open_ring
from petiole.bus.redis_cluster import ShardedBus
from petiole.errors import Refusal, Unavailable
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import PARTITIONS, Draft, partition, task_feed
from petiole.redis.cluster import Cluster
from petiole.settings import Settings
from tests.conftest import VARIANTS, redis_binary
from tests.contract.backends import FEED, LONG, OWNER, claimed, line, opened, stored
from tests.contract.test_bus import SOON, Listener, Setup
from tests.support.redis import RedisServer
from tests.support.redis_cluster import ClusterServer
from tests.support.waiting import wait_until

FEEDS = [task_feed(f"t{number}") for number in range(200)]
TIMEOUT = 1.0


# Redis before 7.0 rings in another way; tests that don't depend on that run on the system's only.
every_version = pytest.mark.parametrize("cluster", VARIANTS, indirect=True)


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServer]:
    """Six nodes; all are up before and after each test."""
    made = ClusterServer(redis_binary(getattr(request, "param", "system")), tmp_path_factory.mktemp("cluster"))
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture
def whole(cluster: ClusterServer) -> Iterator[ClusterServer]:
    """The cluster, repaired after the test."""
    yield cluster
    for node in cluster.nodes:
        node.resume_or_start()
    wait_until(cluster.is_whole, timeout=20, what="the cluster is complete again")
    cluster.catch_up()


@pytest.fixture
def own(whole: ClusterServer, make_settings: Callable[..., Settings]) -> Iterator[Setup]:
    settings = make_settings(whole.url, journal_timeout=TIMEOUT)
    made = Setup(RedisJournal(settings), open_bus(settings))
    made.listener.start()
    wait_until(lambda: hears(made.bus), timeout=SOON, what="the bus receives its own messages on every node")
    yield made
    made.close()
    assert made.listener.ended()


def hears(bus: Any) -> bool:
    return bool(bus.probe(timeout=1.0))


def tag(setup: Setup, feed: str = FEED) -> str:
    """A key on the slot of a feed."""
    return str(setup.journal._names.feed(feed)[0])


def says(setup: Setup, message: str, feed: str = FEED) -> bool:
    """Try once to append a line, within a bounded time."""
    began = time.monotonic()
    try:
        stored(setup.journal.append(feed, line(message)))
    except Unavailable:
        return False
    finally:
        # Half of the timeout for the layout, then connecting and answering.
        assert time.monotonic() - began < 2.5 * TIMEOUT + 0.5
    return True


def heard(listener: Listener, message: str, feed: str = FEED) -> bool:
    return any((event.data or {}).get("message") == message for event in listener.events(feed))


class TestPartitions:
    def test_they_lie_on_all_nodes_and_are_asked_in_one_call(self, own, whole):
        for feed in FEEDS:
            opened(own.journal, feed)
        ports = {whole.master_of(own.journal._names.leases(index)).port for index in range(PARTITIONS)}
        assert len(ports) == 3
        assert own.journal.heads(FEEDS).keys() == set(FEEDS)
        assert {snapshot.feed for snapshot in own.journal.list(OWNER, limit=500)[0]} == set(FEEDS)
        for number, feed in enumerate(FEEDS[:64]):
            own.journal.note(f"n{number}", feed, instead_of="", lasts=LONG)
        assert own.journal.notes([f"n{number}" for number in range(70)]) == {
            f"n{number}": feed for number, feed in enumerate(FEEDS[:64])
        }

    def test_leases_that_have_ended_and_ends_to_be_told_are_found_on_all_nodes(self, own):
        for feed in FEEDS:
            opened(own.journal, feed, lease=0.001)
        wait_until(
            lambda: len(own.journal.expired(limit=500)) == len(FEEDS), timeout=SOON, what="all leases have ended"
        )
        for feed in FEEDS:
            own.journal.append(feed, Draft("state", {"state": "cancelled"}))
        assert sorted(own.journal.pending(limit=500)) == sorted(FEEDS)

    def test_a_node_that_has_forgotten_the_scripts_is_given_them_again(self, own, whole):
        opened(own.journal)
        for node in whole.nodes:
            with node.client() as client:
                client.script_flush()
        assert says(own, "a line")


@every_version
class TestShards:
    def test_a_feed_rings_within_its_shard_where_redis_can_and_everywhere_else(self, own, whole):
        opened(own.journal)
        assert own.bus.follow(FEED, timeout=SOON)
        channel = own.journal._names.channel(FEED)
        with whole.master_of(tag(own)).client() as client:
            version = int(client.info("server")["redis_version"].partition(".")[0])
            everywhere = client.pubsub_numsub(channel)[0][1]
            in_shard = client.execute_command("PUBSUB", "SHARDNUMSUB", channel)[1] if version >= 7 else 0
        assert (everywhere, in_shard) == ((0, 1) if version >= 7 else (1, 0))
        assert says(own, "rung")
        wait_until(lambda: heard(own.listener, "rung"), timeout=SOON, what="it has rung")

    def test_a_journal_elsewhere_rings_there_too(self, own, whole, tmp_path, make_settings):
        feeds = FEEDS[:20]
        for feed in feeds:
            assert own.bus.follow(feed, timeout=SOON)
        settings = make_settings(f"sqlite:///{tmp_path}/journal.sqlite", bus_url=whole.url)
        ring = open_ring(settings)
        for feed in feeds:
            ring(feed, f"text of {feed}")
        wait_until(lambda: len(own.listener.heard) == len(feeds), timeout=SOON, what="each of them has rung")
        assert sorted(own.listener.heard) == sorted((feed, f"text of {feed}".encode()) for feed in feeds)


class TestFailover:
    @every_version
    def test_calls_fail_in_time_and_work_again_at_the_new_master_and_feeds_ring_again(self, own, whole):
        opened(own.journal)
        assert own.bus.follow(FEED, timeout=SOON)
        whole.catch_up()
        returns = own.listener.returns
        before = whole.master_of(tag(own))
        before.kill()
        with pytest.raises(Unavailable, match="Start it, or set PETIOLE_JOURNAL_URL"):
            own.journal.append(FEED, line())
        wait_until(lambda: says(own, "at the new master"), timeout=15, what="the new master accepts a line")
        wait_until(lambda: whole.master_of(tag(own)) is not before, timeout=5, what="most nodes know the new master")
        wait_until(lambda: own.listener.returns > returns, timeout=10, what="the bus has reported its outage")
        # A feed that moves meanwhile is reported as unconfirmed.
        wait_until(lambda: own.bus.follow(FEED, timeout=1.0), timeout=10, what="the feed is followed at the new master")
        assert hears(own.bus)
        assert says(own, "heard again")
        wait_until(lambda: heard(own.listener, "heard again"), timeout=SOON, what="the feed rings again")

    def test_a_frozen_master_takes_no_call_longer_than_its_time(self, own, whole):
        opened(own.journal)
        whole.catch_up()
        before = whole.master_of(tag(own))
        other = next(feed for feed in FEEDS if whole.master_of(tag(own, feed)) is not before)
        opened(own.journal, other)
        before.pause()
        assert not says(own, "to a frozen master")
        wait_until(lambda: says(own, "at the new master"), timeout=15, what="the new master accepts a line")
        wait_until(lambda: says(own, "beside it", other), timeout=5, what="so does another shard")

    def test_a_bus_whose_master_is_frozen_is_deaf_and_restarts_at_the_new_one(self, own, whole):
        opened(own.journal)
        assert own.bus.follow(FEED, timeout=SOON)
        whole.catch_up()
        whole.master_of(tag(own)).pause()
        assert not hears(own.bus)
        wait_until(lambda: says(own, "at the new master"), timeout=15, what="the new master accepts a line")
        own.bus.restart()
        wait_until(lambda: hears(own.bus), timeout=10, what="the bus receives its own messages again")
        wait_until(lambda: own.bus.follow(FEED, timeout=1.0), timeout=10, what="the feed is followed at the new master")
        assert says(own, "heard again")
        wait_until(lambda: heard(own.listener, "heard again"), timeout=SOON, what="the feed rings again")

    def test_masters_that_change_places_with_their_replicas_are_followed(self, own, whole):
        opened(own.journal)
        assert own.bus.follow(FEED, timeout=SOON)
        before = whole.master_of(tag(own))
        replica = whole.replica_of(before)

        def changed() -> bool:
            with replica.client() as client, suppress(redis.ResponseError):
                client.execute_command("CLUSTER FAILOVER")
            return whole.master_of(tag(own)) is replica

        wait_until(changed, timeout=10, what="the replica is the master")
        wait_until(lambda: says(own, "after"), timeout=5, what="the new master accepts a line")

        def rings() -> bool:
            own.bus.follow(FEED, timeout=1.0)
            return says(own, "rung") and heard(own.listener, "rung")

        wait_until(rings, timeout=10, what="the feed rings at its new master")


@every_version
class TestSlots:
    @pytest.fixture
    def moving(self, own: Setup, whole: ClusterServer) -> Iterator[tuple[int, RedisServer, RedisServer]]:
        """The slot of the feed, its node, and another node; afterwards the slot is back at its node."""
        opened(own.journal)
        source = whole.master_of(tag(own))
        target = next(node for node in (whole.master_of(tag(own, feed)) for feed in FEEDS) if node is not source)
        with source.client() as client:
            slot = client.execute_command("CLUSTER KEYSLOT", tag(own))
        yield slot, source, target
        if whole.master_of(tag(own)) is target:
            whole.move_slot(slot, target, source)
            wait_until(lambda: whole.agree_on(slot, source), timeout=10, what="all nodes know that the slot is back")

    def test_a_slot_that_moves_takes_its_feed_along_and_the_bus_goes_after_it(self, own, whole, moving):
        slot, source, target = moving
        other = next(f for f in FEEDS if partition(f) != partition(FEED) and whole.master_of(tag(own, f)) is source)
        for feed in (FEED, other):
            opened(own.journal, feed)
            assert own.bus.follow(feed, timeout=SOON)
        before = own.journal.snapshot(FEED)
        whole.move_slot(slot, source, target)
        assert own.journal.snapshot(FEED) == before

        def rings(feed: str) -> bool:
            own.bus.follow(feed, timeout=1.0)
            return says(own, "after", feed) and heard(own.listener, "after", feed)

        for feed in (FEED, other):
            wait_until(lambda feed=feed: rings(feed), timeout=10, what=f"{feed} rings where it is")
        assert hears(own.bus)

    def test_a_partition_on_its_way_is_away_and_comes_back(self, own, whole, moving):
        slot, source, target = moving
        claimed(own.journal, task_feed("a"))
        whole.move_slot(slot, source, target, finish=False)
        with pytest.raises(Unavailable, match="is temporarily unavailable"):
            own.journal.append(FEED, line())
        whole.move_slot(slot, source, target)
        assert says(own, "arrived")

    def test_without_going_after_the_slot_a_feed_stays_silent(self, own, whole, moving, monkeypatch):
        slot, source, target = moving
        assert own.bus.follow(FEED, timeout=SOON)
        monkeypatch.setattr(ShardedBus, "_settle", lambda self: False)
        whole.move_slot(slot, source, target)
        wait_until(lambda: says(own, "at its new place"), timeout=5, what="the journal has followed it")
        # On Redis before 7.0 a ring goes to every node, so there is nothing to follow.
        with source.client() as client:
            everywhere = client.info("server")["redis_version"].startswith("6.")
        if everywhere:
            wait_until(
                lambda: heard(own.listener, "at its new place"), timeout=SOON, what="it was received all the same"
            )
        else:
            assert not own.bus.follow(FEED, timeout=1.0)
            assert not heard(own.listener, "at its new place")


class TestWrongSetUps:
    def test_a_server_that_is_no_cluster(self, redis_servers, make_settings):
        server = redis_servers(VARIANTS[0])
        journal = RedisJournal(make_settings(f"redis+cluster://127.0.0.1:{server.port}"))
        with pytest.raises(Refusal, match=r"isn't a cluster\. Set PETIOLE_JOURNAL_URL to redis://"):
            journal.ping()
        assert "isn't a cluster" in journal.inspect()[0]

    def test_a_cluster_that_is_taken_for_a_server(self, cluster, make_settings):
        journal = RedisJournal(make_settings(cluster.nodes[0].url))
        with pytest.raises(Refusal, match=r"is a node of a cluster.*PETIOLE_JOURNAL_URL to redis\+cluster://127"):
            journal.heads(FEEDS)
        assert "is a node of a cluster" in journal.inspect()[0]

    def test_nobody_there(self, make_settings):
        journal = RedisJournal(make_settings("redis+cluster://:swordfish@127.0.0.1:1,127.0.0.1:2"))
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1,127\.0\.0\.1:2 doesn't answer") as away:
            journal.ping()
        assert "swordfish" not in str(away.value)

    def test_a_wrong_password(self, whole, make_settings):
        for node in whole.nodes:
            with node.client() as client:
                client.acl_setuser(
                    "ann", enabled=True, passwords=["+right"], categories=["+@all"], keys=["*"], channels=["*"]
                )
        for password, works in (("right", True), ("wrong", False)):
            journal = RedisJournal(make_settings(whole.url.replace("://", f"://ann:{password}@")))
            if works:
                journal.ping()
                continue
            with pytest.raises(Unavailable, match="Correct user and password in PETIOLE_JOURNAL_URL") as refused:
                journal.ping()
            assert "wrong" not in str(refused.value)

    def test_what_weakens_the_promise_is_named(self, own, whole):
        said = own.journal.inspect()
        assert len([sentence for sentence in said if "Set min-replicas-to-write 1" in sentence]) == 3
        for node in whole.nodes:
            with node.client() as client:
                client.config_set("min-replicas-to-write", 1)
        try:
            assert not [sentence for sentence in own.journal.inspect() if "min-replicas" in sentence]
        finally:
            for node in whole.nodes:
                with node.client() as client:
                    client.config_set("min-replicas-to-write", 0)

    def test_a_master_without_a_replica_is_named(self, redis_clusters, make_settings):
        said = RedisJournal(make_settings(redis_clusters("system").url)).inspect()
        assert len([sentence for sentence in said if "has no replica" in sentence]) == 3


def test_a_cluster_whose_majority_is_gone_is_away_as_a_whole(own, whole):
    opened(own.journal)
    own.journal.ping()
    kept = whole.master_of(tag(own))
    others = [node for node in whole.nodes if node not in (kept, whole.replica_of(kept))]
    for node in others:
        node.kill()

    def refused() -> bool:
        try:
            own.journal.ping()
        except Unavailable:
            return True
        return False

    wait_until(refused, timeout=10, what="the cluster reports itself as down")
    with pytest.raises(Unavailable, match="is temporarily unavailable"):
        own.journal.append(FEED, line())


def test_a_client_of_a_cluster_connects_with_its_first_command(make_settings):
    assert isinstance(RedisJournal(make_settings("redis+cluster://127.0.0.1:1"))._client, Cluster)
