"""The demo's workers: killed when the page asks for it, and restarted."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from petiole.demo.breakage import AGAIN_AFTER, PROCESS, asked
from petiole.servers.processes import Process, Processes


@dataclass(frozen=True, slots=True)
class Away:
    """A worker that was killed, and when it is restarted."""

    start: Callable[[], Process]
    at: float


class Workers:
    """Starts and restarts workers. One thread only."""

    def __init__(self, processes: Processes, directory: Path, starts: Sequence[Callable[[], Process]]) -> None:
        self._processes = processes
        self._directory = directory
        asked(directory)  # an earlier demo's note isn't meant for this one
        self._running = [(start(), start) for start in starts]
        self._away: list[Away] = []

    @property
    def running(self) -> list[Process]:
        return [process for process, _ in self._running]

    def attend(self) -> None:
        """Kill what the page asked for, and restart what has been away for long enough."""
        what = asked(self._directory)
        if what == PROCESS:
            for worker in self.running:
                for child in children_of(worker.popen.pid):
                    with suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
        elif what is not None:
            for worker, start in self._running:
                self._processes.kill(worker)
                self._away.append(Away(start, time.monotonic() + AGAIN_AFTER))
            self._running = []
        back = [each for each in self._away if each.at <= time.monotonic()]
        self._away = [each for each in self._away if each not in back]
        self._running += [(each.start(), each.start) for each in back]


def children_of(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if listed.exists():
        return [int(child) for child in listed.read_text().split()]
    rows = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [row.split() for row in rows.splitlines()]
    return [int(child) for child, parent in pairs if int(parent) == pid]
