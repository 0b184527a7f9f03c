"""A canvas as the children of a group: their order, what follows which, and that the caller's canvas stays as it is."""

from __future__ import annotations

import copy

import pytest
from celery import Celery, Signature, chain, chord, chunks, group
from celery.canvas import xstarmap

from petiole import PetioleError
from petiole.dispatch.canvas import Canvas, read_canvas

celery_app = Celery("canvas", set_as_current=False)


def task(name: str, **options: object) -> Signature:
    return celery_app.signature(f"tasks.{name}", options=options)


def read(canvas: Signature) -> Canvas:
    return read_canvas(canvas, celery_app)


def voids(canvas: Signature) -> dict[str, tuple[int, int]]:
    return {leaf.name.removeprefix("tasks."): leaf.voids for leaf in read(canvas).leaves}


def names(canvas: Signature) -> list[str]:
    return [leaf.name.removeprefix("tasks.") for leaf in read(canvas).leaves]


a, b, c, d, e, f = (task(name) for name in "abcdef")


@pytest.mark.parametrize(
    ("canvas", "expected"),
    [
        (group(a, b), {"a": (0, 0), "b": (0, 0)}),
        (chain(a, b, c), {"a": (1, 3), "b": (2, 3), "c": (0, 0)}),
        (chord([a, b], c), {"a": (2, 3), "b": (2, 3), "c": (0, 0)}),
        (group(chain(a, b), c), {"a": (1, 2), "b": (0, 0), "c": (0, 0)}),
        # The last task of a chain in a header has the body behind it; the first ones have the rest of their chain.
        (chord([chain(a, b), c], d), {"a": (1, 2), "b": (3, 4), "c": (3, 4), "d": (0, 0)}),
        (chain(a, group(b, c), d), {"a": (1, 4), "b": (3, 4), "c": (3, 4), "d": (0, 0)}),
        (chain(a, group(b, chain(c, d))), {"a": (1, 4), "b": (0, 0), "c": (3, 4), "d": (0, 0)}),
        (chord([a], chain(b, group(c, d))), {"a": (1, 4), "b": (2, 4), "c": (0, 0), "d": (0, 0)}),
        (
            chain(a, chord([b, c], d), group(e, f)),
            {"a": (1, 6), "b": (3, 6), "c": (3, 6), "d": (4, 6), "e": (0, 0), "f": (0, 0)},
        ),
        (group(chord([a], b), chord([c], d)), {"a": (1, 2), "b": (0, 0), "c": (3, 4), "d": (0, 0)}),
        (chain(a, group([])), {"a": (0, 0)}),
    ],
)
def test_what_can_not_run_without_a_task(canvas: Signature, expected: dict[str, tuple[int, int]]) -> None:
    assert voids(canvas) == expected
    assert names(canvas) == sorted(expected)


def test_the_steps_of_a_chain_are_its_parts_also_those_of_chains_and_chords_in_it() -> None:
    canvas = read(chain(task("load_all"), chord([task("resize"), task("resize")], task("collect")), task("mail")))
    assert canvas.steps == ["Load all", "Resize", "Collect", "Mail"]
    assert [leaf.step for leaf in canvas.leaves] == [
        (1, "Load all"),
        (2, "Resize"),
        (2, "Resize"),
        (3, "Collect"),
        (4, "Mail"),
    ]
    assert read(group(a, b)).steps == []


def test_a_chain_of_very_many_steps_is_not_listed() -> None:
    canvas = read(chain(task(f"step_{number}") for number in range(500)))
    assert canvas.steps == []
    assert canvas.leaves[499].step == (500, "Step 499")


def test_the_callers_canvas_stays_as_it_is() -> None:
    canvas = chain(a, group(b, chain(c, d)), chord([e], f))
    before = copy.deepcopy(dict(canvas))
    read(canvas)
    assert dict(canvas) == before


def test_ids_that_are_given_are_kept() -> None:
    canvas = read(group(task("a", task_id="mine"), task("b")))
    assert canvas.leaves[0].task_id == "mine"
    assert len({leaf.task_id for leaf in canvas.leaves}) == 2
    last = read(chain(a, b).set(task_id="last"))
    assert last.leaves[1].task_id == "last"


def test_headers_of_a_canvas_are_those_of_its_tasks() -> None:
    canvas = read(group(task("a", headers={"own": 1}), chain(b, c)).set(headers={"given": 2}))
    headers = [leaf.signature.options.get("headers") for leaf in canvas.leaves]
    # Of a chain its first task has them, as with Celery.
    assert headers == [{"given": 2, "own": 1}, {"given": 2}, None]
    assert "headers" not in canvas.signature.options


def test_chunks_and_maps_are_tasks_of_the_task_that_they_call() -> None:
    inner = task("resize")
    canvas = read(chunks(inner, iter([(1,), (2,), (3,)]), 2))
    assert [leaf.name for leaf in canvas.leaves] == ["tasks.resize", "tasks.resize"]
    assert read(group(xstarmap(inner, [(1,)]), a)).name == "tasks.resize"


def test_signatures_as_json_are_read_too() -> None:
    assert names(group([dict(a), dict(chain(b, c))])) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("canvas", "reason"),
    [
        (chord([a]), "without a body"),
        (group([a, 7]), "isn't a signature"),
        (group([a, {}]), "isn't a signature"),
        (group([{"task": 5, "args": [], "kwargs": {}, "options": {}}]), "isn't a signature"),
        (group([task("a", task_id="x/y")]), "can't be part of a URL"),
    ],
)
def test_what_is_no_canvas_is_refused(canvas: Signature, reason: str) -> None:
    with pytest.raises(PetioleError, match=reason):
        read(canvas)
