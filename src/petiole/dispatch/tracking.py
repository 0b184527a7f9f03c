"""What one Celery application needs to be tracked, and the start of a task."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from celery import Celery, Signature, Task
from celery.backends.base import DisabledBackend
from kombu import serialization
from kombu.exceptions import EncodeError, OperationalError
from redis.exceptions import RedisError

from petiole.celery_urls import CeleryUrls
from petiole.dispatch.message import Header, message_in, message_text, now_ms, queued_document, title_of
from petiole.dispatch.outcome import is_since, outcome
from petiole.dispatch.publisher import Lazy, NothingPublished, TaskPublisher, as_it_is
from petiole.errors import PetioleError, SetupError, Unavailable
from petiole.journal import Journal, open_journal
from petiole.journal.contract import SupportsAsync
from petiole.logs import logger
from petiole.protocol.events import Cursor, Document, Draft, feed_id, mint_epoch, mint_publication, task_feed
from petiole.protocol.states import QUEUED
from petiole.settings import Settings

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Handle:
    """A task that was started: its id, and the cursor of before its dispatch, so that no event falls between."""

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
        # Whether the worker's side listens to this application's signals: once, however often it is asked for.
        self.connected = False
        # Who is asking in this context, as owners are written in the journal; the web side knows.
        self.asking: Callable[[], str | None] = lambda: None

    def warm_up(self) -> None:
        """Import what the first publish needs, so that it isn't the one that waits; nothing is sent."""
        self.celery_app.finalize(auto=True)
        _ = self.celery_app.amqp.send_task_message, self.celery_app.backend
        connection = self.celery_app.connection_for_write()
        _ = connection.transport_cls
        connection.release()

    def start(
        self,
        task: Task | str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        owner: str,
        title: object = None,
        queue: str | None = None,
        countdown: float | None = None,
        task_id: str | None = None,
        retry_of: str | None = None,
    ) -> Handle:
        """Open a feed for a task and publish it; by name, the task's code need not be here.

        `task_id`: minted by the caller, who must know it before. `retry_of`: the id of the task that this one repeats.

        Raises:
            Unavailable: journal or broker didn't answer; nothing was started.
            PetioleError: the arguments can't be sent by the serializer, or it is no task.
        """
        _refuse_what_is_no_task(task)
        name = task if isinstance(task, str) else cast(str, task.name)
        known = self.publisher.known(task)
        if self.publisher.is_eager and known is None:
            raise PetioleError(f"{name} can't run eagerly, because its code isn't here. Import it, or turn eager off.")
        task_id = task_id or str(uuid.uuid4())
        feed = task_feed(task_id)
        header = Header(feed, mint_epoch(), owner, title_of(title, name), mint_publication())
        document = queued_document(header.title, name)
        if retry_of is not None:
            document["retry_of"] = retry_of
        options = {} if queue is None else {"queue": queue}
        # Celery prepares the message while the journal opens the feed, and sends it once that is done.
        message = {"task": name, "args": list(args), "kwargs": dict(kwargs or {}), "options": options}
        opened = Lazy(self._open(header, Draft("state", document), message_text(message)))
        if known is not None and self.publisher.is_eager:
            return self._run_here(known, args, kwargs, header, Handle(task_id, feed, opened(), document))
        try:
            try:
                self.publisher.publish(task, args, kwargs, task_id, header.to_message(), queue, countdown, after=opened)
            finally:
                cursor = opened()
        except (OperationalError, RedisError, OSError) as error:
            # A broker that is silent may have the message all the same: removed, it is passed over.
            self._take_back(feed, self.journal.remove)
            raise Unavailable(f"The broker didn't take the task ({error}). Nothing was started; try again.") from error
        except (EncodeError, TypeError, ValueError) as error:
            self._take_back(feed, self.journal.forget)
            raise _not_sendable(name, error) from error
        except Unavailable:
            raise  # the journal: it hasn't opened the feed, or its lease ends by itself
        except NothingPublished as nothing:
            self._take_back(feed, self.journal.forget)
            return self._instead(nothing, name, owner)
        except BaseException as error:
            # The result backend is told before the broker, and a task's class publishes as it likes.
            self._take_back(feed, self.journal.remove)
            if _is_of_the_backend(error, self.celery_app.backend):
                raise Unavailable(
                    f"The result backend didn't answer ({error}). Nothing was started; try again."
                ) from error
            raise
        self.confirm(feed)
        return Handle(task_id, feed, cursor, document)

    def _open(self, header: Header, draft: Draft, message: str) -> Callable[[], Cursor]:
        """Open a task's feed, and return what waits for its cursor if the journal can take the step without being waited for."""
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
        self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any] | None, header: Header, handle: Handle
    ) -> Handle:
        """Run an eager task, and return its handle; what it raises is its own, and has been said on its page."""
        try:
            self.publisher.run_here(task, args, kwargs, handle.id, header.to_message())
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
        """Return the handle of the task that a task's class has named in place of a new one, if that has the same owner."""
        found = self.journal.snapshot(task_feed(nothing.instead)) if nothing.instead else None
        if found is None or found.owner != owner:
            raise _nothing_started(name)
        return Handle(nothing.instead, found.feed, found.cursor, found.document)

    def adopt(self, header: Header, name: str, *, body: object = None) -> bool:
        """Open the feed of a message that is about to be published by `.delay()`; says whether there was none.

        `body` has its arguments. `take_back` it if that fails. With the journal away the feed is opened by the
        worker, from the header.
        """
        try:
            cursor = self.journal.open(
                header.feed,
                owner=header.owner,
                draft=Draft("state", queued_document(header.title, name)),
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
        # Before it is published: who publishes with `.delay()` isn't kept waiting once the broker has it.
        self.confirm(header.feed)
        return True

    def message_of(self, task: Task, header: Header, request: Any = None) -> str:
        """Return the message that a task is executing as JSON text, to be sent again; empty if it can't be kept.

        `request`: the task's, for a caller in another thread than the one that executes it.
        """
        try:
            return message_text(dict(self.copy_of(task, header, request=request or task.request)), level=logging.ERROR)
        except Exception:
            # A task's class may have made a signature of its own; without it the task is as one that isn't sent again.
            log.exception("message_not_kept", extra={"task": task.name})
            return ""

    def copy_of(self, task: Task, header: Header, *, request: Any, **options: Any) -> Signature:
        """Return what publishes the message that a task is executing once more, as the same publication."""
        signature: Signature = task.signature_from_request(request, retries=request.retries, **options)
        given = signature.options.get("headers")
        copied = replace(header, copied=True).to_message()
        signature.options["headers"] = {**given, **copied} if isinstance(given, Mapping) else copied
        return signature

    def send_again(self, message: str) -> None:
        """Publish what `message_of` returned.

        Raises:
            Unavailable: the broker didn't take it.
        """
        kept = serialization.loads(message, "application/json", "utf-8")  # type: ignore[no-untyped-call]
        signature: Signature = self.celery_app.signature(kept)
        try:
            with self.publisher.confirming() as confirming, as_it_is():
                signature.apply_async(retry=False, **confirming)
        except (OperationalError, OSError) as error:
            raise Unavailable(f"The broker didn't take a task that is to run again ({error}).") from error

    def result_of(self, feed: str, *, since: int = 0) -> Document | None:
        """Return how a task ended by Celery's own record, as a patch; `None` if that doesn't know, or keeps no results.

        What it has from before `since` (in milliseconds since 1970) is of an earlier use of the id.

        Raises:
            Unavailable: the result backend doesn't answer.
        """
        backend = self.celery_app.backend
        # What isn't persistent (rpc://) has an answer for its caller only.
        if isinstance(backend, DisabledBackend) or not getattr(backend, "persistent", True):
            return None
        task_id = feed_id(feed)
        try:
            meta = backend.get_task_meta(task_id)
        except Exception as error:
            # `update_state("FAILURE", meta=…)` leaves a record that its own reader can't read; that it failed stands there.
            bare = _bare_record(backend, task_id)
            if bare is None:
                raise Unavailable(
                    f"Celery's result backend doesn't answer ({error!r}). Start it, or unset it."
                ) from error
            meta = {**bare, "result": None}
        if not is_since(meta.get("date_done"), since):
            return None
        return outcome(meta.get("status"), meta.get("result"), task_id=task_id, now=now_ms())

    def take_back(self, feed: str, error: BaseException) -> None:
        """Have a feed go whose task wasn't published."""
        # A broker that is silent may have the message all the same: removed, it is passed over.
        doubtful = isinstance(error, OperationalError | OSError)
        self._take_back(feed, self.journal.remove if doubtful else self.journal.forget)

    def confirm(self, feed: str, *, run: int = 0) -> None:
        """Say that the broker has a feed's message, or that of the run after `run`."""
        try:
            self.journal.confirm(feed, run=run, wait=False, lease=self.settings.unheard_after)
        except Unavailable as error:
            # The message is out; a worker that claims it ends this lease as well.
            log.warning("dispatch_not_confirmed", extra={"feed": feed, "error": str(error)})

    def _take_back(self, feed: str, how: Callable[[str], None]) -> None:
        try:
            how(feed)
        except Unavailable as error:
            # Its lease ends by itself, and then it is concluded.
            log.warning("feed_not_forgotten", extra={"feed": feed, "error": str(error)})


def _is_of_the_backend(error: BaseException, backend: Any) -> bool:
    """Say whether a publish has failed at the result backend; where Celery gives up reaching it, it says so in words only."""
    gave_up = isinstance(error, RuntimeError) and "result store" in str(error)
    return gave_up or isinstance(error, getattr(backend, "connection_errors", ()))


def _bare_record(backend: Any, task_id: str) -> dict[str, Any] | None:
    """Return a record whose result can't be read as it is kept, if the backend keeps results under keys."""
    try:
        return dict(backend.decode(backend.get(backend.get_key_for_task(task_id))))
    except Exception:  # noqa: BLE001 (asked after another error, which is the one that is told)
        return None


def _refuse_what_is_no_task(task: object) -> None:
    if isinstance(task, Signature):
        raise PetioleError(
            f"{type(task).__name__} {task!r:.100} is a signature, and start takes a task or its name. Start a task that "
            "applies it: what a followed task starts is followed too, where it is declared with progress=True."
        )
    if not isinstance(task, str | Task):
        raise PetioleError(f"{task!r:.100} isn't a task. Pass a Celery task, or its name.")


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
                    f"PETIOLE_{name.upper()} is set differently for Flask and for Celery, so they would never meet. "
                    "Set it in the environment, or alike in both configurations."
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
    """Have kombu read the broker's URL, which it does when something is first published; nothing is sent."""
    try:
        celery_app.connection_for_write().release()
    except ImportError as error:
        raise SetupError(
            f"Celery can't use its broker_url ({error}). Install what it needs, as in: pip install 'celery[sqs]'"
        ) from error
    except (TypeError, ValueError, KeyError) as error:
        raise SetupError(
            f"Celery can't use its broker_url ({error}). Correct it: what isn't of TLS goes into broker_transport_options."
        ) from error
