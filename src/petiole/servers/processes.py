"""Runs the demo's processes: starts them, streams their logs under a prefix, and stops them, by process id."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from petiole.errors import SetupError
from petiole.servers.leash import Leash

STOP_TIMEOUT: Final = 10.0
KILL_TIMEOUT: Final = 5.0
POLL: Final = 0.05
LAST_LINES: Final = 15

Say = Callable[[str, str], None]


@dataclass(slots=True)
class Process:
    """One child process. Its lines are printed under its name, and the last ones kept for the error when it dies."""

    name: str
    command: Sequence[str]
    popen: subprocess.Popen[str]
    ready_line: str | None
    is_base: bool
    ready: threading.Event = field(default_factory=threading.Event)
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))

    def is_alive(self) -> bool:
        return self.popen.poll() is None


class Processes:
    """Children that live and die together, and with this process, however that ends. `say(name, line)` takes their output.

    `servers`: an open file in which those processes are listed that others need, and which each of them has open, too.

    If `say` fails, as when nobody reads a pipe any more, the children's output is still taken in, so that none of them
    stands still; `check` raises what `say` raised.
    """

    def __init__(self, say: Say, *, servers: int | None = None) -> None:
        self._say = say
        self._servers = servers
        self._leash: Leash | None = None
        self._lock = threading.Lock()
        self._children: list[Process] = []
        self._readers: list[threading.Thread] = []
        self._unsaid: Exception | None = None

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        ready_line: str | None = None,
        is_base: bool = False,
    ) -> Process:
        """Start a process in a session of its own, so that Ctrl-C reaches only this one, which stops them in order.

        `ready_line`: text in its output that says that it is ready. `is_base`: others need it, so it is stopped last.
        """
        with _undisturbed():
            with self._lock:
                leash = self._leash = self._leash or Leash()
            popen = subprocess.Popen(
                leash.registered(command, is_base=is_base),
                env={**os.environ, **(environment or {}), "PYTHONUNBUFFERED": "1"},
                cwd=directory,
                stdin=leash.descriptor,
                pass_fds=(self._servers,) if is_base and self._servers is not None else (),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            process = Process(name, command, popen, ready_line, is_base)
            self._children.append(process)
            if is_base and self._servers is not None:
                os.write(self._servers, f"{name} {popen.pid}\n".encode())
        if popen.stdout is not None:
            reader = threading.Thread(target=self._read, args=(process, popen.stdout), daemon=True)
            reader.start()
            self._readers.append(reader)
        return process

    def wait_ready(self, process: Process, *, timeout: float, condition: Callable[[], bool] | None = None) -> None:
        """Wait until the process has printed its ready line, or `condition` holds.

        Raises:
            SetupError: it died, or wasn't ready in time.
        """
        deadline = time.monotonic() + timeout
        while not (condition() if condition is not None else process.ready.is_set()):
            self.check()
            if time.monotonic() > deadline:
                raise SetupError(f"{process.name} wasn't ready within {timeout:.0f} s. {_tail(process)}")
            time.sleep(POLL)

    def forget(self, process: Process) -> None:
        """Forget a process that ended as intended."""
        self._children.remove(process)
        if self._leash is not None:
            self._leash.forget(process.popen.pid)

    def kill(self, process: Process) -> None:
        """Kill a process and its children, and forget it: its end is intended."""
        _end_group(process)
        self.forget(process)

    def check(self) -> None:
        """Check that all are alive.

        Raises:
            SetupError: one has died.
            Exception: what `say` raised.
        """
        if self._unsaid is not None:
            raise self._unsaid
        for process in self._children:
            if not process.is_alive():
                process.ready.wait(POLL)
                raise SetupError(
                    f"{process.name} (process {process.popen.pid}) ended with code {process.popen.returncode}. "
                    f"{_tail(process)}"
                )
        if self._leash is not None:
            self._leash.check()

    def stop(self) -> None:
        """Stop all by SIGTERM, then by SIGKILL; those that others need last (or the one that was started first).

        Interrupted meanwhile: all for good, at once.
        """
        try:
            base = [process for process in self._children if process.is_base] or self._children[:1]
            for together in ([process for process in self._children if process not in base], base):
                for process in together:
                    if process.is_alive():
                        process.popen.send_signal(signal.SIGTERM)
                deadline = time.monotonic() + STOP_TIMEOUT
                for process in together:
                    with suppress(subprocess.TimeoutExpired):
                        process.popen.wait(max(deadline - time.monotonic(), 0.0))
                    _end_group(process)
        finally:
            for process in self._children:
                _end_group(process)
            self._let_go()
        for reader in self._readers:
            reader.join(1.0)

    def _let_go(self) -> None:
        if self._leash is not None:
            for process in self._children:
                self._leash.forget(process.popen.pid)
            self._leash.close()
            self._leash = None

    def _read(self, process: Process, output: IO[str]) -> None:
        for line in output:
            text = line.rstrip()
            process.last_lines.append(text)
            if process.ready_line is not None and process.ready_line in text:
                process.ready.set()
            try:
                self._say(process.name, text)
            except Exception as error:  # noqa: BLE001 (any error: the next `check` raises it)
                self._unsaid = error


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Defer interrupts for a moment: one between a child's start and its registration would leave it behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    caught = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in caught:
        signal.signal(number, lambda number, _frame: held.append(number))
    try:
        yield
    finally:
        for number, handler in caught.items():
            signal.signal(number, handler)
        for again in held:
            signal.raise_signal(again)


def _end_group(process: Process) -> None:
    # The group includes a pool's children and a server's workers, which outlive a killed leader.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.popen.pid, signal.SIGKILL)
    process.popen.wait(KILL_TIMEOUT)


def _tail(process: Process) -> str:
    if not process.last_lines:
        return "It said nothing."
    return "Its last lines:\n  " + "\n  ".join(process.last_lines)
