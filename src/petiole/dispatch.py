"""Start a tracked task from anywhere: a web request, a script, another task. Needs no Flask."""

from __future__ import annotations

import functools
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

from celery import Celery, Signature, Task
from celery.backends.base import DisabledBackend
from kombu import serialization
from kombu.connection import Connection
from kombu.exceptions import EncodeError, LimitExceeded, OperationalError
from kombu.messaging import Producer
from kombu.pools import producers

from petiole.errors import InvalidEvent, PetioleError, SetupError, Unavailable
from petiole.events import VERSION, Cursor, Document, Draft, feed_id, mint_epoch, task_feed
from petiole.journal import Journal, open_journal
from petiole.outcome import outcome
from petiole.settings import Settings
from petiole.state import QUEUED

T = TypeVar("T")

log = logging.getLogger(__name__)

HEADER: Final = "petiole"
NOBODY: Final = "nobody"
MESSAGE_LIMIT: Final = 64 * 1024
BROKER_TIMEOUT: Final = 4.0


@dataclass(frozen=True, slots=True)
class Handle:
    """A task that was started: its id, and the cursor of before its dispatch, so that no event falls between."""

    id: str
    feed: str
    cursor: Cursor
    document: Document


@dataclass(frozen=True, slots=True)
class Header:
    """What a message says about its feed, so that a worker can open it again after the journal has forgotten it."""

    feed: str
    epoch: str
    owner: str
    title: str

    def to_message(self) -> dict[str, Any]:
        header = {"v": VERSION, "feed": self.feed, "epoch": self.epoch, "owner": self.owner, "title": self.title}
        return {HEADER: header}

    @classmethod
    def from_message(cls, headers: Mapping[str, Any] | None) -> Header | None:
        """Read it from a message's headers; `None` where Petiole didn't start the task, or a newer version did."""
        header = (headers or {}).get(HEADER)
        if not isinstance(header, Mapping):
            return None
        if header.get("v") != VERSION:
            log.error("header_version", extra={"version": header.get("v"), "known": VERSION})
            return None
        return cls(header["feed"], header["epoch"], header["owner"], header["title"])


class Tracking:
    """What one Celery application needs to be tracked: settings and journal."""

    def __init__(self, celery_app: Celery, settings: Settings) -> None:
        self.celery_app = celery_app
        self.settings = settings
        self.journal: Journal = open_journal(settings)
        # Whether the worker's side listens to this application's signals: once, however often it is asked for.
        self.connected = False
        # Who is asking in this context, as owners are written in the journal; the web side knows.
        self.asking: Callable[[], str | None] = lambda: None
        # Called before a task runs in the process that starts it (`task_always_eager`).
        self.before_eager: Callable[[], None] = lambda: None

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
        title: str | None = None,
        queue: str | None = None,
        countdown: float | None = None,
        task_id: str | None = None,
        retry_of: str | None = None,
    ) -> Handle:
        """Open a feed for a task and publish it; by name, the task's code need not be here.

        `task_id`: minted by the caller, who must know it before. `retry_of`: the id of the task that this one repeats.

        Raises:
            Unavailable: journal or broker didn't answer; nothing was started.
            PetioleError: the arguments can't be sent by the serializer.
        """
        name = task if isinstance(task, str) else cast(str, task.name)
        task_id = task_id or str(uuid.uuid4())
        feed = task_feed(task_id)
        header = Header(feed=feed, epoch=mint_epoch(), owner=owner, title=title or name)
        document = queued_document(title or name, name)
        if retry_of is not None:
            document["retry_of"] = retry_of
        options = {} if queue is None else {"queue": queue}
        # Celery prepares the message while the journal opens the feed, and sends it once that is done.
        opened = _Once(
            self.journal.begin_open(
                feed,
                owner=owner,
                draft=Draft("state", document),
                lease=self.settings.dispatch_lease,
                epoch=header.epoch,
                message=_text_of({"task": name, "args": list(args), "kwargs": dict(kwargs or {}), "options": options}),
            )
        )
        try:
            try:
                self._publish(task, args, kwargs, task_id, header.to_message(), queue, countdown, after=opened)
            finally:
                cursor = opened()
        except (OperationalError, OSError) as error:
            # A broker that is silent may have the message all the same: removed, it is passed over.
            self._take_back(feed, self.journal.remove)
            raise Unavailable(f"The broker didn't take the task ({error}). Nothing was started; try again.") from error
        except (EncodeError, TypeError, ValueError) as error:
            self._take_back(feed, self.journal.forget)
            raise PetioleError(
                f"The arguments of {name} can't be sent ({error}). Pass what the task serializer can carry."
            ) from error
        self._confirm(feed)
        return Handle(task_id, feed, cursor, document)

    def adopt(self, name: str, headers: MutableMapping[str, Any], *, owner: str, body: object = None) -> None:
        """Track a message that is about to be published by `.delay()`: write Petiole's header into it, and open its feed.

        `body` has its arguments.

        With the journal away the feed is opened by the worker, from the header.
        """
        feed = task_feed(str(headers["id"]))
        header = Header(feed=feed, epoch=mint_epoch(), owner=owner, title=name)
        headers.update(header.to_message())
        try:
            self.journal.open(
                feed,
                owner=owner,
                draft=Draft("state", queued_document(name, name)),
                epoch=header.epoch,
                message=_message_in(name, body),
            )
        except Unavailable as error:
            log.warning("feed_opened_later", extra={"feed": feed, "error": str(error)})

    def message_of(self, task: Task) -> str:
        """Return the message that a task is executing as JSON text, to be sent again; empty if it can't be kept."""
        request = task.request
        return _text_of(dict(task.signature_from_request(request, retries=request.retries)), level=logging.ERROR)

    def send_again(self, message: str) -> None:
        """Publish what `message_of` returned.

        Raises:
            Unavailable: the broker didn't take it.
        """
        kept = serialization.loads(message, "application/json", "utf-8")  # type: ignore[no-untyped-call]
        signature: Signature = self.celery_app.signature(kept)
        try:
            with self.confirming() as confirming:
                signature.apply_async(retry=False, **confirming)
        except (OperationalError, OSError) as error:
            raise Unavailable(f"The broker didn't take a task that is to run again ({error}).") from error

    @contextmanager
    def confirming(self) -> Iterator[dict[str, Any]]:
        """Yield options by which a publish returns when the broker has the message, in so far as that isn't so anyway.

        RabbitMQ says nothing of a message unless it is asked to, and the task would be queued for ever if it was lost.
        """
        conf = self.celery_app.conf
        if self._confirmed_by is None or conf.task_always_eager:
            yield {}
            return
        timeout = float(conf.broker_connection_timeout or BROKER_TIMEOUT)
        with self._producer(timeout) as producer:
            try:
                yield {"producer": producer, "timeout": timeout, "confirm_timeout": timeout}
            except BaseException:
                # A connection on which an answer is owed is not to be used again: the next would take it for its own.
                producer.connection.collect()
                raise

    def result_of(self, feed: str) -> Document | None:
        """Return how a task ended by Celery's own record, as a patch; `None` if that doesn't know, or keeps no results.

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
            raise Unavailable(f"Celery's result backend doesn't answer ({error}). Start it, or unset it.") from error
        return outcome(meta.get("status"), meta.get("result"), task_id=task_id, now=now_ms())

    @functools.cached_property
    def _confirmed_by(self) -> Connection | None:
        """Where the broker confirms when it is asked to; it stands for a pool of such connections."""
        connection = self.celery_app.connection_for_write(transport_options={"confirm_publish": True})
        return connection if connection.transport.driver_type == "amqp" else None

    @contextmanager
    def _producer(self, timeout: float) -> Iterator[Producer]:
        try:
            producer = producers[self._confirmed_by].acquire(block=True, timeout=timeout)
        except LimitExceeded as error:
            raise OperationalError("no connection to the broker came free in time") from error
        try:
            yield producer
        finally:
            producer.release()

    def _publish(
        self,
        task: Task | str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        task_id: str,
        headers: Mapping[str, Any],
        queue: str | None,
        countdown: float | None,
        *,
        after: Callable[[], object],
    ) -> None:
        """Publish a task once `after` has returned."""
        # A task that is known here is published with its own options (queue, priority, …); a name alone has none.
        known = self.celery_app.tasks.get(task) if isinstance(task, str) else task
        if self.celery_app.conf.task_always_eager:
            if known is None:
                raise PetioleError(
                    f"{task} can't run eagerly, because its code isn't here. Import it, or turn eager off."
                )
            after()
            self.before_eager()
            known.apply_async(args=list(args), kwargs=dict(kwargs or {}), task_id=task_id, headers=headers)
            return
        chosen = {name: value for name, value in (("queue", queue), ("countdown", countdown)) if value is not None}
        send = functools.partial(self.celery_app.send_task, task) if known is None else known.apply_async
        options: dict[str, Any] = {"task_id": task_id, "headers": headers, "retry": False, **chosen}
        with (
            self.confirming() as confirming,
            self.celery_app.producer_or_acquire(confirming.pop("producer", None)) as producer,
        ):
            options |= {**confirming, "producer": _Following(producer, after)}
            send(args=list(args), kwargs=dict(kwargs or {}), **options)

    def _confirm(self, feed: str) -> None:
        try:
            self.journal.confirm(feed, wait=False)
        except Unavailable as error:
            # The message is out; a worker that claims it ends this lease as well.
            log.warning("dispatch_not_confirmed", extra={"feed": feed, "error": str(error)})

    def _take_back(self, feed: str, how: Callable[[str], None]) -> None:
        try:
            how(feed)
        except Unavailable as error:
            # Its lease ends by itself, and then it is concluded.
            log.warning("feed_not_forgotten", extra={"feed": feed, "error": str(error)})


class _Once(Generic[T]):
    """Calls a function once, and tells everybody who asks what came of it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function: Callable[[], T] | None = function
        self._value: T | None = None
        self._error: Exception | None = None

    def __call__(self) -> T:
        if self._function is not None:
            function, self._function = self._function, None
            try:
                self._value = function()
            except Exception as error:  # noqa: BLE001 (raised below)
                self._error = error
        if self._error is not None:
            raise self._error
        return cast(T, self._value)


class _Following:
    """A producer that publishes once something else is done."""

    def __init__(self, producer: Producer, after: Callable[[], object]) -> None:
        self._producer = producer
        self._after = after

    def publish(self, *args: Any, **kwargs: Any) -> Any:
        self._after()
        return self._producer.publish(*args, **kwargs)  # type: ignore[no-untyped-call]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


def _text_of(message: Mapping[str, Any], *, level: int = logging.INFO) -> str:
    """Return a message as JSON text; empty, and a line in the log, if it isn't JSON or too long."""
    try:
        text: str = serialization.dumps(message, serializer="json")[2]  # type: ignore[no-untyped-call]
    except EncodeError as error:
        log.log(level, "message_not_kept", extra={"task": message["task"], "error": str(error)})
        return ""
    if len(text.encode()) > MESSAGE_LIMIT:
        log.log(level, "message_not_kept", extra={"task": message["task"], "error": f"over {MESSAGE_LIMIT:,} bytes"})
        return ""
    return text


def _message_in(name: str, body: object) -> str:
    # Celery's protocol 2: arguments, keyword arguments, and what follows the task. A task that has something to follow it
    # is one step of a workflow, and repeated alone it would be something else.
    match body:
        case [[*args], {**kwargs}, {**after}] if not any(after.values()):
            return _text_of({"task": name, "args": args, "kwargs": kwargs, "options": {}})
        case _:
            return ""


def read_message(text: str) -> tuple[str, list[Any], dict[str, Any], str | None]:
    """Return the task, arguments, keyword arguments and queue of a kept message."""
    kept = serialization.loads(text, "application/json", "utf-8")  # type: ignore[no-untyped-call]
    queue = (kept.get("options") or {}).get("queue")
    return str(kept["task"]), list(kept["args"]), dict(kept["kwargs"]), queue if isinstance(queue, str) else None


def queued_document(title: str, name: str) -> Document:
    """Return the document of a task that has just been asked for.

    Raises:
        InvalidEvent: the title is too long.
    """
    if len(title) > 200:
        raise InvalidEvent(f"A title of {len(title)} characters is too long. Use at most 200.")
    return {"state": QUEUED, "title": title, "task": name, "retries": 0, "queued_at": now_ms()}


def now_ms() -> int:
    """Return this machine's time in milliseconds since 1970, as documents have it."""
    return int(time.time() * 1000)


def track_app(celery_app: Celery, settings: Settings | None = None) -> Tracking:
    """Give a Celery application its tracking, or return what it has.

    Settings come from the environment, then from the application's configuration (`PETIOLE_…`), then the defaults.

    Raises:
        SetupError: a setting is wrong or missing.
    """
    known = getattr(celery_app, "petiole", None)
    if isinstance(known, Tracking):
        for name in ("journal_url", "bus_url", "key_prefix"):
            if settings is not None and getattr(settings, name) != getattr(known.settings, name):
                raise SetupError(
                    f"PETIOLE_{name.upper()} is set differently for Flask and for Celery, so they would never meet. "
                    "Set it in the environment, or alike in both configurations."
                )
        return known
    conf = celery_app.conf
    loaded = settings or Settings.load(
        {key: conf[key] for key in conf if isinstance(key, str) and key.upper().startswith("PETIOLE_")},
        broker_url=conf.broker_url,
        broker_options=conf.broker_transport_options,
    )
    tracking = Tracking(celery_app, loaded)
    celery_app.petiole = tracking
    return tracking


def tracking_of(celery_app: Celery) -> Tracking:
    """Return a Celery application's tracking, made from its configuration if it has none yet."""
    return track_app(getattr(celery_app, "_get_current_object", lambda: celery_app)())
