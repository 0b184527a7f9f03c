"""Publishing a task, so that it is known whether the broker has it."""

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

# A dead broker is said within two seconds.
BROKER_TIMEOUT: Final = 1.5
# The default of `broker_connection_timeout`.
CELERYS_TIMEOUT: Final = 4.0


class TaskPublisher:
    """Publishes the tasks of one Celery application."""

    def __init__(self, celery_app: Celery) -> None:
        self._celery_app = celery_app
        # Called before a task runs in the process that starts it (`task_always_eager`).
        self.before_eager: Callable[[], None] = lambda: None

    @property
    def is_eager(self) -> bool:
        return bool(self._celery_app.conf.task_always_eager)

    def known(self, task: Task | str) -> Task | None:
        """Return a task whose code is here; `None` for a name alone."""
        return self._celery_app.tasks.get(task) if isinstance(task, str) else task

    def run_here(
        self,
        task: Task,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        task_id: str,
        headers: Mapping[str, Any],
    ) -> None:
        """Run a task in this process; raises what it raises where `task_eager_propagates` says so."""
        self.before_eager()
        task.apply_async(args=list(args), kwargs=dict(kwargs or {}), task_id=task_id, headers=dict(headers))

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
    ) -> None:
        """Publish a task once `after` has returned.

        Raises:
            NothingPublished: the task's class has published nothing.
        """
        # A task that is known here is published with its own options (queue, priority, …); a name alone has none.
        known = self.known(task)
        chosen = {name: value for name, value in (("queue", queue), ("countdown", countdown)) if value is not None}
        send = functools.partial(self._celery_app.send_task, task) if known is None else known.apply_async
        options: dict[str, Any] = {"task_id": task_id, "headers": headers, "retry": False, **chosen}
        with (
            self.confirming() as confirming,
            self._celery_app.producer_or_acquire(confirming.pop("producer", None)) as producer,
            as_it_is(),
            _unawaited(self._celery_app.backend, task_id),
        ):
            following = _Following(producer, after, task_id)
            options |= {**confirming, "producer": following}
            result = send(args=list(args), kwargs=dict(kwargs or {}), **options)
        if not following.has_published:
            raise NothingPublished(known, str(getattr(result, "id", None) or ""))

    @contextmanager
    def confirming(self) -> Iterator[dict[str, Any]]:
        """Yield options by which a publish returns within some seconds, and when the broker has the message.

        RabbitMQ says nothing of a message unless it is asked to, and the task would be queued for ever if it was lost. Nothing
        is yielded for brokers other than RabbitMQ and Redis, which Celery speaks to by itself.
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
                # A connection on which an answer is owed is not to be used again: the next would take it for its own.
                producer.connection.collect()
                raise

    @functools.cached_property
    def broker(self) -> str:
        """The kind of the broker (`amqp`, `redis`, …), as kombu names it."""
        with self._celery_app.connection_for_write() as connection:
            return str(connection.transport.driver_type)

    @property
    def _timeout(self) -> float:
        """How long one step of a publish may take: to connect, to hear an answer.

        A broker that is slower is told to Celery, whose own default is more than somebody waits who has clicked.
        """
        given = float(self._celery_app.conf.broker_connection_timeout or BROKER_TIMEOUT)
        return BROKER_TIMEOUT if given == CELERYS_TIMEOUT else given

    @functools.cached_property
    def _bounded(self) -> Connection | None:
        """Where each step ends in time, and RabbitMQ confirms; it stands for a pool of such connections."""
        given = self._celery_app.conf.broker_transport_options or {}
        timeout = self._timeout
        # kombu connects again after 2 s and after 4 more. At once, it is for a connection that has ended meanwhile.
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
def _unawaited(backend: Any, task_id: str) -> Iterator[None]:
    """Have Redis as Celery's result backend not listen for a task's result: nobody waits for that by a handle.

    Away, it would hold up the start for 20 s. Who asks for the result later, as by `AsyncResult.get`, has it listen then.
    """
    listened = getattr(getattr(backend, "result_consumer", None), "subscribed_to", None)
    if not isinstance(listened, set):
        yield
        return
    # Celery doesn't listen again for what it listens for already.
    key = backend.get_key_for_task(task_id)
    known = key in listened
    listened.add(key)
    try:
        yield
    finally:
        if not known:
            listened.discard(key)


class NothingPublished(Exception):
    """A task's class has published nothing, and may have named a task that is there already by its id (empty: none)."""

    def __init__(self, task: Task | None, instead: str) -> None:
        super().__init__(f"{getattr(task, 'name', task)} published nothing.")
        self.instead = instead


_as_it_is: ContextVar[bool] = ContextVar("petiole_as_it_is", default=False)


@contextmanager
def as_it_is() -> Iterator[None]:
    """Have what is published in this context keep its header: it is minted here, or it is the same publication once more."""
    token = _as_it_is.set(True)
    try:
        yield
    finally:
        _as_it_is.reset(token)


def keeps_header() -> bool:
    """Say whether this is within `as_it_is`."""
    return _as_it_is.get()


class Lazy(Generic[T]):
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
    """A producer that publishes one task once something else is done."""

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
