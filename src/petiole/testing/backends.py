"""Result backends of tasks, put aside while they are rehearsed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Task
from celery.backends.base import DisabledBackend


class Backends:
    """Gives a task a backend that keeps nothing; its own comes back with the last of its rehearsals. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By the task: its own backend, and how many rehearsals of it are under way.
        self._aside: dict[Task, tuple[Any, int]] = {}

    @contextmanager
    def aside(self, task: Task) -> Iterator[None]:
        """Put a task's backend aside within the block."""
        with self._lock:
            own, count = self._aside.get(task, (task._backend, 0))
            self._aside[task] = own, count + 1
            if count == 0:
                task.backend = DisabledBackend(task.app)
        try:
            yield
        finally:
            with self._lock:
                own, count = self._aside.pop(task)
                if count > 1:
                    self._aside[task] = own, count - 1
                else:
                    task.backend = own
