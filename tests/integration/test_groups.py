"""Groups of tasks with one feed: each child counts once, and the group says how it ended."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import chain, chord, chunks, group
from celery.canvas import xstarmap

from petiole import PetioleError
from tests.support.groups import NAMES, Groups, counts, groups_of
from tests.support.system import System
from tests.support.waiting import wait_until


@pytest.fixture
def groups(system: System, tmp_path: Path) -> Iterator[Groups]:
    with groups_of(system, tmp_path / "lines") as groups:
        yield groups


@pytest.mark.parametrize("light", [True, False])
def test_each_task_of_a_group_counts_once(groups: Groups, light: bool) -> None:
    handle = groups.start(group(groups.part(f"{number}") for number in range(20)), light=light)
    assert handle.id == handle.feed
    assert handle.document["light"] is light
    document = groups.wait(handle)
    assert document["state"] == "succeeded"
    assert counts(document) == {"succeeded": 20}
    assert sorted(groups.lines()) == sorted(f"{number}" for number in range(20))
    assert document["progress"]["completed"] == document["progress"]["total"] == 20
    assert document["progress"]["fraction"] == 1


def test_a_group_of_more_than_50_is_light_by_default(groups: Groups) -> None:
    few = groups.start(group(groups.part(f"{number}") for number in range(50)))
    many = groups.start(group(groups.part(f"{number}") for number in range(51)))
    assert (few.document["light"], many.document["light"]) == (False, True)
    assert counts(groups.wait(few)) == {"succeeded": 50}
    assert counts(groups.wait(many)) == {"succeeded": 51}


def test_an_empty_group_has_succeeded_at_once(groups: Groups) -> None:
    handle = groups.start(group([]))
    document = groups.document(handle)
    assert (document["state"], document["progress"]["total"]) == ("succeeded", 0)


def test_a_group_of_one(groups: Groups) -> None:
    assert counts(groups.wait(groups.start(group(groups.part("only"))))) == {"succeeded": 1}
    without_id = groups.start(group(groups.part("only")).set(task_id=None))
    assert without_id.id != "group:None"
    assert counts(groups.wait(without_id)) == {"succeeded": 1}


def test_a_failure_is_counted_and_shown_with_its_reference(groups: Groups) -> None:
    canvas = group([groups.part("good"), groups.part("bad", "failing_part"), groups.part("good too")])
    handle = groups.start(canvas, light=True)
    document = groups.wait(handle)
    assert document["state"] == "failed"
    assert document["reason"] == "1 of 3 tasks failed."
    assert counts(document) == {"succeeded": 2, "failed": 1}
    assert document["error1"]["message"] == "bad has failed."
    assert document["error1"]["reference"] == document["error1"]["id"][:8]


def test_a_chain_says_its_steps_and_stops_at_a_failure(groups: Groups) -> None:
    canvas = chain(groups.part("first"), groups.part("second", "failing_part"), groups.part("third"))
    handle = groups.start(canvas, light=True)
    assert handle.document["steps"] == ["Part", "Failing part", "Part"]
    document = groups.wait(handle)
    assert document["state"] == "failed"
    assert groups.states(handle) == ["succeeded", "failed", "skipped"]
    assert document["progress"]["stage"] == "Failing part"


def test_what_a_task_of_a_chain_returns_goes_to_the_next(groups: Groups) -> None:
    canvas = chain(groups.part("first"), groups.task("part_after", "second", str(groups.file)))
    assert counts(groups.wait(groups.start(canvas))) == {"succeeded": 2}
    assert groups.lines() == ["first", "second after first"]


def test_a_chain_in_which_a_task_is_ignored_goes_no_further(groups: Groups) -> None:
    canvas = chain(groups.part("first", "ending_part", "ignore"), groups.part("second"), groups.part("third"))
    handle = groups.start(canvas)
    assert groups.wait(handle)["state"] == "succeeded"
    assert groups.states(handle) == ["succeeded", "skipped", "skipped"]


def test_a_chord_counts_its_body_and_its_results_are_celerys(groups: Groups) -> None:
    canvas = chord([groups.part(f"{number}") for number in range(5)], groups.body())
    handle = groups.start(canvas, light=True)
    assert handle.document["steps"] == ["Part", "Collect"]
    document = groups.wait(handle)
    assert counts(document) == {"succeeded": 6}
    assert document["progress"]["step"] == 2
    page, _ = groups.tracking.journal.children(handle.feed, limit=10)
    body = groups.celery_app.AsyncResult(page[-1].task_id)
    assert body.get(timeout=5) == ["0", "1", "2", "3", "4"]


def test_the_result_of_a_group_is_celerys(groups: Groups) -> None:
    handle = groups.start(group(groups.task("add", number, 1) for number in range(60)))
    groups.wait(handle)
    page, _ = groups.tracking.journal.children(handle.feed, limit=100)
    results = [groups.celery_app.AsyncResult(child.task_id).get(timeout=5) for child in page]
    assert results == [number + 1 for number in range(60)]


def test_a_body_that_fails(groups: Groups) -> None:
    canvas = chord([groups.part("0"), groups.part("1")], groups.body(True))
    handle = groups.start(canvas, light=True)
    assert groups.wait(handle)["state"] == "failed"
    assert groups.states(handle) == ["succeeded", "succeeded", "failed"]


def test_a_header_that_fails_has_the_body_skipped(groups: Groups) -> None:
    canvas = chord([groups.part("0"), groups.part("1", "failing_part")], groups.body())
    handle = groups.start(canvas, light=True)
    document = groups.wait(handle)
    assert groups.states(handle) == ["succeeded", "failed", "skipped"]
    assert (document["state"], document["reason"]) == ("failed", "1 of 3 tasks failed.")


def test_errbacks_are_called_and_not_counted(groups: Groups) -> None:
    errback = groups.celery_app.signature("tests.apps.worker_app.errback", kwargs={"file": str(groups.file)})
    body = groups.body(True).on_error(errback)
    handle = groups.start(chord([groups.part("0").on_error(errback)], body), light=True)
    assert counts(groups.wait(handle)) == {"succeeded": 1, "failed": 1}
    wait_until(lambda: groups.runs("errback") == 1, what="the errback was called")


def test_an_errback_on_the_header_too(groups: Groups) -> None:
    groups.celery_app.conf.task_allow_error_cb_on_chord_header = True
    errback = groups.celery_app.signature("tests.apps.worker_app.errback", kwargs={"file": str(groups.file)})
    canvas = chord([groups.part("0", "failing_part"), groups.part("1")], groups.body())
    canvas.link_error(errback)
    handle = groups.start(canvas, light=True)
    assert counts(groups.wait(handle)) == {"succeeded": 1, "failed": 1, "skipped": 1}
    wait_until(lambda: groups.runs("errback") >= 1, what="the errback was called")


def test_chunks_count_their_parts(groups: Groups) -> None:
    add = groups.celery_app.signature(f"{NAMES}.add")
    numbers = [(number, number) for number in range(10)]
    for size, parts in ((1, 10), (3, 4), (100, 1)):
        assert counts(groups.wait(groups.start(chunks(add, iter(numbers), size)))) == {"succeeded": parts}


def test_a_starmap_is_a_task_like_others(groups: Groups) -> None:
    add = groups.celery_app.signature(f"{NAMES}.add")
    handle = groups.start(xstarmap(add, ((number, number) for number in range(3)), app=groups.celery_app))
    assert handle.id == handle.feed.removeprefix("task:")
    document = groups.wait(handle)
    assert (document["state"], document["result"], document["title"]) == ("succeeded", [0, 2, 4], "Add")


def test_a_signature_is_a_task_with_its_arguments_and_options(groups: Groups) -> None:
    follows = groups.part("after")
    signature = groups.task("part", "here", str(groups.file)).set(link=[follows], countdown=0.1)
    handle = groups.start(signature, title="Its own")
    document = groups.wait(handle)
    assert (document["state"], document["title"], document["result"]) == ("succeeded", "Its own", "here")
    wait_until(lambda: groups.lines() == ["here", "after"], what="what is linked to it ran")
    assert signature.options == {"link": [follows], "countdown": 0.1}


def test_nested_canvases(groups: Groups) -> None:
    canvas = chain(
        groups.part("begin"),
        group(
            chain(groups.part("a1"), groups.part("a2")),
            groups.part("b"),
            chord([groups.part("c1"), groups.part("c2")], groups.body()),
        ),
        groups.body(),
        group(groups.part("x"), group(groups.part("y"), groups.part("z"))),
    )
    before = copy.deepcopy(dict(canvas))
    handle = groups.start(canvas, light=True)
    document = groups.wait(handle)
    assert counts(document) == {"succeeded": 11}
    assert len(groups.lines()) == 11
    assert dict(canvas) == before


def test_a_failure_deep_in_a_canvas_skips_what_follows_and_no_more(groups: Groups) -> None:
    canvas = chain(
        group(
            chain(groups.part("a1", "failing_part"), groups.part("a2")),
            chain(groups.part("b1"), groups.part("b2")),
        ),
        groups.body(),
        groups.part("last"),
    )
    handle = groups.start(canvas, light=True)
    groups.wait(handle)
    assert groups.states(handle) == ["failed", "skipped", "succeeded", "succeeded", "skipped", "skipped"]


def test_a_light_task_that_is_declared_to_be_followed_has_no_feed_of_its_own(groups: Groups) -> None:
    handle = groups.start(group(groups.part("0", "followed_part")), light=True)
    full = groups.start(group(groups.part("1", "followed_part")), light=False)
    for started in (handle, full):
        assert counts(groups.wait(started)) == {"succeeded": 1}
    light_child, full_child = (groups.tracking.journal.children(each.feed, limit=1)[0][0] for each in (handle, full))
    assert groups.tracking.journal.snapshot(f"task:{light_child.task_id}") is None
    child = groups.tracking.journal.snapshot(f"task:{full_child.task_id}")
    assert (child.document["state"], child.document["group"]) == ("succeeded", full.feed)


def test_a_canvas_that_cannot_run_is_refused_with_a_sentence(groups: Groups) -> None:
    with pytest.raises(PetioleError, match="isn't a signature"):
        groups.start(group([groups.part("0"), 7]))
    with pytest.raises(PetioleError, match="without a body"):
        groups.start(chord([groups.part("0")]))
    for countdown in ("soon", float("nan")):
        with pytest.raises(PetioleError, match="options that Celery knows"):
            groups.start(group([groups.part("0")]), countdown=countdown)
    with pytest.raises(PetioleError, match="can't be sent"):
        groups.start(group([groups.task("add", object(), 1)]))
