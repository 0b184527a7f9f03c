"""What one Celery application needs to be tracked, and the start of a task."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from celery import Celery, Signature, Task
from kombu import serialization
from kombu.exceptions import EncodeError, OperationalError
from redis.exceptions import RedisError

from petiole.celery_urls import CeleryUrls
from petiole.dispatch.canvas import is_canvas, taken_apart, task_name
from petiole.dispatch.groups import GroupStarter
from petiole.dispatch.message import Header, message_in, message_text, queued_document, title_of
from petiole.dispatch.part import Part, with_headers
from petiole.dispatch.publisher import Lazy, NothingPublished, TaskPublisher, keeping_header
from petiole.dispatch.results import is_of_backend, recorded_outcome
from petiole.errors import PetioleError, SetupError, Unavailable
from petiole.journal import Journal, open_journal
from petiole.journal.answers import Snapshot
from petiole.journal.contract import SupportsAsync
from petiole.logs import logger
from petiole.protocol.events import Cursor, Document, Draft, feed_id, mint_epoch, mint_publication, task_feed
from petiole.protocol.states import QUEUED
from petiole.settings import Settings

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Handle:
    """A started task: its id, and a cursor that predates its dispatch, so that a watch from there misses no event."""

    id: str
    feed: str
    cursor: Cursor
    document: Document


class Tracking:
    """What one Celery application needs to be tracked: settings and journal."""

    def __init__(self, celery_app: Celery, settings: Settings) -> None:
        self.celery_app = celery_app
        self.settings = settings
        self.journal: Journal = open_journal(settings)
        self.publisher = TaskPublisher(celery_app)
        self.groups = GroupStarter(celery_app, settings, self.journal, self.publisher, confirm=self.confirm)
        # Whether the worker's side receives this application's signals; it connects once.
        self.connected = False
        # Returns the owner on whose behalf this context runs; the web side sets it.
        self.asking: Callable[[], str | None] = lambda: None

    def warm_up(self) -> None:
        """Import what a publish needs, so that the first one doesn't wait for it; nothing is sent."""
        self.celery_app.finalize(auto=True)
        _ = self.celery_app.amqp.send_task_message, self.celery_app.backend
        connection = self.celery_app.connection_for_write()
        _ = connection.transport_cls
        connection.release()

    def start(
        self,
        task: Task | str | Signature,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        owner: str,
        title: object = None,
        queue: str | None = None,
        countdown: float | None = None,
        task_id: str | None = None,
        retry_of: str | None = None,
        light: bool | None = None,
    ) -> Handle:
        """Open a feed for a task and publish it; by name, the task's code need not be importable.

        A signature is published with its own arguments and options. A canvas (group, chord, chain, chunks, in any nesting) has
        one feed for all of its tasks, whose id is `group:<id>`; `light`: whether those have none of their own, by default if
        there are more than `light_above`.
        `task_id`: for a caller that must know it before. `retry_of`: the id of the task that this one repeats.

        Raises:
            Unavailable: journal or broker didn't answer; nothing was started.
            PetioleError: the serializer can't carry the arguments, or `task` is no task.
        """
        given: dict[str, Any] = {}
        if isinstance(task, Signature):
            if is_canvas(task):
                started = self.groups.start(
                    task,
                    args,
                    kwargs,
                    owner=owner,
                    title=title,
                    queue=queue,
                    countdown=countdown,
                    group_id=task_id,
                    light=light,
                )
                return Handle(started.feed, started.feed, started.cursor, started.document)
            title = title_of(title, task_name(task))
            task, args, kwargs, given = taken_apart(task, args, kwargs)
            task_id = task_id or given.pop("task_id", None)
            queue, countdown = queue or given.pop("queue", None), countdown or given.pop("countdown", None)
        _refuse_what_is_no_task(task)
        name = task if isinstance(task, str) else cast(str, task.name)
        known = self.publisher.known(task)
        if self.publisher.is_eager and known is None:
            raise PetioleError(
                f"{name} can't run eagerly, because its code isn't imported. Import it, or turn eager off."
            )
        task_id = task_id or str(uuid.uuid4())
        feed = task_feed(task_id)
        header = Header(feed, mint_epoch(), owner, title_of(title, name), mint_publication())
        document = queued_document(header.title, name)
        if retry_of is not None:
            document["retry_of"] = retry_of
        options = {} if queue is None else {"queue": queue}
        # Celery prepares the message while the journal opens the feed, and sends it after that.
        message = {"task": name, "args": list(args), "kwargs": dict(kwargs or {}), "options": options}
        # What follows it would be missing where it is started again.
        text = "" if given.get("link") or given.get("link_error") else message_text(message)
        opened = Lazy(self._open(header, Draft("state", document), text))
        if known is not None and self.publisher.is_eager:
            return self._run_here(known, args, kwargs, header, Handle(task_id, feed, opened(), document), given)
        try:
            try:
                self.publisher.publish(
                    task, args, kwargs, task_id, header.to_message(), queue, countdown, after=opened, given=given
                )
            finally:
                cursor = opened()
        except (OperationalError, RedisError, OSError) as error:
            # A silent broker may have the message: with the feed removed, a worker ignores it.
            self._take_back(feed, self.journal.remove)
            raise Unavailable(
                f"The broker didn't accept the task ({error}). Nothing was started; try again."
            ) from error
        except (EncodeError, TypeError, ValueError) as error:
            self._take_back(feed, self.journal.forget)
            raise _not_sendable(name, error) from error
        except Unavailable:
            raise  # the journal's: the feed isn't open, or its lease ends by itself
        except NothingPublished as nothing:
            self._take_back(feed, self.journal.forget)
            return self._instead(nothing, name, owner)
        except BaseException as error:
            # Celery calls the result backend before the broker, and a task's class may raise anything.
            self._take_back(feed, self.journal.remove)
            if is_of_backend(error, self.celery_app.backend):
                raise Unavailable(
                    f"The result backend didn't answer ({error}). Nothing was started; try again."
                ) from error
            raise
        self.confirm(feed)
        return Handle(task_id, feed, cursor, document)

    def _open(self, header: Header, draft: Draft, message: str) -> Callable[[], Cursor]:
        """Open a task's feed, and return a call that waits for its cursor; a journal that can has taken the step by then."""
        lease = self.settings.dispatch_lease
        if isinstance(self.journal, SupportsAsync):
            return self.journal.open_async(
                header.feed,
                owner=header.owner,
                draft=draft,
                lease=lease,
                epoch=header.epoch,
                message=message,
                publication=header.publication,
            )
        cursor = self.journal.open(
            header.feed,
            owner=header.owner,
            draft=draft,
            lease=lease,
            epoch=header.epoch,
            message=message,
            publication=header.publication,
        )
        return lambda: cursor

    def _run_here(
        self,
        task: Task,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        header: Header,
        handle: Handle,
        given: Mapping[str, Any],
    ) -> Handle:
        """Run an eager task, and return its handle. Its own exception is raised; its page shows the failure already."""
        try:
            self.publisher.run_here(task, args, kwargs, handle.id, header.to_message(), given)
        except BaseException as error:
            if not self._has_begun(handle.feed):
                self._take_back(handle.feed, self.journal.forget)
                if isinstance(error, EncodeError | TypeError | ValueError):
                    raise _not_sendable(str(task.name), error) from error
            raise
        if not self._has_begun(handle.feed):
            self._take_back(handle.feed, self.journal.forget)
            raise _nothing_started(str(task.name))
        return handle

    def _has_begun(self, feed: str) -> bool:
        head = self.journal.heads([feed]).get(feed)
        return head is not None and head.state != QUEUED

    def _instead(self, nothing: NothingPublished, name: str, owner: str) -> Handle:
        """Return the handle of the task that a task's class named instead of a new one, if it has the same owner."""
        found = self.journal.snapshot(task_feed(nothing.instead)) if nothing.instead else None
        if found is None or found.owner != owner:
            raise _nothing_started(name)
        return Handle(nothing.instead, found.feed, found.cursor, found.document)

    def adopt(self, header: Header, name: str, *, body: object = None, group: str | None = None) -> bool:
        """Open the feed of a message that `.delay()` is about to publish; says whether it was opened.

        `body` has the arguments; `group` is the feed of the group that the task is part of. If the publish fails, `take_back`
        it. With the journal away the worker opens the feed, from the header.
        """
        try:
            cursor = self.journal.open(
                header.feed,
                owner=header.owner,
                draft=Draft("state", queued_document(header.title, name, group=group)),
                lease=self.settings.dispatch_lease,
                epoch=header.epoch,
                message=message_in(name, body),
                publication=header.publication,
            )
        except Unavailable as error:
            log.warning("feed_opened_later", extra={"feed": header.feed, "error": str(error)})
            return False
        if cursor.epoch != header.epoch:
            return False
        # Before the publish: a caller of `.delay()` doesn't wait for the journal once the broker has the message.
        self.confirm(header.feed)
        return True

    def message_of(self, task: Task, header: Header, request: Any = None) -> str:
        """Return the message that a task is executing as JSON text, to be sent again; empty if it can't be kept.

        `request`: the task's, for a caller in another thread.
        """
        try:
            return message_text(dict(self.copy_of(task, header, request=request or task.request)), level=logging.ERROR)
        except Exception:
            # A task's class may have a signature of its own; such a task isn't sent again.
            log.exception("message_not_kept", extra={"task": task.name})
            return ""

    def part_message(self, task: Task, request: Any, part: Part) -> str:
        """Return the message of a group's child as JSON text, from which it can be published again; empty if it can't."""
        try:
            # An instant of its own, to begin or to expire, would be over.
            signature: Signature = task.signature_from_request(request, retries=0, expires=None)
            with_headers(signature, replace(part, base=0).to_message())
            return message_text(dict(signature))
        except Exception:
            # A task's class may have a signature of its own; such a task isn't run again.
            log.exception("message_not_kept", extra={"task": task.name})
            return ""

    def copy_of(self, task: Task, header: Header, *, request: Any, **options: Any) -> Signature:
        """Return a signature that publishes the message of an executing task again, as the same publication."""
        signature: Signature = task.signature_from_request(request, retries=request.retries, **options)
        part = Part.from_request(request)
        copied = replace(header, copied=True).to_message()
        with_headers(signature, copied if part is None else {**copied, **part.to_message()})
        return signature

    def send_again(self, message: str) -> None:
        """Publish what `message_of` returned.

        Raises:
            Unavailable: the broker didn't take it.
        """
        kept = serialization.loads(message, "application/json", "utf-8")  # type: ignore[no-untyped-call]
        signature: Signature = self.celery_app.signature(kept)
        try:
            with self.publisher.confirming() as confirming, keeping_header():
                signature.apply_async(retry=False, **confirming)
        except (OperationalError, OSError) as error:
            raise Unavailable(f"The broker didn't accept a task that is to run again ({error}).") from error

    def repeat_group(self, snapshot: Snapshot, epoch: str) -> Handle:
        """Begin an ended group again, in a new epoch, with those of its tasks that have failed and can run again.

        Raises:
            PetioleError: none of them can, or it hasn't ended.
            Unavailable: journal or broker didn't answer.
        """
        started = self.groups.repeat(snapshot, epoch)
        return Handle(started.feed, started.feed, started.cursor, started.document)

    def result_of(self, feed: str, *, since: int = 0) -> Document | None:
        """Return how a task ended by Celery's own record; see `recorded_outcome`."""
        return recorded_outcome(self.celery_app.backend, feed_id(feed), since=since)

    def take_back(self, feed: str, error: BaseException) -> None:
        """Delete the feed of a task that wasn't published."""
        # A silent broker may have the message: with the feed removed, a worker ignores it.
        doubtful = isinstance(error, OperationalError | OSError)
        self._take_back(feed, self.journal.remove if doubtful else self.journal.forget)

    def confirm(self, feed: str, *, run: int = 0) -> None:
        """Record that the broker has a feed's message, or that of the run after `run`."""
        try:
            self.journal.confirm(feed, run=run, wait=False, lease=self.settings.unheard_after)
        except Unavailable as error:
            # The message is published; a worker's claim ends this lease too.
            log.warning("dispatch_not_confirmed", extra={"feed": feed, "error": str(error)})

    def _take_back(self, feed: str, how: Callable[[str], None]) -> None:
        try:
            how(feed)
        except Unavailable as error:
            # Its lease ends by itself, and then the reaper concludes it.
            log.warning("feed_not_forgotten", extra={"feed": feed, "error": str(error)})


def _refuse_what_is_no_task(task: object) -> None:
    if not isinstance(task, str | Task):
        raise PetioleError(f"{task!r:.100} isn't a task. Pass a Celery task, its name, or a signature.")


def _not_sendable(name: str, error: BaseException) -> PetioleError:
    return PetioleError(f"The arguments of {name} can't be sent ({error}). Pass what the task serializer can carry.")


def _nothing_started(name: str) -> PetioleError:
    return PetioleError(
        f"{name} published nothing, so nothing was started. Its class decides that: one that allows a task only once "
        "has found it under way."
    )


def track_app(celery_app: Celery, settings: Settings | None = None) -> Tracking:
    """Give a Celery application its tracking, or return what it has.

    Settings come from the environment, then from the application's configuration (`PETIOLE_…`), then the defaults.

    Raises:
        SetupError: a setting is wrong or missing.
    """
    known = getattr(celery_app, "petiole", None)
    if isinstance(known, Tracking):
        for name in ("journal_url", "bus_url", "key_prefix", "adopt_update_state"):
            if settings is not None and getattr(settings, name) != getattr(known.settings, name):
                raise SetupError(
                    f"PETIOLE_{name.upper()} is set differently for Flask and for Celery, so web and worker would never meet. "
                    "Set it in the environment, or equally in both configurations."
                )
        return known
    _look_at_broker(celery_app)
    conf = celery_app.conf
    loaded = settings or Settings.load(
        {key: conf[key] for key in conf if isinstance(key, str) and key.upper().startswith("PETIOLE_")},
        celery=CeleryUrls.of(conf),
    )
    tracking = Tracking(celery_app, loaded)
    celery_app.petiole = tracking
    return tracking


def _look_at_broker(celery_app: Celery) -> None:
    """Have kombu parse the broker's URL, which it otherwise does at the first publish; nothing is sent."""
    try:
        celery_app.connection_for_write().release()
    except ImportError as error:
        raise SetupError(
            f"Celery can't use its broker_url ({error}). Install what it needs, as in: pip install 'celery[sqs]'"
        ) from error
    except (TypeError, ValueError, KeyError) as error:
        raise SetupError(
            f"Celery can't use its broker_url ({error}). Correct it: options other than TLS go into broker_transport_options."
        ) from error
