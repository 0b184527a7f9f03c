"""Publishes tasks, and knows whether the broker has accepted them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Generic, TypeVar, cast

from celery import Celery, Task
from kombu.connection import Connection
from kombu.exceptions import LimitExceeded, OperationalError
from kombu.messaging import Producer
from kombu.pools import producers

T = TypeVar("T")

# A dead broker is reported within two seconds.
BROKER_TIMEOUT: Final = 1.5
# The default of `broker_connection_timeout`.
CELERYS_TIMEOUT: Final = 4.0


class TaskPublisher:
    """Publishes the tasks of one Celery application."""

    def __init__(self, celery_app: Celery) -> None:
        self._celery_app = celery_app
        # Called before a task runs in the process that starts it (`task_always_eager`).
        self.before_eager: Callable[[], None] = lambda: None
        self._send: Callable[..., Any] | None = None
        self._bounds: ContextVar[tuple[Mapping[str, Any], Callable[[], None]] | None] = ContextVar(
            "petiole_bounds", default=None
        )
        self._replace_sender()

    def _replace_sender(self) -> None:
        """Have what Celery publishes by itself within `bounding` be bounded: not all of a canvas takes a producer."""
        amqp = self._celery_app.amqp
        self._send = vars(amqp).get("send_task_message")

        def send(producer: Any, name: str, message: Any, *args: Any, **options: Any) -> Any:
            if self._send is None:
                # It reads the configuration, which isn't complete before the first message.
                self._send = type(amqp).send_task_message.func(amqp)
            bounds = self._bounds.get()
            if bounds is None:
                return self._send(producer, name, message, *args, **options)
            bounded, sent = bounds
            options |= {"retry": False, **bounded}
            result = self._send(options.pop("producer", producer), name, message, *args, **options)
            sent()
            return result

        amqp.send_task_message = send

    @contextmanager
    def bounding(self, task_ids: Sequence[str], *, sent: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Have everything that this context publishes be bounded as by `confirming`; nobody waits for these tasks' results.

        `sent` is called after each message.
        """
        with self.confirming() as options, _unawaited(self._celery_app.backend, task_ids):
            token = self._bounds.set((options, sent))
            try:
                yield
            finally:
                self._bounds.reset(token)

    @property
    def is_eager(self) -> bool:
        return bool(self._celery_app.conf.task_always_eager)

    def known(self, task: Task | str) -> Task | None:
        """Return a task whose code is imported; `None` for a name alone."""
        return self._celery_app.tasks.get(task) if isinstance(task, str) else task

    def run_here(
        self,
        task: Task,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        task_id: str,
        headers: Mapping[str, Any],
        given: Mapping[str, Any],
    ) -> None:
        """Run a task in this process; raises what it raises where `task_eager_propagates` says so."""
        self.before_eager()
        options = {**given, "task_id": task_id, "headers": {**(given.get("headers") or {}), **headers}}
        task.apply_async(args=list(args), kwargs=dict(kwargs or {}), **options)

    def publish(
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
        given: Mapping[str, Any],
    ) -> None:
        """Publish a task once `after` has returned; `given` are options of its signature.

        Raises:
            NothingPublished: the task's class has published nothing.
        """
        # An imported task is published with its own options (queue, priority, …); a name alone has none.
        known = self.known(task)
        chosen = {name: value for name, value in (("queue", queue), ("countdown", countdown)) if value is not None}
        send = functools.partial(self._celery_app.send_task, task) if known is None else known.apply_async
        own = {**(given.get("headers") or {}), **headers}
        options: dict[str, Any] = {**given, "task_id": task_id, "headers": own, "retry": False, **chosen}
        with (
            self.confirming() as confirming,
            self._celery_app.producer_or_acquire(confirming.pop("producer", None)) as producer,
            keeping_header(),
            _unawaited(self._celery_app.backend, [task_id]),
        ):
            following = _Following(producer, after, task_id)
            options |= {**confirming, "producer": following}
            result = send(args=list(args), kwargs=dict(kwargs or {}), **options)
        if not following.has_published:
            raise NothingPublished(known, str(getattr(result, "id", None) or ""))

    @contextmanager
    def confirming(self) -> Iterator[dict[str, Any]]:
        """Yield options with which a publish is bounded in time and returns once the broker has the message.

        Without publisher confirms RabbitMQ doesn't report a lost message, and the task would stay queued for ever. For brokers
        other than RabbitMQ and Redis there are no options.
        """
        bounded = self._bounded
        if bounded is None or self._celery_app.conf.task_always_eager:
            yield {}
            return
        timeout = self._timeout
        options = {"timeout": timeout, "confirm_timeout": timeout} if self.broker == "amqp" else {}
        with self._producer(bounded, timeout) as producer:
            try:
                yield {"producer": producer, **options}
            except BaseException:
                # The next caller would take a pending answer on this connection for its own.
                producer.connection.collect()
                raise

    @functools.cached_property
    def broker(self) -> str:
        """The kind of the broker (`amqp`, `redis`, …), as kombu names it."""
        with self._celery_app.connection_for_write() as connection:
            return str(connection.transport.driver_type)

    @property
    def _timeout(self) -> float:
        """The longest time of one step of a publish: to connect, to hear an answer.

        For a slower broker set Celery's `broker_connection_timeout`. Its default isn't used: too long a wait after a click.
        """
        given = float(self._celery_app.conf.broker_connection_timeout or BROKER_TIMEOUT)
        return BROKER_TIMEOUT if given == CELERYS_TIMEOUT else given

    @functools.cached_property
    def _bounded(self) -> Connection | None:
        """A connection with bounded steps, and publisher confirms on RabbitMQ; kombu keeps a pool for it."""
        given = self._celery_app.conf.broker_transport_options or {}
        timeout = self._timeout
        # kombu's retries wait 2 s and 4 s. Here they are immediate: for a connection that has ended meanwhile.
        urls = self._celery_app.connection_for_write().alt
        options: dict[str, Any] = {"max_retries": max(1, len(urls)), "interval_start": 0, "interval_step": 0}
        if self.broker == "amqp":
            options["confirm_publish"] = True
        elif self.broker == "redis":
            for name in ("socket_timeout", "socket_connect_timeout"):
                options[name] = min(timeout, float(given.get(name) or timeout))
        else:
            return None
        made: Connection = self._celery_app.connection_for_write(connect_timeout=timeout, transport_options=options)
        return made

    @contextmanager
    def _producer(self, connection: Connection, timeout: float) -> Iterator[Producer]:
        try:
            producer = producers[connection].acquire(block=True, timeout=timeout)
        except LimitExceeded as error:
            raise OperationalError("no connection to the broker came free in time") from error
        try:
            yield producer
        finally:
            producer.release()


@contextmanager
def _unawaited(backend: Any, task_ids: Sequence[str]) -> Iterator[None]:
    """Keep Celery's Redis result backend from subscribing to tasks' results: a handle doesn't wait for them.

    With that Redis away, the subscription would block the start for 20 s. `AsyncResult.get` subscribes when it is called.
    """
    listened = getattr(getattr(backend, "result_consumer", None), "subscribed_to", None)
    if not isinstance(listened, set):
        yield
        return
    # Celery doesn't subscribe to what it is subscribed to.
    added = {backend.get_key_for_task(task_id) for task_id in task_ids} - listened
    listened |= added
    try:
        yield
    finally:
        listened -= added


class NothingPublished(Exception):
    """A task's class published nothing, and may have named an existing task instead, by its id (empty: none)."""

    def __init__(self, task: Task | None, instead: str) -> None:
        super().__init__(f"{getattr(task, 'name', task)} published nothing.")
        self.instead = instead


_keeping_header: ContextVar[bool] = ContextVar("petiole_keeping_header", default=False)


@contextmanager
def keeping_header() -> Iterator[None]:
    """Have messages published in this context keep their header: it was minted here, or it is the same publication again."""
    token = _keeping_header.set(True)
    try:
        yield
    finally:
        _keeping_header.reset(token)


def keeps_header() -> bool:
    """Say whether this context is within `keeping_header`."""
    return _keeping_header.get()


class Lazy(Generic[T]):
    """Calls a function at most once, and returns or raises its outcome on every call."""

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
    """A producer that publishes one task after something else is done."""

    def __init__(self, producer: Producer, after: Callable[[], object], task_id: str) -> None:
        self._producer = producer
        self._after = after
        self._task_id = task_id
        self.has_published = False

    def publish(self, *args: Any, **kwargs: Any) -> Any:
        if (kwargs.get("headers") or {}).get("id", self._task_id) == self._task_id:
            self._after()
            self.has_published = True
        return self._producer.publish(*args, **kwargs)  # type: ignore[no-untyped-call]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)
