"""Starts the tasks of a canvas as one group with one feed, and those that have failed again."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from celery import Celery, Signature
from kombu import serialization
from kombu.exceptions import EncodeError, OperationalError
from redis.exceptions import RedisError

from petiole.dispatch.canvas import Canvas, Leaf, read_canvas
from petiole.dispatch.message import Header, now_ms, title_of
from petiole.dispatch.part import Part, parts_in, with_headers
from petiole.dispatch.publisher import TaskPublisher
from petiole.dispatch.results import is_of_backend
from petiole.errors import PetioleError, Unavailable
from petiole.journal import Journal, groups
from petiole.journal.answers import Closed, Missing, Snapshot
from petiole.logs import logger
from petiole.protocol import states
from petiole.protocol.events import (
    Cursor,
    Document,
    Draft,
    group_feed,
    mint_epoch,
    mint_publication,
    task_feed,
)
from petiole.protocol.values import readable, words
from petiole.settings import Settings

log = logger(__name__)

T = TypeVar("T")

UNPUBLISHED: Final = "The task couldn't be published again."
REASON_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class Started:
    """A started group: its feed, and where that stood before its first task was published."""

    feed: str
    cursor: Cursor
    document: Document


class GroupStarter:
    """Starts groups of one Celery application."""

    def __init__(
        self,
        celery_app: Celery,
        settings: Settings,
        journal: Journal,
        publisher: TaskPublisher,
        *,
        confirm: Callable[[str], None],
    ) -> None:
        self._celery_app = celery_app
        self._settings = settings
        self._journal = journal
        self._publisher = publisher
        self._confirm = confirm

    def start(
        self,
        signature: Signature,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        *,
        owner: str,
        title: object,
        queue: str | None,
        countdown: float | None,
        group_id: str | None,
        light: bool | None,
    ) -> Started:
        """Open a feed for a canvas, and publish it as Celery does.

        Raises:
            Unavailable: journal or broker didn't answer; what was published of it doesn't run.
            PetioleError: it is no canvas that can run.
        """
        canvas = read_canvas(signature, self._celery_app)
        if queue is not None:
            for leaf in canvas.leaves:
                leaf.signature.options["queue"] = queue
        started = self._open(canvas, group_id, owner=owner, title=title, light=light)
        feed = started.feed
        if not canvas.leaves:
            # There is nothing to wait for.
            self._journal.contribute(feed, [], run=0, lease=self._settings.lease)
            return started
        later = {} if countdown is None else {"countdown": countdown}
        if self._publisher.is_eager:
            self._run_here(canvas, feed, args, kwargs, later)
        else:
            self._publish(canvas, feed, args, kwargs, later)
            self._confirm(feed)
        return started

    def follow(self, signature: Signature, *, owner: str, group_id: str | None, publish: Callable[[Signature], T]) -> T:
        """Give a canvas that a task publishes by itself a feed, and return what `publish` returns for its copy.

        What can't be followed, or not now, is published all the same.
        """
        try:
            canvas = read_canvas(signature, self._celery_app)
            if not canvas.leaves:
                return publish(signature)
            started = self._open(canvas, group_id, owner=owner, title=None, light=None)
        except PetioleError as error:
            log.warning("canvas_not_followed", extra={"task": str(signature.task), "error": str(error)})
            return publish(signature)
        try:
            published = publish(canvas.signature)
        except BaseException:
            self._take_back(started.feed)
            raise
        self._confirm(started.feed)
        return published

    def _open(self, canvas: Canvas, group_id: str | None, *, owner: str, title: object, light: bool | None) -> Started:
        """Open a canvas's feed, and tell its tasks."""
        feed = group_feed(self._id_for(canvas, group_id))
        if light is None:
            light = len(canvas.leaves) > self._settings.light_above
        said = title_of(title, canvas.name)
        document: Document = {
            "state": states.QUEUED,
            "title": said,
            "task": canvas.name,
            "queued_at": now_ms(),
            "light": light,
            # Whether force helps is up to the pools of the workers that take its tasks.
            "forcible": True,
        }
        if canvas.steps:
            document["steps"] = list(canvas.steps)
        for leaf in canvas.leaves:
            _mark(leaf, feed, owner=owner, light=light)
        waiting = groups.first_counts(len(canvas.leaves))
        cursor = self._journal.open_group(
            feed,
            [groups.Child(leaf.task_id, leaf.voids) for leaf in canvas.leaves],
            owner=owner,
            draft=Draft("state", document, groups.progress_of(groups.Group(states.QUEUED, 0, 0, waiting))),
            epoch=mint_epoch(),
            lease=self._settings.dispatch_lease,
        )
        return Started(feed, cursor, document)

    @staticmethod
    def _id_for(canvas: Canvas, group_id: str | None) -> str:
        """Return the id of a group: the one that Celery knows it by, where it does."""
        options = canvas.signature.options
        minted = group_id or str(uuid.uuid4())
        if canvas.signature.task != "celery.group":
            return minted
        options["task_id"] = options.get("task_id") or minted
        return str(options["task_id"])

    def _publish(
        self, canvas: Canvas, feed: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None, later: dict[str, float]
    ) -> None:
        try:
            with self._publisher.bounding([leaf.task_id for leaf in canvas.leaves], sent=self._prolonging(feed)):
                canvas.signature.apply_async(tuple(args), dict(kwargs or {}), **later)
        except (OperationalError, RedisError, OSError) as error:
            self._take_back(feed)
            raise Unavailable(
                f"The broker didn't accept all tasks of the group ({error}). None of them runs; try again."
            ) from error
        except (EncodeError, TypeError, ValueError) as error:
            self._take_back(feed)
            raise PetioleError(
                f"The tasks of the group can't be sent ({error}). "
                "Give them arguments that the task serializer can carry, and options that Celery knows."
            ) from error
        except NotImplementedError as error:
            self._take_back(feed)
            raise PetioleError(
                "A chord needs a result backend, which Celery asks whether its header is done. Set result_backend."
            ) from error
        except BaseException as error:
            self._take_back(feed)
            if is_of_backend(error, self._celery_app.backend):
                raise Unavailable(
                    f"The result backend didn't answer ({error}). None of the tasks runs; try again."
                ) from error
            raise

    def _prolonging(self, feed: str) -> Callable[[], None]:
        """Return what to call after each message, so that a long publish isn't taken for one that has died."""
        due = time.monotonic() + self._settings.dispatch_lease / 2

        def prolong() -> None:
            nonlocal due
            if time.monotonic() >= due:
                due = time.monotonic() + self._settings.dispatch_lease / 2
                self._confirm(feed)

        return prolong

    def _run_here(
        self, canvas: Canvas, feed: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None, later: dict[str, float]
    ) -> None:
        unknown = [leaf.name for leaf in canvas.leaves if leaf.signature.task not in self._celery_app.tasks]
        if unknown:
            self._take_back(feed)
            raise PetioleError(
                f"{unknown[0]} can't run eagerly, because its code isn't imported. Import it, or turn eager off."
            )
        self._publisher.before_eager()
        try:
            canvas.signature.apply_async(tuple(args), dict(kwargs or {}), **later)
        finally:
            # What stands behind a task that has raised never runs.
            said = [groups.Contribution(leaf.number, states.CANCELLED) for leaf in canvas.leaves]
            self._journal.contribute(feed, said, run=0, lease=self._settings.lease)

    def _take_back(self, feed: str) -> None:
        try:
            # Not `forget`: a task that has been published finds that the group has ended.
            self._journal.remove(feed)
        except Unavailable as error:
            log.warning("feed_not_forgotten", extra={"feed": feed, "error": str(error)})

    def repeat(self, snapshot: Snapshot, epoch: str) -> Started:
        """Begin an ended group again in a new epoch, with those of its tasks that have failed and can run again.

        Raises:
            PetioleError: none of them can, or it hasn't ended.
            Unavailable: journal or broker didn't answer.
        """
        feed = snapshot.feed
        kept = {number: _read(text) for number, text in self._journal.child_messages(feed).items()}
        messages = {number: message for number, message in kept.items() if not _waits_for_chord(message)}
        if not messages:
            raise PetioleError(_why_not(bool(kept)))
        document: Document = {
            "state": states.QUEUED,
            "queued_at": now_ms(),
            "started_at": None,
            "finished_at": None,
            "reason": None,
            "forced": None,
            "force_after": None,
            **{f"error{number}": None for number in range(1, groups.ERRORS_SHOWN + 1)},
        }
        run = int(snapshot.document.get("run") or 0) + 1
        document["run"] = run
        cursor = self._journal.repeat_children(
            feed, list(messages), draft=Draft("state", document), epoch=epoch, lease=self._settings.dispatch_lease
        )
        match cursor:
            case Closed(state):
                raise PetioleError(f"The group is {state}. Wait until it has ended, or cancel it.")
            case Missing():
                raise PetioleError("The group is gone. Start it anew.")
        self._publish_again(feed, run, messages)
        self._confirm(feed)
        whole = {**snapshot.document, **document}
        return Started(feed, cursor, {name: value for name, value in whole.items() if value is not None})

    def _publish_again(self, feed: str, run: int, messages: Mapping[int, dict[str, Any]]) -> None:
        """Publish kept messages.

        One that can't be sent, because the task's code has changed, doesn't keep the others back. Of those that the broker
        doesn't take any more the group says so: they can run again later.

        Raises:
            Unavailable: the broker has taken none.
            PetioleError: none can be sent.
        """
        left, unsendable = dict(messages), ""
        try:
            with self._publisher.bounding([], sent=self._prolonging(feed)):
                for number, message in messages.items():
                    for part in parts_in(message):
                        if part.get("feed") == feed:
                            part["run"] = run
                    options = message.setdefault("options", {})
                    options["retries"] = 0
                    try:
                        self._celery_app.signature(message).apply_async()
                    except (EncodeError, TypeError, ValueError) as error:
                        unsendable = str(error)
                        continue
                    del left[number]
        except (OperationalError, RedisError, OSError) as error:
            if len(left) == len(messages):
                raise Unavailable(f"The broker didn't accept the group's tasks ({error}). Try again.") from error
            log.warning("children_not_published", extra={"feed": feed, "tasks": len(left), "error": str(error)})
        finally:
            if left:
                self._give_up(feed, run, left, words(unsendable, characters=REASON_LIMIT))
        if len(left) == len(messages):
            raise PetioleError(f"No task that failed can be sent again ({unsendable}). Start the group anew.")

    def _give_up(self, feed: str, run: int, left: Mapping[int, dict[str, Any]], why: str) -> None:
        """Say of tasks that couldn't be published again that they have failed, and keep their messages."""
        reason = f"{UNPUBLISHED.removesuffix('.')} ({why})." if why else UNPUBLISHED
        said = [
            groups.Contribution(
                number,
                states.FAILED,
                error={"message": reason, "reference": "", "type": "Unavailable"},
                message=serialization.dumps(message, serializer="json")[2],  # type: ignore[no-untyped-call]
            )
            for number, message in left.items()
        ]
        self._journal.contribute(feed, said, run=run, lease=self._settings.lease)


def _mark(leaf: Leaf, feed: str, *, owner: str, light: bool) -> None:
    """Give a task the headers by which its worker knows its place in the group, and its own feed if it has one."""
    headers = Part(feed, 0, leaf.number, owner, leaf.task_id, light, leaf.step).to_message()
    if not light:
        own = Header(task_feed(leaf.task_id), mint_epoch(), owner, readable(leaf.name), mint_publication())
        headers |= own.to_message()
    with_headers(leaf.signature, headers)


def _read(text: str) -> dict[str, Any]:
    return dict(serialization.loads(text, "application/json", "utf-8"))  # type: ignore[no-untyped-call]


def _waits_for_chord(message: Mapping[str, Any]) -> bool:
    """Say whether a task, or the last one of its chain, is in a chord's header: Celery ran the body, or never will."""
    options = message.get("options") or {}
    following = [each for each in options.get("chain") or [] if isinstance(each, Mapping)]
    return bool(options.get("chord")) or any(bool((each.get("options") or {}).get("chord")) for each in following)


def _why_not(has_messages: bool) -> str:
    if has_messages:
        return "The tasks that failed are in a chord's header, whose body can't run any more. Start the group anew."
    return (
        "What failed wasn't kept, so it can't run again: it never began, its arguments aren't JSON or too large, or its "
        "worker died. Start the group anew."
    )
