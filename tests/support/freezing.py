"""Stops processes for a while, as a machine that stalls does: their connections stay open, and they don't answer."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.support.waiting import wait_until

# Of a thread in /proc: stopped, traced, a zombie, gone.
_STILL = frozenset("TtZX")


def freeze(pids: Iterable[int]) -> None:
    """Stop these processes (SIGSTOP), and return when each of their threads has stopped: the signal may take a while."""
    stopped = list(pids)
    for pid in stopped:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(map(_is_still, stopped)), what=f"the processes {stopped} have stopped")


def thaw(pids: Iterable[int]) -> None:
    """Let these processes go on after `freeze`."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def group(leader: int) -> list[int]:
    """Return the processes of a process group."""
    found = []
    for pid in _processes():
        with suppress(ProcessLookupError):
            if os.getpgid(pid) == leader:
                found.append(pid)
    return found


def family(leader: int) -> list[int]:
    """Return a process and its children."""
    found = [leader]
    for pid in _processes():
        with suppress(OSError):
            if int(_fields(Path(f"/proc/{pid}/stat"))[1]) == leader:
                found.append(pid)
    return found


def _processes() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            yield int(entry.name)


def _is_still(pid: int) -> bool:
    try:
        return all(_fields(path)[0] in _STILL for path in Path(f"/proc/{pid}/task").glob("*/stat"))
    except (FileNotFoundError, ProcessLookupError):
        return False


def _fields(stat: Path) -> list[str]:
    """Return the fields of such a file from the state on: they come after the name, which may contain any characters."""
    return stat.read_text().rpartition(")")[2].split()
