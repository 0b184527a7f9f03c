"""Where `progress` is called and no task is current: said once, where somebody meant a task.

A context is a thread's own, and a process's own: what a task starts has none, unless it is handed over.
"""

from __future__ import annotations

import os
from typing import Final

from celery import current_task

from petiole.logs import logger
from petiole.worker.run_state import ProgressCounter

log = logger(__name__)

THREAD: Final = (
    "Petiole: progress was called in a thread that belongs to no task, and is told to nobody. Hand it over where the thread "
    "is started: pool.submit(progress.wrap(work), row)."
)
PROCESS: Final = (
    "Petiole: progress was called in a process that a task has started, and is told to nobody. Count where the results "
    "arrive, in the task's own process: for row in track(executor.map(work, rows))."
)
# Set where a task runs, and inherited by what it starts: the number of the task's process. Not a setting.
TASK_PROCESS: Final = "_PETIOLE_TASK_PROCESS"


class Nobody:
    """Hears calls of `progress` that have no run, while tasks run in this process, or in the one that has started it.

    `counter` is that of callers without a run. While `listens` it isn't dirty, so that a loop's step comes here too.
    """

    def __init__(self) -> None:
        self.counter = ProgressCounter(dirty=True)
        self._said = False
        self._runs = 0
        self._listen()

    def begin(self) -> None:
        """A task begins to run in this process."""
        self._runs += 1
        if os.environ.get(TASK_PROCESS) != (here := str(os.getpid())):
            os.environ[TASK_PROCESS] = here
        self._listen()

    def end(self) -> None:
        """A task has ended in this process."""
        self._runs -= 1
        self._listen()

    def fork(self) -> None:
        """Begin anew in a process that was forked."""
        self._runs = 0
        self._listen()

    @property
    def listens(self) -> bool:
        return not self.counter.dirty

    def hear(self) -> None:
        """Say that somebody speaks for no task; once in each process."""
        if current_task:
            return  # a task that isn't tracked speaks to nobody, and that is right
        self._said = True
        self._listen()
        log.error(THREAD if self._runs else PROCESS)

    def _listen(self) -> None:
        elsewhere = os.environ.get(TASK_PROCESS, "") not in ("", str(os.getpid()))
        self.counter.dirty = self._said or not (self._runs or elsewhere)


nobody: Final = Nobody()
