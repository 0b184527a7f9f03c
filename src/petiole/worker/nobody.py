"""Reports, once, a `progress` call without a current task, where a task was probably meant.

Each thread and each process has a context of its own: what a task starts has no current task, unless it is handed over.
"""

from __future__ import annotations

import os
from typing import Final

from celery import current_task

from petiole.logs import logger
from petiole.worker.run_state import ProgressCounter

log = logger(__name__)

THREAD: Final = (
    "Petiole: progress was called in a thread that belongs to no task, so its counts are lost. Hand it over where the thread "
    "is started: pool.submit(progress.wrap(work), row)."
)
PROCESS: Final = (
    "Petiole: progress was called in a process that a task has started, so its counts are lost. Count where the results "
    "arrive, in the task's own process: for row in track(executor.map(work, rows))."
)
# Set where a task runs, and inherited by child processes: the id of the task's process. Not a setting.
TASK_PROCESS: Final = "_PETIOLE_TASK_PROCESS"


class Nobody:
    """Receives `progress` calls without a run, while tasks run in this process or in the one that started it.

    `counter` is that of callers without a run. While `listens` it isn't dirty, so that a loop's step comes here too.
    """

    def __init__(self) -> None:
        self.counter = ProgressCounter(dirty=True)
        self._said = False
        self._runs = 0
        self._listen()

    def begin(self) -> None:
        """Take note that a task begins in this process."""
        self._runs += 1
        if os.environ.get(TASK_PROCESS) != (here := str(os.getpid())):
            os.environ[TASK_PROCESS] = here
        self._listen()

    def end(self) -> None:
        """Take note that a task has ended in this process."""
        self._runs -= 1
        self._listen()

    def fork(self) -> None:
        """Start afresh in a forked process."""
        self._runs = 0
        self._listen()

    @property
    def listens(self) -> bool:
        return not self.counter.dirty

    def hear(self) -> None:
        """Log that progress is called without a task; once in each process."""
        if current_task:
            return  # an untracked task: there is nothing to report
        self._said = True
        self._listen()
        log.error(THREAD if self._runs else PROCESS)

    def _listen(self) -> None:
        elsewhere = os.environ.get(TASK_PROCESS, "") not in ("", str(os.getpid()))
        self.counter.dirty = self._said or not (self._runs or elsewhere)


nobody: Final = Nobody()
