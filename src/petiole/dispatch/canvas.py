"""Reads a Celery canvas as the children of a group: which tasks it has, in which order, and which follow which."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from celery import Celery, Signature
from celery.canvas import _chain, _chord, chunks, group, maybe_signature

from petiole.dispatch.part import with_headers
from petiole.errors import PetioleError
from petiole.journal.groups import NO_RANGE
from petiole.protocol.encoding import to_json
from petiole.protocol.events import feed_of
from petiole.protocol.values import readable, words

NAME_LIMIT: Final = 60
STEPS_BYTES: Final = 2048
TASKS: Final = "Tasks"
# Celery's tasks that call another one for each item.
MAPS: Final = ("celery.map", "celery.starmap")
CHUNKS: Final = "celery.chunks"


@dataclass(slots=True)
class Leaf:
    """A task of a canvas. `voids`: those that can't run once it ends without success; `step`: its place in a chain."""

    signature: Signature
    name: str
    number: int = 0
    voids: tuple[int, int] = NO_RANGE
    step: tuple[int, str] | None = None

    @property
    def task_id(self) -> str:
        return str(self.signature.options["task_id"])


@dataclass(slots=True)
class _Block:
    """Parts that run one after the other, or at once."""

    in_sequence: bool
    parts: list[_Node] = field(default_factory=list)

    @property
    def leaves(self) -> Iterator[Leaf]:
        for part in self.parts:
            yield from _leaves(part)


_Node: TypeAlias = Leaf | _Block


@dataclass(frozen=True, slots=True)
class Canvas:
    """A copy of a canvas, to be published, and its tasks in the order in which they may begin. `steps`: of a chain."""

    signature: Signature
    leaves: list[Leaf]
    steps: list[str]

    @property
    def name(self) -> str:
        """The name of its first task."""
        return self.leaves[0].name if self.leaves else str(self.signature.task)


def is_canvas(signature: Signature) -> bool:
    """Say whether a signature is of several tasks: a group, chord, chain, or chunks."""
    return isinstance(signature, group | _chord | _chain | chunks)


def task_names(given: Any) -> Iterator[str]:
    """Yield the names of a canvas's tasks."""
    parts = getattr(given, "tasks", None)
    if parts is None and not isinstance(given, list | tuple):
        if isinstance(given, Signature):
            yield task_name(given)
        return
    for part in given if parts is None else getattr(parts, "tasks", parts):
        yield from task_names(part)
    if isinstance(given, _chord):
        yield from task_names(given.body)


def task_name(signature: Signature) -> str:
    """Return the name of a signature's task; of `map`, `starmap` and `chunks` that of the task that they call."""
    # Not by its class, which a copy of it doesn't have.
    if signature.task in (*MAPS, CHUNKS):
        inner = signature.kwargs.get("task")
        return str(getattr(inner, "name", None) or (inner or {}).get("task") or signature.task)
    return str(signature.task)


def taken_apart(
    signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any] | None
) -> tuple[str, Sequence[Any], dict[str, Any], dict[str, Any]]:
    """Return the task of a single signature, and its arguments and options together with these."""
    merged, named, options = signature._merge(tuple(args), dict(kwargs or {}), {})
    if signature.task in MAPS:
        named = {**named, "it": list(named["it"])}
        options = {"route_name": task_name(signature), **options}
    return str(signature.task), merged, dict(named), dict(options)


def read_canvas(signature: Signature, celery_app: Celery) -> Canvas:
    """Return a copy of a canvas in which each task has its id, with all of its tasks; the caller's stays as it is.

    Raises:
        PetioleError: it has something else than signatures, a chord without a body, or an id that can't be part of a URL.
    """
    copy, node = _read(signature, celery_app, {}, None)
    # Parts of a chain that are chains or chords are steps themselves.
    steps = list(_steps(node)) if isinstance(node, _Block) and node.in_sequence else []
    names = [_name_of(step) for step in steps]
    for place, (step, name) in enumerate(zip(steps, names, strict=True), 1):
        for leaf in _leaves(step):
            leaf.step = (place, name)
    leaves = list(_leaves(node))
    for number, leaf in enumerate(leaves):
        leaf.number = number
    _set_voids(node, 0, NO_RANGE)
    return Canvas(copy, leaves, names if len(to_json(names)) <= STEPS_BYTES else [])


def _read(given: Any, app: Celery, headers: Mapping[str, Any], task_id: str | None) -> tuple[Signature, _Node]:
    """Return a copy of a signature and its tasks. `headers`: those of the canvas around it; `task_id`: for its last task."""
    signature = _signature(given)
    if isinstance(signature, chunks):
        signature = signature.group()
    if not is_canvas(signature):
        leaf = signature.clone()
        leaf._app = leaf._app or app
        given_id = leaf.options.setdefault("task_id", task_id or str(uuid.uuid4()))
        if feed_of(given_id) is None:
            raise PetioleError(f"The id {given_id!r:.100} can't be part of a URL. Use letters, digits and . _ ~ @ -")
        if headers:
            with_headers(leaf, headers)
        return leaf, Leaf(leaf, task_name(leaf))
    # Not its own `clone`, which copies what is in it too: that is done here.
    copy = Signature.clone(signature)
    copy._app = copy._app or app
    # Celery would replace the headers of the tasks by those of the canvas.
    own = copy.options.pop("headers", None)
    headers = {**headers, **(own if isinstance(own, Mapping) else {})}
    wanted = copy.options.get("task_id") or task_id
    if isinstance(signature, _chord):
        if signature.body is None:
            raise PetioleError("A chord without a body can't be started. Pass one: chord(header, body).")
        header = _read_all(signature.tasks, app, headers, None)
        body, after = _read(signature.body, app, headers, wanted)
        copy.tasks, copy.body = [each for each, _ in header], body
        return copy, _Block(True, [_Block(False, [node for _, node in header]), after])
    if isinstance(signature, _chain):
        members = _read_all(signature.tasks, app, headers, wanted, in_sequence=True)
    else:
        members = _read_all(signature.tasks, app, headers, None)
    copy.tasks = [each for each, _ in members]
    return copy, _Block(isinstance(signature, _chain), [node for _, node in members])


def _signature(given: Any) -> Signature:
    """Return a signature that is one already, or a dictionary, as JSON makes of it."""
    signature = maybe_signature(given)
    if isinstance(signature, Signature) and isinstance(signature.task, str):
        parts = (signature.args, signature.kwargs, signature.options)
        if all(part is not None for part in parts):
            return signature
    # Not its `repr`, which an incomplete signature doesn't have.
    said = dict(given) if isinstance(given, dict) else given
    raise PetioleError(f"{said!r:.100} isn't a signature. Put signatures into a canvas: task.s(…), not task(…).")


def _read_all(
    tasks: Any, app: Celery, headers: Mapping[str, Any], last_id: str | None, *, in_sequence: bool = False
) -> list[tuple[Signature, _Node]]:
    given = list(getattr(tasks, "tasks", tasks))
    read = []
    for number, task in enumerate(given, 1):
        # The options of a chain are those of its first task.
        with_these = headers if number == 1 or not in_sequence else {}
        read.append(_read(task, app, with_these, last_id if number == len(given) else None))
    return read


def _leaves(node: _Node) -> Iterator[Leaf]:
    if isinstance(node, Leaf):
        yield node
    else:
        yield from node.leaves


def _steps(node: _Node) -> Iterator[_Node]:
    if isinstance(node, _Block) and node.in_sequence:
        for part in node.parts:
            yield from _steps(part)
    elif next(_leaves(node), None) is not None:
        yield node


def _name_of(step: _Node) -> str:
    first = next(_leaves(step), None)
    return words(readable(first.name) if first is not None else TASKS, characters=NAME_LIMIT)


def _set_voids(node: _Node, first: int, outer: tuple[int, int]) -> None:
    """Say of each task which can't run without its success: the rest of its sequence, or what follows that."""
    if isinstance(node, Leaf):
        node.voids = outer
        return
    sizes = [sum(1 for _ in _leaves(part)) for part in node.parts]
    end = first + sum(sizes)
    for part, size in zip(node.parts, sizes, strict=True):
        following = first + size
        _set_voids(part, first, (following, end) if node.in_sequence and following < end else outer)
        first = following
