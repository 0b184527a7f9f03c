"""Ends the processes of a parent that was killed: a program of its own, on the standard library alone.

Linux could send a signal to each child when its parent dies (PR_SET_PDEATHSIG). macOS can't, that signal ends with the thread
that started the child, isn't kept by who changes its user, as PostgreSQL's does here, and reaches no grandchild. A pipe ends
with its last writer on every system, however that came to its end.

It is read from standard input: a line `<pid> base` or `<pid> other` for each process, written by the process itself before it
becomes what it is to be, and `-<pid>` once it has ended. Each is the leader of a group.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

# How long servers may take to put their data in order.
STOP_TIMEOUT = 5.0
POLL = 0.05


def main() -> None:
    """Wait until nobody writes any more, and end what is left. It is nobody's child: who waits for it reads its output."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    # The parent's error output may be a pipe that somebody reads to its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # Sent to everything that belongs together. The end comes by the pipe.
        signal.signal(number, signal.SIG_IGN)
    end(left_of(sys.stdin))


def left_of(lines: Iterable[str]) -> dict[int, bool]:
    """Return the processes that have come and not gone, and whether others need them."""
    left: dict[int, bool] = {}
    for line in lines:
        pid, _, kind = line.strip().partition(" ")
        if pid.startswith("-"):
            left.pop(int(pid[1:]), None)
        elif pid:
            left[int(pid)] = kind == "base"
    return left


def end(left: dict[int, bool]) -> None:
    """End all with their groups: those that others need last, and politely first."""
    for pid, is_base in left.items():
        if not is_base:
            _send(os.killpg, pid, signal.SIGKILL)
    bases = [pid for pid, is_base in left.items() if is_base]
    for pid in bases:
        _send(os.kill, pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT
    while time.monotonic() < deadline and any(_send(os.kill, pid, 0) for pid in bases):
        time.sleep(POLL)
    for pid in bases:
        _send(os.killpg, pid, signal.SIGKILL)


def _send(send: Callable[[int, int], None], pid: int, number: int) -> bool:
    with suppress(ProcessLookupError, PermissionError):
        send(pid, number)
        return True
    return False


if __name__ == "__main__":
    main()
