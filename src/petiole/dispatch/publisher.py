"""Publishing a task, so that it is known whether the broker has it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar, cast

from celery import Celery, Task
from kombu.connection import Connection
from kombu.exceptions import LimitExceeded, OperationalError
from kombu.messaging import Producer
from kombu.pools import producers

from petiole.errors import PetioleError

T = TypeVar("T")

BROKER_TIMEOUT: Final = 4.0


class Publisher:
    """Publishes the tasks of one Celery application."""

    def __init__(self, celery_app: Celery) -> None:
        self._celery_app = celery_app
        # Called before a task runs in the process that starts it (`task_always_eager`).
        self.before_eager: Callable[[], None] = lambda: None

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
        """Publish a task once `after` has returned."""
        # A task that is known here is published with its own options (queue, priority, …); a name alone has none.
        known = self._celery_app.tasks.get(task) if isinstance(task, str) else task
        if self._celery_app.conf.task_always_eager:
            if known is None:
                raise PetioleError(
                    f"{task} can't run eagerly, because its code isn't here. Import it, or turn eager off."
                )
            after()
            self.before_eager()
            known.apply_async(args=list(args), kwargs=dict(kwargs or {}), task_id=task_id, headers=headers)
            return
        chosen = {name: value for name, value in (("queue", queue), ("countdown", countdown)) if value is not None}
        send = functools.partial(self._celery_app.send_task, task) if known is None else known.apply_async
        options: dict[str, Any] = {"task_id": task_id, "headers": headers, "retry": False, **chosen}
        with (
            self.confirming() as confirming,
            self._celery_app.producer_or_acquire(confirming.pop("producer", None)) as producer,
        ):
            options |= {**confirming, "producer": _Following(producer, after)}
            send(args=list(args), kwargs=dict(kwargs or {}), **options)

    @contextmanager
    def confirming(self) -> Iterator[dict[str, Any]]:
        """Yield options by which a publish returns when the broker has the message, in so far as that isn't so anyway.

        RabbitMQ says nothing of a message unless it is asked to, and the task would be queued for ever if it was lost.
        """
        conf = self._celery_app.conf
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

    @functools.cached_property
    def _confirmed_by(self) -> Connection | None:
        """Where the broker confirms when it is asked to; it stands for a pool of such connections."""
        connection = self._celery_app.connection_for_write(transport_options={"confirm_publish": True})
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


class Once(Generic[T]):
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
