"""The arithmetic of docs/scale.md, and the check of the run with a hundred workers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import page
from benchmarks.arithmetic import Costs, Curve, Limits, Load, cores, costs_in, needs, shards, web_processes
from benchmarks.requirements import tables
from benchmarks.workers import STATES, tally
from petiole.journal.answers import Head
from petiole.protocol.events import Cursor

COSTS = Costs(
    web_event=Curve(((100.0, 300.0), (1_000.0, 100.0))),
    web_further_us=20.0,
    web_browser_us=10.0,
    web_idle_us=5_000.0,
    web_join_us=1_000.0,
    web_browser_kib=32.0,
    web_mib=64.0,
    redis_fact=Curve(((100.0, 200.0), (1_000.0, 50.0))),
    redis_web_us=1_000.0,
    redis_browser_us=5.0,
    redis_worker_us=100.0,
    redis_feed_kib=2.0,
    worker_fact_us=300.0,
    worker_idle_us=1_000.0,
    worker_mib=45.0,
    fact_in_bytes=900.0,
    fact_out_bytes=500.0,
    frame_bytes=450.0,
    watch_in_bytes=50.0,
    watch_out_bytes=70.0,
    web_in_bytes=10_000.0,
    web_out_bytes=3_000.0,
)
LIMITS = Limits(share=0.6, connections=5_000, watched=25_000, redis_gib=8.0, link_bytes=75e6)
LOAD = Load(browsers=2_000, events=2_000, feeds=2_000, webs=2, workers=10)


def test_cores_are_the_sum_of_what_each_part_costs():
    assert cores(COSTS, LOAD) == {
        "web": pytest.approx(2_000 * 100e-6 + 2_000 * 10e-6 + 2 * 0.005),
        "redis": pytest.approx(2_000 * 50e-6 + 2 * 0.001 + 2_000 * 5e-6 + 10 * 100e-6),
        "workers": pytest.approx(2_000 * 300e-6 + 10 * 0.001),
    }


@pytest.mark.parametrize(
    ("rate", "cost"),
    [(0.0, 300.0), (50.0, 300.0), (100.0, 300.0), (10**2.5, 200.0), (1_000.0, 100.0), (9_999.0, 100.0)],
)
def test_an_event_costs_the_less_the_busier_its_process_is(rate, cost):
    assert COSTS.web_event.at(rate) == pytest.approx(cost)


def test_what_more_processes_share_costs_each_event_more():
    assert cores(COSTS, replace(LOAD, webs=20))["web"] > cores(COSTS, LOAD)["web"] + 18 * 0.005


def test_further_browsers_of_one_feed_cost_less_than_its_first():
    alone = cores(COSTS, LOAD)["web"]
    assert cores(COSTS, replace(LOAD, deliveries=11.0))["web"] == pytest.approx(alone + 2_000 * 10 * 20e-6)


def test_events_that_nobody_here_watches_cost_a_web_process_nothing():
    unwatched = cores(COSTS, replace(LOAD, deliveries=0.0))
    assert unwatched["web"] == pytest.approx(2_000 * 10e-6 + 2 * 0.005)
    assert unwatched["redis"] == cores(COSTS, LOAD)["redis"]


@pytest.mark.parametrize(
    "load",
    [
        Load(browsers=0, events=0, feeds=0),
        Load(browsers=100, events=100_000, feeds=100),
        Load(browsers=1_000_000, events=100, feeds=1_000_000),
        Load(browsers=30_000, events=7_000, feeds=30_000, deliveries=3.0),
    ],
)
def test_so_many_web_processes_are_enough_and_one_fewer_is_not(load):
    def carried(webs):
        busy = cores(COSTS, replace(load, webs=webs))["web"]
        return busy <= webs * LIMITS.share + 1e-9 and load.browsers <= webs * LIMITS.connections

    webs = web_processes(COSTS, load, LIMITS)
    assert carried(webs)
    assert webs == 1 or not carried(webs - 1)


def test_a_feed_whose_browsers_are_at_three_processes_is_asked_after_three_times():
    spread = Load(browsers=3_000, events=0, feeds=300, webs=3, deliveries=10.0)
    assert (spread.followed, replace(spread, webs=20).followed, replace(spread, deliveries=0.5).followed) == (
        900,
        3_000,
        300,
    )
    assert cores(COSTS, spread)["redis"] == pytest.approx(900 * 5e-6 + 3 * 0.001)


@pytest.mark.parametrize("events", [0, 1_000, 100_000])
def test_so_many_shards_are_enough_and_one_fewer_is_not(events):
    load = Load(browsers=0, events=events, feeds=0, webs=3)

    def carried(number):
        return cores(COSTS, replace(load, shards=number))["redis"] <= number * LIMITS.share

    number = shards(COSTS, load, LIMITS)
    assert carried(number)
    assert number == 1 or not carried(number - 1)


def test_more_web_processes_ask_more_of_redis():
    few = needs(COSTS, Load(browsers=5_000, events=1_000, feeds=0), LIMITS)
    many = needs(COSTS, Load(browsers=500_000, events=1_000, feeds=0), LIMITS)
    assert (few.webs, many.webs) == (1, 100)
    assert (many.used["Redis CPU"] - few.used["Redis CPU"]) * LIMITS.share == pytest.approx(99 * 0.001)


@pytest.mark.parametrize(
    ("load", "first"),
    [
        (Load(browsers=100, events=10_000, feeds=100), "web CPU"),
        (Load(browsers=5_000, events=1, feeds=10), "web connections"),
        (Load(browsers=1_000, events=1, feeds=100_000), "web head checks"),
        (Load(browsers=1, events=10_000, feeds=1, deliveries=0.0), "Redis CPU"),
        (Load(browsers=1, events=1_000, feeds=1, deliveries=0.0), "Redis CPU"),
        (Load(browsers=1, events=5_000, feeds=1, deliveries=100.0), "the link to the browsers"),
    ],
)
def test_what_runs_out_first_depends_on_the_load(load, first):
    # So high a capacity of web processes that the link appears among the limits, too.
    costs = replace(COSTS, web_further_us=0.1, web_event=Curve(((1.0, 1.0),))) if load.deliveries > 1 else COSTS
    assert needs(costs, load, LIMITS).order[0] == first


def test_memory_is_shards_of_its_own():
    costs = replace(COSTS, redis_browser_us=0.0)
    found = needs(costs, Load(browsers=1, events=0, feeds=20 * 2**20), replace(LIMITS, watched=10**9, link_bytes=1e12))
    assert found.redis_gib == 40.0
    assert (found.order[0], found.shards) == ("Redis memory", 5)


def test_bytes_and_joining_are_what_the_events_and_browsers_come_to():
    found = needs(COSTS, Load(browsers=10_000, events=10_000, feeds=10_000, deliveries=2.0), LIMITS)
    assert found.redis_bytes == 10_000 * 900 + 20_000 * 50 + found.webs * 10_000
    assert found.browser_bytes == 9e6
    assert found.join_seconds == pytest.approx(10.0 / found.webs)


def test_every_table_has_its_place_in_the_documents_and_is_what_was_measured():
    documents = [(page.DOCS / name).read_text() for name in page.PAGES]
    found = page.tables()
    assert all(f"<!-- table: {name} -->" in "".join(documents) for name in found)
    for document in documents:
        assert page.fill(document, found) == document, "Run python -m benchmarks.page, and read the prose again."


def test_the_tables_follow_the_costs():
    measured = costs_in(page.result("scale"))
    dearer = replace(measured, redis_fact=Curve(((1.0, 999.0),)))
    assert tables(dearer, Limits())["million"] != tables(measured, Limits())["million"]


def test_a_place_without_a_table_is_an_error():
    with pytest.raises(KeyError, match="nothing"):
        page.fill("<!-- table: nothing -->\n<!-- end -->", {})


FEED = "task:one"


def head(facts=5 + STATES, chain="c" * 16):
    return {FEED: Head(Cursor("e" * 8, facts, facts, chain), "succeeded", "user:reader", 1, None)}


def shown(**changed):
    whole = {
        **{"feed": FEED, "state": "succeeded", "facts": 5 + STATES, "chain": "c" * 16, "shown": 5 + STATES},
        **{"complete": True, "numbers": [0, 1, 2, 3, 4]},
    }
    return [{**whole, **changed}]


def test_a_whole_reading_is_clean():
    found = tally(shown(), head(), count=5)
    assert found.clean
    assert (found.expected, found.received, found.receipts) == (8, 8, 1)


@pytest.mark.parametrize(
    ("changed", "lost", "twice"),
    [
        ({"shown": 7, "numbers": [0, 1, 2, 4]}, 1, 0),
        ({"numbers": [0, 1, 2, 3]}, 1, 0),
        ({"numbers": [0, 1, 2, 3, 4, 4]}, 0, 1),
        ({"numbers": [0, 2, 1, 3, 4]}, 0, 0),
        ({"chain": "d" * 16}, 0, 0),
        ({"complete": False}, 0, 0),
        ({"state": "running"}, 0, 0),
        ({"facts": 7}, 0, 0),
    ],
)
def test_a_reading_that_lacks_doubles_or_swaps_is_found(changed, lost, twice):
    found = tally(shown(**changed), head(), count=5)
    assert not found.clean
    assert (found.lost, found.shown_twice, found.wrong_receipts) == (lost, twice, 1)


def test_a_fact_that_the_journal_itself_has_lost_is_found():
    assert not tally(shown(), head(facts=7), count=5).clean
    assert not tally(shown(), {}, count=5).clean
