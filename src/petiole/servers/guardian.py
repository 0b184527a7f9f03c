"""Ends the processes of a killed parent: a program of its own, with the standard library alone.

Linux can signal each child when its parent dies (PR_SET_PDEATHSIG), but macOS can't, and that signal is tied to the thread that
started the child, is cleared when the child changes its user (PostgreSQL's does here), and reaches no grandchild. A pipe closes
with its last writer on every system, however that ended.

Standard input has a line `<pid> base` or `<pid> other` for each process, written by the process itself before it executes its
command, and `-<pid>` once it has ended. Each process leads its own group.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

# How long servers may take to save their data.
STOP_TIMEOUT = 5.0
POLL = 0.05


def main() -> None:
    """Wait until the pipe closes, and end what is left. It is detached: a parent that waits for it reads its output."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    # The parent's stderr may be a pipe that is read until it closes.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # Sent to the whole group. This process ends by the pipe.
        signal.signal(number, signal.SIG_IGN)
    end(left_of(sys.stdin))


def left_of(lines: Iterable[str]) -> dict[int, bool]:
    """Return the processes that haven't ended, and whether others need them."""
    left: dict[int, bool] = {}
    for line in lines:
        pid, _, kind = line.strip().partition(" ")
        if pid.startswith("-"):
            left.pop(int(pid[1:]), None)
        elif pid:
            left[int(pid)] = kind == "base"
    return left


def end(left: dict[int, bool]) -> None:
    """End all with their groups: those that others need last, by SIGTERM first."""
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
