"""The parent's end of the pipe to its guardian, which ends the parent's processes if the parent is killed."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from petiole.errors import SetupError

_GUARDIAN: Final = Path(__file__).with_name("guardian.py")
# A process registers itself before it executes its command, so the pipe can't close in between.
_REGISTERED: Final = ("/bin/sh", "-c", 'echo "$$ $0" >&0 && exec "$@" </dev/null')
_FOR_PYTHON: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
STARTS_WITHIN: Final = 30.0
ENDS_WITHIN: Final = 10.0


class Leash:
    """Starts the guardian and tells it which processes have ended. Thread-safe, except `close`."""

    def __init__(self) -> None:
        ended, says = os.pipe()
        reads, self._writes = os.pipe()
        try:
            # Without this process's environment and packages: it needs only Python.
            environment = {name: os.environ[name] for name in _FOR_PYTHON if name in os.environ}
            command = [sys.executable, "-I", "-S", str(_GUARDIAN)]
            subprocess.run(command, stdin=reads, stdout=says, env=environment, check=True, timeout=STARTS_WITHIN)
        finally:
            os.close(reads)
            os.close(says)
        self._ended = ended

    @property
    def descriptor(self) -> int:
        """The standard input for a command of `registered`."""
        return self._writes

    @staticmethod
    def registered(command: Sequence[str], *, is_base: bool) -> list[str]:
        """Return the command of a process that registers itself first, under the id that it keeps."""
        return [*_REGISTERED, "base" if is_base else "other", *command]

    def forget(self, pid: int) -> None:
        """Report that a process and its group have ended: its id may be reused."""
        with suppress(BrokenPipeError):  # `check` reports it
            os.write(self._writes, b"-%d\n" % pid)

    def check(self) -> None:
        """Check that the guardian is alive.

        Raises:
            SetupError: it isn't.
        """
        if select.select([self._ended], [], [], 0)[0]:
            raise SetupError("The supervisor process has ended. Start this again.")

    def close(self) -> None:
        """End the guardian, and with it the processes that weren't reported as ended."""
        os.close(self._writes)
        select.select([self._ended], [], [], ENDS_WITHIN)
        os.close(self._ended)
